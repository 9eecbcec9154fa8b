//! The templates in `deploy/ci`, run: their shell steps and arguments as they stand, against a real registry.
//!
//! Owns: reading the steps out of the files and standing in for the build servers (their variables, their places). Does
//! not own: whether the command lines parse, which `client/src/cli` tests. A small project of shell scripts is replayed,
//! so that nothing but the templates is tried.

use sealstone_tests::registry::{Setup, TestRegistry, binary};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};

const RECIPE: &str = r#"recipe = { version = 1, name = "my-model", owner = "team-x", risk = "low" }
environment = { kind = "host" }
params = { file = "params.json" }
determinism = { class = "bit_exact", seed = 7, threads = 1 }
isolation = { minimum = "I1" }
[[input]]
path = "data/raw.csv"
sha256 = "todo"
[stage.train]
kind = "train"
device = "cpu"
run = ["sh", "src/train.sh"]
in = ["data/raw.csv", "src/train.sh"]
out = ["model/weights.txt"]
params = ["keep"]
[stage.evaluate]
kind = "evaluate"
device = "cpu"
run = ["sh", "src/evaluate.sh"]
in = ["model/weights.txt", "src/evaluate.sh"]
out = ["metrics.json"]
[metric.rows]
from = "metrics.json#/rows"
direction = "none"
replay = { abs = 0 }
why = "a count"
[profile.smoke]
inputs = { "data/raw.csv" = "data/few.csv" }
baseline = "smoke.lock"
"#;

fn read(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/ci")
        .join(name);
    let text = fs::read_to_string(path).unwrap();
    text.split("\n---\n")
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect()
}

/// A repository with a project and its baseline, a registry with the release of it, and keys. Jobs run in clones of the
/// repository, with nothing that their template does not give them.
struct Server {
    directory: tempfile::TempDir,
    registry: TestRegistry,
}

