//! Directories of very many files, and sandboxes that cannot be set up.

use super::{Ground, each, text};
use sealstone::Outcome;
use sealstone::runner::{Expected, Input, Kept, RunnerKind, StageJob};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Isolation;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

/// Files of a stage: more than bubblewrap takes arguments for, and than runc takes sources of mounts.
const FILES: usize = 5000;

/// A job that reads all of them, below `many`.
fn job(ground: &Ground, script: &str) -> StageJob {
    fs::create_dir(ground.at("base/many")).unwrap();
    let mut job = ground.job(script);
    for number in 0..FILES {
        let name = format!("many/{number}");
        let source = ground.at(&format!("base/{name}"));
        fs::write(&source, "a row\n").unwrap();
        job.inputs.push(Input {
            path: name,
            source,
            expected: Expected::File(Digest::sha256(b"a row\n")),
        });
    }
    job
}

#[test]
fn five_thousand_files_are_read_and_none_is_written() {
    each(Isolation::I1, |runner, ground| {
        let script = "ls many | wc -l > seen && cat many/* data.csv | wc -c >> seen";
        let mut all = job(ground, script);
        all.outputs = vec!["seen".into()];
        let start = Instant::now();
        let (outcome, kept) = ground.run(runner, &all);
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            start.elapsed()
        );
        let seen = fs::read_to_string(ground.at("out/seen")).unwrap();
        assert_eq!(seen, format!("{FILES}\n{}\n", FILES * 6 + 8));
        assert_eq!(outcome.inputs.len(), FILES + 1);
        assert!(outcome.undeclared.is_empty(), "{outcome:?}");

        for script in ["echo 9 > many/17", "rm -f many/17 && echo 9 > many/17"] {
            all.argv[2] = script.to_owned();
            all.outputs.clear();
            let (outcome, _) = ground.run(runner, &all);
            assert!(!outcome.succeeded(), "{script}: {outcome:?}");
            let left = fs::read(ground.at("base/many/17")).unwrap();
            assert_eq!(left, b"a row\n", "{script}");
        }
    });
}

#[test]
fn a_stage_may_write_beside_five_thousand_files() {
    each(Isolation::I1, |runner, ground| {
        let mut all = job(ground, "echo > many/index && ls many | wc -l");
        all.outputs = vec!["many/index".into()];
        let (outcome, kept) = ground.run(runner, &all);
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));
        assert_eq!(text(&kept.stdout), format!("{}\n", FILES + 1));
        assert!(ground.at("out/many/index").exists());

        all.argv[2] = "echo 9 > many/17; echo > many/index".to_owned();
        let (outcome, _) = ground.run(runner, &all);
        assert!(!outcome.succeeded(), "{outcome:?}");
        assert!(!outcome.violations.is_empty(), "{outcome:?}");
        let left = fs::read(ground.at("base/many/17")).unwrap();
        assert_eq!(left, b"a row\n");
    });
}

/// A link cannot be linked to, no more than a file on another file system: it is mounted onto a file of a directory that
/// is mounted read-only itself.
#[test]
fn a_large_file_that_cannot_be_linked_is_read_among_five_thousand() {
    each(Isolation::I1, |runner, ground| {
        let mut all = job(ground, "wc -c < many/large && cat many/* | wc -c");
        let large = vec![7u8; 2 << 20];
        fs::write(ground.at("large"), &large).unwrap();
        let source = ground.at("base/many/large");
        symlink(ground.at("large"), &source).unwrap();
        all.inputs.push(Input {
            path: "many/large".to_owned(),
            source,
            expected: Expected::File(Digest::sha256(&large)),
        });
        let (outcome, kept) = ground.run(runner, &all);
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));
        let all_bytes = large.len() + FILES * 6;
        assert_eq!(
            text(&kept.stdout),
            format!("{}\n{all_bytes}\n", large.len())
        );
        for script in [
            "echo 9 > many/large",
            "rm -f many/large && echo 9 > many/large",
        ] {
            all.argv[2] = script.to_owned();
            let (outcome, _) = ground.run(runner, &all);
            assert!(!outcome.succeeded(), "{script}: {outcome:?}");
            assert_eq!(fs::read(ground.at("large")).unwrap(), large, "{script}");
        }
    });
}

/// Whoever took it for a crash of the stage would run it again, and blame it.
#[test]
fn a_sandbox_that_cannot_be_set_up_is_no_outcome() {
    each(Isolation::I3, |runner, ground| {
        if !matches!(runner.kind(), RunnerKind::Oci | RunnerKind::Bubblewrap) {
            return;
        }
        let mut job = ground.job("echo ran");
        job.software.read_only.push(ground.at("gone"));
        let mut kept = Kept::default();
        let error = runner.run(&job, &mut kept).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Other, "{error:?}");
        assert!(error.message().contains("could not set up"), "{error:?}");
        assert!(kept.stdout.is_empty());
    });
}
