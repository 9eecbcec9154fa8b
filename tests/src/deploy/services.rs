//! The unit, the image and the compose file: what they start, what they copy, and how long they wait.
//!
//! Owns what can be told without an engine or a running systemd: that every command line is one that the built binaries
//! take, that no file is named that is not there, and that a stop waits for the server. Does not own a build of the image.
//! Invariant: a check that finds nothing to check fails.

#![allow(clippy::unwrap_used)]

use super::{at, read};
use crate::registry::binary;
use crate::skips;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNIT: &str = "systemd/sealstone-registry.service";
const DOCKERFILE: &str = "container/Dockerfile";
const COMPOSE: &str = "container/compose.yaml";
const JOB: &str = "ci/kubernetes-job.yaml";

/// Runs a program of ours, named by its path where it is installed, with nothing of the caller's environment.
fn ran(program: &str, arguments: &[&str], variables: &[(String, String)]) -> Output {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    Command::new(binary(name.unwrap()).unwrap())
        .args(arguments)
        .env_clear()
        .envs(variables.iter().map(|pair| (&pair.0, &pair.1)))
        .output()
        .unwrap()
}

/// The words of a command line: its program must take the subcommand and know every flag.
#[track_caller]
fn check_command(words: &[&str]) {
    let (program, arguments) = words.split_first().expect("a command has a program");
    let subcommand: Vec<&str> = arguments
        .iter()
        .copied()
        .take_while(|word| !word.starts_with('-'))
        .collect();
    let help = ran(program, &[&subcommand[..], &["--help"]].concat(), &[]);
    assert!(help.status.success(), "{words:?}: {help:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    let known: Vec<&str> = help
        .split(|c: char| c.is_whitespace() || c == ',' || c == '=')
        .collect();
    for flag in arguments.iter().filter(|word| word.starts_with('-')) {
        assert!(known.contains(flag), "{words:?}: no {flag} in\n{help}");
    }
    for file in arguments.iter().filter(|word| word.ends_with(".toml")) {
        let name = Path::new(file).file_name().and_then(OsStr::to_str).unwrap();
        assert!(
            file.starts_with("/etc/sealstone/") && at(&format!("config/{name}")).is_file(),
            "{words:?}: deploy/config brings no {file}"
        );
    }
}

/// The configuration in force with the reference file and these variables.
fn shown(variables: &[(String, String)]) -> toml::Table {
    let reference = at("config/sealstone.toml");
    let arguments = ["config", "show", "--config", reference.to_str().unwrap()];
    let shown = ran("sealstone-registry", &arguments, variables);
    assert!(shown.status.success(), "{variables:?}: {shown:?}");
    toml::from_str(&String::from_utf8(shown.stdout).unwrap()).unwrap()
}

fn drain_seconds(variables: &[(String, String)]) -> i64 {
    shown(variables)["server"]["drain_seconds"]
        .as_integer()
        .unwrap()
}

/// The values of a key of the unit, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_unit_starts_what_the_server_takes() {
    let unit = read(UNIT);
    let commands = [values(&unit, "ExecStartPre"), values(&unit, "ExecStart")].concat();
    assert_eq!(commands.len(), 2);
    for command in commands {
        check_command(&command.split_whitespace().collect::<Vec<_>>());
    }
}

#[test]
fn systemd_understands_the_unit() {
    let server = binary("sealstone-registry").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealstone-registry.service");
    let unit = read(UNIT).replace(
        "/usr/local/bin/sealstone-registry",
        server.to_str().unwrap(),
    );
    std::fs::write(&path, unit).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output();
    let Ok(verified) = verified else {
        return skips::not_possible("the unit is not verified: there is no systemd-analyze");
    };
    // A key that it does not know is said, and no failure. Other units of this machine are not ours to judge.
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && !said.contains("sealstone-registry.service"),
        "{said}"
    );
}

#[test]
fn prometheus_takes_the_alerts_and_they_pass_their_tests() {
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts-test.yaml"],
    ] {
        let ended = Command::new("promtool")
            .args(arguments)
            .current_dir(at("prometheus"))
            .output();
        let Ok(ended) = ended else {
            return skips::not_possible("the alerts are not tried: there is no promtool");
        };
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    }
}

