#![allow(clippy::unwrap_used)]

use super::super::tests::stock::names;
use super::*;
use sealstone_spec::bundle::{FileKind, LayerForm};

fn bundle() -> Digest {
    Digest::sha256(b"the bundle")
}

fn file(path: &str) -> BundleFile {
    BundleFile {
        path: path.parse().unwrap(),
        kind: FileKind::Weight,
        role: sealstone_spec::role::BundleRole::of_kind(FileKind::Weight),
        digest: Digest::sha256(b"x"),
        size: 1,
        executable: false,
        form: LayerForm::Raw,
    }
}

fn begin(destination: &Path, overwrite: bool) -> Result<Staging> {
    Staging::begin(destination, overwrite, &bundle(), &[file("a"), file("b/c")])
}

fn add(staging: &Staging, number: usize, path: &str, text: &str) {
    fs::write(staging.incoming(number), text).unwrap();
    staging
        .settle(
            &staging.incoming(number),
            &path.parse().unwrap(),
            number == 1,
        )
        .unwrap();
}

#[test]
fn nothing_shows_before_it_is_published_and_nothing_is_left_beside() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("sub/model");
    let staging = begin(&destination, false).unwrap();
    add(&staging, 0, "a/b/c", "x");
    add(&staging, 1, "run", "y");
    assert!(!destination.exists());
    staging.publish().unwrap();
    assert_eq!(fs::read_to_string(destination.join("a/b/c")).unwrap(), "x");
    assert_ne!(
        fs::metadata(destination.join("run"))
            .unwrap()
            .permissions()
            .mode()
            & 0o100,
        0
    );
    assert_eq!(
        fs::metadata(destination.join("a/b/c"))
            .unwrap()
            .permissions()
            .mode()
            & 0o111,
        0
    );
    assert_eq!(names(&root.path().join("sub")), ["model"]);
}

#[test]
fn what_failed_a_check_leaves_nothing_and_neither_does_a_pull_without_a_byte() {
    let root = tempfile::tempdir().unwrap();
    let staging = begin(&root.path().join("model"), false).unwrap();
    add(&staging, 0, "a", "x");
    staging.discard();
    drop(staging);
    assert!(names(root.path()).is_empty());
    drop(begin(&root.path().join("model"), false).unwrap());
    assert!(names(root.path()).is_empty());
}

#[test]
fn what_was_cut_is_taken_over_by_a_pull_of_the_same_bundle_as_bytes_to_be_checked() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    let staging = begin(&destination, false).unwrap();
    add(&staging, 1, "b/c", "settled");
    fs::write(staging.incoming(0), "half").unwrap();
    fs::create_dir(staging.unpacking(2)).unwrap();
    let first = staging.directory().to_owned();
    drop(staging);
    assert!(!destination.exists());

    let staging = begin(&destination, false).unwrap();
    assert_eq!(staging.directory(), first);
    assert_eq!(fs::read_to_string(staging.incoming(0)).unwrap(), "half");
    assert_eq!(fs::read_to_string(staging.incoming(1)).unwrap(), "settled");
    assert!(!staging.unpacking(2).exists());
    assert!(names(&first.join(TREE)).is_empty());
    drop(staging);

    let other = Digest::sha256(b"another bundle");
    let staging = Staging::begin(&destination, false, &other, &[]).unwrap();
    assert_ne!(staging.directory(), first);
    assert!(!first.exists(), "what is of another bundle is removed");
}

/// There is no NFS here: what it asks for is that the file could be written.
#[test]
fn what_may_be_taken_over_is_locked_through_a_file_that_is_open_for_writing() {
    use std::io::Write as _;
    let root = tempfile::tempdir().unwrap();
    let staging = begin(&root.path().join("model"), false).unwrap();
    add(&staging, 0, "a", "x");
    drop(staging);
    let mut found = left_behind(root.path(), OsStr::new(".model.partial-"));
    let (_, mut lock) = found.pop().unwrap();
    assert_eq!(lock.write(b"x").unwrap(), 1);
}

#[test]
fn a_directory_that_others_may_write_to_is_not_taken_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    let staging = begin(&destination, false).unwrap();
    add(&staging, 0, "a", "x");
    let first = staging.directory().to_owned();
    drop(staging);
    fs::set_permissions(&first, fs::Permissions::from_mode(0o777)).unwrap();
    let staging = begin(&destination, false).unwrap();
    assert_ne!(staging.directory(), first);
    assert!(first.exists(), "nor removed: it may be somebody's");
}

#[test]
fn what_is_there_is_replaced_as_a_whole_and_only_when_asked() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    fs::create_dir(&destination).unwrap();
    fs::write(destination.join("old"), "old").unwrap();
    let error = begin(&destination, false).unwrap_err();
    assert_eq!(error.outcome(), crate::Outcome::Conflict);

    let staging = begin(&destination, true).unwrap();
    add(&staging, 0, "new", "new");
    staging.publish().unwrap();
    assert_eq!(names(&destination), ["new"]);
    assert_eq!(names(root.path()), ["model"]);
}

