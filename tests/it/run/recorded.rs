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
