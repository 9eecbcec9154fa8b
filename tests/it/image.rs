//! Projects whose programs are a root file system or an image, through the real binaries: run, packed, replayed.

use crate::client::Ended;
use crate::isolation::cannot_try;
use crate::project_desk::Desk;
use crate::system::{archive, image, tiny_root};
use sealstone::runner::{Capability, RunnerKind, runner};
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::Setup;
use sealstone_tests::skips;
use std::fs;

/// A project whose one stage runs `command` in the environment `environment`.
fn project(environment: &str, command: &str) -> Desk {
    Desk::with(&format!(
        r#"recipe = {{ version = 1, name = "counts", model_version = "1.0.0", owner = "team-x", risk = "low" }}
environment = {environment}
determinism = {{ class = "bit_exact", seed = 7, threads = 1 }}
isolation = {{ minimum = "I4", network = "deny" }}
[[input]]
path = "data/raw.csv"
sha256 = "todo"
[stage.train]
kind = "train"
run = {command}
in = ["data/raw.csv"]
out = ["model/"]
"#
    ))
}

/// Whether this machine can run stages in a root file system.
fn can_pin() -> bool {
    match runner(RunnerKind::Rootfs).probe().usable {
        Capability::Absent { reason } => {
            cannot_try(RunnerKind::Rootfs, &reason);
            false
        }
        _ => true,
    }
}

const COUNT: &str = r#"["sh", "-c", "mkdir model; count data/raw.csv > model/weights.txt; echo $LC_ALL >> model/weights.txt"]"#;
/// What it must write: the image's file, the data, the image's variable, nothing of the machine, the runner's locale.
fn check_weights(desk: &Desk) {
    let text = desk.read("p/model/weights.txt");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..6],
        ["by digest", "x", "3", "1", "2", "of the image"],
        "{text}"
    );
    assert!(
        lines[6].contains("/gone") && lines[7].contains("/usr/bin/perl"),
        "{text}"
    );
    assert_eq!(lines[8], "C.UTF-8", "{text}");
}

/// Replays the packed bundle somewhere else, with `home` as the home directory.
fn replay(desk: &Desk, home: &str, more: &[&str]) -> Ended {
    fs::create_dir_all(desk.path(home)).unwrap();
    let home = desk.path(home);
    let mut arguments = vec!["replay", "oci:bundle:1.0.0", "--key", "builder.pub"];
    arguments.extend(more);
    desk.run_with(None, &[("HOME", home.to_str().unwrap())], &arguments)
}

fn pack_and_sign(desk: &Desk) -> Ended {
    let packed = desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "builder.key"])
        .expect(0);
    packed
}

#[test]
fn a_root_file_system_travels_in_the_bundle_and_makes_the_same_elsewhere() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("root");
    if !can_pin() {
        return;
    }
    if tiny_root(&root).is_none() {
        return skips::not_possible("no small root file system can be made here");
    }
    let tar = work.path().join("system.tar");
    let digest = archive(&root, &tar);
    let host = r#"{ kind = "host" }"#;
    let desk = project(
        host,
        r#"["sh", "-c", "mkdir model; cat /pinned data/raw.csv > model/weights.txt; ls /usr/local >> model/weights.txt 2>&1; true"]"#,
    );
    fs::copy(&tar, desk.path("p/system.tar")).unwrap();
    let system = format!(
        r#"{{ kind = "rootfs", path = "system.tar", sha256 = "{}" }}"#,
        digest.hex()
    );
    desk.change("p/recipe.toml", host, &system);
    desk.run(&["lint", "p"]).expect(0);
    desk.run(&["run", "p"]).expect(0);
    let lock = desk.read("p/recipe.lock");
    assert!(
        lock.contains(&digest.to_string()),
        "the lock names the system"
    );
    let packed = pack_and_sign(&desk);
    packed.says("system.tar");
    let done = replay(&desk, "elsewhere", &[]).expect(0);
    assert_eq!(
        done.json["report"]["verdict"], "REPRODUCED",
        "{}",
        done.everything
    );
    assert_eq!(
        done.json["report"]["isolation"]["achieved"], "I4",
        "{}",
        done.everything
    );

    // Another byte in the project's copy: nothing runs.
    let mut bytes = fs::read(desk.path("p/system.tar")).unwrap();
    let last = bytes.len() / 2;
    bytes[last] ^= 1;
    fs::write(desk.path("p/system.tar"), bytes).unwrap();
    desk.run(&["run", "p", "--force"])
        .expect(4)
        .says("system.tar");
}

