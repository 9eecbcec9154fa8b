#![allow(clippy::unwrap_used)]
use super::super::job::{Expected, Input};
use super::*;
use crate::Outcome;
use std::os::unix::fs::MetadataExt as _;

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        for directory in ["scratch", "out", "data/sub"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("data/a.csv"), "1,2\n").unwrap();
        fs::write(root.path().join("data/sub/b.csv"), "3,4\n").unwrap();
        Fixture { root }
    }

    fn job(&self) -> StageJob {
        StageJob::new(
            "train",
            vec!["true".into()],
            self.root.path().join("scratch"),
            self.root.path().join("out"),
        )
    }

    fn input(&self, path: &str, source: &str, expected: Expected) -> Input {
        Input {
            path: path.into(),
            source: self.root.path().join(source),
            expected,
        }
    }
}

#[test]
fn inputs_are_copied_checked_and_seen_again() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    let digest = Digest::sha256(b"1,2\n");
    job.inputs = vec![fixture.input("data/a.csv", "data/a.csv", Expected::File(digest))];
    job.outputs = vec!["model/w.bin".into(), "logs/".into()];
    job.source_date_epoch = 1000;
    let place = Place::prepare(&job, Placing::Copied).unwrap();
    let copy = place.work().join("data/a.csv");
    assert_eq!(fs::read(&copy).unwrap(), b"1,2\n");
    let modified = fs::metadata(&copy).unwrap().modified().unwrap();
    assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    fs::write(place.work().join("model/w.bin"), "w").unwrap();
    fs::write(place.work().join("other"), "x").unwrap();
    fs::write(place.work().join("logs/1"), "y").unwrap();
    let found = place.collect();
    assert_eq!(found.undeclared, ["other"]);
    assert!(
        found.missing.is_empty() && found.violations.is_empty(),
        "{found:?}"
    );
    let paths: Vec<&str> = found
        .outputs
        .iter()
        .map(|output| output.path.as_str())
        .collect();
    assert_eq!(paths, ["logs/1", "model/w.bin"]);
    place.publish(&found.outputs, &job.destination).unwrap();
    assert_eq!(
        fs::read(fixture.root.path().join("out/model/w.bin")).unwrap(),
        b"w"
    );
    fs::write(&copy, "9,9\n").unwrap();
    assert_eq!(
        place.collect().violations,
        ["changed its input \"data/a.csv\""]
    );
    assert_eq!(
        fs::read(fixture.root.path().join("data/a.csv")).unwrap(),
        b"1,2\n"
    );
    fs::remove_file(&copy).unwrap();
    assert_eq!(place.collect().violations.len(), 1);
}

#[test]
fn a_wrong_byte_halts_before_anything_runs() {
    let fixture = Fixture::new();
    for placing in [Placing::Copied, Placing::Mounted] {
        let mut job = fixture.job();
        let due = Digest::sha256(b"1,2");
        job.inputs = vec![fixture.input("a", "data/a.csv", Expected::File(due))];
        let error = Place::prepare(&job, placing).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        assert!(error.message().contains(&due.to_string()), "{error}");
        assert_eq!(error.details().unwrap()["path"], "a");
    }
}

#[test]
fn trees_must_be_complete_and_nothing_more() {
    let fixture = Fixture::new();
    let whole = BTreeMap::from([
        ("a.csv".to_owned(), Digest::sha256(b"1,2\n")),
        ("sub/b.csv".to_owned(), Digest::sha256(b"3,4\n")),
    ]);
    let prepare = |tree: &BTreeMap<String, Digest>| {
        let mut job = fixture.job();
        job.inputs = vec![fixture.input("data/", "data", Expected::Tree(tree.clone()))];
        Place::prepare(&job, Placing::Mounted).map(|place| place.read().len())
    };
    assert_eq!(prepare(&whole).unwrap(), 2);
    let mut less = whole.clone();
    less.remove("a.csv");
    assert!(
        prepare(&less)
            .unwrap_err()
            .message()
            .contains("not declared")
    );
    let mut more = whole.clone();
    more.insert("c".into(), Digest::sha256(b""));
    assert!(
        prepare(&more)
            .unwrap_err()
            .message()
            .contains("lacks the file \"c\"")
    );
    let mut other = whole;
    other.insert("a.csv".into(), Digest::sha256(b""));
    assert_eq!(prepare(&other).unwrap_err().outcome(), Outcome::Halted);
}

