//! From a project to a report that somebody else signed, through the real binaries: run, pack, push, sign, replay.

use crate::client;
use crate::templates::webhook;
use sealstone_spec::digest::Digest;
use sealstone_spec::report::Report;
use sealstone_tests::registry::{Setup, TestRegistry, binary};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const RECIPE: &str = r#"recipe = { version = 1, name = "counts", owner = "team-x", risk = "low" }
environment = { kind = "host" }
determinism = { class = "bit_exact", seed = 7, threads = 1 }
isolation = { minimum = "I1" }
[[input]]
path = "data/raw.csv"
sha256 = "todo"
[stage.prepare]
kind = "prepare"
run = ["sh", "src/prepare.sh"]
in = ["data/raw.csv", "src/prepare.sh"]
out = ["work/sorted.csv"]
[stage.train]
kind = "train"
device = "cpu"
run = ["sh", "src/train.sh"]
in = ["work/sorted.csv", "src/train.sh"]
out = ["model/weights.txt", "metrics.json"]
[metric.rows]
from = "metrics.json#/rows"
direction = "none"
replay = { abs = 0 }
why = "a count"
[test.golden]
kind = "inference"
run = ["sh", "src/predict.sh", "{in}", "{out}"]
inputs = "golden/in.txt"
expect = "golden/out.txt"
"#;

struct Desk(tempfile::TempDir);

impl Desk {
    /// A project with its baseline, and the keys of two people.
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        for (path, content) in [
            ("p/recipe.toml", RECIPE),
            ("p/data/raw.csv", "x\n3\n1\n2\n"),
            (
                "p/src/prepare.sh",
                "mkdir -p work\nsort data/raw.csv > work/sorted.csv\n",
            ),
            (
                "p/src/train.sh",
                "mkdir -p model\ncp work/sorted.csv model/weights.txt\n\
                 echo \"{\\\"rows\\\": $(wc -l < work/sorted.csv).0}\" | tr -d ' ' > metrics.json\n",
            ),
            (
                "p/src/predict.sh",
                "cat model/weights.txt \"$1\" > \"$2\"\n",
            ),
            ("p/golden/in.txt", "a\n"),
        ] {
            desk.write(path, content);
        }
        for name in ["builder", "other"] {
            desk.run(None, &["keygen", "--out", name, "--no-passphrase"], 0);
        }
        desk.run(None, &["lint", "p", "--fix-digests"], 0);
        desk.run(None, &["run", "p"], 0);
        desk
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs the client, as the administrator of a registry if there is one; its last line of JSON.
    #[track_caller]
    fn run(&self, registry: Option<&TestRegistry>, args: &[&str], code: i32) -> Value {
        let mut command = Command::new(binary("sealstone").unwrap());
        command
            .args(["--output", "json"])
            .args(args)
            .current_dir(self.0.path())
            .env("DOCKER_CONFIG", self.0.path().join("docker"))
            .env("SEALSTONE_STATE", self.0.path().join("state"));
        if let Some(registry) = registry {
            let auth = registry.admin.basic().replace("Basic ", "");
            let config =
                serde_json::json!({"auths": {registry.address().to_string(): {"auth": auth}}});
            self.write("docker/config.json", &config.to_string());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}\n{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said.lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default()
    }
}

#[test]
fn a_directory_replays_and_a_changed_script_is_named() {
    let desk = Desk::new();
    let good = desk.run(None, &["replay", "p", "--report", "whole.json"], 0);
    let written = fs::read(desk.0.path().join("whole.json")).unwrap();
    let whole = Report::parse_whole(&written).unwrap();
    assert_eq!(whole.to_bytes(), written, "the form that has one digest");
    assert!(
        good["report"]["verdict"]
            .as_str()
            .unwrap()
            .starts_with("REPRODUCED"),
        "{good}"
    );
    assert_eq!(good["report"]["class"]["achieved"], "bit_exact");
    assert_eq!(good["report"]["metrics"][0]["now"], "4.0");

    let script = "mkdir -p work\nsort -r data/raw.csv > work/sorted.csv\n";
    desk.write("p/src/prepare.sh", script);
    let bad = desk.run(None, &["replay", "p"], 2);
    assert_eq!(bad["report"]["verdict"], "DIVERGED");
    assert_eq!(bad["report"]["attribution"], "code");
    let first = &bad["report"]["firstDivergence"];
    assert_eq!(
        (first["stage"].as_str(), first["artifact"].as_str()),
        (Some("prepare"), Some("work/sorted.csv"))
    );

    // Data that is not what the recipe says stops everything before it begins.
    desk.write("p/data/raw.csv", "x\n3\n1\n9\n");
    let halted = desk.run(None, &["replay", "p"], 3);
    assert_eq!(halted["report"]["verdict"], "HALTED");
    assert!(desk.0.path().join(".sealstone/incidents").is_dir());
}

#[test]
fn an_alert_of_a_halted_directory_is_closed_once_it_is_whole_and_comes_again() {
    let desk = Desk::new();
    let mut command = vec!["replay", ".", "--scope", "verify", "--alert-dir", "alerts"];
    command.extend(["--incidents", "incidents"]);
    let replay = |code: i32| {
        let mut child = Command::new(binary("sealstone").unwrap());
        child.args(&command).current_dir(desk.0.path().join("p"));
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    let open = || {
        let files = fs::read_dir(desk.0.path().join("p/alerts")).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|end| end == "txt"))
            .count()
    };
    for round in 0..2 {
        desk.write("p/data/raw.csv", "x\n3\n1\n9\n");
        let said = replay(3);
        assert!(!said.contains("told before"), "{round}: {said}");
        assert_eq!(open(), 1, "{round}");
        assert!(replay(3).contains("told before"));
        desk.write("p/data/raw.csv", "x\n3\n1\n2\n");
        let said = replay(0);
        assert!(said.contains("1 alerts are closed"), "{round}: {said}");
        assert_eq!(open(), 0, "{round}");
    }
}

