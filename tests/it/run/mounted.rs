//! Projects in containers: what is mounted into them, and what came with the image.

use super::Demo;
use sealstone_tests::registry::binary;
use sealstone_tests::skips;
use std::fs;
use std::process::{Command, Output};

/// `sealstone run` after `mounting` in a mount namespace of its own, in which `$1` is the project; `None`, said aloud,
/// where that cannot be.
fn run_after(mounting: &str, demo: &Demo) -> Option<Output> {
    let script =
        format!("{{ {mounting}; }} && cd \"$1\" && touch \"$2\" && exec \"$0\" run --output json");
    let directory = tempfile::tempdir().unwrap();
    let is_mounted = directory.path().join("mounted");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(binary("sealstone").unwrap())
        .arg(demo.path())
        .arg(&is_mounted)
        .output();
    let output = output.ok().filter(|_| is_mounted.exists());
    if output.is_none() {
        skips::not_possible("mounts need a namespace of their own (root)");
    }
    output
}

#[test]
fn what_is_mounted_from_the_same_disk_is_found_before_anything_runs() {
    let demo = Demo::new();
    fs::create_dir(demo.path().join("model")).unwrap();
    demo.write("metrics.json", "old");
    for name in ["model", "metrics.json"] {
        let mounting = format!("mount --bind \"$1/{name}\" \"$1/{name}\"");
        let Some(output) = run_after(&mounting, &demo) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("is mounted"), "{said}");
    }
    assert!(!demo.path().join(".sealstone/logs/prepare.log").exists());
}

#[test]
fn an_output_that_came_with_the_image_is_replaced() {
    let demo = Demo::new();
    demo.write("model/deep/old", "old");
    // Its upper layer on a disk of its own, since it may not lie on another overlay.
    let mounting = "mkdir \"$2.disk\" && mount -t tmpfs tmpfs \"$2.disk\" && cd \"$2.disk\" && mkdir upper work && \
                    mount -t overlay -o \"redirect_dir=off,lowerdir=$1,upperdir=upper,workdir=work\" overlay \"$1\"";
    let Some(output) = run_after(mounting, &demo) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("model/deep/old"), "and was kept: {said}");
}