/// Killed between two renames, on a file system that cannot exchange names.
#[test]
fn what_a_kill_left_replaced_by_nothing_is_put_back() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    let killed = || {
        let staging = begin(&destination, true).unwrap();
        add(&staging, 0, "a", "new");
        let old = staging.directory().join(OLD);
        fs::rename(&destination, &old).unwrap();
        drop(staging);
        old
    };
    fs::create_dir(&destination).unwrap();
    fs::write(destination.join("old"), "old").unwrap();
    killed();
    assert!(!destination.exists());
    let error = begin(&destination, false).unwrap_err();
    assert_eq!(error.outcome(), crate::Outcome::Conflict);
    assert_eq!(names(&destination), ["old"]);

    // What had arrived is of use to the next one.
    let staging = begin(&destination, true).unwrap();
    assert_eq!(fs::read_to_string(staging.incoming(0)).unwrap(), "new");
    drop(staging);

    // Somebody made another destination meanwhile: nothing is lost of either.
    let old = killed();
    fs::create_dir(&destination).unwrap();
    fs::write(destination.join("theirs"), "x").unwrap();
    drop(begin(&destination, true).unwrap());
    assert_eq!(
        (names(&destination), names(&old)),
        (vec!["theirs".to_owned()], vec!["old".to_owned()])
    );
}

#[test]
fn what_was_replaced_goes_with_the_next_pull_if_a_kill_left_it() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    for name in ["model/new", ".model.partial-dead/old/x"] {
        fs::create_dir_all(root.path().join(name)).unwrap();
    }
    let dead = root.path().join(".model.partial-dead");
    fs::set_permissions(&dead, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(dead.join(LOCK), "").unwrap();
    assert!(begin(&destination, false).is_err());
    assert_eq!(names(root.path()), ["model"]);
    assert_eq!(names(&destination), ["new"]);
}

/// Killed before both change places: only what had arrived is lost.
#[test]
fn a_kill_before_anything_is_replaced_leaves_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    fs::create_dir(&destination).unwrap();
    fs::write(destination.join("old"), "old").unwrap();
    let staging = begin(&destination, true).unwrap();
    add(&staging, 0, "a", "new");
    let directory = staging.directory().to_owned();
    fs::rename(directory.join(TREE), directory.join(OLD)).unwrap();
    drop(staging);
    let staging = begin(&destination, true).unwrap();
    assert!(!directory.exists());
    assert!(!staging.incoming(0).exists());
    assert_eq!(names(&destination), ["old"]);
}

/// The next pull would take over what it finds there, and follow the links in it.
#[test]
fn what_is_there_never_lies_under_the_name_of_what_arrives() {
    let root = tempfile::tempdir().unwrap();
    let [tree, destination, old] = [TREE, "model", OLD].map(|name| root.path().join(name));
    for (directory, name) in [(&tree, "new"), (&destination, "theirs")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join(name), name).unwrap();
    }
    // Stopped at its first rename that leads there.
    fs::write(&old, "in the way").unwrap();
    assert!(replace(&tree, &destination, &old).is_err());
    assert_eq!(names(&tree), ["new"]);
    assert_eq!(names(&destination), ["theirs"]);

    fs::remove_file(&old).unwrap();
    replace(&tree, &destination, &old).unwrap();
    assert!(!tree.exists());
    assert_eq!(names(&destination), ["new"]);
    assert_eq!(names(&old), ["theirs"]);
}

#[test]
fn a_destination_that_appears_meanwhile_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    let staging = begin(&destination, false).unwrap();
    add(&staging, 0, "new", "new");
    fs::create_dir(&destination).unwrap();
    fs::write(destination.join("theirs"), "x").unwrap();
    assert_eq!(
        staging.publish().unwrap_err().outcome(),
        crate::Outcome::Conflict
    );
    assert_eq!(names(&destination), ["theirs"]);
}

#[test]
fn files_and_links_are_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    std::os::unix::fs::symlink(root.path(), &destination).unwrap();
    assert!(begin(&destination, true).is_err());
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
    let root = tempfile::tempdir().unwrap();
    let destination = root.path().join("model");
    let dead = root.path().join(".model.partial-dead");
    fs::create_dir_all(dead.join(TREE)).unwrap();
    fs::set_permissions(&dead, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(dead.join(LOCK), "").unwrap();
    let living = begin(&destination, false).unwrap();
    assert!(!dead.exists());
    let second = begin(&destination, false).unwrap();
    assert!(living.directory().exists());
    drop((living, second));
}