/// The instructions of the image: (name, rest), with continued lines joined and comments left out.
fn instructions() -> Vec<(String, String)> {
    let joined = read(DOCKERFILE)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ");
    joined
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// The last value of an instruction in its form as a list of words.
fn list(instructions: &[(String, String)], name: &str) -> Vec<String> {
    let (_, rest) = instructions
        .iter()
        .rfind(|(found, _)| found == name)
        .unwrap_or_else(|| panic!("{DOCKERFILE} has no {name}"));
    serde_json::from_str(rest).unwrap_or_else(|error| panic!("{name} {rest}: {error}"))
}

#[test]
fn the_image_starts_what_the_server_takes() {
    let instructions = instructions();
    let start = [
        list(&instructions, "ENTRYPOINT"),
        list(&instructions, "CMD"),
    ]
    .concat();
    let start: Vec<&str> = start.iter().map(String::as_str).collect();
    assert_eq!(start[0], "/usr/local/bin/sealstone-registry");
    assert!(start.len() > 1);
    check_command(&start);
    // What the build itself runs, to see that a program starts.
    let mut tried = 0;
    for (_, rest) in instructions.iter().filter(|(name, _)| name == "RUN") {
        if let Ok(words) = serde_json::from_str::<Vec<String>>(rest) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = ran(words[0], &words[1..], &[]);
            assert!(ended.status.success(), "{words:?}: {ended:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 2, "server and client");
}

/// Whether the file of what a build does not see covers a path. The last pattern that covers it decides.
fn is_ignored(patterns: &str, path: &str) -> bool {
    let path: Vec<&str> = path.split('/').collect();
    let mut ignored = false;
    for pattern in patterns.lines().map(str::trim) {
        if pattern.is_empty() || pattern.starts_with('#') {
            continue;
        }
        let (again, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        let pattern: Vec<&str> = pattern.trim_matches('/').split('/').collect();
        if covers(&pattern, &path) {
            ignored = !again;
        }
    }
    ignored
}

/// Whether a pattern is of this path, or of a directory above it.
fn covers(pattern: &[&str], path: &[&str]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return true;
    };
    if *first == "**" {
        return (0..=path.len()).any(|left_out| covers(rest, &path[left_out..]));
    }
    path.split_first()
        .is_some_and(|(name, below)| (*first == "*" || first == name) && covers(rest, below))
}

#[test]
fn what_a_build_does_not_see_is_read_as_docker_reads_it() {
    let patterns = "# a comment\n*\n!kept\n!half/kept\n**/target\n";
    for (path, ignored) in [
        ("kept", false),
        ("kept/deep/file", false),
        ("other", true),
        ("other/kept", true),
        ("half/kept/file", false),
        ("half/other", true),
        ("kept/target", true),
        ("kept/deep/target/file", true),
    ] {
        assert_eq!(is_ignored(patterns, path), ignored, "{path}");
    }
}

/// Files below a path of the repository, as they are named from its root.
fn files(path: &str) -> Vec<String> {
    let full = at("..").join(path);
    if full.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(&full).unwrap_or_else(|error| panic!("{path}: {error}"));
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "target" && name != ".git")
        .flat_map(|name| files(&format!("{path}/{name}")))
        .collect()
}

#[test]
fn the_image_is_made_of_files_that_are_there_and_seen() {
    let patterns = read("container/Dockerfile.dockerignore");
    let instructions = instructions();
    let mut copied: Vec<String> = Vec::new();
    for (_, rest) in instructions.iter().filter(|(name, _)| name == "COPY") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        if sources.iter().any(|word| word.starts_with("--from=")) {
            continue;
        }
        assert!(!sources.is_empty(), "COPY {rest}");
        for source in sources {
            let mut found = files(source.trim_end_matches('/'));
            found.retain(|file| !is_ignored(&patterns, file));
            assert!(!found.is_empty(), "the build sees nothing of {source}");
            copied.extend(found);
        }
    }
    // cargo reads the manifest of every member, and does without the code of none that it finds.
    let workspace: toml::Table = toml::from_str(&read("../Cargo.toml")).unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let mut needed = vec!["Cargo.toml".to_owned(), "Cargo.lock".to_owned()];
    for member in members.iter().map(|member| member.as_str().unwrap()) {
        needed.push(format!("{member}/Cargo.toml"));
        needed.extend(files(&format!("{member}/src")));
    }
    needed.extend(files("deploy/config"));
    for file in needed {
        assert!(copied.contains(&file), "{file} is not in the image's build");
    }
}

fn compose() -> Value {
    serde_saphyr::from_str(&read(COMPOSE)).unwrap()
}

/// The variables that the image and the compose file set for the server.
fn variables(registry: &Value) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = instructions()
        .into_iter()
        .filter(|(name, _)| name == "ENV")
        .map(|(_, rest)| {
            let (name, value) = rest.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect();
    for (name, value) in registry["environment"].as_object().unwrap() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        found.push((name.clone(), value));
    }
    assert!(found.len() >= 3, "{found:?}");
    found
}

/// What the end of a server takes when it has drained, at most: requests that are cut, uploads written down, jobs.
const AFTER_DRAIN: i64 = 15;

#[test]
fn a_stop_waits_longer_than_the_server_drains() {
    let unit = read(UNIT);
    let [stop] = values(&unit, "TimeoutStopSec")[..] else {
        panic!("{UNIT} has no TimeoutStopSec, or several");
    };
    let stop: i64 = stop.parse().unwrap();
    let drain = drain_seconds(&[]);
    assert!(
        stop >= drain + AFTER_DRAIN,
        "systemd: {stop} s, and it drains {drain} s"
    );

    let compose = compose();
    let registry = &compose["services"]["registry"];
    let grace = registry["stop_grace_period"].as_str().unwrap();
    let grace: i64 = grace.strip_suffix('s').unwrap().parse().unwrap();
    let drain = drain_seconds(&variables(registry));
    assert!(
        grace >= drain + AFTER_DRAIN,
        "compose: {grace} s, and it drains {drain} s"
    );
}

#[test]
fn the_compose_file_names_what_is_there_and_the_job_reaches_its_port() {
    let compose = compose();
    let folder = at("container");
    let registry = &compose["services"]["registry"];
    let context: PathBuf = folder.join(registry["build"]["context"].as_str().unwrap());
    let dockerfile = context.join(registry["build"]["dockerfile"].as_str().unwrap());
    assert_eq!(
        dockerfile.canonicalize().unwrap(),
        at(DOCKERFILE).canonicalize().unwrap()
    );
    assert!(registry["command"].is_null() && registry["entrypoint"].is_null());

    let stated = compose["volumes"].as_object().unwrap();
    let services = compose["services"].as_object().unwrap();
    let mut mounted = 0;
    for (service, described) in services {
        for volume in described["volumes"].as_array().unwrap() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let is_there = match source.starts_with('.') {
                true => folder.join(source).exists(),
                false => stated.contains_key(source),
            };
            assert!(is_there, "{service} mounts {source}");
            mounted += 1;
        }
        for other in described["depends_on"].as_array().into_iter().flatten() {
            assert!(services.contains_key(other.as_str().unwrap()), "{service}");
        }
    }
    assert!(mounted > 3);

    // The port that is published is the one that the server listens on in there.
    let shown = shown(&variables(registry));
    let listen = shown["server"]["listen"].as_str().unwrap();
    let published = registry["ports"][0].as_str().unwrap();
    assert_eq!(
        listen.rsplit(':').next(),
        published.rsplit(':').next(),
        "{listen} and {published}"
    );
    // A network policy counts the port of the pod, whatever port the Service before it has.
    let documents = read(JOB);
    let policy = documents.split("\n---\n").nth(1).unwrap();
    let policy: Value = serde_saphyr::from_str(policy).unwrap();
    assert_eq!(policy["kind"], "NetworkPolicy");
    let rules = policy["spec"]["egress"].as_array().unwrap();
    let rule = rules
        .iter()
        .find(|rule| rule["to"][0]["podSelector"]["matchLabels"]["app"] == "sealstone-registry")
        .unwrap();
    assert_eq!(
        listen.rsplit(':').next(),
        Some(rule["ports"][0]["port"].to_string().as_str()),
        "{listen} and {rule}"
    );
    let data = registry["volumes"][0].as_str().unwrap();
    let storage = shown["storage"]["path"].as_str().unwrap();
    assert_eq!(data.split(':').nth(1), Some(storage));
}
