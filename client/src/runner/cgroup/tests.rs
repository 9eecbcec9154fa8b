//! The interface of the kernel, played by plain files.

#![allow(clippy::unwrap_used)]
use super::*;

/// A version 2 hierarchy in a directory. Groups that are made in it have no files of their own, as the
/// kernel would give them, so the test brings them.
fn places_two(root: &Path, own: &str, controllers: &str) -> Places {
    let directory = root.join(own.trim_start_matches('/'));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
    Places {
        mounts: format!(
            "30 29 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw\n",
            root.display()
        ),
        own: format!("0::{own}\n"),
    }
}

#[test]
fn reasons_are_given_for_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let none = Places {
        mounts: String::new(),
        own: String::new(),
    };
    assert_eq!(
        Group::create(&none, Bounds::default()).unwrap_err(),
        "no control groups are mounted"
    );
    let places = places_two(root.path(), "/user", "cpu pids");
    let reason = Group::create(&places, Bounds::default()).unwrap_err();
    assert!(
        reason.contains("the controller \"memory\" is not in"),
        "{reason}"
    );
    let places = places_two(root.path(), "/user", "cpu memory pids");
    let reason = Group::create(&places, Bounds::default()).unwrap_err();
    assert!(
        reason.contains("does not hand on its controllers"),
        "{reason}"
    );
    let left: Vec<_> = fs::read_dir(root.path().join("user"))
        .unwrap()
        .flatten()
        .collect();
    assert!(left.iter().all(|entry| !entry.path().is_dir()), "{left:?}");
}

#[test]
fn a_group_of_version_two_reads_its_accounts() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("g");
    fs::create_dir(&directory).unwrap();
    for (file, text) in [
        ("memory.peak", "4096000\n"),
        ("memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("pids.events", "max 0\n"),
        (
            "cpu.stat",
            "usage_usec 30000\nuser_usec 20000\nsystem_usec 10000\n",
        ),
    ] {
        fs::write(directory.join(file), text).unwrap();
    }
    let group = Group {
        version: Version::Two,
        directories: vec![directory.clone()],
    };
    assert_eq!(
        group.peak_memory(),
        Some(Measured::new(4_096_000, Method::Cgroup2))
    );
    let (user, system) = group.processor_time().unwrap();
    assert_eq!((user.value, system.value), (20, 10));
    assert!(group.ran_out_of_memory());
    assert!(!group.ran_out_of_processes());
    fs::write(directory.join("pids.events"), "max 7\n").unwrap();
    assert!(group.ran_out_of_processes());
    group.kill();
    assert_eq!(
        fs::read_to_string(directory.join("cgroup.kill")).unwrap(),
        "1"
    );
}

#[test]
fn a_group_of_version_one_reads_its_accounts() {
    let root = tempfile::tempdir().unwrap();
    let (memory, pids) = (root.path().join("m"), root.path().join("p"));
    fs::create_dir(&memory).unwrap();
    fs::create_dir(&pids).unwrap();
    fs::write(memory.join("memory.max_usage_in_bytes"), "512\n").unwrap();
    fs::write(
        memory.join("memory.oom_control"),
        "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )
    .unwrap();
    fs::write(pids.join("pids.events"), "max 2\n").unwrap();
    let group = Group {
        version: Version::One,
        directories: vec![memory, pids],
    };
    assert_eq!(
        group.peak_memory(),
        Some(Measured::new(512, Method::Cgroup1))
    );
    assert!(group.ran_out_of_memory() && group.ran_out_of_processes());
    assert_eq!(group.processor_time(), None);
}

#[test]
fn the_own_group_is_found_in_both_versions_and_inside_containers() {
    let own = "9:name=systemd:/\n8:pids:/x\n4:cpu,memory:/process/a\n0::/user.slice/b\n";
    assert_eq!(own_path(own, "memory"), Some("/process/a".into()));
    assert_eq!(own_path(own, ""), Some("/user.slice/b".into()));
    assert_eq!(own_path(own, "blkio"), None);
    let mount = |root: &str| Mount {
        at: "/sys/fs/cgroup".into(),
        root: root.into(),
        kind: "cgroup2".into(),
        options: String::new(),
    };
    let directory = |root, path: &str| own_directory(&mount(root), Path::new(path));
    assert_eq!(directory("/", "/a/b"), Path::new("/sys/fs/cgroup/a/b"));
    assert_eq!(
        directory("/docker/c", "/docker/c/job"),
        Path::new("/sys/fs/cgroup/job")
    );
    assert_eq!(directory("/", "/"), Path::new("/sys/fs/cgroup/"));
}

#[test]
fn the_machines_own_groups_work_or_say_why_not() {
    let bounds = Bounds {
        memory: Some(64 << 20),
        pids: Some(32),
    };
    match Group::create(&Places::of_this_process(), bounds) {
        Ok(group) => {
            assert!(group.peak_memory().is_some(), "{group:?}");
            assert!(!group.ran_out_of_memory());
            assert_eq!(group.doors().unwrap().len(), group.directories().len());
            let kept = group.directories().to_vec();
            drop(group);
            assert!(kept.iter().all(|directory| !directory.exists()), "{kept:?}");
        }
        Err(reason) => {
            crate::skips::not_possible(&format!("no control group: {reason}"));
            assert!(!reason.is_empty());
        }
    }
}