#[test]
fn an_image_travels_in_the_bundle() {
    let work = tempfile::tempdir().unwrap();
    if !can_pin() {
        return;
    }
    let Some(digest) = image(work.path(), &work.path().join("image")) else {
        return skips::not_possible("no small root file system can be made here");
    };
    let desk = project(
        &format!(
            r#"{{ kind = "oci", image = "registry.invalid/systems/tiny@{digest}", rootfs_in_bundle = true }}"#
        ),
        COUNT,
    );
    let layout = desk.path("p/environment/image");
    assert!(
        image(&work.path().join("again"), &layout) == Some(digest),
        "the image is the same again"
    );
    // What a fetch that was killed has left there is no part of it.
    let left = layout.join(format!("blobs/sha256/.kept-{}", "0".repeat(64)));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("blob"), "half").unwrap();
    desk.run(&["run", "p"]).expect(0);
    check_weights(&desk);
    assert!(!desk.read("p/recipe.lock").contains(".kept-"));
    let packed = pack_and_sign(&desk);
    packed.says("environment/image/index.json");
    assert!(!packed.everything.contains(".kept-"));
    fs::remove_dir_all(&left).unwrap();
    let done = replay(&desk, "elsewhere", &[]).expect(0);
    assert_eq!(
        done.json["report"]["verdict"], "REPRODUCED",
        "{}",
        done.everything
    );
    // Nothing of it was fetched.
    assert!(!desk.path("elsewhere/.cache").exists());

    let layers = layout.join("blobs/sha256");
    let largest = fs::read_dir(&layers)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest = largest
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[700] ^= 1;
    fs::write(&largest, bytes).unwrap();
    fs::remove_dir_all(desk.path("p/.sealstone")).unwrap();
    desk.run(&["run", "p"]).expect(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_fetched_by_its_digest() {
    let registry = Setup::default().start().await.unwrap();
    let work = tempfile::tempdir().unwrap();
    if !can_pin() {
        return;
    }
    let Some(digest) = image(work.path(), &work.path().join("image")) else {
        return skips::not_possible("no small root file system can be made here");
    };
    tokio::task::block_in_place(|| {
        let place = format!("{}/systems/tiny", registry.address());
        let desk = project(
            &format!(r#"{{ kind = "oci", image = "{place}@{digest}" }}"#),
            COUNT,
        );
        let layout = format!("oci:{}@{digest}", work.path().join("image").display());
        desk.run_at(&registry, &["copy", &layout, &format!("{place}:1")])
            .expect(0);
        desk.run_at(&registry, &["run", "p"]).expect(0);
        check_weights(&desk);
        let packed = pack_and_sign(&desk);
        assert!(
            !packed.everything.contains("environment/image"),
            "{}",
            packed.everything
        );

        // Somebody else fetches it again; what is kept from the first time is looked at again.
        let done = replay(&desk, "elsewhere", &[]).expect(0);
        assert_eq!(
            done.json["report"]["verdict"], "REPRODUCED",
            "{}",
            done.everything
        );
        let kept = desk.path(&format!(
            "elsewhere/.cache/sealstone/images/{}",
            digest.hex()
        ));
        let blobs = fs::read_dir(kept.join("blobs/sha256")).unwrap();
        let largest = blobs.map(|entry| entry.unwrap().path());
        let largest = largest
            .max_by_key(|path| fs::metadata(path).unwrap().len())
            .unwrap();
        let mut bytes = fs::read(&largest).unwrap();
        bytes[700] ^= 1;
        fs::write(&largest, bytes).unwrap();
        let done = replay(&desk, "elsewhere", &[]).expect(3);
        assert_eq!(
            done.json["report"]["verdict"], "HALTED",
            "{}",
            done.everything
        );

        // Where it cannot be had, nothing is claimed.
        let other = format!("{place}@{}", Digest::sha256(b"another image"));
        let recipe = desk.read("p/recipe.toml");
        desk.write(
            "p/recipe.toml",
            &recipe.replace(&format!("{place}@{digest}"), &other),
        );
        desk.run_at(&registry, &["run", "p"])
            .expect(5)
            .says("is not there");
    });
}
