//! From a project to a report that somebody else signed, through the real binaries: run, pack, push, sign, replay.

use sealstone_tests::registry::{Setup, TestRegistry, binary};
use serde_json::Value;
use std::fs;
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
    let good = desk.run(None, &["replay", "p"], 0);
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
    ];
    let done = desk.run(here, &replay, 0);
    assert_eq!(done["report"]["class"]["achieved"], "bit_exact");
    assert!(done["attached"].as_array().unwrap().len() >= 3, "{done}");

    // The report is evidence by the other's key, and none by the builder's.
    let shown = desk.run(here, &["inspect", &bundle, "--key", "other.pub"], 0);
    assert!(
        shown
            .to_string()
            .contains("https://sealstone.dev/attestation/reproduction/v0.1"),
        "{shown}"
    );
}