/// Where programs of a machine lie.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Server {
    async fn new() -> Server {
        let registry = Setup::default().start().await.unwrap();
        let server = Server {
            directory: tempfile::tempdir().unwrap(),
            registry,
        };
        for (path, content) in [
            ("work/recipe.toml", RECIPE),
            ("work/data/raw.csv", "x\n3\n1\n2\n"),
            ("work/data/few.csv", "x\n3\n"),
            ("work/params.json", "{\"keep\": 3}"),
            (
                "work/src/train.sh",
                "mkdir -p model\nsort data/raw.csv > model/weights.txt\n",
            ),
            (
                "work/src/evaluate.sh",
                "echo \"{\\\"rows\\\": $(wc -l < model/weights.txt).0}\" | tr -d ' ' > metrics.json\n",
            ),
            ("trust/passphrase", "correct horse battery staple\n"),
        ] {
            server.write(path, content);
        }
        let client = |line: &str| {
            let output = server.shell("work", line, &server.account());
            assert!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        client("sealstone keygen --out ../trust/builder --no-passphrase");
        client("sealstone keygen --out ../trust/replay --passphrase-file ../trust/passphrase");
        client("sealstone lint . --fix-digests && sealstone run --quiet");
        client("sealstone run --profile smoke --quiet && sealstone docs .");
        let place = server.place();
        client(&format!(
            "sealstone pack . -o ../bundle:1.0.0 && sealstone push oci:../bundle:1.0.0 {place}:1.0.0 && sealstone sign {place}:1.0.0 --key ../trust/builder.key"
        ));
        client("git init --quiet -b main");
        server.commit();
        server
    }

    /// Everything that is not ignored, as a commit.
    fn commit(&self) {
        let line = "git add --all && git -c user.name=a -c user.email=a@example -c commit.gpgsign=false commit --quiet -m x";
        let output = self.shell("work", line, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// A job begins: the place that it works in is a clone, and nothing of another job is there.
    fn check_out(&self) {
        let line = "rm -rf job && git clone --quiet work job";
        let output = self.shell(".", line, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// The account that a build server keeps for its jobs.
    fn account(&self) -> [(&str, &str); 2] {
        [
            ("SEALSTONE_USERNAME", &self.registry.admin.name),
            ("SEALSTONE_PASSWORD", &self.registry.admin.secret),
        ]
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn path(&self, path: &str) -> String {
        self.directory.path().join(path).display().to_string()
    }

    fn place(&self) -> String {
        format!("{}/models/my-model", self.registry.address())
    }

    /// A step as a build server runs it: by bash that stops at the first failure, with `sealstone` on the path, where the
    /// image has it.
    fn shell(&self, directory: &str, script: &str, variables: &[(&str, &str)]) -> Output {
        let client = binary("sealstone").unwrap();
        Command::new("bash")
            .args([
                "--noprofile",
                "--norc",
                "-e",
                "-o",
                "pipefail",
                "-c",
                script,
            ])
            .current_dir(self.directory.path().join(directory))
            .env_clear()
            .env(
                "PATH",
                format!("{}:{PATH}", client.parent().unwrap().display()),
            )
            .env("HOME", self.directory.path())
            .env("CI", "true")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn step(&self, name: &str, script: &str, variables: &[(&str, &str)], code: i32) {
        let address = self.registry.address().to_string();
        let here = |text: &str| text.replace("registry.example", &address);
        let given: Vec<(&str, String)> = variables
            .iter()
            .map(|(name, value)| (*name, here(value)))
            .collect();
        let given: Vec<(&str, &str)> = given
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let output = self.shell("job", &here(script), &given);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name}: {script}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Files that a step promises to its build server, which begin as they must.
    #[track_caller]
    fn left(&self, files: &[(&str, &str)]) {
        for (name, begins) in files {
            let path = self.directory.path().join("job").join(name);
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                text.trim_start().starts_with(begins),
                "{name}: {}",
                text.chars().take(200).collect::<String>()
            );
            fs::remove_file(path).unwrap();
        }
    }

    /// How many signed reports of replays are attached to the release.
    fn reports(&self) -> usize {
        let line = format!(
            "sealstone inspect {}:1.0.0 --output json --key ../trust/replay.pub",
            self.place()
        );
        let output = self.shell("work", &line, &self.account());
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = shown["referrers"].as_array().unwrap().iter();
        rows.filter(|row| {
            row["holds"] == true
                && row["claimedPredicateType"]
                    .to_string()
                    .contains("attestation/reproduction")
        })
        .count()
    }

    /// Somebody sorts the other way round: the commit diverges.
    fn break_the_evaluation(&self) {
        self.write(
            "work/src/evaluate.sh",
            "echo '{\"rows\": 5.0}' > metrics.json\n",
        );
        self.commit();
    }

    /// Somebody changes the command of the training and makes all that is small anew: only the lock's own recipe tells.
    fn change_the_command(&self) {
        let recipe = fs::read_to_string(self.path("work/recipe.toml")).unwrap();
        let (then, now) = (
            r#"["sh", "src/train.sh"]"#,
            r#"["sh", "-u", "src/train.sh"]"#,
        );
        assert!(recipe.contains(then), "{recipe}");
        self.write("work/recipe.toml", &recipe.replace(then, now));
        let line = "sealstone run --profile smoke --quiet && sealstone docs .";
        let written = self.shell("work", line, &[]);
        assert!(written.status.success(), "{written:?}");
        self.commit();
    }

    /// The last commit is taken back.
    fn take_back(&self) {
        let line = "git -c user.name=a -c user.email=a@example -c commit.gpgsign=false revert --no-edit HEAD";
        let output = self.shell("work", line, &[]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Somebody changes a parameter of the training, and does not train again.
    fn change_the_training(&self) {
        self.write("work/params.json", "{\"keep\": 2}");
        let written = self.shell("work", "sealstone docs .", &[]);
        assert!(written.status.success(), "{written:?}");
        self.commit();
    }
}

/// Somebody who is called where a replay does not reproduce: the address, and the bodies that were posted there.
pub(crate) fn webhook() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let body = posted(&mut stream);
            // Before the answer: whoever is answered may look at once.
            if send.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).unwrap();
        }
    });
    (format!("http://{address}/alerts"), receive)
}

/// The body of one request.
fn posted(stream: &mut TcpStream) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if text.len() >= end + 4 + length {
                return text[end + 4..].to_vec();
            }
        }
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the request ended early");
        text.extend_from_slice(&piece[..count]);
    }
}

