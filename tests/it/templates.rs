//! The templates in `deploy/ci`, run: their shell steps and arguments as they stand, against a real registry.
//!
//! Owns: reading the steps out of the files and standing in for the build servers (their variables, their places). Does
//! not own: whether the command lines parse, which `client/src/cli` tests. A small project of shell scripts is replayed,
//! so that nothing but the templates is tried.

use sealstone_tests::registry::{Setup, TestRegistry, binary};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RECIPE: &str = r#"recipe = { version = 1, name = "my-model", owner = "team-x", risk = "low" }
environment = { kind = "host" }
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

/// A checked-out project with its baseline, a registry with the release of it, and keys.
struct Server {
    directory: tempfile::TempDir,
    registry: TestRegistry,
}

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
            let output = server.shell("work", line, &[]);
            assert!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        client("sealstone keygen --out ../trust/builder --no-passphrase");
        client("sealstone keygen --out ../trust/replay --passphrase-file ../trust/passphrase");
        client("sealstone lint . --fix-digests && sealstone run --quiet");
        let place = server.place();
        client(&format!(
            "sealstone pack . -o ../bundle:1.0.0 && sealstone push oci:../bundle:1.0.0 {place}:1.0.0 && sealstone sign {place}:1.0.0 --key ../trust/builder.key"
        ));
        server
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

    /// A step as a build server runs it: by bash that stops at the first failure, with `sealstone` on the path.
    fn shell(&self, directory: &str, script: &str, variables: &[(&str, &str)]) -> Output {
        let client = binary("sealstone").unwrap();
        let path = std::env::var("PATH").unwrap();
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
                format!("{}:{path}", client.parent().unwrap().display()),
            )
            .env("HOME", self.directory.path())
            .env("SEALSTONE_REGISTRY", self.registry.address().to_string())
            .env("SEALSTONE_USERNAME", &self.registry.admin.name)
            .env("SEALSTONE_PASSWORD", &self.registry.admin.secret)
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn step(&self, name: &str, script: &str, variables: &[(&str, &str)], code: i32) {
        let output = self.shell(
            "work",
            &script.replace("registry.example/models/my-model", &self.place()),
            variables,
        );
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
            let path = self.directory.path().join("work").join(name);
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
        let output = self.shell("work", &line, &[]);
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
    }
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
    let values = [
        ("vars.SEALSTONE_TRUSTED_PUB", trusted.trim_end()),
        ("secrets.SEALSTONE_REPLAY_KEY", secret.trim_end()),
        (
            "secrets.SEALSTONE_REPLAY_PASSPHRASE",
            "correct horse battery staple",
        ),
        ("github.token", "none"),
        ("github.event.number", "7"),
    ];
    // Comments on a pull request need GitHub itself.
    let steps = |job: &str| -> Vec<Step> {
        let steps = template["jobs"][job]["steps"].as_array().unwrap().iter();
        steps
            .filter_map(|step| {
                let run = step["run"].as_str().filter(|run| !run.starts_with("gh "))?;
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
        let steps = steps(job);
        assert_eq!(steps.len(), codes.len(), "{steps:?}");
        for ((name, script, variables), code) in steps.iter().zip(codes) {
            let mut all = vec![
                ("GITHUB_STEP_SUMMARY", summary.as_str()),
                ("GITHUB_REF_NAME", "v1.0.0"),
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
    ];
    run("commit", &[0, 0]);
    server.left(&files);
    assert!(fs::read_to_string(&summary).unwrap().contains("REPRODUCED"));
    assert_eq!(server.reports(), 0);
    run("release", &[0, 0]);
    server.left(&[("junit.xml", "<?xml"), ("report.html", "<!")]);
    assert!(server.reports() > 0, "the report of a release is attached");
    server.break_the_evaluation();
    run("commit", &[2, 0]);
    server.left(&files);
    assert!(fs::read_to_string(&summary).unwrap().contains("DIVERGED"));
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
    ];
    let run = |job: &str, code: i32| {
        for line in template[job]["script"].as_array().unwrap() {
            server.step(job, line.as_str().unwrap(), &variables, code);
        }
        // What the job says it keeps is there, whatever the verdict.
        let kept = template[".replay"]["artifacts"]["paths"]
            .as_array()
            .unwrap();
        let junit = template[".replay"]["artifacts"]["reports"]["junit"].clone();
        for name in kept.iter().chain([&junit]) {
            server.left(&[(name.as_str().unwrap(), "")]);
        }
    };
    run("replay-commit", 0);
    run("replay-release", 0);
    assert!(server.reports() > 0, "the report of a release is attached");
    server.break_the_evaluation();
    run("replay-commit", 2);
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
            (
                row["name"].as_str().unwrap().to_owned(),
                here(row["value"].as_str().unwrap()),
            )
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
}
