//! `sealstone lint` and `run` through the real binary, on small projects of shell scripts.

mod mounted;
mod recorded;

use sealstone_tests::registry::binary;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const RECIPE: &str = r#"recipe = { version = 1, name = "counts", owner = "team-x", risk = "low" }
environment = { kind = "host" }
determinism = { class = "bit_exact", seed = 7, threads = 1 }
isolation = { minimum = "I1" }
params = { file = "params.toml", roles = { "model.scale" = "numerics" } }
[[input]]
path = "data/raw.csv"
sha256 = "todo"
[stage.prepare]
kind = "prepare"
run = ["sh", "src/prepare.sh", "{in}", "{out}"]
in = ["data/raw.csv", "src/prepare.sh"]
out = ["work/sorted.csv"]
[stage.train]
kind = "train"
device = "cpu"
run = ["sh", "src/train.sh", "{params.model.scale}"]
in = ["work/sorted.csv", "src/train.sh"]
params = ["model.*"]
out = ["model/", "metrics.json"]
[metric.rows]
from = "metrics.json#/rows"
direction = "none"
replay = { abs = 0 }
why = "a count"
[test.golden]
kind = "inference"
run = ["sh", "src/predict.sh", "{model}/weights.txt", "{in}", "{out}"]
inputs = "golden/in.txt"
expect = "golden/out.txt"
[profile.smoke]
params = { "model.scale" = 3 }
inputs = { "data/raw.csv" = "data/small.csv" }
baseline = "baselines/smoke.lock"
"#;

struct Demo(tempfile::TempDir);

impl Demo {
    fn new() -> Demo {
        let demo = Demo(tempfile::tempdir().unwrap());
        demo.write("recipe.toml", RECIPE);
        demo.write("params.toml", "[model]\nscale = 2\n");
        demo.write("data/raw.csv", "x\n3\n1\n2\n");
        demo.write("data/small.csv", "x\n1\n");
        demo.write("src/prepare.sh", "sort \"$1\" > \"$2\"\n");
        demo.write(
            "src/train.sh",
            "mkdir -p model\nrows=$(wc -l < work/sorted.csv | tr -d ' ')\n\
             echo \"$1 $SEALSTONE_SEED $rows\" > model/weights.txt\ncat \"$SEALSTONE_PARAMS\" > model/params.json\n\
             echo \"{\\\"rows\\\": $rows.0}\" > metrics.json\necho trained\n",
        );
        demo.write("src/predict.sh", "cat \"$1\" \"$2\" > \"$3\"\n");
        demo.write("golden/in.txt", "a\n");
        assert!(demo.run(&["lint", "--fix-digests"]).status.success());
        demo
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    fn change(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} lacks {from}");
        self.write(path, &text.replace(from, to));
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_on(None, args)
    }

