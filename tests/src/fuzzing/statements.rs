//! Targets for what statements say: predicates, bills of materials, lists of packages.

use super::as_text;
use sealstone_spec::bom::{self, Bom, Package, Reality, check, installed, lockfile, requirements};
use sealstone_spec::canonical::{parse_value, to_canonical_json};
use sealstone_spec::purl::Purl;
use sealstone_spec::report::Report;
use sealstone_spec::statement::predicate::{self, Predicate, read, unread_fields, write};
use sealstone_spec::statement::{provenance, reference, release, summary, svr, test_result};
use serde_json::{Map, Value};

fn holds<P: Predicate>(given: &Map<String, Value>) -> bool {
    let Ok(read_once) = read::<P>(given) else {
        assert!(unread_fields::<P>(given).is_empty());
        return false;
    };
    let written = write(&read_once).expect("what was read can be written");
    let again = read::<P>(&written).expect("its own form can be read");
    assert_eq!(write(&again).ok().as_ref(), Some(&written));
    assert!(unread_fields::<P>(&written).is_empty());
    true
}

/// Input: `{"predicateType": ..., "predicate": {...}}`. What is read can be written, and reads as the same.
pub(super) fn predicate(input: &[u8]) -> bool {
    let Ok(value) = parse_value(input, 1 << 20) else {
        return false;
    };
    let (Some(kind), Some(given)) = (
        value["predicateType"].as_str(),
        value["predicate"].as_object(),
    ) else {
        return false;
    };
    match kind {
        predicate::SLSA_PROVENANCE => holds::<provenance::Provenance>(given),
        predicate::TEST_RESULT => holds::<test_result::TestResult>(given),
        predicate::SVR => holds::<svr::Svr>(given),
        predicate::RELEASE => holds::<release::Release>(given),
        predicate::VERIFICATION_SUMMARY => holds::<summary::Summary>(given),
        predicate::REFERENCE => holds::<reference::Reference>(given),
        predicate::CYCLONEDX => holds::<Bom>(given),
        _ => false,
    }
}

/// A bill that is read agrees with the packages that it lists itself, and not with any one less.
pub(super) fn bill_of_materials(input: &[u8]) -> bool {
    let Ok(bom) = Bom::parse(input) else {
        return false;
    };
    let written = to_canonical_json(&bom).expect("a bill is JSON");
    assert_eq!(Bom::parse(&written).expect("its own form can be read"), bom);
    let packages = bom::package::merge(bom.packages());
    let mut reality = Reality {
        packages: Some(packages.clone()),
        ..Reality::default()
    };
    // A bill may list one version twice with different hashes; then no reality agrees with it.
    if packages.len() == bom.packages().len() {
        let compared = check(&bom, &reality).expect("there are packages to compare");
        assert_eq!(compared.differences, []);
    }
    if let Some(first) = packages.first() {
        reality.packages = Some(packages[1..].to_vec());
        let compared = check(&bom, &reality).expect("there are packages to compare");
        assert!(
            compared
                .differences
                .iter()
                .any(|it| it.name() == first.name)
        );
    }
    true
}

/// Lists of packages: whatever is read fixes each package by a version and a hash.
pub(super) fn packages(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let fixed = |found: &[Package]| {
        assert!(!found.is_empty());
        for package in found {
            assert!(!package.version.is_empty() && !package.archives.is_empty());
            let purl: Purl = package
                .purl()
                .to_string()
                .parse()
                .expect("its own name can be read");
            assert_eq!(purl.name, package.name);
        }
    };
    let read = [
        requirements::parse(text),
        lockfile::parse_uv(text),
        lockfile::parse_pylock(text),
    ];
    let _ = installed::read("x.dist-info", text, text);
    let _ = installed::read_egg_info("x.egg-info", text);
    let mut accepted = false;
    for found in read.iter().flatten() {
        fixed(found);
        accepted = true;
    }
    accepted
}

/// A report means the same when it is written again, as a document and as a predicate; cut to what a statement can
/// hold it says the same verdict.
pub(super) fn report(input: &[u8]) -> bool {
    let Ok(report) = Report::parse(input) else {
        return false;
    };
    let again = Report::parse(&report.to_bytes()).expect("its own form can be read");
    assert_eq!(again, report);
    let stated = Report::from_predicate(&report.to_predicate()).expect("its own form can be read");
    assert_eq!(stated, report);
    if let Some(short) = report.cut() {
        assert_eq!(short.verdict, report.verdict);
        assert!(Report::parse(&short.to_bytes()).is_ok());
    }
    true
}
