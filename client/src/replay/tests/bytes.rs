//! Bytes that are not those of the lock: it halts before they are read, and says whose fault that is.

use super::super::{Halt, Project, ProjectError};
use super::expected::expect_halt;
use super::laboratory::{Laboratory, nothing};
use sealstone_spec::report::{ReplayScope, Report};

#[test]
fn a_byte_flipped_in_data_halts_before_anything_runs() {
    let laboratory = Laboratory::new();
    laboratory.edit("data/raw.csv", "7,7", "7,8");
    expect_halt(
        &laboratory.replay(nothing),
        "input-digest",
        "data/raw.csv",
        Some("data"),
    );
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "input-digest",
        "data/raw.csv",
        Some("data"),
    );
}

#[test]
fn what_is_changed_behind_a_replay_halts_it_where_it_would_be_read() {
    let laboratory = Laboratory::new();
    let data = "data/raw.csv";
    let events = |report: &Report| -> Vec<String> {
        let trail = report.trail.iter();
        trail.map(|entry| entry.event.clone()).collect()
    };
    let before = laboratory.replay(|trial| trial.meddled = Some(data));
    expect_halt(&before, "input-digest", data, Some("data"));
    assert_eq!(before.owner.as_deref(), Some("team-lab"));
    let done = [
        "verify.project",
        "environment.compare",
        "verify.input-digest",
    ];
    assert_eq!(events(&before), done);
    // Between its plan and its start as well, and nothing runs after that.
    let between = laboratory.replay(|trial| trial.meddles = Some(data));
    expect_halt(&between, "input-digest", data, Some("data"));
    assert!(!events(&between).contains(&"stage.run".to_owned()));
    let said: Vec<bool> = between
        .trail
        .iter()
        .filter(|entry| entry.event == "verify.inputs")
        .map(|entry| entry.ok)
        .collect();
    assert_eq!(said, [true, false]);
    // All of a bundle was checked, so its code may not change either.
    let script = "src/train.py";
    let sealed = laboratory.replay_sealed(|trial| trial.meddled = Some(script));
    expect_halt(&sealed, "file-digest", script, None);
    assert!(events(&sealed).contains(&"stage.run".to_owned()));
    let tests = laboratory.replay_sealed(|trial| {
        (trial.scope, trial.meddles) = (Some(ReplayScope::Infer), Some("golden/in.json"));
    });
    expect_halt(&tests, "input-digest", "golden/in.json", Some("data"));
}

#[test]
fn permuted_rows_of_an_input_halt() {
    let laboratory = Laboratory::new();
    let text = laboratory.read("data/raw.csv");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(1, 2);
    laboratory.write("data/raw.csv", &(lines.join("\n") + "\n"));
    expect_halt(
        &laboratory.replay(nothing),
        "input-digest",
        "data/raw.csv",
        Some("data"),
    );
}

#[test]
fn a_byte_flipped_in_code_of_a_bundle_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("src/train.py", "w = b = 0.0", "w = b = 0.1");
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "file-digest",
        "src/train.py",
        None,
    );
}

#[test]
fn a_byte_flipped_in_weights_of_a_bundle_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("model/weights.json", "{\"w\": ", "{\"w\": 1");
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "file-digest",
        "model/weights.json",
        None,
    );
}

#[test]
fn a_forged_lock_halts() {
    let laboratory = Laboratory::new();
    // The digest of an output, changed in every place: keys and listings no longer follow from it.
    let lock = laboratory.read("recipe.lock");
    let digest =
        sealstone_spec::digest::Digest::sha256(laboratory.read("work/train.csv").as_bytes()).hex();
    let other = format!("{:0>64}", "1");
    laboratory.write("recipe.lock", &lock.replace(&digest, &other));
    expect_halt(&laboratory.replay(nothing), "lock", "recipe.lock", None);
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "lock",
        "recipe.lock",
        None,
    );
}

#[test]
fn a_byte_flipped_in_the_lock_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("recipe.lock", "{\"environment\"", "{ \"environment\"");
    expect_halt(&laboratory.replay(nothing), "lock", "recipe.lock", None);
}

/// Why the laboratory's project cannot be replayed, as a bundle or as a working directory.
fn halt_of(laboratory: &Laboratory, sealed: bool) -> Halt {
    let bundle = sealstone_spec::digest::Digest::sha256(b"bundle");
    let loaded = match sealed {
        true => Project::of_bundle(laboratory.root.path(), "line:1.0", bundle, None),
        false => Project::of_directory(laboratory.root.path(), None),
    };
    match loaded.unwrap_err() {
        ProjectError::Halt(halt) => halt,
        ProjectError::Failed(error) => panic!("{error:?}"),
    }
}

#[test]
fn only_a_bundle_that_contradicts_itself_is_called_damaged() {
    let laboratory = Laboratory::new();
    laboratory.edit("data/raw.csv", "7,7", "7,8");
    assert!(halt_of(&laboratory, true).about_bundle);
    let halt = halt_of(&laboratory, false);
    assert!(!halt.about_bundle);
    assert_eq!(halt.id.as_deref(), Some("line:1.0"), "the recipe's name");
    // Code that is not its lock's, and a lock that was changed by hand.
    for (path, from, to) in [
        ("src/train.py", "w = b = 0.0", "w = b = 0.1"),
        ("recipe.lock", "{\"environment\"", "{ \"environment\""),
    ] {
        let laboratory = Laboratory::new();
        laboratory.edit(path, from, to);
        assert!(halt_of(&laboratory, true).about_bundle, "{path}");
    }
    // What another version has written is none of its faults.
    let laboratory = Laboratory::new();
    let schema = sealstone_spec::recipe::LOCK_SCHEMA;
    laboratory.edit("recipe.lock", schema, "sealstone-lock/v99");
    let halt = halt_of(&laboratory, true);
    assert_eq!(halt.code, "lock");
    assert!(halt.text.contains("v99"), "{halt}");
    assert!(!halt.about_bundle);
}

#[test]
fn a_changed_golden_answer_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("golden/out.json", "[", "[1");
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Infer));
    expect_halt(&report, "file-digest", "golden/out.json", None);
}