#[test]
fn links_and_pipes_never_leave() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.outputs = vec!["a".into(), "b".into()];
    let place = Place::prepare(&job, Placing::Copied).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", place.work().join("a")).unwrap();
    fs::write(place.work().join("b"), "b").unwrap();
    let found = place.collect();
    assert_eq!(found.missing, ["a"]);
    assert_eq!(found.violations, ["wrote \"a\", which is no plain file"]);
}

#[test]
fn an_output_inside_a_mounted_directory_makes_its_files_mounts() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = vec![fixture.input("data/", "data", Expected::Recorded)];
    assert_eq!(
        Place::prepare(&job, Placing::Mounted).unwrap().mounts.len(),
        1
    );
    job.outputs = vec!["data/c.csv".into()];
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    let paths: Vec<&str> = place.mounts.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["data/a.csv", "data/sub/b.csv"]);
}

#[test]
fn paths_that_lead_out_are_refused() {
    let fixture = Fixture::new();
    for path in [
        "",
        "/",
        "..",
        "../a",
        "a/../b",
        "/etc/passwd",
        "./a",
        "a//b",
        "a/./b",
    ] {
        let mut job = fixture.job();
        job.outputs = vec![path.into()];
        let error = Place::prepare(&job, Placing::Copied).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Usage, "{path}");
    }
    let mut job = fixture.job();
    job.outputs = vec!["a".into(), "a/".into()];
    assert!(Place::prepare(&job, Placing::Copied).is_err());
    let mut job = fixture.job();
    job.argv = Vec::new();
    assert!(Place::prepare(&job, Placing::Copied).is_err());
}

/// More files than a sandbox would take one by one, in `data/many`.
fn many(fixture: &Fixture) -> Vec<Input> {
    fs::create_dir(fixture.root.path().join("data/many")).unwrap();
    let one = |number: usize| {
        let path = format!("data/many/{number}");
        let text = number.to_string();
        fs::write(fixture.root.path().join(&path), &text).unwrap();
        fixture.input(
            &path,
            &path,
            Expected::File(Digest::sha256(text.as_bytes())),
        )
    };
    (0..5000).map(one).collect()
}

#[test]
fn very_many_inputs_are_one_mount() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = many(&fixture);
    // A link cannot be linked to: its file is copied, and not the link.
    let source = fixture.root.path().join("data/many/7");
    fs::rename(&source, fixture.root.path().join("seven")).unwrap();
    std::os::unix::fs::symlink("../../seven", &source).unwrap();
    job.outputs = vec!["model/".into()];
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    let [(mounted, path)] = place.mounts.as_slice() else {
        panic!("{} mounts", place.mounts.len());
    };
    assert_eq!(path, "data");
    assert!(!mounted.starts_with(place.work()));
    let at = |number: usize| mounted.join(format!("many/{number}"));
    assert_eq!(fs::read_dir(mounted.join("many")).unwrap().count(), 5000);
    let source = fixture.root.path().join("data/many/4999");
    let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
    assert_eq!(inode(&at(4999)), inode(&source));
    assert!(fs::symlink_metadata(at(7)).unwrap().is_file());
    assert_eq!(fs::read(at(7)).unwrap(), b"7");
    assert_eq!(place.read().len(), 5000);
    assert_eq!(place.written_bytes(), 0);

    // What a sandbox makes to mount on.
    fs::create_dir_all(place.work().join("data")).unwrap();
    let found = place.collect();
    assert!(
        found.undeclared.is_empty() && found.violations.is_empty() && found.outputs.is_empty(),
        "{found:?}"
    );
    let root = mounted.clone();
    drop(place);
    assert!(!root.exists());
    assert_eq!(fs::read(&source).unwrap(), b"4999");
    assert_eq!(fs::metadata(&source).unwrap().nlink(), 1);
}

#[test]
fn very_many_inputs_where_the_stage_writes_are_copied_and_compared_again() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = many(&fixture);
    job.outputs = vec!["data/many/index".into()];
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    assert!(place.mounts.is_empty());
    let copy = place.work().join("data/many/1");
    assert_eq!(fs::read(&copy).unwrap(), b"1");
    assert_eq!(fs::metadata(&copy).unwrap().nlink(), 1);
    assert_eq!(place.written_bytes(), 0);
    fs::write(place.work().join("data/many/index"), "i").unwrap();
    assert_eq!(place.written_bytes(), 1);
    let found = place.collect();
    assert_eq!(found.outputs.len(), 1);
    assert!(found.violations.is_empty(), "{found:?}");
    fs::write(copy, "9").unwrap();
    assert_eq!(
        place.collect().violations,
        ["changed its input \"data/many/1\""]
    );
    let source = fixture.root.path().join("data/many/1");
    assert_eq!(fs::read(source).unwrap(), b"1");
}

