//! Environments of locked wheels and of root file systems: made for a run, made again for a replay, and
//! refused where they would be others.

use crate::isolation::cannot_try;
use sealstone::runner::RunnerKind;
use sealstone_tests::registry::binary;
use sealstone_tests::skips;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wheel, made by Python itself: a zip file of text files.
const MAKE: &str = r#"
import base64, hashlib, sys, zipfile
path, body = sys.argv[1], sys.argv[2]
files = {
    "tiny/__init__.py": body,
    "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = ""
with zipfile.ZipFile(path, "w") as wheel:
    for name, text in files.items():
        wheel.writestr(zipfile.ZipInfo(name), text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    wheel.writestr(zipfile.ZipInfo("tiny-1.0.dist-info/RECORD"), record + "tiny-1.0.dist-info/RECORD,,\n")
print(hashlib.sha256(open(path, "rb").read()).hexdigest())
"#;

const RECIPE: &str = r#"recipe = { version = 1, name = "tiny", owner = "team-x", risk = "low" }
environment = { kind = "venv", lock = "requirements.lock", wheels = "wheels/" }
determinism = { class = "bit_exact", seed = 7, threads = 1 }
isolation = { minimum = "I1" }
[stage.train]
kind = "train"
device = "cpu"
run = ["python", "src/train.py"]
in = ["src/train.py"]
out = ["model/weights.json"]
[metric.answer]
from = "model/weights.json#/answer"
direction = "none"
replay = { abs = 0 }
why = "a count"
[test.golden]
kind = "inference"
run = ["python", "src/predict.py", "{model}", "{out}"]
inputs = "golden/in.txt"
expect = "golden/out.json"
"#;

/// Says in its weights which interpreter it runs in: a prefix that is not the base's is a virtual one.
const TRAIN: &str = "import json, os, sys, tiny\nos.makedirs('model', exist_ok=True)\n\
    json.dump({'answer': tiny.answer(), 'virtual': sys.prefix != sys.base_prefix}, open('model/weights.json', 'w'))\n";

struct Desk(tempfile::TempDir);

impl Desk {
    /// A project with a locked wheel; `None` if there is no Python to make it with.
    fn new() -> Option<Desk> {
        let desk = Desk(tempfile::tempdir().unwrap());
        for (path, content) in [
            ("p/recipe.toml", RECIPE),
            ("p/src/train.py", TRAIN),
            (
                "p/src/predict.py",
                "import os, sys\nos.makedirs(os.path.dirname(sys.argv[2]), exist_ok=True)\nopen(sys.argv[2], 'w').write(open(sys.argv[1]).read())\n",
            ),
            ("p/golden/in.txt", "a\n"),
        ] {
            desk.write(path, content);
        }
        let hash = desk.wheel("def answer():\n    return 42\n")?;
        desk.write(
            "p/requirements.lock",
            &format!("tiny==1.0 \\\n    --hash=sha256:{hash}\n"),
        );
        Some(desk)
    }

    /// Makes the wheel with other code; its SHA-256.
    fn wheel(&self, body: &str) -> Option<String> {
        let path = self.path("p/wheels/tiny-1.0-py3-none-any.whl");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let output = Command::new("python3")
            .args(["-I", "-c", MAKE])
            .arg(&path)
            .arg(body)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
            }
            _ => {
                skips::not_installed("python3");
                None
            }
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn try_run(&self, args: &[&str], search: Option<&Path>) -> (Option<i32>, Value, String) {
        let mut command = Command::new(binary("sealstone").unwrap());
        command
            .args(["--output", "json"])
            .args(args)
            .current_dir(self.0.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("SEALSTONE_STATE", self.path("state"));
        if let Some(first) = search {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(all).unwrap());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = said
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), value, errors)
    }

    #[track_caller]
    fn run(&self, args: &[&str], code: i32) -> Value {
        let (status, value, errors) = self.try_run(args, None);
        assert_eq!(status, Some(code), "{args:?}\n{value}\n{errors}");
        value
    }

    /// The only environment that is kept.
    #[track_caller]
    fn environment(&self) -> PathBuf {
        let entries = fs::read_dir(self.path("cache/sealstone/environments")).unwrap();
        let mut found: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// The baseline; `None` if this Python has no pip.
    fn recorded() -> Option<Desk> {
        let desk = Desk::new()?;
        let (status, value, errors) = desk.try_run(&["run", "p"], None);
        if errors.contains("there is no pip") {
            skips::not_installed("pip of python3-venv");
            return None;
        }
        assert_eq!(status, Some(0), "{value}\n{errors}");
        Some(desk)
    }
}

fn reused(ran: &Value) -> bool {
    ran["stages"][0]["reused"] == true
}

#[test]
fn locked_wheels_run_and_replay_strictly_in_every_runner() {
    let Some(desk) = Desk::recorded() else { return };
    let weights = fs::read_to_string(desk.path("p/model/weights.json")).unwrap();
    assert!(
        weights.contains("42") && weights.contains("true"),
        "{weights}"
    );
    // A second run takes the environment as it is.
    let made = desk.environment();
    let number = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&made).unwrap());
    let first = number();
    assert!(reused(&desk.run(&["run", "p"], 0)));
    assert_eq!((desk.environment(), number()), (made.clone(), first));
    // So does one of another project, with the same wheels.
    fs::create_dir(desk.path("q")).unwrap();
    for name in [
        "recipe.toml",
        "requirements.lock",
        "src",
        "golden",
        "wheels",
    ] {
        let copied = Command::new("cp")
            .arg("-r")
            .args([desk.path(&format!("p/{name}")), desk.path("q")])
            .status();
        assert!(copied.unwrap().success());
    }
    desk.run(&["run", "q"], 0);
    assert_eq!((desk.environment(), number()), (made.clone(), first));

    let good = desk.run(&["replay", "p", "--strict", "--keep", "kept"], 0);
    let report = &good["report"];
    assert_eq!(report["verdict"], "REPRODUCED", "{good}");
    assert_eq!(report["environment"]["diff"], serde_json::json!([]));
    assert_eq!(report["class"]["achieved"], "bit_exact");
    assert!(desk.path("kept/replay/environment.json").is_file());
    let lock: Value =
        serde_json::from_slice(&fs::read(desk.path("p/recipe.lock")).unwrap()).unwrap();
    let facts = &lock["environment"]["document"]["facts"];
    assert!(
        facts["python.packages"]["tiny"]
            .as_str()
            .unwrap()
            .starts_with("1.0 sha256:")
    );
    let wheel = lock["files"].as_array().unwrap().iter();
    assert_eq!(
        wheel.filter(|file| file["role"] == "environment").count(),
        2
    );
    for kind in [
        RunnerKind::Bubblewrap,
        RunnerKind::Confined,
        RunnerKind::Process,
    ] {
        let runner = kind.as_str();
        let (status, value, errors) = desk.try_run(&["replay", "p", "--runner", runner], None);
        if value["report"]["reasons"][0]["code"] == "runner" {
            cannot_try(kind, "it does not work here");
            continue;
        }
        assert_eq!(status, Some(0), "{runner}\n{value}\n{errors}");
        assert_eq!(
            value["report"]["class"]["achieved"], "bit_exact",
            "{runner}"
        );
    }
}