    /// The same on a machine with programs of its own, in a directory that comes first.
    fn run_on(&self, programs: Option<&Path>, args: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        let path = match programs {
            Some(programs) => format!("{}:{path}", programs.display()),
            None => path,
        };
        let output = Command::new(binary("sealstone").unwrap())
            .args(args)
            .args(["--output", "json"])
            .current_dir(self.path())
            .env("PATH", path)
            .output()
            .unwrap();
        println!(
            "{args:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Runs, which has to end well; which stages were run and not reused.
    #[track_caller]
    fn ran(&self, args: &[&str]) -> Vec<String> {
        self.ran_on(None, args)
    }

    #[track_caller]
    fn ran_on(&self, programs: Option<&Path>, args: &[&str]) -> Vec<String> {
        let output = self.run_on(programs, &[&["run"], args].concat());
        assert!(output.status.success(), "{args:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        let stages = result["stages"].as_array().unwrap().iter();
        let ran = stages.filter(|stage| stage["reused"] == false);
        ran.map(|stage| stage["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, due: &str) {
        let output = self.run(&[&["run"], args].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(due), "\"{due}\" is not in {text}");
    }

    fn lock(&self) -> Value {
        serde_json::from_str(&self.read("recipe.lock")).unwrap()
    }
}

#[test]
fn a_run_is_locked_and_what_has_not_changed_is_reused() {
    let demo = Demo::new();
    assert_eq!(demo.ran(&[]), ["prepare", "train"]);
    let lock = demo.lock();
    assert_eq!(
        lock["metrics"]["rows"]["value"], "4.0",
        "the text of the number is kept"
    );
    assert_eq!(lock["stages"][1]["argv"][2], "2");
    assert_eq!(lock["tests"]["golden"]["ok"], true);
    assert_eq!(lock["inputs"][0]["rows"], 4);
    assert_eq!(demo.read("model/weights.txt"), "2 7 4\n");
    assert_eq!(demo.read("model/params.json"), "{\"model\":{\"scale\":2}}");
    assert_eq!(demo.read("golden/out.txt"), "2 7 4\na\n");
    assert!(demo.read(".sealstone/logs/train.log").contains("trained"));

    assert_eq!(demo.ran(&[]), Vec::<String>::new());
    demo.write("README.md", "no stage reads this");
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
    assert_eq!(demo.ran(&["--force"]), ["prepare", "train"]);
    assert_eq!(demo.ran(&["--force", "--stage", "train"]), ["train"]);
    // An output that somebody changed is made again.
    demo.write("work/sorted.csv", "other");
    assert_eq!(demo.ran(&[]), ["prepare"]);
    // A parameter reaches only the stage that asks for it.
    fs::remove_file(demo.path().join("golden/out.txt")).unwrap();
    demo.change("params.toml", "scale = 2", "scale = 5");
    assert_eq!(demo.ran(&[]), ["train"]);
}

#[test]
fn what_the_command_gets_otherwise_is_not_reused() {
    let demo = Demo::new();
    // Threads that nobody stated follow from the processors.
    demo.change("recipe.toml", ", threads = 1", "");
    demo.change(
        "recipe.toml",
        "device = \"cpu\"",
        "device = \"cpu\"\nresources = { cpus = 1 }",
    );
    demo.change("src/train.sh", "$rows.0", "$OMP_NUM_THREADS.0");
    assert_eq!(demo.ran(&[]), ["prepare", "train"]);
    assert_eq!(demo.lock()["stages"][1]["threads"], 1);
    demo.change("recipe.toml", "cpus = 1", "cpus = 4");
    assert!(demo.ran(&[]).contains(&"train".to_owned()));
    let lock = demo.lock();
    assert_eq!(lock["metrics"]["rows"]["value"], "4.0");
    let train = &lock["stages"][1];
    assert_eq!(train["threads"], 4);
    assert_eq!(train["cpus"], 4);
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
    // The same files are read, and the first of them is another one.
    let prepared = demo.read("work/sorted.csv");
    fs::remove_file(demo.path().join("golden/out.txt")).unwrap();
    demo.change(
        "recipe.toml",
        "in = [\"data/raw.csv\", \"src/prepare.sh\"]",
        "in = [\"src/prepare.sh\", \"data/raw.csv\"]",
    );
    assert_eq!(demo.ran(&[]), ["prepare", "train"]);
    assert_ne!(demo.read("work/sorted.csv"), prepared);
    assert_eq!(demo.lock()["stages"][0]["firstRead"], "src/prepare.sh");
}

#[test]
fn another_accelerator_is_another_machine_though_the_first_stage_uses_none() {
    let demo = Demo::new();
    demo.change(
        "recipe.toml",
        "device = \"cpu\"",
        "device = \"cuda:0\"\nresources = { cpus = 1 }",
    );
    demo.change(
        "recipe.toml",
        "kind = \"prepare\"",
        "kind = \"prepare\"\ndevice = \"cpu\"\nresources = { cpus = 1 }",
    );
    let programs = tempfile::tempdir().unwrap();
    let accelerator = |name: &str| {
        let program = programs.path().join("nvidia-smi");
        let row = format!("{name}, 9.0, 570.86.15, 96.00, Enabled, Disabled, 1980 MHz, 700.00 W");
        let script = format!("#!/bin/sh\ncase $1 in --query-gpu=*) echo '{row}' ;; esac\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    accelerator("NVIDIA H100");
    let ran = |args: &[&str]| demo.ran_on(Some(programs.path()), args);
    assert_eq!(ran(&[]), ["prepare", "train"]);
    let lock = demo.lock();
    let facts = &lock["environment"]["document"]["facts"];
    assert_eq!(facts["gpu.name"], "NVIDIA H100");
    assert_eq!(facts["cpu.count"], 1, "no stage may use more");
    assert_eq!(ran(&[]), Vec::<String>::new());
    accelerator("NVIDIA A100");
    assert_eq!(ran(&[]), ["prepare", "train"]);
}

#[test]
fn a_script_that_does_the_same_does_not_pass_its_change_on() {
    let demo = Demo::new();
    demo.ran(&[]);
    demo.change("src/prepare.sh", "sort", "LC_ALL=C sort");
    assert_eq!(
        demo.ran(&[]),
        ["prepare"],
        "its output is the same, so nothing after it is run"
    );
}

#[test]
fn a_changed_input_halts_before_anything_runs() {
    let demo = Demo::new();
    demo.ran(&[]);
    let before = demo.read("recipe.lock");
    demo.write("data/raw.csv", "x\n1\n2\n3\n");
    demo.fails(&["--force"], 4, "same rows in a different order");
    demo.write("data/raw.csv", "x\n1\n2\n4\n");
    demo.fails(&[], 4, "its rows are other rows");
    assert_eq!(demo.read("recipe.lock"), before);
    assert!(demo.run(&["lint", "--fix-digests"]).status.success());
    assert_eq!(demo.ran(&[]), ["prepare", "train"]);
}

#[test]
fn a_stage_that_fails_leaves_nothing_half_written() {
    let demo = Demo::new();
    demo.ran(&[]);
    let (weights, lock) = (demo.read("model/weights.txt"), demo.read("recipe.lock"));
    demo.change("src/train.sh", "echo trained", "echo on fire >&2; exit 3");
    demo.fails(&[], 1, "exited with 3");
    demo.fails(&[], 1, "on fire");
    demo.change("src/train.sh", "exit 3", "rm metrics.json");
    demo.fails(&[], 1, "did not write metrics.json");
    assert_eq!(
        (demo.read("model/weights.txt"), demo.read("recipe.lock")),
        (weights, lock)
    );
    let left: Vec<_> = fs::read_dir(demo.path().join(".sealstone"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("run-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_ended_well_before_a_failure_is_not_run_again() {
    let demo = Demo::new();
    demo.change("src/train.sh", "echo trained", "exit 1");
    demo.fails(&[], 1, "exited with 1");
    demo.change("src/train.sh", "exit 1", "echo trained");
    assert_eq!(demo.ran(&[]), ["train"]);
}

#[test]
fn what_a_stage_does_not_declare_is_not_there_and_not_kept() {
    let demo = Demo::new();
    demo.change("src/train.sh", "echo trained", "echo x > notes.txt");
    let output = demo.run(&["run"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("notes.txt"));
    assert!(!demo.path().join("notes.txt").exists());
    assert_eq!(demo.lock()["stages"][1]["undeclared"][0], "notes.txt");
    demo.change("src/train.sh", "echo x > notes.txt", "cat data/raw.csv");
    demo.fails(&[], 1, "exited with 1");
}

#[test]
fn a_profile_has_a_lock_of_its_own() {
    let demo = Demo::new();
    demo.ran(&[]);
    let (lock, weights) = (demo.read("recipe.lock"), demo.read("model/weights.txt"));
    let golden = demo.read("golden/out.txt");
    assert_eq!(demo.ran(&["--profile", "smoke"]), ["prepare", "train"]);
    assert_eq!(demo.ran(&["--profile", "smoke"]), Vec::<String>::new());
    let smoke: Value = serde_json::from_str(&demo.read("baselines/smoke.lock")).unwrap();
    assert_eq!(
        (&smoke["profile"], &smoke["params"]["model.scale"]),
        (&"smoke".into(), &"3".into())
    );
    assert_eq!(
        demo.read(".sealstone/profiles/smoke/model/weights.txt"),
        "3 7 2\n"
    );
    // Golden answers are those of the whole model.
    assert_eq!(smoke.get("tests"), None);
    assert_eq!(demo.read("golden/out.txt"), golden);
    assert_eq!(demo.read("model/weights.txt"), weights);
    assert_eq!(
        demo.lock()["stages"],
        serde_json::from_str::<Value>(&lock).unwrap()["stages"]
    );
    demo.fails(&["--profile", "smok"], 2, "it has: smoke");
}

#[test]
fn a_metric_that_is_missing_or_nan_is_no_baseline() {
    let demo = Demo::new();
    demo.change("src/train.sh", "$rows.0", "NaN");
    demo.fails(&[], 1, "is NaN");
    demo.change("src/train.sh", "\\\"rows\\\"", "\\\"other\\\"");
    demo.fails(&[], 1, "nothing at /rows");
    assert!(!demo.path().join("recipe.lock").exists());
}

#[test]
fn a_golden_answer_that_changed_fails() {
    let demo = Demo::new();
    demo.write("golden/out.txt", "2 7 4\nb\n");
    demo.fails(&[], 1, "test \\\"golden\\\" failed");
    demo.write("golden/out.txt", "2 7 4\na\n");
    assert_eq!(
        demo.ran(&[]),
        Vec::<String>::new(),
        "what ended well before is kept"
    );
}

#[test]
fn a_forged_lock_halts() {
    let demo = Demo::new();
    demo.ran(&[]);
    demo.change("recipe.lock", "\"seed\":7", "\"seed\":8");
    demo.fails(&[], 4, "contradicts itself");
    assert_eq!(demo.ran(&["--force"]), ["prepare", "train"]);
}

#[test]
fn lint_names_code_and_place() {
    let demo = Demo::new();
    let output = demo.run(&["lint"]);
    assert!(output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("RW08"),
        "the environment is not locked"
    );
    assert_eq!(demo.run(&["lint", "--strict"]).status.code(), Some(3));
    demo.change("recipe.toml", "kind = \"train\"", "knid = \"train\"");
    let output = demo.run(&["lint"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("RE02") && text.contains("did you mean"),
        "{text}"
    );
    demo.fails(&[], 2, "RE02");
    demo.change("recipe.toml", "knid = \"train\"", "kind = \"train\"");
    // A device that no runner knows is told before the stages that come before it have run.
    demo.change("recipe.toml", "device = \"cpu\"", "device = \"mps\"");
    let output = demo.run(&["lint"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("RE04") && text.contains("mps"), "{text}");
    demo.fails(&[], 2, "RE04");
    assert!(!demo.path().join("work").exists());
    demo.change("recipe.toml", "device = \"mps\"", "device = \"cpu\"");
    // So is a test of what has no rows, which comes after all of them.
    let test = "[test.rows]\nkind = \"data\"\nfile = \"model/weights.txt\"\n[test.golden]";
    demo.change("recipe.toml", "[test.golden]", test);
    demo.fails(&[], 2, "no rows that are read here");
    assert!(!demo.path().join("work").exists());
}

/// What a stage writes that no seed runs again is one value, and no sample of three.
#[test]
fn a_metric_that_replicates_do_not_measure_gets_no_copies() {
    let demo = Demo::new();
    demo.change("src/train.sh", "$rows.0", "$SEALSTONE_SEED");
    demo.write(
        "src/prepare.sh",
        "sort \"$1\" > \"$2\"\necho '{\"kept\": 3}' > work/kept.json\n",
    );
    for (from, to) in [
        (
            "params = { file",
            "replicates = { seeds = [7, 8, 9], stages = [\"train\"] }\nparams = { file",
        ),
        (
            "out = [\"work/sorted.csv\"]",
            "out = [\"work/sorted.csv\", \"work/kept.json\"]",
        ),
        (
            "[test.golden]",
            "[metric.kept]\nfrom = \"work/kept.json#/kept\"\ndirection = \"none\"\nreplay = { abs = 0 }\nwhy = \"a count\"\n[test.golden]",
        ),
    ] {
        demo.change("recipe.toml", from, to);
    }
    for due in [&["prepare", "train"][..], &[]] {
        assert_eq!(demo.ran(&[]), due);
        let metrics = &demo.lock()["metrics"];
        assert_eq!(
            metrics["rows"]["replicates"],
            serde_json::json!(["7", "8", "9"])
        );
        assert_eq!(metrics["kept"]["value"], "3");
        assert_eq!(metrics["kept"]["replicates"], Value::Null);
    }
}

#[test]
fn replicates_are_run_beside_the_baseline() {
    let demo = Demo::new();
    demo.change("src/train.sh", "$rows.0", "$SEALSTONE_SEED");
    let recipe = demo.read("recipe.toml");
    demo.write(
        "recipe.toml",
        &recipe.replace(
            "params = { file",
            "replicates = { seeds = [7, 8, 9], stages = [\"train\"] }\nparams = { file",
        ),
    );
    assert_eq!(demo.ran(&[]), ["prepare", "train"]);
    assert_eq!(
        demo.lock()["metrics"]["rows"]["replicates"],
        serde_json::json!(["7", "8", "9"])
    );
    assert_eq!(demo.read("model/weights.txt"), "2 7 4\n");
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
    assert_eq!(
        demo.lock()["metrics"]["rows"]["replicates"],
        serde_json::json!(["7", "8", "9"])
    );
}

#[test]
fn what_no_lock_records_is_kept_when_an_output_replaces_it() {
    let demo = Demo::new();
    demo.write("model/NOTES.md", "mine");
    demo.write("metrics.json", "by hand");
    let kept = |path: &str| -> Vec<String> {
        let Ok(times) = fs::read_dir(demo.path().join(".sealstone/replaced")) else {
            return Vec::new();
        };
        let files = times.map(|time| time.unwrap().path().join(path));
        files
            .filter_map(|file| fs::read_to_string(file).ok())
            .collect()
    };
    let output = demo.run(&["run"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("model/NOTES.md") && said.contains(".sealstone/replaced/"),
        "{said}"
    );
    assert!(!demo.path().join("model/NOTES.md").exists());
    assert_eq!(kept("model/NOTES.md"), ["mine"]);
    assert_eq!(kept("metrics.json"), ["by hand"]);
    // What the lock records can be made again.
    assert_eq!(demo.ran(&["--force"]), ["prepare", "train"]);
    demo.change("params.toml", "scale = 2", "scale = 5");
    fs::remove_file(demo.path().join("golden/out.txt")).unwrap();
    assert_eq!(demo.ran(&[]), ["train"]);
    assert!(kept("model/weights.txt").is_empty());
    // What somebody changed since cannot.
    demo.write("model/weights.txt", "tuned by hand");
    assert_eq!(demo.ran(&[]), ["train"]);
    assert_eq!(kept("model/weights.txt"), ["tuned by hand"]);
}

#[test]
fn nothing_is_written_through_a_link_that_nobody_named() {
    let demo = Demo::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), demo.path().join("work")).unwrap();
    demo.fails(&[], 2, "a link leads from");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(
        !demo.path().join(".sealstone/logs/prepare.log").exists(),
        "nothing was run"
    );
    let named = elsewhere.path().to_str().unwrap();
    assert_eq!(demo.ran(&["--outside", named]), ["prepare", "train"]);
    assert!(elsewhere.path().join("sorted.csv").exists());
    // Nor is a log, whose text is the stage's to say.
    let target = elsewhere.path().join("profile");
    fs::write(&target, "mine").unwrap();
    let log = demo.path().join(".sealstone/logs/train.log");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(&target, &log).unwrap();
    demo.ran(&["--outside", named, "--force"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    assert!(demo.read(".sealstone/logs/train.log").contains("trained"));
}

#[test]
fn a_repository_that_a_stage_wrote_is_not_put_in_place() {
    let demo = Demo::new();
    demo.change(
        "src/train.sh",
        "echo trained",
        "mkdir model/.git\necho x > model/.git/config\necho trained",
    );
    let output = demo.run(&["run"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("model/.git/config"), "{said}");
    assert!(!demo.path().join("model/.git").exists());
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
}