#[test]
fn an_alert_is_posted_past_the_proxy_where_no_proxy_says_so() {
    let desk = Desk::new();
    desk.write("p/data/raw.csv", "x\n3\n1\n9\n");
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let (hook, alerts) = webhook();
    // An address of this machine that is none of loopback's.
    let hook = hook.replace("127.0.0.1", "0.0.0.0");
    let host = hook.split('/').nth(2).unwrap();
    let mut arguments = vec!["replay", ".", "--scope", "verify", "--webhook", &hook];
    arguments.extend(["--alert-dir", "alerts", "--incidents", "incidents"]);
    let mut command = client::sealstone(&desk.0.path().join("p"), &arguments);
    command.env("NO_PROXY", format!("elsewhere.example,{host}"));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy"] {
        let address = format!("http://{}", proxy.local_addr().unwrap());
        command.env(name, address);
    }
    client::run(&mut command).expect(3);
    let nobody = proxy.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(alerts.try_iter().count(), 1);
}

#[test]
fn drift_looks_at_the_machine_as_a_replay_does() {
    let desk = Desk::new();
    let mut command = Command::new(binary("sealstone").unwrap());
    command
        .args(["run", "p", "--force", "--quiet"])
        .current_dir(desk.0.path())
        .env("SOURCE_DATE_EPOCH", "1700000000");
    assert!(command.status().unwrap().success());
    let lock = fs::read_to_string(desk.0.path().join("p/recipe.lock")).unwrap();
    assert!(lock.contains("1700000000"), "the time is a fact");
    let drifted = desk.run(None, &["drift", "p"], 0);
    assert!(
        !drifted["rows"].to_string().contains("source_date_epoch"),
        "{drifted}"
    );
}

