#![allow(clippy::unwrap_used)]

use super::super::tests::stock::names;
use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn digest() -> Digest {
    Digest::sha256(b"the blob")
}

fn blob() -> Descriptor {
    Descriptor::new("application/octet-stream", digest(), 1000)
}

fn begin(parent: &Path) -> Partial {
    Partial::begin(parent, &digest()).unwrap()
}

/// One of which this much has arrived, and which is of use.
fn begun(parent: &Path, text: &str) -> Partial {
    let partial = begin(parent);
    partial.keep();
    fs::write(partial.blob(), text).unwrap();
    partial
}

#[test]
fn what_is_of_use_is_found_again_and_nothing_else_stays() {
    let root = tempfile::tempdir().unwrap();
    let first = begun(root.path(), "half");
    let directory = first.directory.clone();
    assert!(first.stays());
    drop(first);
    let second = begin(root.path());
    assert_eq!(second.directory, directory);
    assert_eq!(fs::read_to_string(second.blob()).unwrap(), "half");
    // Nobody has said that it is of use.
    drop(second);
    assert!(names(root.path()).is_empty());

    let failed = begun(root.path(), "wrong");
    failed.discard();
    drop(failed);
    assert!(names(root.path()).is_empty());
    // Nothing has arrived, or was taken away under its own name.
    let empty = begun(root.path(), "");
    File::create(empty.blob())
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    drop(empty);
    let done = begun(root.path(), "all");
    fs::rename(done.blob(), root.path().join("done")).unwrap();
    drop(done);
    assert_eq!(names(root.path()), ["done"]);
}

#[test]
fn nobody_goes_on_where_another_works() {
    let root = tempfile::tempdir().unwrap();
    let first = begun(root.path(), "half");
    let second = begun(root.path(), "from its beginning");
    assert_ne!(second.directory, first.directory);
    assert_eq!(fs::read_to_string(first.blob()).unwrap(), "half");
    // The next run would not find it.
    assert!(!second.stays());
    let directory = first.directory.clone();
    drop(second);
    drop(first);
    assert_eq!(begin(root.path()).directory, directory);
}

#[test]
fn a_directory_that_may_be_anothers_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let first = begun(root.path(), "half");
    let directory = first.directory.clone();
    drop(first);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    assert_ne!(begin(root.path()).directory, directory);
    forget_old(root.path(), SystemTime::now() + 8 * DAY);
    assert_eq!(fs::read_to_string(directory.join(BLOB)).unwrap(), "half");

    let elsewhere = root.path().join("elsewhere");
    fs::rename(&directory, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &directory).unwrap();
    assert_ne!(begin(root.path()).directory, directory);
    forget_old(root.path(), SystemTime::now() + 8 * DAY);
    assert_eq!(fs::read_to_string(elsewhere.join(BLOB)).unwrap(), "half");
}

#[test]
fn what_nobody_comes_back_for_is_forgotten() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(".kept-by-somebody"), "x").unwrap();
    let now = SystemTime::now();
    let at_work = begun(root.path(), "half");
    forget_old(root.path(), now + 8 * DAY);
    assert_eq!(fs::read_to_string(at_work.blob()).unwrap(), "half");
    let directory = at_work.directory.clone();
    drop(at_work);
    for early in [now - 30 * DAY, now, now + 6 * DAY] {
        forget_old(root.path(), early);
        assert!(directory.join(BLOB).exists());
    }
    forget_old(root.path(), now + 8 * DAY);
    assert_eq!(names(root.path()), [".kept-by-somebody"]);
}

#[test]
fn a_cache_is_made_for_its_user_alone_and_may_be_missing() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("cache/downloads");
    let downloads = Downloads::in_directory(&directory);
    let partial = downloads.begin(&blob()).unwrap();
    assert!(partial.directory.starts_with(&directory));
    assert!(is_private(&directory));
    for nowhere in [Downloads::none(), Downloads::in_directory("/proc/nowhere")] {
        nowhere.forget_old(SystemTime::now());
        let partial = nowhere.begin(&blob()).unwrap();
        partial.keep();
        fs::write(partial.blob(), "half").unwrap();
        assert!(!partial.stays());
        let directory = partial.directory.clone();
        drop(partial);
        assert!(!directory.exists());
    }
}

#[test]
fn the_roomier_file_system_is_taken_and_else_the_cache() {
    let room = |file_system, free, held| Room {
        file_system,
        free,
        held,
    };
    let cache = room(1, 500, 0);
    for (there, size, is_better) in [
        (room(2, 501, 0), 1000, true),
        (room(2, 501, 0), 10, true),
        (room(2, 499, 0), 1000, false),
        // One file system, of which more is free at another moment.
        (room(1, 900, 0), 1000, false),
        // What has begun is gone on with, if the rest has room.
        (room(1, 500, 600), 1000, true),
        (room(2, 400, 600), 1000, true),
        (room(2, 399, 600), 1000, false),
    ] {
        assert_eq!(there.is_better(&cache, size), is_better, "{there:?} {size}");
    }
    let begun = room(1, 500, 600);
    assert!(!room(2, 5000, 0).is_better(&begun, 1000));
    assert!(room(2, 5000, 0).is_better(&begun, 2000));
}

#[test]
fn what_was_begun_where_temporary_files_lie_is_found_and_forgotten_there() {
    let root = tempfile::tempdir().unwrap();
    let [cache, temporary] = ["cache", "temporary"].map(|name| root.path().join(name));
    fs::create_dir(&temporary).unwrap();
    let downloads = Downloads {
        directory: Some(cache.clone()),
        temporary: Some(temporary.clone()),
    };
    let text = "x".repeat(64 * 1024);
    let large = Descriptor::new("application/octet-stream", digest(), 128 * 1024);
    // Both lie on one file system.
    let partial = downloads.begin(&large).unwrap();
    assert!(partial.directory.starts_with(&cache));
    drop(partial);
    drop(begun(&temporary, &text));
    let partial = downloads.begin(&large).unwrap();
    assert_eq!(fs::read_to_string(partial.blob()).unwrap(), text);
    partial.keep();
    drop(partial);
    downloads.forget_old(SystemTime::now() + 8 * DAY);
    assert!(names(&temporary).is_empty());
    // One that is not there is no place.
    fs::remove_dir(&temporary).unwrap();
    let partial = downloads.begin(&large).unwrap();
    assert!(partial.directory.starts_with(&cache));
}
