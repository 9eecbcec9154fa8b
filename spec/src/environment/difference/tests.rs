#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn facts(pairs: &[(&str, FactValue)]) -> Facts {
    let mut facts = Facts::default();
    for (name, value) in pairs {
        facts.set(name, value.clone()).unwrap();
    }
    facts
}

fn comparing(strictness: Strictness, overrides: &[Override]) -> Comparing<'_> {
    Comparing {
        strictness,
        replicate: false,
        overrides,
        today: "2026-11-24".parse().unwrap(),
    }
}

fn packages(pairs: &[(&str, &str)]) -> FactValue {
    let map: BTreeMap<String, String> = pairs
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
        .collect();
    map.into()
}

#[test]
fn features_that_one_side_lacks_are_named() {
    let list =
        |names: &[&str]| FactValue::List(names.iter().map(|name| (*name).to_owned()).collect());
    let base = facts(&[("cpu.features", list(&["avx2", "fma", "sse2"]))]);
    let now = facts(&[("cpu.features", list(&["avx512f", "sse2"]))]);
    for (strictness, level) in [
        (Strictness::Exact, Level::Must),
        (Strictness::Numeric, Level::Warn),
        (Strictness::Statistical, Level::Info),
    ] {
        let difference = compare(&base, &now, &comparing(strictness, &[]));
        assert_eq!(difference.rows.len(), 1);
        let row = &difference.rows[0];
        assert_eq!(row.base.as_deref(), Some("avx2,fma"));
        assert_eq!(row.now.as_deref(), Some("avx512f"));
        assert_eq!(row.level, level);
    }
}

#[test]
fn packages_are_rows_and_those_that_draw_must_match() {
    let base = facts(&[(
        "python.packages",
        packages(&[("numpy", "1.26"), ("rich", "13"), ("six", "1")]),
    )]);
    let now = facts(&[(
        "python.packages",
        packages(&[("numpy", "1.27"), ("rich", "14")]),
    )]);
    let difference = compare(&base, &now, &comparing(Strictness::Statistical, &[]));
    let rows: Vec<(&str, Level)> = difference
        .rows
        .iter()
        .map(|row| (row.fact.as_str(), row.level))
        .collect();
    assert_eq!(
        rows,
        [
            ("python.packages/numpy", Level::Must),
            ("python.packages/rich", Level::Warn),
            ("python.packages/six", Level::Warn),
        ]
    );
    assert_eq!(difference.rows[2].now, None);
}

#[test]
fn a_minor_version_is_enough_for_statistics() {
    let base = facts(&[("python.version", "3.11.7".into())]);
    for (version, exact, statistical) in [("3.11.9", true, false), ("3.12.0", true, true)] {
        let now = facts(&[("python.version", version.into())]);
        assert_eq!(
            compare(&base, &now, &comparing(Strictness::Exact, &[])).is_inconclusive(),
            exact
        );
        assert_eq!(
            compare(&base, &now, &comparing(Strictness::Statistical, &[])).is_inconclusive(),
            statistical
        );
    }
}

#[test]
fn the_system_is_information_inside_pinned_images() {
    let base = facts(&[("os.version", "12".into())]);
    let now = facts(&[("os.version", "13".into())]);
    let level = |base: &Facts, now: &Facts| {
        compare(base, now, &comparing(Strictness::Exact, &[])).rows[0].level
    };
    assert_eq!(level(&base, &now), Level::Warn);
    let pin = |facts: &Facts| {
        let mut facts = facts.clone();
        facts.set("image.digest", "sha256:00").unwrap();
        facts
    };
    assert_eq!(level(&pin(&base), &now), Level::Warn);
    assert_eq!(level(&pin(&base), &pin(&now)), Level::Info);
}