/// A module without its source is imported like any other, and no fact tells of it.
#[test]
fn an_environment_that_was_changed_is_made_anew() {
    let Some(desk) = Desk::recorded() else { return };
    let made = desk.environment();
    let lib = fs::read_dir(made.join("lib")).unwrap();
    let lib = lib
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir());
    let module = lib.unwrap().join("site-packages/sitecustomize.pyc");
    desk.write("evil.py", "import sys\nsys.stderr.write('changed since')\n");
    let compiled = Command::new("python3")
        .args(["-I", "-m", "compileall", "-b", "-q", "evil.py"])
        .current_dir(desk.0.path())
        .status();
    assert!(compiled.unwrap().success());
    fs::copy(desk.path("evil.pyc"), &module).unwrap();
    let (status, value, errors) = desk.try_run(&["run", "p", "--force"], None);
    assert_eq!(status, Some(0), "{value}\n{errors}");
    assert!(!errors.contains("changed since"), "{errors}");
    assert_eq!(desk.environment(), made);
    assert!(!module.exists());
}

/// A project may bring what lies in it: an environment too, and a record that fits.
#[test]
fn no_environment_is_taken_from_a_project() {
    let Some(desk) = Desk::recorded() else { return };
    let before = desk.environment();
    // As where a build server keeps its caches in the checkout.
    let inside = desk.path("p/.cache");
    let mut command = Command::new(binary("sealstone").unwrap());
    command
        .args(["run", "p", "--force"])
        .current_dir(desk.0.path())
        .env("XDG_CACHE_HOME", &inside);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("made for this run alone"), "{errors}");
    assert!(!inside.exists());
    assert_eq!(desk.environment(), before);
    let left = fs::read_dir(desk.path("p/.sealstone")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
    let holds = |path: &PathBuf| path.join("venv").exists() || path.join("pyvenv.cfg").exists();
    assert!(!left.iter().any(holds), "{left:?}");
    // Nor from where others may write.
    let place = desk.path("cache/sealstone/environments");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&place, mode).unwrap();
    let (status, _, errors) = desk.try_run(&["run", "p", "--force"], None);
    assert_eq!(status, Some(3), "{errors}");
    assert!(errors.contains("can be written by others"), "{errors}");
}