#[test]
fn a_metric_that_is_no_longer_asked_for_and_a_flipped_file_are_told() {
    let desk = Desk::new();
    let reason = |shown: &Value, code: &str, subject: &str| {
        let reasons = shown["report"]["reasons"].as_array().unwrap();
        let is_it = |reason: &&Value| reason["code"] == code && reason["subject"] == subject;
        assert_eq!(reasons.iter().filter(is_it).count(), 1, "{shown}");
    };
    let verify = ["replay", "p", "--scope", "verify"];
    let good = desk.run(None, &verify, 0);
    assert_eq!(good["report"]["verdict"], "REPRODUCED");
    desk.write("p/src/train.sh", "exit 1\n");
    let other = desk.run(None, &verify, 0);
    assert_eq!(other["report"]["verdict"], "REPRODUCED_WITH_WARNINGS");
    reason(&other, "drift", "src/train.sh");
    // The scope of golden answers runs no stage, and says what it did not run.
    let infer = desk.run(None, &["replay", "p", "--scope", "infer"], 0);
    reason(&infer, "drift", "train");
    let metric =
        &RECIPE[RECIPE.find("[metric.rows]").unwrap()..RECIPE.find("[test.golden]").unwrap()];
    let recipe = fs::read_to_string(desk.0.path().join("p/recipe.toml")).unwrap();
    assert!(recipe.contains(metric));
    desk.write("p/recipe.toml", &recipe.replace(metric, ""));
    let gone = desk.run(None, &verify, 5);
    reason(&gone, "unmeasured", "rows");
    reason(&gone, "drift", "recipe.toml");
}