/// How many alerts lie open in a directory.
fn alert_files(directory: &str) -> usize {
    let files = fs::read_dir(directory).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".txt")).count()
}

/// `${{ ... }}` as GitHub replaces it before a shell sees the text.
fn github(text: &str, values: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("${{{{ {name} }}}}"), value);
    }
    assert!(
        !text.contains("${{"),
        "nobody stands in for a word of: {text}"
    );
    text
}

/// A step of a job: its name, its script, and the variables that it is given.
type Step = (String, String, Vec<(String, String)>);

#[tokio::test(flavor = "multi_thread")]
async fn the_template_for_github_replays_a_commit_and_a_release() {
    let server = Server::new().await;
    let template = &read("github-actions.yaml")[0];
    let trusted = fs::read_to_string(server.path("trust/builder.pub")).unwrap();
    let secret = fs::read_to_string(server.path("trust/replay.key")).unwrap();
    let summary = server.path("summary.md");
    let (hook, alerts) = webhook();
    let values = [
        ("secrets.SEALSTONE_WEBHOOK", hook.as_str()),
        ("vars.SEALSTONE_TRUSTED_PUB", trusted.trim_end()),
        ("secrets.SEALSTONE_REPLAY_KEY", secret.trim_end()),
        (
            "secrets.SEALSTONE_REPLAY_PASSPHRASE",
            "correct horse battery staple",
        ),
        (
            "vars.SEALSTONE_USERNAME",
            server.registry.admin.name.as_str(),
        ),
        (
            "secrets.SEALSTONE_PASSWORD",
            server.registry.admin.secret.as_str(),
        ),
        ("github.token", "none"),
        ("github.repository", "team/model"),
        ("github.event.number", "7"),
    ];
    let steps = |job: &str| -> Vec<Step> {
        let steps = template["jobs"][job]["steps"].as_array().unwrap().iter();
        steps
            .filter_map(|step| {
                let run = step["run"].as_str()?;
                let variables = step["env"].as_object().into_iter().flatten();
                let variables = variables
                    .map(|(name, value)| (name.clone(), github(value.as_str().unwrap(), &values)));
                Some((
                    step["name"].to_string(),
                    github(run, &values),
                    variables.collect(),
                ))
            })
            .collect()
    };
    let run = |job: &str, codes: &[i32]| {
        server.check_out();
        let steps = steps(job);
        assert_eq!(steps.len(), codes.len(), "{steps:?}");
        for ((name, script, variables), code) in steps.iter().zip(codes) {
            let mut all = vec![
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_STEP_SUMMARY", summary.as_str()),
                ("GITHUB_REF_NAME", "v1.0.0"),
                ("GITHUB_WORKFLOW", "replay"),
            ];
            all.extend(
                variables
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
            server.step(name, script, &all, *code);
        }
    };
    let files = [
        ("junit.xml", "<?xml"),
        ("replay.sarif", "{"),
        ("comment.md", ""),
        ("report.html", "<!"),
        ("smoke.xml", "<?xml"),
        ("smoke.sarif", "{"),
        ("smoke.md", ""),
        ("smoke.html", "<!"),
        ("all.md", ""),
    ];
    let in_full = [
        ("full.xml", "<?xml"),
        ("full.sarif", "{"),
        ("full.md", ""),
        ("full.html", "<!"),
    ];
    let ran_in_full = || Path::new(&server.path("job/full.xml")).exists();
    let told = || {
        let text = fs::read_to_string(&summary).unwrap();
        fs::remove_file(&summary).unwrap();
        text
    };
    let both = |text: &str, verdict: &str| text.matches(verdict).count() >= 2;
    run("commit", &[0; 7]);
    server.left(&files);
    let first = told();
    assert!(
        both(&first, "REPRODUCED") && !first.contains("drift"),
        "{first}"
    );
    assert!(!ran_in_full(), "nothing of the training changed");
    assert_eq!(server.reports(), 0);
    run("nightly", &[0, 0]);
    let night = [
        ("junit.xml", "<?xml"),
        ("replay.sarif", "{"),
        ("comment.md", ""),
        ("report.html", "<!"),
    ];
    server.left(&night);
    assert!(told().contains("REPRODUCED"));
    run("release", &[0, 0]);
    server.left(&[("junit.xml", "<?xml"), ("report.html", "<!")]);
    assert!(server.reports() > 0, "the report of a release is attached");
    // The evaluation alone would not notice: the weights that are committed are those of before. So all is made again.
    server.change_the_command();
    run("commit", &[0; 7]);
    server.left(&in_full);
    assert!(told().contains("REPRODUCED_WITH_WARNINGS"));
    server.take_back();
    server.change_the_training();
    run("commit", &[0; 7]);
    server.left(&in_full);
    let changed = told();
    assert!(changed.contains("REPRODUCED_WITH_WARNINGS"), "{changed}");
    assert!(changed.contains("keep 3→2"), "{changed}");
    assert_eq!(alerts.try_iter().count(), 0, "nobody is called for nothing");
    server.break_the_evaluation();
    run("commit", &[0, 0, 0, 2, 2, 2, 0]);
    server.left(&files);
    server.left(&in_full);
    assert!(both(&told(), "DIVERGED"));
    let posted: Vec<Value> = alerts.try_iter().collect();
    assert_eq!(posted.len(), 3, "each replay calls: {posted:?}");
    for alert in &posted {
        assert_eq!(
            (&alert["verdict"], &alert["owner"]),
            (&"DIVERGED".into(), &"team-x".into()),
            "{alert}"
        );
    }
    for scope in ["eval", "smoke", "full"] {
        let found = alert_files(&server.path(&format!("job/alerts/{scope}")));
        assert_eq!(found, 1, "{scope}: an alert is a file as well");
    }
    run("nightly", &[2, 0]);
    server.left(&night);
    assert!(told().contains("DIVERGED"));
    assert_eq!(alerts.try_iter().count(), 1);
}

/// GitHub itself is a script here that writes down what it is asked. Of all comments only the workflow's own is replaced.
#[test]
fn the_comment_on_a_pull_request_is_found_by_its_first_line() {
    let template = &read("github-actions.yaml")[0];
    let script = |job: &str, name: &str| {
        let mut steps = template["jobs"][job]["steps"].as_array().unwrap().iter();
        let step = steps.find(|step| step["name"] == name).unwrap();
        github(step["run"].as_str().unwrap(), &[])
    };
    let (gather, comment) = (
        script("commit", "show it in the job"),
        script("comment", "one comment, replaced each time"),
    );
    let desk = tempfile::tempdir().unwrap();
    let path = |name: &str| desk.path().join(name);
    let run = |script: &str| {
        // As GitHub does where a step names no shell.
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc", "-e", "-c", script])
            .current_dir(desk.path())
            .env_clear()
            .env("PATH", format!("{}:{PATH}", desk.path().display()))
            .env("GITHUB_STEP_SUMMARY", "summary.md")
            .env("GITHUB_WORKFLOW", "replay")
            .env("GH_REPO", "team/model")
            .env("NUMBER", "7");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        output.stdout
    };
    if run("command -v jq || true").is_empty() {
        return sealstone_tests::skips::not_possible("no jq is here");
    }
    let gh =
        "#!/bin/sh\necho \"$@\" >> calls\ncase \"$*\" in *--method*) ;; *) cat listed ;; esac\n";
    fs::write(path("gh"), gh).unwrap();
    run("chmod +x gh");
    let marker = format!("{} of replay -->", sealstone::report::MARKER);
    let asked = |comments: &Value| -> String {
        // Pages are lists, one after the other.
        fs::write(path("listed"), format!("[]{comments}")).unwrap();
        run(&comment);
        let calls = fs::read_to_string(path("calls")).unwrap();
        fs::remove_file(path("calls")).unwrap();
        calls.lines().last().unwrap().to_owned()
    };
    run(&gather);
    let told = fs::read_to_string(path("all.md")).unwrap();
    assert_eq!(
        told,
        format!("{marker}\nNothing was replayed: the job says why.\n")
    );
    fs::write(path("smoke.md"), "two\n").unwrap();
    fs::write(path("comment.md"), "one\n").unwrap();
    run(&gather);
    let told = fs::read_to_string(path("all.md")).unwrap();
    assert_eq!(told, format!("{marker}\none\n\ntwo\n\n"));
    let said = |id: u64, by: &str, body: String| serde_json::json!({"id": id, "user": {"login": by}, "body": body});
    let bot = "github-actions[bot]";
    let others = vec![
        said(1, "somebody", told.clone()),
        said(2, bot, format!("coverage: 80 %\n{marker}")),
        said(3, bot, told.replace("of replay", "of another")),
        serde_json::json!({"id": 4, "user": null, "body": null}),
        said(5, bot, String::new()),
    ];
    let new = "api --silent --method POST repos/team/model/issues/7/comments --field body=@all.md";
    assert_eq!(asked(&Value::Array(Vec::new())), new);
    assert_eq!(asked(&Value::Array(others.clone())), new);
    let own = said(6, bot, told.replace('\n', "\r\n"));
    let all = Value::Array([others, vec![own]].concat());
    assert_eq!(
        asked(&all),
        "api --silent --method PATCH repos/team/model/issues/comments/6 --field body=@all.md"
    );
}

/// What was told lies in a directory: where a run does not find that of the run before, it tells everything again, and
/// never that something is over.
#[test]
fn what_was_told_is_kept_from_one_run_to_the_next() {
    let github = &read("github-actions.yaml")[0];
    for job in ["commit", "nightly"] {
        let steps = github["jobs"][job]["steps"].as_array().unwrap();
        let uses = |action: &str| {
            let is_it = |step: &Value| step["uses"].as_str().is_some_and(|used| used == action);
            let found = steps.iter().position(is_it);
            found.unwrap_or_else(|| panic!("{job} has no {action}"))
        };
        let replays = |step: &Value| {
            let run = step["run"].as_str().unwrap_or_default();
            run.contains("sealstone replay ")
        };
        let restore = uses("actions/cache/restore@v4");
        let save = uses("actions/cache/save@v4");
        assert!(restore < steps.iter().position(replays).unwrap(), "{job}");
        assert!(steps.iter().rposition(replays).unwrap() < save, "{job}");
        let (restore, save) = (&steps[restore], &steps[save]);
        assert!(save["if"].as_str().unwrap().contains("always()"), "{job}");
        for word in ["path", "key"] {
            assert_eq!(restore["with"][word], save["with"][word], "{job}");
        }
        assert_eq!(save["with"]["path"], "alerts");
        // Each run has a key of its own, and begins with the last one's.
        let key = save["with"]["key"].as_str().unwrap();
        let earlier = restore["with"]["restore-keys"].as_str().unwrap();
        assert!(key.starts_with(earlier) && key.contains("github.run_id"));
    }
    let gitlab = &read("gitlab-ci.yaml")[0];
    let cache = &gitlab[".replay"]["cache"];
    assert_eq!(cache["paths"], serde_json::json!(["alerts/"]));
    assert_eq!(cache["when"], "always", "also where it failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_template_for_gitlab_replays_a_commit_and_a_release() {
    let server = Server::new().await;
    let template = &read("gitlab-ci.yaml")[0];
    let (trusted, key) = (
        server.path("trust/builder.pub"),
        server.path("trust/replay.key"),
    );
    let variables = [
        ("CI_RUNNER_ID", "12"),
        ("CI_COMMIT_TAG", "1.0.0"),
        ("SEALSTONE_TRUSTED_PUB", trusted.as_str()),
        ("SEALSTONE_REPLAY_KEY", key.as_str()),
        ("SEALSTONE_PASSPHRASE", "correct horse battery staple"),
        ("GITLAB_CI", "true"),
    ];
    // What the template sets, and what the project keeps for its jobs.
    let stated = template["variables"].as_object().unwrap().iter();
    let stated = stated.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    let variables: Vec<(&str, &str)> = stated.chain(variables).chain(server.account()).collect();
    let run = |job: &str, code: i32| {
        server.check_out();
        let lines = template[job]["script"].as_array().unwrap();
        for (number, line) in lines.iter().enumerate() {
            let due = if number + 1 == lines.len() { code } else { 0 };
            server.step(job, line.as_str().unwrap(), &variables, due);
        }
    };
    // What the job says it keeps is there, whatever the verdict; alerts only where there was something to alert of.
    let kept = |alerts: bool| {
        let kept = template[".replay"]["artifacts"]["paths"]
            .as_array()
            .unwrap();
        let junit = template[".replay"]["artifacts"]["reports"]["junit"].clone();
        for name in kept.iter().chain([&junit]) {
            match name.as_str().unwrap() {
                "alerts/" => {
                    let place = server.path("job/alerts");
                    let found = fs::read_dir(place).map_or(0, Iterator::count);
                    assert_eq!(found > 0, alerts, "{found} alerts");
                }
                name => server.left(&[(name, "")]),
            }
        }
    };
    let ran = || Path::new(&server.path("job/report.json")).exists();
    for job in ["replay-commit", "replay-smoke", "replay-nightly"] {
        run(job, 0);
        kept(false);
    }
    run("replay-changed", 0);
    assert!(!ran(), "nothing of the training changed");
    run("replay-release", 0);
    kept(false);
    assert!(server.reports() > 0, "the report of a release is attached");
    server.change_the_command();
    run("replay-changed", 0);
    kept(false);
    server.take_back();
    server.change_the_training();
    run("replay-changed", 0);
    kept(false);
    server.break_the_evaluation();
    for job in [
        "replay-commit",
        "replay-smoke",
        "replay-changed",
        "replay-nightly",
    ] {
        run(job, 2);
        kept(true);
    }
    // The night has its own pipeline: no other job runs in it, and it in no other.
    let rules = |job: &str| template[job]["rules"].to_string();
    assert!(rules("replay-nightly").contains("schedule"));
    assert_eq!(template[".commit"]["rules"][0]["when"], "never");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_for_kubernetes_replays_a_release() {
    let server = Server::new().await;
    let job = &read("kubernetes-job.yaml")[0];
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let public =
        |name: &str| fs::read_to_string(server.path(&format!("trust/{name}.pub"))).unwrap();
    let policy = format!(
        "schema = \"sealstone-policy/v1\"\n[[identity]]\nname = \"builder\"\nkeys = [\"\"\"{}\"\"\"]\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\nidentities = [\"builder\"]\n",
        public("builder")
    );
    server.write("trust/policy.toml", &policy);
    // Mounts are places of the pod; here they are directories.
    let places = [
        ("/trust/", "trust/"),
        ("/keys/", "trust/"),
        ("/work/", "pod/"),
        ("/work", "pod"),
    ];
    server.write("pod/there", "");
    server.check_out();
    let here = |text: &str| {
        let mut text = text.replace("registry.example/models/my-model", &server.place());
        for (mount, directory) in places {
            if text.starts_with(mount) {
                text = text.replacen(
                    mount,
                    &format!("{}/{directory}", server.directory.path().display()),
                    1,
                );
                break;
            }
        }
        text
    };
    let mounts = container["volumeMounts"].as_array().unwrap();
    let paths: Vec<&str> = mounts
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/work", "/trust", "/keys"]);
    let words = container["args"].as_array().unwrap().iter();
    let words: Vec<String> = words
        .map(|word| format!("'{}'", here(word.as_str().unwrap())))
        .collect();
    let variables: Vec<(String, String)> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let secret = &row["valueFrom"]["secretKeyRef"];
            let value = match (row["value"].as_str(), secret["key"].as_str()) {
                (Some(value), _) => here(value),
                (None, Some("username")) => server.registry.admin.name.clone(),
                (None, Some("password")) => server.registry.admin.secret.clone(),
                _ => panic!("nobody stands in for {row}"),
            };
            (row["name"].as_str().unwrap().to_owned(), value)
        })
        .collect();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    server.step(
        "the job",
        &format!("sealstone {}", words.join(" ")),
        &variables,
        0,
    );
    assert!(
        fs::read_to_string(server.path("pod/report.html"))
            .unwrap()
            .contains("REPRODUCED")
    );
    assert!(server.reports() > 0, "the report of a release is attached");
    // Nobody signed what is not what was released.
    let other = format!(
        "sealstone {}",
        words
            .join(" ")
            .replace("trust/policy.toml", "trust/none.toml")
    );
    server.write(
        "trust/none.toml",
        &policy.replace(&public("builder"), &public("replay")),
    );
    server.step("another policy", &other, &variables, 3);
    assert_eq!(
        alert_files(&server.path("pod/alerts")),
        1,
        "somebody is told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_for_kubernetes_replays_a_commit_at_its_scopes() {
    let server = Server::new().await;
    let documents = read("kubernetes-commit.yaml");
    // Made anew for each push: what has a fixed name would be refused from the second on.
    assert_eq!(documents.len(), 1);
    let job = &documents[0];
    let confined = &read("kubernetes-commit-network.yaml")[0]["spec"]["podSelector"];
    assert_eq!(
        confined["matchLabels"],
        job["spec"]["template"]["metadata"]["labels"]
    );
    let pod = &job["spec"]["template"]["spec"];
    let (checkout, replay) = (&pod["initContainers"][0], &pod["containers"][0]);
    // The pod's directory is here a directory.
    let place = server.path("pod");
    let here = |text: &str| text.replace("/work", &place);
    server.check_out();
    let run = |code: i32| {
        let head = server.shell("work", "git rev-parse HEAD", &[]).stdout;
        let head = String::from_utf8(head).unwrap();
        let repository = server.path("work");
        assert!(
            server
                .shell(".", "rm -rf pod && mkdir pod", &[])
                .status
                .success()
        );
        for (container, due) in [(checkout, 0), (replay, code)] {
            let shell = serde_json::json!(["bash", "-e", "-o", "pipefail", "-c"]);
            assert_eq!(container["command"], shell);
            let variables: Vec<(&str, String)> = container["env"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| {
                    let name = row["name"].as_str().unwrap();
                    let value = match name {
                        "REPOSITORY" => repository.clone(),
                        "COMMIT" => head.trim().to_owned(),
                        _ => here(row["value"].as_str().unwrap()),
                    };
                    (name, value)
                })
                .collect();
            let variables: Vec<(&str, &str)> = variables
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let name = container["name"].as_str().unwrap();
            let script = here(container["args"][0].as_str().unwrap());
            server.step(name, &script, &variables, due);
        }
    };
    let page = |scope: &str| fs::read_to_string(format!("{place}/{scope}.html")).ok();
    let says = |scope: &str, verdict: &str| {
        let page = page(scope).unwrap_or_else(|| panic!("{scope} was not replayed"));
        assert!(page.contains(verdict), "{scope}");
    };
    run(0);
    says("eval", "REPRODUCED");
    says("smoke", "REPRODUCED");
    assert!(page("full").is_none(), "nothing of the training changed");
    server.change_the_command();
    run(0);
    says("full", "REPRODUCED_WITH_WARNINGS");
    server.take_back();
    server.change_the_training();
    run(0);
    says("full", "REPRODUCED_WITH_WARNINGS");
    // One that diverges keeps no other from being replayed.
    server.break_the_evaluation();
    run(2);
    for scope in ["eval", "smoke", "full"] {
        says(scope, "DIVERGED");
        assert_eq!(alert_files(&format!("{place}/alerts/{scope}")), 1);
    }
}