/// A file of 2 MiB, whose digest is returned.
fn large(fixture: &Fixture, path: &str) -> Digest {
    let bytes = vec![7u8; 2 << 20];
    fs::write(fixture.root.path().join(path), &bytes).unwrap();
    Digest::sha256(&bytes)
}

/// Nor can it on another file system, or where it is somebody else's.
#[test]
fn a_large_file_that_cannot_be_linked_is_mounted_and_not_copied() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = many(&fixture);
    let digest = large(&fixture, "shard");
    let source = fixture.root.path().join("data/many/shard");
    std::os::unix::fs::symlink("../../shard", &source).unwrap();
    let input = |due| fixture.input("data/many/shard", "data/many/shard", Expected::File(due));
    job.inputs.push(input(digest));
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    let [(gathered, directory), (mounted, path)] = place.mounts.as_slice() else {
        panic!("{} mounts", place.mounts.len());
    };
    assert_eq!(
        (directory.as_str(), path.as_str()),
        ("data", "data/many/shard")
    );
    assert_eq!(*mounted, source);
    // What it is mounted on, since a sandbox can make nothing there.
    let under = fs::symlink_metadata(gathered.join("many/shard")).unwrap();
    assert!(under.is_file() && under.len() == 0, "{under:?}");
    assert_eq!(place.read().len(), 5001);
    let read = place.read().into_iter().find(|read| read.path == *path);
    let read = read.unwrap();
    assert_eq!((read.digest, read.size), (digest, 2 << 20));
    let found = place.collect();
    assert!(
        found.undeclared.is_empty() && found.violations.is_empty(),
        "{found:?}"
    );

    job.inputs.pop();
    job.inputs.push(input(Digest::sha256(b"another")));
    let error = Place::prepare(&job, Placing::Mounted).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
    assert_eq!(error.details().unwrap()["path"], "data/many/shard");
}

#[test]
fn a_large_file_beside_many_that_are_copied_is_mounted() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = many(&fixture);
    job.outputs = vec!["data/many/index".into()];
    for path in ["base.bin", "data/many/large"] {
        let digest = large(&fixture, path);
        job.inputs
            .push(fixture.input(path, path, Expected::File(digest)));
    }
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    let paths: Vec<&str> = place.mounts.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["base.bin", "data/many/large"]);
    assert!(!place.work().join("base.bin").exists());
    assert!(place.work().join("data/many/1").exists());
    // What a sandbox makes to mount on.
    for path in paths {
        fs::write(place.work().join(path), "").unwrap();
    }
    let found = place.collect();
    assert!(
        found.undeclared.is_empty() && found.violations.is_empty(),
        "{found:?}"
    );
    assert_eq!(place.written_bytes(), 0);

    // Where the stage sees the whole machine, a mount would not be seen.
    let place = Place::prepare(&job, Placing::Copied).unwrap();
    assert!(place.mounts.is_empty());
    let copy = fs::metadata(place.work().join("base.bin")).unwrap();
    assert_eq!(copy.len(), 2 << 20);
}

#[test]
fn a_wrong_byte_in_one_of_very_many_halts() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = many(&fixture);
    fs::write(fixture.root.path().join("data/many/3000"), "3001").unwrap();
    let error = Place::prepare(&job, Placing::Mounted).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
    assert_eq!(error.details().unwrap()["path"], "data/many/3000");
}

