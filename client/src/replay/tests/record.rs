//! What a replay leaves behind: its trail and its times, statements, and the record of a halt.

use super::super::Halt;
use super::expected::{expect, expect_warnings, told};
use super::laboratory::{Laboratory, nothing};
use sealstone_spec::report::{Report, Verdict};
use sealstone_spec::statement::Subject;

#[test]
fn a_stale_document_is_told_and_decides_nothing() {
    let laboratory = Laboratory::new();
    let docs = |laboratory: &Laboratory| {
        let project = crate::recipe::Project::open(laboratory.root.path()).unwrap();
        let lock = project.lock(None).unwrap();
        let sources = crate::docs::Sources {
            project: &project,
            lock: lock.as_ref(),
            policy: None,
        };
        crate::docs::write(&sources, &laboratory.path("docs")).unwrap();
    };
    let row = |report: &Report| {
        let rows = report.tests.iter();
        let mut rows = rows.filter(|row| row.id == "docs/REBUILD.md");
        rows.next().cloned()
    };
    assert_eq!(row(&laboratory.replay(nothing)), None);
    docs(&laboratory);
    let fresh = laboratory.replay(nothing);
    expect(&fresh, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(row(&fresh).unwrap().note, None);
    laboratory.edit("docs/REBUILD.md", "#", "##");
    let report = laboratory.replay(nothing);
    expect_warnings(&report);
    told(&report, "docs", "docs/REBUILD.md");
    let row = row(&report).unwrap();
    assert!(row.ok && row.note.is_some());
}

#[test]
fn a_comparison_is_told_with_its_place() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    let compared = |ok: bool| {
        let entries = report
            .trail
            .iter()
            .filter(|entry| entry.event == "stage.compare");
        let entries = entries.filter(|entry| entry.ok == ok);
        let note = |note: &Option<String>| note.clone().unwrap_or_default();
        entries
            .map(|entry| (entry.subject.clone(), note(&entry.note)))
            .collect::<Vec<_>>()
    };
    let pair = |subject: &str, note: &str| (subject.to_owned(), note.to_owned());
    assert_eq!(
        compared(true),
        [pair("prepare", "1 files, bit_exact or better")]
    );
    assert_eq!(
        compared(false)[0],
        pair("model/weights.json", "divergent, first at pointer:/b")
    );
}

#[test]
fn what_is_looked_at_around_a_stage_is_told() {
    let laboratory = Laboratory::new();
    let report = laboratory.replay(nothing);
    let told = |stage: &str| -> Vec<(String, String)> {
        let about = report.trail.iter().filter(|entry| entry.subject == stage);
        about
            .map(|entry| (entry.event.clone(), entry.note.clone().unwrap_or_default()))
            .collect()
    };
    let pair = |event: &str, note: &str| (event.to_owned(), note.to_owned());
    assert_eq!(
        told("train"),
        [
            // The script, the data, and its parameters.
            pair("verify.inputs", "3 files hashed"),
            pair("stage.run", ""),
            pair("verify.inputs", "again, once it had ended"),
            pair("verify.outputs", "2 files hashed"),
            pair("stage.compare", "2 files, bit_exact or better"),
        ]
    );
}

#[test]
fn each_phase_has_its_time() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| (trial.twice, trial.slow) = (true, true));
    let phases: Vec<&str> = report.timings.keys().map(String::as_str).collect();
    assert_eq!(phases, ["compare", "run", "test", "twice"]);
    let took = |phase: &str| report.timings[phase].parse::<f64>().unwrap();
    // Three files differ, and each takes a second.
    assert!(took("compare") >= 3.0, "{:?}", report.timings);
}

#[test]
fn a_report_states_what_follows_from_it_and_no_more() {
    use super::super::{EQUIVALENCE, REBUILD, statements};
    let states = |report: &Report| {
        let bundle = Subject::new("line", &report.baseline.digest.0);
        statements(report, &[bundle]).unwrap()
    };
    let types = |report: &Report| -> Vec<String> {
        let all = states(report);
        for statement in &all {
            assert!(statement.subject[0].names(&report.baseline.digest.0));
        }
        assert_eq!(
            Report::from_predicate(all[0].predicate.as_ref().unwrap())
                .unwrap()
                .verdict,
            report.verdict
        );
        all.into_iter()
            .map(|statement| statement.predicate_type)
            .collect()
    };
    let laboratory = Laboratory::new();
    let good = laboratory.replay(nothing);
    let all = types(&good);
    assert_eq!(all[0], sealstone_spec::report::PREDICATE_TYPE);
    assert_eq!(
        all[1..],
        [
            "https://in-toto.io/attestation/test-result/v0.1",
            "https://in-toto.io/attestation/svr/v0.2",
            "https://slsa.dev/provenance/v1"
        ]
    );
    let text = serde_json::to_string(&states(&good)).unwrap();
    assert!(
        text.contains("REPRO_BIT_EXACT") && text.contains(REBUILD) && !text.contains(EQUIVALENCE)
    );
    // A divergence is signed as well, and vouches for nothing.
    laboratory.edit("params.json", "0.05", "0.04");
    let bad = laboratory.replay(nothing);
    assert_eq!(
        types(&bad),
        [
            sealstone_spec::report::PREDICATE_TYPE,
            "https://in-toto.io/attestation/test-result/v0.1"
        ]
    );
    let text = serde_json::to_string(&states(&bad)).unwrap();
    assert!(text.contains("FAILED") && !text.contains("REPRO_"));
}

#[test]
fn a_halt_leaves_a_record_that_is_never_replaced() {
    use super::super::alert::{drop_file, recover};
    use super::super::{Telling, record_incident};
    let laboratory = Laboratory::new();
    laboratory.edit("data/raw.csv", "7,7", "7,8");
    let report = laboratory.replay(nothing);
    let place = tempfile::tempdir().unwrap();
    let halt = Halt::new("input-digest", "data/raw.csv", "x");
    let one = record_incident(place.path(), &halt, &report, &[]).unwrap();
    let two = record_incident(place.path(), &halt, &report, &[]).unwrap();
    assert_ne!(one, two);
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(one.path).unwrap()).unwrap();
    assert_eq!(record["state"], "open");
    assert!(
        record["alert"]
            .as_str()
            .unwrap()
            .starts_with("HALTED line:1.0 check=input-digest subject=data/raw.csv")
    );
    // The same alert is one file.
    let alerts = tempfile::tempdir().unwrap();
    let telling = Telling {
        profile: None,
        runbook: None,
        directory: alerts.path(),
    };
    assert!(drop_file(&report, telling).unwrap().is_some());
    assert!(drop_file(&report, telling).unwrap().is_none());
    // The same model, whole again, closes it; another model does not.
    let good = Laboratory::new().replay(nothing);
    assert_eq!(good.verdict, Verdict::Reproduced);
    let mut other = good.clone();
    other.baseline.id = "lines:1.0".into();
    assert!(recover(&other, telling).unwrap().is_empty());
    let closed = recover(&good, telling).unwrap();
    let text = std::fs::read_to_string(&closed[0]).unwrap();
    assert!(text.starts_with("RECOVERED line:1.0") && text.contains("HALTED line:1.0"));
    assert!(recover(&good, telling).unwrap().is_empty());
}