#[test]
fn a_bundle_makes_its_environment_from_its_own_wheels() {
    let Some(desk) = Desk::recorded() else { return };
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"], 0);
    fs::rename(desk.path("p"), desk.path("gone")).unwrap();
    let replay = ["replay", "oci:bundle:1.0.0", "--insecure-skip-signatures"];
    let good = desk.run(&replay, 0);
    let report = &good["report"];
    assert_eq!(report["class"]["achieved"], "bit_exact", "{good}");
    assert_eq!(report["environment"]["diff"], serde_json::json!([]));
    assert_eq!(report["tests"][0]["ok"], true);
}

#[test]
fn a_wheel_that_is_not_what_its_hash_says_halts_and_nothing_runs() {
    let Some(desk) = Desk::recorded() else { return };
    desk.wheel("def answer():\n    return 43\n").unwrap();
    let halted = desk.run(&["replay", "p"], 3);
    assert_eq!(halted["report"]["verdict"], "HALTED");
    let reason = &halted["report"]["reasons"][0];
    assert_eq!(reason["subject"], "wheels");
    assert!(reason["text"].as_str().unwrap().contains("tiny==1.0"));
    assert_eq!(halted["report"]["owner"], "team-x");
    assert_eq!(halted["report"]["stages"], serde_json::json!([]));
    assert!(desk.path(".sealstone/incidents").is_dir());
    // Nor does a run take it: the environment of before is of other wheels.
    desk.run(&["run", "p", "--force"], 4);
}

#[test]
fn another_environment_is_undecided_before_anything_runs() {
    let Some(desk) = Desk::recorded() else { return };
    // Another lock, and a wheel that fits it: the package is another one.
    let hash = desk.wheel("def answer():\n    return 43\n").unwrap();
    desk.write(
        "p/requirements.lock",
        &format!("tiny==1.0 --hash=sha256:{hash}\n"),
    );
    let other = desk.run(&["replay", "p"], 5);
    assert_eq!(other["report"]["verdict"], "INCONCLUSIVE");
    let mut facts: Vec<&str> = other["report"]["environment"]["diff"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["level"] == "M")
        .map(|row| row["fact"].as_str().unwrap())
        .collect();
    facts.sort_unstable();
    assert_eq!(facts, ["python.environment", "python.packages/tiny"]);
    assert_eq!(other["report"]["stages"], serde_json::json!([]));

    // Let go by a recorded decision, it runs, and says what it found.
    let recipe = fs::read_to_string(desk.path("p/recipe.toml")).unwrap();
    let overrides = "override = [{ fact = \"python.environment\", level = \"i\", why = \"tried\" }, { fact = \"python.packages/tiny\", level = \"W\", why = \"tried\" }]\n";
    desk.write("p/recipe.toml", &format!("{overrides}{recipe}"));
    let found = desk.run(&["replay", "p"], 2);
    assert_eq!(found["report"]["verdict"], "DIVERGED");
    assert_eq!(found["report"]["firstDivergence"]["stage"], "train");
    assert_eq!(found["report"]["attribution"], "environment");
    assert_eq!(found["report"]["overrides"].as_array().unwrap().len(), 2);
}