/// The bundle of a layout with another script in it, as somebody would make it who does not mind the lock.
fn with_another_script(layout: &Path) {
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let store = |bytes: &[u8]| -> Digest {
        let digest = Digest::sha256(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        digest
    };
    let mut index = json(&layout.join("index.json"));
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let mut manifest = json(&layout.join("blobs/sha256").join(digest));
    let script = b"mkdir -p model\n";
    let layers = manifest["layers"].as_array_mut().unwrap();
    let layer = layers
        .iter_mut()
        .find(|layer| {
            layer["annotations"]
                .to_string()
                .contains("\"src/train.sh\"")
        })
        .unwrap();
    let old = layer["digest"].as_str().unwrap().to_owned();
    let new = store(script);
    layer["digest"] = serde_json::json!(new);
    layer["size"] = serde_json::json!(script.len());
    let bytes = manifest.to_string().replace(&old, &new.to_string());
    index["manifests"][0]["digest"] = serde_json::json!(store(bytes.as_bytes()));
    index["manifests"][0]["size"] = serde_json::json!(bytes.len());
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn a_bundle_that_contradicts_its_own_lock_is_reported_as_damaged() {
    let desk = Desk::new();
    desk.run(None, &["pack", "p", "-o", "bundle:1.0.0"], 0);
    with_another_script(&desk.0.path().join("bundle"));
    let layout = "oci:bundle:1.0.0";
    desk.run(None, &["sign", layout, "--key", "builder.key"], 0);
    let halted = desk.run(
        None,
        &[
            "replay",
            layout,
            "--key",
            "builder.pub",
            "--sign-with",
            "other.key",
            "--push",
        ],
        3,
    );
    let reason = &halted["report"]["reasons"][0];
    assert_eq!(
        (reason["code"].as_str(), reason["subject"].as_str()),
        (Some("file-digest"), Some("src/train.sh"))
    );
    let shown = desk.run(None, &["inspect", layout, "--key", "other.pub"], 0);
    let incident = "https://sealstone.dev/attestation/incident/v0.1";
    assert!(shown.to_string().contains(incident), "{shown}");
}

#[test]
fn what_cannot_be_attached_hides_no_verdict_and_silences_nobody() {
    let desk = Desk::new();
    // Nothing can be attached to an archive, as to a registry that does not answer.
    for name in ["good", "bad"] {
        let layout = format!("{name}:1.0.0");
        desk.run(None, &["pack", "p", "-o", &layout], 0);
        if name == "bad" {
            with_another_script(&desk.0.path().join(name));
        }
        let (layout, archive) = (format!("oci:{layout}"), format!("{name}.tar"));
        desk.run(None, &["sign", &layout, "--key", "builder.key"], 0);
        desk.run(None, &["export", &layout, &archive], 0);
    }
    let replay = |archive: &str, code: i32| {
        let words = [
            "replay",
            archive,
            "--key",
            "builder.pub",
            "--sign-with",
            "other.key",
            "--push",
            "--alert-dir",
            "alerts",
        ];
        desk.run(None, &words, code)
    };
    let halted = replay("archive:bad.tar", 3);
    assert_eq!(halted["report"]["verdict"], "HALTED", "{halted}");
    assert_eq!(halted["attached"], serde_json::json!([]));
    let alerts = fs::read_dir(desk.0.path().join("alerts")).unwrap();
    assert_eq!(alerts.count(), 1, "somebody is told");
    // Where there is no verdict to hide, what went wrong is the end of it.
    let good = replay("archive:good.tar", 64);
    let verdict = good["report"]["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("REPRODUCED"), "{good}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_replayed_by_somebody_else_and_the_report_is_attached() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::new();
    let here = Some(&registry);
    let packed = desk.run(None, &["pack", "p", "-o", "bundle:1.0.0"], 0);
    let place = format!("{}/m/counts", registry.address());
    let bundle = format!("{place}@{}", packed["digest"].as_str().unwrap());
    desk.run(here, &["push", "oci:bundle:1.0.0", &place], 0);

    // Nobody trusted has signed it: nothing runs.
    let unsigned = ["replay", &bundle, "--key", "builder.pub"];
    let halted = desk.run(here, &unsigned, 3);
    assert_eq!(halted["report"]["verdict"], "HALTED");
    assert_eq!(halted["report"]["stages"].as_array().map_or(0, Vec::len), 0);

    desk.run(here, &["sign", &bundle, "--key", "builder.key"], 0);
    let replay = [
        "replay",
        &bundle,
        "--key",
        "builder.pub",
        "--sign-with",
        "other.key",
        "--push",
        "--junit",
        "junit.xml",
    ];
    let done = desk.run(here, &replay, 0);
    assert_eq!(done["report"]["class"]["achieved"], "bit_exact");
    let trail = done["report"]["trail"].as_array().unwrap();
    let events: Vec<&str> = trail
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    let due = [
        "verify.signature",
        "verify.bundle",
        "environment.materialize",
        "verify.project",
        "environment.compare",
        "verify.inputs",
        "stage.run",
        "verify.inputs",
        "verify.outputs",
        "stage.compare",
        "verify.inputs",
        "stage.run",
        "verify.inputs",
        "verify.outputs",
        "stage.compare",
        "test.run",
    ];
    assert_eq!(events, due);
    let numbers = trail.iter().filter_map(|entry| entry["seq"].as_u64());
    let numbers: Vec<u64> = numbers.collect();
    assert_eq!(numbers, (1..=trail.len() as u64).collect::<Vec<u64>>());
    let junit = fs::read_to_string(desk.0.path().join("junit.xml")).unwrap();
    assert!(
        junit.contains("integrity.verify.signature") && junit.contains("integrity.verify.bundle")
    );
    assert!(done["attached"].as_array().unwrap().len() >= 3, "{done}");

    // The report is evidence by the other's key, and none by the builder's.
    // What a lock says of a stage is the word of whoever made the bundle, unless somebody looks at the signatures.
    let traced = desk.run(here, &["trace", "train", &bundle], 0);
    assert_eq!(traced["signatures"], "not looked at");
    let own = desk.run(None, &["trace", "train", "p"], 0);
    assert!(own["signatures"].is_null());

    let shown = desk.run(here, &["inspect", &bundle, "--key", "other.pub"], 0);
    assert!(
        shown
            .to_string()
            .contains("https://sealstone.dev/attestation/reproduction/v0.1"),
        "{shown}"
    );
}