#[test]
fn what_a_runner_could_not_set_only_warns() {
    let base = facts(&[("host.name", "replay".into())]);
    let unset = facts(&[("host.name", NOT_SET.into())]);
    let other = facts(&[("host.name", "laptop".into())]);
    let level = |now: &Facts| compare(&base, now, &comparing(Strictness::Exact, &[])).rows[0].level;
    assert_eq!(level(&unset), Level::Warn);
    assert_eq!(level(&other), Level::Must);
}

#[test]
fn replicates_differ_in_their_seeds() {
    let base = facts(&[("seeds.declared", 1.into())]);
    let now = facts(&[("seeds.declared", 2.into())]);
    let mut how = comparing(Strictness::Statistical, &[]);
    assert!(compare(&base, &now, &how).is_inconclusive());
    how.replicate = true;
    assert!(!compare(&base, &now, &how).is_inconclusive());
}

#[test]
fn overrides_hold_until_their_last_day() {
    let base = facts(&[("gpu.name", "H100".into())]);
    let now = facts(&[("gpu.name", "H200".into())]);
    let decision = |expires: &str| Override {
        fact: "gpu.*".into(),
        level: Level::Warn,
        why: "compared".into(),
        expires: Some(expires.parse().unwrap()),
    };
    for (expires, holds) in [
        ("2026-11-24", true),
        ("2027-01-01", true),
        ("2026-11-23", false),
    ] {
        let overrides = [decision(expires)];
        overrides[0].check().unwrap();
        let difference = compare(&base, &now, &comparing(Strictness::Exact, &overrides));
        assert_eq!(difference.is_inconclusive(), !holds, "{expires}");
        assert_eq!(difference.expired.is_empty(), holds);
        assert_eq!(difference.rows[0].exception.is_some(), holds);
    }
    let raised = Override {
        fact: "gpu.name".into(),
        level: Level::Must,
        why: "strict here".into(),
        expires: None,
    };
    assert!(compare(&base, &now, &comparing(Strictness::Statistical, &[raised])).is_inconclusive());
}

#[test]
fn overrides_that_cannot_match_or_have_no_reason_are_refused() {
    let decision = |fact: &str, why: &str| Override {
        fact: fact.into(),
        level: Level::Warn,
        why: why.into(),
        expires: None,
    };
    for fact in [
        "gpu.name",
        "gpu.*",
        "python.packages/numpy",
        "python.packages",
    ] {
        assert_eq!(decision(fact, "because").check(), Ok(()), "{fact}");
    }
    for fact in ["gpu", "gp*", "*", "", "gpuname", "nothing.*"] {
        assert!(decision(fact, "because").check().is_err(), "{fact}");
    }
    assert!(decision("gpu.name", " ").check().is_err());
}

#[test]
fn unknown_facts_are_information() {
    let read = |value: &str| {
        let text = format!(
            r#"{{"schema":"sealstone-environment/v1","facts":{{"later.fact":"{value}"}}}}"#
        );
        Facts::parse(text.as_bytes()).unwrap()
    };
    let difference = compare(&read("a"), &read("b"), &comparing(Strictness::Exact, &[]));
    assert_eq!(difference.rows.len(), 1);
    assert_eq!(difference.rows[0].level, Level::Info);
}

proptest! {
    #[test]
    fn equal_documents_have_no_rows_and_rows_are_symmetric(
        a in proptest::collection::btree_map("[a-d]", "[0-3]", 0..4),
        b in proptest::collection::btree_map("[a-d]", "[0-3]", 0..4),
    ) {
        let document = |map: &BTreeMap<String, String>| facts(&[("python.packages", map.clone().into())]);
        let how = comparing(Strictness::Exact, &[]);
        let (left, right) = (document(&a), document(&b));
        prop_assert!(compare(&left, &left, &how).rows.is_empty());
        let forth = compare(&left, &right, &how);
        let back = compare(&right, &left, &how);
        prop_assert_eq!(forth.rows.len(), back.rows.len());
        for (one, other) in forth.rows.iter().zip(&back.rows) {
            prop_assert_eq!(&one.base, &other.now);
            prop_assert_eq!(one.level, other.level);
        }
    }
}