#[test]
fn another_python_is_undecided_and_nothing_is_installed_for_it() {
    let Some(desk) = Desk::recorded() else { return };
    // Every Python of this machine says that it is an older one.
    let shims = desk.path("shims");
    fs::create_dir_all(&shims).unwrap();
    let version = Command::new("python3").arg("-V").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let version = version.trim().strip_prefix("Python ").unwrap();
    let minor: Vec<&str> = version.split('.').take(2).collect();
    for name in ["python", "python3", &format!("python{}", minor.join("."))] {
        let path = shims.join(name);
        let text = "#!/bin/sh\necho '{\"executable\": \"/usr/bin/env\", \"prefix\": \"/usr\", \"version\": \"3.2.1\"}'\n";
        fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
    }
    let (status, value, errors) = desk.try_run(&["replay", "p", "--keep", "kept"], Some(&shims));
    assert_eq!(status, Some(5), "{value}\n{errors}");
    let report = &value["report"];
    assert_eq!(report["verdict"], "INCONCLUSIVE");
    let text = report["reasons"].to_string();
    assert!(text.contains("python.version is 3.2.1 here"), "{text}");
    assert_eq!(
        fs::read_dir(desk.path("kept/environment")).unwrap().count(),
        0
    );
}

#[test]
fn a_profile_replays_against_its_own_lock_and_without_golden_answers() {
    let Some(desk) = Desk::recorded() else { return };
    let recipe = fs::read_to_string(desk.path("p/recipe.toml")).unwrap();
    let smoke = "params = { file = \"params.toml\" }\n";
    let profile = "[profile.smoke]\nparams = { steps = 3 }\nbaseline = \"baselines/smoke.lock\"\n";
    let recipe = recipe.replace("out = [\"model", "params = [\"*\"]\nout = [\"model");
    desk.write("p/recipe.toml", &format!("{smoke}{recipe}{profile}"));
    desk.write("p/params.toml", "steps = 20\n");
    let steps = TRAIN.replace(
        "tiny.answer()",
        "tiny.answer() + json.load(open(os.environ['SEALSTONE_PARAMS']))['steps']",
    );
    desk.write("p/src/train.py", &steps);
    desk.run(&["replay", "p", "--scope", "smoke"], 4);
    fs::remove_file(desk.path("p/golden/out.json")).unwrap();
    desk.run(&["run", "p"], 0);
    desk.run(&["run", "p", "--profile", "smoke"], 0);
    let good = desk.run(&["replay", "p", "--scope", "smoke", "--strict"], 0);
    let report = &good["report"];
    assert_eq!(
        (&report["scope"], &report["metrics"][0]["now"]),
        (&"smoke".into(), &"45".into())
    );
    assert_eq!(report["tests"], serde_json::json!([]));
    desk.write("p/params.toml", "steps = 21\n");
    desk.run(&["replay", "p", "--scope", "smoke", "--strict"], 0);
    desk.run(&["replay", "p"], 2);
    // A crash is no profile's business alone: it is tried once more, and told.
    desk.write("p/src/train.py", "import sys\nsys.exit(9)\n");
    let failed = desk.run(&["replay", "p", "--scope", "smoke"], 4);
    assert_eq!(failed["report"]["stages"][0]["attempts"], 2);
    desk.run(
        &["replay", "p", "--scope", "smoke", "--profile", "other"],
        64,
    );
    desk.run(&["replay", "p", "--profile", "smoke"], 64);
}

#[test]
fn a_bundle_with_a_flipped_byte_halts_into_quarantine() {
    let Some(desk) = Desk::recorded() else { return };
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"], 0);
    let flipped = fs::read(desk.path("p/src/train.py")).unwrap();
    let digest = sealstone_spec::digest::Digest::sha256(&flipped).hex();
    let blob = desk.path(&format!("bundle/blobs/sha256/{digest}"));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&blob, mode).unwrap();
    fs::write(&blob, &bytes).unwrap();
    let halted = desk.run(
        &[
            "replay",
            "oci:bundle:1.0.0",
            "--insecure-skip-signatures",
            "--alert-dir",
            "alerts",
        ],
        3,
    );
    assert_eq!(halted["report"]["verdict"], "HALTED");
    let incidents = desk.path(".sealstone/incidents");
    let record = fs::read_dir(&incidents)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .unwrap();
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    assert_eq!(record["state"], "open");
    let place = record["quarantine"]["directory"].as_str().unwrap();
    assert!(incidents.join(place).is_dir(), "{record}");
    assert_eq!(fs::read_dir(desk.path("alerts")).unwrap().count(), 1);
}

