//! The seeds of `tests/fuzz/corpus` and generated inputs through every target.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::path::PathBuf;

fn corpus() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus"]
        .iter()
        .collect()
}

/// Name and content of every input that is kept for a target.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_is_accepted_or_refused_as_its_name_says() {
    for (target, run) in TARGETS {
        let mut accepted = 0;
        for (name, input) in seeds(target) {
            let verdict = run(&input);
            accepted += usize::from(verdict);
            // files with other names were left by a fuzzing session and only must not panic
            let expected = match name.split('-').next() {
                Some("accept") => true,
                Some("refuse") => false,
                _ => continue,
            };
            assert_eq!(verdict, expected, "{target}/{name}");
        }
        assert!(accepted > 0, "{target} has no seed that it accepts");
    }
}

#[test]
fn every_target_has_seeds_and_a_binary_and_no_other_has() {
    let mut folders: Vec<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(folders, names);

    let manifest = fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut binaries: Vec<&str> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["name"].as_str().unwrap())
        .collect();
    binaries.sort_unstable();
    assert_eq!(binaries, names);
    for name in names {
        let source = corpus().join(format!("../fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(source).unwrap();
        assert!(
            source.contains(&format!("\"{name}\"")),
            "{name}.rs runs another target"
        );
    }
}

/// One change of an input, as a fuzzer makes them.
#[derive(Clone, Copy, Debug)]
enum Change {
    Replace(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Double(usize, usize),
}

fn changed(input: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for change in changes {
        let len = bytes.len().max(1);
        match *change {
            Change::Replace(at, byte) if !bytes.is_empty() => bytes[at % len] = byte,
            Change::Replace(..) => {}
            Change::Insert(at, byte) => bytes.insert(at % (bytes.len() + 1), byte),
            Change::Remove(at) if !bytes.is_empty() => drop(bytes.remove(at % len)),
            Change::Remove(_) => {}
            Change::Double(from, to) => {
                let (from, to) = (from % len, to % len);
                let part = bytes.get(from..=to).unwrap_or_default().to_vec();
                bytes.extend(part);
            }
        }
    }
    bytes
}

fn change() -> impl Strategy<Value = Change> {
    // bytes that mean something in one of the formats, and any other
    let byte = prop_oneof![
        proptest::sample::select(b"\0 \"%,-./0:=@[\\]_aAfz{}~\x7f\xff".as_slice()),
        any::<u8>(),
    ];
    prop_oneof![
        (any::<usize>(), byte.clone()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<usize>(), byte).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<usize>().prop_map(Change::Remove),
        (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Double(from, to)),
    ]
}

#[test]
fn changed_seeds_and_random_inputs_keep_every_property() {
    for (target, run) in TARGETS {
        let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, input)| input).collect();
        let near = (
            proptest::sample::select(seeds),
            proptest::collection::vec(change(), 1..6),
        )
            .prop_map(|(seed, changes)| changed(&seed, &changes));
        let inputs = prop_oneof![
            6 => near,
            1 => proptest::collection::vec(any::<u8>(), 0..200),
            1 => "\\PC{0,80}".prop_map(String::into_bytes),
        ];
        let mut runner = TestRunner::new(Config {
            cases: 400,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&inputs, |input| {
            run(&input);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}
