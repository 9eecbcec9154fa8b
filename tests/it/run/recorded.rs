//! What a run takes from earlier ones, and what it says of its own.

use super::Demo;
use sealstone_spec::digest::Digest;
use std::fs;
use std::time::{Duration, Instant};

/// Neither a later run that fails, nor one of some stages only, forgets what it did not run itself.
#[test]
fn what_ended_well_is_remembered_over_several_runs_that_do_not() {
    let demo = Demo::new();
    demo.write("golden/out.txt", "no answer of this model\n");
    demo.fails(&[], 1, "test \\\"golden\\\" failed");
    demo.change("src/prepare.sh", "sort", "LC_ALL=C sort");
    demo.fails(&[], 1, "test \\\"golden\\\" failed");
    // Another way to prepare, which is given up before anything was trained by it.
    demo.change("src/prepare.sh", "sort", "sort -r");
    assert_eq!(demo.ran(&["--stage", "prepare"]), ["prepare"]);
    demo.change("src/prepare.sh", "sort -r", "sort");
    demo.write("golden/out.txt", "2 7 4\na\n");
    assert_eq!(demo.ran(&[]), ["prepare"], "train was run by the first");
    assert!(
        !demo.path().join(".sealstone/last").exists(),
        "it is all in the lock"
    );
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
}

/// Git clones a `.sealstone` as it clones anything else, and a record in it tells of a run that nobody here has seen.
#[test]
fn what_a_clone_says_of_stages_is_not_taken() {
    let demo = Demo::new();
    let golden = "2 7 4\na\n";
    let fail = || {
        demo.write("golden/out.txt", "no answer of this model\n");
        demo.fails(&[], 1, "test \\\"golden\\\" failed");
        demo.write("golden/out.txt", golden);
    };
    fail();
    assert!(demo.path().join(".sealstone/last/train.lock").exists());
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(demo.path()).args(arguments);
        command.output().is_ok_and(|output| output.status.success())
    };
    if !git(&["init", "-q"]) {
        return sealstone_tests::skips::not_installed("git");
    }
    // It lies beside a repository that does not hold it.
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
    fs::remove_file(demo.path().join("recipe.lock")).unwrap();
    demo.change("src/train.sh", "echo trained", "echo trained; echo again");
    fail();
    assert!(git(&["add", "-f", ".sealstone/last"]));
    let output = demo.run(&["run"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("came with the project"), "{said}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["stages"][1]["reused"], false, "{result}");
}

/// A run that fails after its stages leaves them, and the lock before it leaves values of other code.
#[test]
fn replicates_of_older_code_are_not_taken_for_those_of_newer() {
    let demo = Demo::new();
    demo.change("src/train.sh", "$rows.0", "$SEALSTONE_SEED");
    demo.change(
        "recipe.toml",
        "params = { file",
        "replicates = { seeds = [7, 8, 9], stages = [\"train\"] }\nparams = { file",
    );
    assert_eq!(demo.ran(&[]), ["prepare", "train"]);
    let replicates = |demo: &Demo| demo.lock()["metrics"]["rows"]["replicates"].clone();
    assert_eq!(replicates(&demo), serde_json::json!(["7", "8", "9"]));
    // With the seed of the run the same number, with others another; and the run does not end well.
    demo.change(
        "src/train.sh",
        "mkdir -p model",
        "mkdir -p model\n[ $SEALSTONE_SEED = 7 ] || SEALSTONE_SEED=1$SEALSTONE_SEED",
    );
    let golden = demo.read("golden/out.txt");
    demo.write("golden/out.txt", "no answer of this model\n");
    demo.fails(&[], 1, "test \\\"golden\\\" failed");
    demo.write("golden/out.txt", &golden);
    assert_eq!(demo.ran(&[]), Vec::<String>::new(), "no stage is due");
    assert_eq!(replicates(&demo), serde_json::json!(["7", "18", "19"]));
    assert_eq!(demo.ran(&[]), Vec::<String>::new());
    assert_eq!(replicates(&demo), serde_json::json!(["7", "18", "19"]));
}

#[test]
fn a_project_has_one_run_at_a_time() {
    let demo = Demo::new();
    demo.ran(&[]);
    let other = fs::File::open(demo.path().join(".sealstone/run.lock")).unwrap();
    other.try_lock().unwrap();
    demo.change("params.toml", "scale = 2", "scale = 5");
    let before = (demo.read("recipe.lock"), demo.read("model/weights.txt"));
    for args in [&["--stage", "train"][..], &["--profile", "smoke"], &[]] {
        demo.fails(args, 7, "another run is under way");
    }
    assert_eq!(
        (demo.read("recipe.lock"), demo.read("model/weights.txt")),
        before
    );
    // The file itself stops nobody: that of an ended run lies there too.
    other.unlock().unwrap();
    fs::remove_file(demo.path().join("golden/out.txt")).unwrap();
    assert_eq!(demo.ran(&[]), ["train"]);
}

/// Whatever writes to an output's place while it is read there, the lock tells of what the stage wrote.
#[test]
fn the_lock_is_of_what_a_stage_wrote_and_not_of_what_lies_there_later() {
    let demo = Demo::new();
    let recipe = demo.read("recipe.toml");
    let (start, end) = (
        recipe.find("[test.golden]").unwrap(),
        recipe.find("[profile.smoke]").unwrap(),
    );
    demo.write(
        "recipe.toml",
        &format!("{}{}", &recipe[..start], &recipe[end..]),
    );
    // A file that takes a while to read comes before the one that is overwritten.
    demo.change(
        "src/train.sh",
        "echo trained",
        "yes | head -c 67108864 > model/a.bin\necho mine > model/z.txt",
    );
    let place = demo.path().join("model/z.txt");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(60);
            while Instant::now() < until {
                if place.exists() {
                    return fs::write(&place, "theirs\n").is_ok();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        });
        assert_eq!(demo.ran(&[]), ["prepare", "train"]);
        assert!(writer.join().unwrap());
    });
    assert_eq!(demo.read("model/z.txt"), "theirs\n");
    let lock = demo.lock();
    let mut files = lock["files"].as_array().unwrap().iter();
    let file = files.find(|file| file["path"] == "model/z.txt").unwrap();
    assert_eq!(file["digest"], Digest::sha256(b"mine\n").to_string());
    // So it is made again, and not taken for what was trained.
    assert_eq!(demo.ran(&[]), ["train"]);
    assert_eq!(demo.read("model/z.txt"), "mine\n");
}

#[test]
fn a_metric_is_read_from_what_its_stage_wrote_or_not_at_all() {
    let demo = Demo::new();
    demo.change(
        "recipe.toml",
        "[metric.rows]",
        "[stage.after]\nkind = \"other\"\nrun = [\"sh\", \"src/after.sh\", \"{out}\"]\nin = [\"model/\", \"src/after.sh\"]\nout = [\"after.txt\"]\n[metric.rows]",
    );
    let metrics = demo.path().join("metrics.json");
    demo.write(
        "src/after.sh",
        &format!(
            "echo '{{\"rows\": 9.0}}' > '{}'\necho done > \"$1\"\n",
            metrics.display()
        ),
    );
    demo.fails(
        &["--runner", "process"],
        1,
        "\\\"metrics.json\\\" is not what its stage wrote",
    );
    assert!(!demo.path().join("recipe.lock").exists());
    // Nothing else in the way, it is made again and measured.
    demo.write("src/after.sh", "echo done > \"$1\"\n");
    assert_eq!(demo.ran(&["--runner", "process"]), ["train", "after"]);
    assert_eq!(demo.lock()["metrics"]["rows"]["value"], "4.0");
}