/// Two documents that differ in a fact of each weight: the kernels of the BLAS, and the processor's model.
#[test]
fn documents_of_facts_are_compared_for_a_class() {
    let desk = Desk(tempfile::tempdir().unwrap());
    let document = |model: &str, kernels: &str| {
        let facts =
            serde_json::json!({"cpu.model": model, "blas.arch": kernels, "libc.version": "2.36"});
        serde_json::json!({"schema": "sealstone-environment/v1", "facts": facts})
    };
    desk.write("there.json", &document("106", "Haswell").to_string());
    // As `sealstone env show` prints it: the document among other things.
    let here = serde_json::json!({"facts": document("143", "SkylakeX"), "runner": "process"});
    desk.write("here.json", &here.to_string());
    let rows = |found: &Value| -> Vec<(String, String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = found["rows"].as_array().unwrap().iter();
        rows.map(|row| {
            (
                text(&row["fact"]),
                text(&row["level"]),
                text(&row["base"]),
                text(&row["now"]),
            )
        })
        .collect()
    };
    let due = |levels: [&str; 2]| -> Vec<(String, String, String, String)> {
        vec![
            (
                "cpu.model".into(),
                levels[0].into(),
                "106".into(),
                "143".into(),
            ),
            (
                "blas.arch".into(),
                levels[1].into(),
                "Haswell".into(),
                "SkylakeX".into(),
            ),
        ]
    };
    let diff = ["env", "diff", "there.json", "here.json"];
    for (class, code, levels) in [
        ("bit_exact", 3, ["W", "M"]),
        ("content_exact", 3, ["W", "M"]),
        ("numeric", 0, ["W", "W"]),
        ("functional", 0, ["W", "W"]),
        ("statistical", 0, ["i", "i"]),
    ] {
        let found = desk.run(&[&diff[..], &["--class", class]].concat(), code);
        assert_eq!(rows(&found), due(levels), "{class}: {found}");
        assert_eq!(found["inconclusive"], code == 3, "{class}: {found}");
        assert_eq!(found["class"], class);
    }
    // Without a class, the strictest is meant.
    let found = desk.run(&diff, 3);
    assert_eq!(rows(&found), due(["W", "M"]), "{found}");
    // The same document twice has no row; what holds no document is no answer.
    let same = desk.run(&["env", "diff", "there.json", "there.json"], 0);
    assert_eq!(same["rows"], serde_json::json!([]));
    assert_eq!(same["base"], same["now"]);
    desk.write("other.json", "{}");
    desk.run(&["env", "diff", "there.json", "other.json"], 2);
    desk.run(
        &[
            "env",
            "diff",
            "there.json",
            "here.json",
            "--class",
            "roughly",
        ],
        2,
    );
}

/// The documented way from a lock to a machine, where the lock was made.
#[test]
fn a_lock_is_that_of_the_machine_that_made_it() {
    let desk = crate::project_desk::Desk::locked();
    let shown = |more: &[&str]| {
        let told = desk.run(&[&["env", "show"][..], more].concat()).expect(0);
        desk.write("here.json", &told.json.to_string());
    };
    let diff = |code: i32| {
        let diff = ["env", "diff", "p/recipe.lock", "here.json"];
        desk.run(&diff).expect(code).json
    };
    let (none, seeds) = (serde_json::json!([]), serde_json::json!(["seeds.declared"]));
    shown(&[]);
    assert_eq!(diff(0)["notCompared"], seeds);
    shown(&["p"]);
    assert_eq!(diff(0)["notCompared"], none);
    // What the project chooses for its stages, only the project tells.
    desk.change("p/recipe.toml", "threads = 1", "threads = 2");
    desk.run(&["run", "p"]).expect(0);
    shown(&[]);
    diff(3);
    shown(&["p"]);
    diff(0);
    desk.run(&["env", "show", "p", "--threads", "2"]).expect(2);
}
