//! What a run takes from earlier ones, and what it says of its own.

use super::Demo;

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