/// That a file is given back before the end is no excuse: the stage may have read it as it was meanwhile.
#[test]
fn a_mounted_input_that_was_changed_while_the_stage_ran_is_told() {
    let fixture = Fixture::new();
    let at = |path: &str| fixture.root.path().join(path);
    let (source, other) = (at("data/a.csv"), at("other"));
    let told = |input: &str, change: &dyn Fn()| {
        fs::write(&source, "1,2\n").unwrap();
        let file = OpenOptions::new().append(true).open(&source).unwrap();
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        file.set_modified(past).unwrap();
        drop(file);
        let mut job = fixture.job();
        job.inputs = vec![fixture.input(input, input, Expected::Recorded)];
        let place = Place::prepare(&job, Placing::Mounted).unwrap();
        change();
        place.collect().violations
    };
    let due = ["read \"data/a.csv\", which was changed while it ran"];
    let there_and_back = || {
        fs::write(&source, "9,9\n").unwrap();
        fs::write(&source, "1,2\n").unwrap();
    };
    let linked = || {
        fs::hard_link(&source, &other).unwrap();
        fs::remove_file(&other).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for input in ["data/a.csv", "data/"] {
        assert_eq!(told(input, &|| {}), [""; 0], "{input}");
        assert_eq!(told(input, &there_and_back), due, "{input}");
        // Its other names and its rights are no bytes.
        assert_eq!(told(input, &linked), [""; 0], "{input}");
    }
    // Of a file by itself the stage has the one that was hashed; in a directory, what has the name.
    let replaced = || {
        fs::write(&other, "9,9\n").unwrap();
        fs::rename(&other, &source).unwrap();
    };
    assert_eq!(told("data/a.csv", &replaced), [""; 0]);
    assert_eq!(told("data/", &replaced), due);
    assert_eq!(told("data/", &|| fs::remove_file(&source).unwrap()), due);
    let added = || fs::write(at("data/sub/new.csv"), "").unwrap();
    assert_eq!(
        told("data/", &added),
        ["read \"data/\", into which files came while it ran"]
    );
}

/// A sandbox opens what it mounts when all inputs are hashed, which may take minutes.
#[test]
fn an_input_that_is_replaced_before_it_is_mounted_is_not_read_unhashed() {
    let fixture = Fixture::new();
    let at = |path: &str| fixture.root.path().join(path);
    let replace = |path: &str| {
        fs::write(at("other"), "9,9\n").unwrap();
        fs::rename(at("other"), at(path)).unwrap();
    };
    let mut job = fixture.job();
    job.inputs = vec![
        fixture.input("data/a.csv", "data/a.csv", Expected::Recorded),
        fixture.input("again.csv", "data/a.csv", Expected::Recorded),
    ];
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    replace("data/a.csv");
    let sources: Vec<PathBuf> = place.mounts.iter().map(|(from, _)| from.clone()).collect();
    assert_eq!(sources.len(), 2);
    for source in &sources {
        assert_eq!(fs::read(source).unwrap(), b"1,2\n");
        assert!(!source.starts_with(place.work()));
    }
    assert_eq!(place.collect().violations, [""; 0]);
    // And written to, it is what the stage reads.
    fs::write(&sources[0], "1,2,3\n").unwrap();
    assert_eq!(place.collect().violations.len(), 2);
    drop(place);
    assert!(!sources.iter().any(|source| source.exists()));
    assert_eq!(fs::read(at("data/a.csv")).unwrap(), b"9,9\n");

    // Where one is a link, that is so of what it leads to.
    std::os::unix::fs::symlink("sub/b.csv", at("data/link.csv")).unwrap();
    job.inputs = vec![fixture.input("data/link.csv", "data/link.csv", Expected::Recorded)];
    let before = fs::read(at("data/link.csv")).unwrap();
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    replace("data/sub/b.csv");
    assert_eq!(fs::read(&place.mounts[0].0).unwrap(), before);
    assert_eq!(place.collect().violations, [""; 0]);

    // Of a file on another file system none can be made: it is mounted by its own name, which has to stay.
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(elsewhere.path()) == device(fixture.root.path()) {
        return;
    }
    let far = elsewhere.path().join("far.csv");
    fs::write(&far, "1\n").unwrap();
    std::os::unix::fs::symlink(&far, at("data/far.csv")).unwrap();
    job.inputs = vec![fixture.input("data/far.csv", "data/far.csv", Expected::Recorded)];
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    assert_eq!(place.mounts[0].0, far);
    assert_eq!(place.collect().violations, [""; 0]);
    fs::write(elsewhere.path().join("other"), "2\n").unwrap();
    fs::rename(elsewhere.path().join("other"), &far).unwrap();
    assert_eq!(
        place.collect().violations,
        ["read \"data/far.csv\", which was changed while it ran"]
    );
}

#[test]
fn one_of_very_many_inputs_that_was_changed_is_told_and_links_of_others_are_not() {
    let fixture = Fixture::new();
    let mut job = fixture.job();
    job.inputs = many(&fixture);
    let place = Place::prepare(&job, Placing::Mounted).unwrap();
    // Another stage beside it, with the same inputs.
    drop(Place::prepare(&job, Placing::Mounted).unwrap());
    assert_eq!(place.collect().violations, [""; 0]);
    let source = fixture.root.path().join("data/many/3000");
    fs::write(&source, "other").unwrap();
    fs::write(&source, "3000").unwrap();
    assert_eq!(
        place.collect().violations,
        ["read \"data/many/3000\", which was changed while it ran"]
    );
}
