#![allow(clippy::unwrap_used)]
//! Renderings against files that were looked at by people. To write them again, and look again:
//! `SEALSTONE_WRITE_GOLDEN=1 cargo test report::tests`.

use super::*;
use sealstone_spec::report::{Reason, ReplayScope, Report, StageStatus, TrailEntry, Verdict};
use serde_json::{Value, json};
use std::path::PathBuf;

fn full() -> Report {
    Report::parse(include_bytes!("golden/full.json")).unwrap()
}

fn reproduced() -> Report {
    Report::parse(include_bytes!(
        "../../../spec/vectors/report/reproduced.json"
    ))
    .unwrap()
}

/// A replay that was halted before anything ran.
fn halted() -> Report {
    let mut value: Value = serde_json::from_slice(include_bytes!(
        "../../../spec/vectors/report/reproduced.json"
    ))
    .unwrap();
    value["verdict"] = json!("HALTED");
    value["reasons"] = json!([{"verdict": "HALTED", "code": "input-digest", "subject": "data/raw.csv",
        "text": "expected sha256:aa, found sha256:bb"}]);
    for table in ["stages", "metrics", "tests", "resources"] {
        value[table] = json!([]);
    }
    value["class"] = json!({"required": "numeric"});
    value["isolation"] = json!({"required": "I3"});
    Report::parse(value.to_string().as_bytes()).unwrap()
}

/// A report by somebody who wants to get out of its page.
fn hostile() -> Report {
    let evil = "</script><script>alert(1)</script><img src=https://evil.example/x>|`@all` \u{1b}[2J\n::error::";
    let mut value: Value = serde_json::from_slice(include_bytes!("golden/full.json")).unwrap();
    value["baseline"]["id"] = json!(evil);
    value["owner"] = json!(evil);
    value["stages"][2]["name"] = json!(evil);
    value["stages"][2]["argv"] = json!([evil]);
    value["stages"][2]["artifacts"][0]["path"] = json!(evil);
    value["stages"][2]["artifacts"][0]["detail"]["rows"][0]["name"] = json!(evil);
    value["stages"][3]["needs"] = json!([evil]);
    value["metrics"][0]["name"] = json!(format!("::error::{evil}"));
    value["tests"][2]["note"] = json!(evil);
    value["firstDivergence"]["stage"] = json!(evil);
    value["firstDivergence"]["now"] = json!(evil);
    value["environment"]["diff"][0]["now"] = json!(evil);
    value["trail"][0]["subject"] = json!(evil);
    value["builder"]["id"] = json!(evil);
    Report::parse(value.to_string().as_bytes()).unwrap()
}

fn around() -> Surroundings {
    Surroundings {
        runbook: Some("REBUILD.md".into()),
        page: Some("https://ci.example/report.html".into()),
        ..Surroundings::of("registry.example/growth/churn-lr:1.4.0")
    }
}

#[track_caller]
fn golden(name: &str, rendered: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/report/golden", name]
        .iter()
        .collect();
    if std::env::var_os("SEALSTONE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, rendered).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let differs = stored
        .lines()
        .zip(rendered.lines())
        .position(|(one, two)| one != two);
    assert!(
        stored == rendered,
        "golden/{name} differs, first at line {differs:?}; if that is right, write it again and look at it"
    );
}

#[test]
fn renderings_are_those_that_were_looked_at() {
    for (name, report) in [
        ("full", full()),
        ("reproduced", reproduced()),
        ("halted", halted()),
    ] {
        golden(&format!("{name}.txt"), &terminal(&report, &around(), false));
        golden(&format!("{name}.xml"), &junit(&report));
        golden(&format!("{name}.sarif"), &sarif(&report, &around()));
        golden(&format!("{name}.md"), &markdown(&report, &around()));
    }
    golden("full.html", &html(&full(), &around()).unwrap());
}

#[test]
fn a_page_does_not_say_that_more_was_done_than_the_scope_asks() {
    let built = "Everything was built again";
    for scope in ReplayScope::ALL {
        for verdict in [
            Verdict::Reproduced,
            Verdict::ReproducedWithWarnings,
            Verdict::Diverged,
        ] {
            let mut report = reproduced();
            (report.scope, report.verdict) = (scope, verdict);
            let page = html(&report, &around()).unwrap();
            let is_whole = scope == ReplayScope::Full && verdict != Verdict::Diverged;
            assert_eq!(page.contains(built), is_whole, "{scope} {verdict:?}");
            let again = page.contains("built again");
            assert_eq!(again, scope == ReplayScope::Full, "{scope} {verdict:?}");
        }
    }
}

#[test]
fn a_replay_that_was_halted_on_its_way_does_not_say_that_nothing_ran() {
    let before = html(&halted(), &around()).unwrap();
    assert!(
        before.contains("Nothing was run.")
            && next_step(&halted(), &around())
                .0
                .contains("nothing was run")
    );
    let mut report = halted();
    report.trail = full().trail;
    let page = html(&report, &around()).unwrap();
    assert!(
        page.contains("Nothing was run after that showed."),
        "{page}"
    );
    assert!(!next_step(&report, &around()).0.contains("nothing was run"));
}

#[test]
fn a_terminal_without_colour_gets_no_escape_code_and_no_long_line() {
    for report in [full(), reproduced(), halted(), hostile()] {
        let text = terminal(&report, &around(), false);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{text}"
        );
        let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!text.lines().any(is_command), "{text}");
        assert!(text.contains(report.verdict.as_str()));
        assert!(terminal(&report, &around(), true).contains("\u{1b}["));
    }
    let text = terminal(&full(), &around(), false);
    for part in [
        "ORIGIN",
        "INHERITED",
        "First divergence",
        "tensor:[0,3]",
        "threads 1→2",
        "ND-02",
        "sealstone replay registry.example",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

/// Elements of an XML document that is well formed, as far as brackets tell; panics if it is not.
fn elements(xml: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let body = xml.split_once("?>").map_or(xml, |(_, body)| body);
    let mut rest = body;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "{rest}");
        let end = rest[start..].find('>').unwrap() + start;
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<'), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            let name = tag.split([' ', '/']).next().unwrap().to_owned();
            seen.push(tag.to_owned());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    seen
}

#[test]
fn junit_is_well_formed_and_each_case_has_a_name_of_its_own() {
    for report in [full(), reproduced(), halted(), hostile()] {
        let text = junit(&report);
        let cases: Vec<String> = elements(&text)
            .into_iter()
            .filter(|tag| tag.starts_with("testcase "))
            .collect();
        let mut names: Vec<&str> = cases
            .iter()
            .map(|tag| {
                tag.split("name=\"")
                    .nth(2)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
            })
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{text}");
        let fails = text.contains("<failure") || text.contains("<error");
        assert_eq!(fails, !report.verdict.is_reproduced(), "{text}");
    }
    assert!(junit(&full()).contains("name=\"metric.auc\""));
}

#[test]
fn junit_has_a_suite_for_each_kind_of_test_and_tells_undecided_from_failed() {
    let mut report = full();
    let mut undecided = report.tests[2].clone();
    (undecided.id, undecided.undecided) = ("inference/absent".into(), true);
    let mut stale = report.tests[0].clone();
    (stale.id, stale.kind) = ("docs/REBUILD.md".into(), "docs".into());
    stale.note = Some("stale".into());
    report.tests.extend([undecided, stale]);
    let text = junit(&report);
    for suite in ["data", "serialization", "inference", "docs"] {
        let due = format!("<testsuite name=\"sealstone.{suite}\"");
        assert_eq!(text.matches(&due).count(), 1, "{text}");
    }
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
    assert!(line("test.inference/absent").contains("<error"));
    assert!(line("test.inference/golden").contains("<failure"));
    assert!(line("test.docs/REBUILD.md (stale)").ends_with("/>"));
}

#[test]
fn junit_fails_for_bytes_that_halt_and_not_for_a_drift() {
    let checked = TrailEntry {
        seq: 9,
        at: "2026-01-31T12:00:00Z".into(),
        event: "verify.project".into(),
        subject: "12 files".into(),
        ok: false,
        note: Some("2 are others".into()),
    };
    let warned = Verdict::ReproducedWithWarnings;
    let drift = Reason::new(warned, "drift", "src/train.py", "it is another file");
    let mut report = reproduced();
    report.trail.push(checked.clone());
    report.reasons.push(drift.clone());
    report.decide();
    assert_eq!(report.verdict, warned);
    let text = junit(&report);
    assert!(
        !text.contains("<failure") && !text.contains("<error"),
        "{text}"
    );
    let named = "\"integrity.verify.project (warning)\"";
    assert!(text.contains(named), "{text}");
    // Beside what does fail, it is a warning still.
    let other = Reason::new(Verdict::Inconclusive, "other", "x", "y");
    report.reasons.push(other);
    report.decide();
    assert!(junit(&report).contains(named));
    let mut report = halted();
    report.trail.push(checked);
    report.reasons.push(drift);
    let text = junit(&report);
    let line = text
        .lines()
        .find(|line| line.contains("\"integrity.verify.project\""));
    assert!(line.unwrap().contains("<failure"), "{text}");
}

#[test]
fn a_test_that_could_not_be_made_has_not_failed_in_any_rendering() {
    let mut report = full();
    let mut undecided = report.tests[2].clone();
    (undecided.id, undecided.undecided) = ("inference/absent".into(), true);
    undecided.note = None;
    report.tests = vec![undecided];
    let log: Value = serde_json::from_str(&sarif(&report, &around())).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let about: Vec<&Value> = results
        .iter()
        .filter(|result| result.to_string().contains("inference/absent"))
        .collect();
    assert_eq!(about.len(), 1, "{about:?}");
    assert_eq!(about[0]["ruleId"], "RB008");
    let said = about[0]["message"].to_string();
    assert!(said.contains("could not be made"), "{said}");
    // One row of one table, not another among what else is wrong.
    for (page, word) in [
        (markdown(&report, &around()), "**undecided**"),
        (terminal(&report, &around(), false), "undecided"),
    ] {
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.contains("inference/absent"))
            .collect();
        assert_eq!(rows.len(), 1, "{page}");
        assert!(rows[0].contains(word), "{page}");
    }
    let page = markdown(&report, &around());
    let metric = page.lines().find(|line| line.contains("calibration"));
    assert!(metric.unwrap().contains("**undecided**"), "{page}");
}

#[test]
fn sarif_points_at_lines_of_the_recipe_and_keeps_its_fingerprints() {
    let log: Value = serde_json::from_str(&sarif(&full(), &around())).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(
            run["tool"]["driver"]["rules"][index]["id"],
            result["ruleId"]
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "recipe.toml");
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        assert_eq!(
            result["partialFingerprints"]["sealstoneReplay/v1"]
                .as_str()
                .unwrap()
                .len(),
            64
        );
    }
    let auc = results
        .iter()
        .find(|result| result["ruleId"] == "RB010")
        .unwrap();
    assert_eq!(
        auc["locations"][0]["physicalLocation"]["region"]["startLine"],
        60
    );
    // Other values, the same finding.
    let mut later = full();
    later.metrics[0].now = Some("0.5".into());
    let later: Value = serde_json::from_str(&sarif(&later, &around())).unwrap();
    let of = |log: &Value| -> Vec<Value> {
        log["runs"][0]["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["partialFingerprints"].clone())
            .collect()
    };
    assert_eq!(of(&log), of(&later));
    let empty: Value = serde_json::from_str(&sarif(&reproduced(), &around())).unwrap();
    assert_eq!(empty["runs"][0]["results"], json!([]));
}

#[test]
fn a_comment_has_a_marker_a_verdict_and_at_most_ten_rows() {
    for report in [full(), reproduced(), halted(), hostile()] {
        let text = markdown(&report, &around());
        assert!(
            text.starts_with(MARKER) && text.lines().next().unwrap().ends_with("-->"),
            "{text}"
        );
        let head: String = text.split("<details>").next().unwrap().to_owned();
        let rows = head.lines().filter(|line| line.starts_with("| ")).count();
        assert!(rows <= 12, "{head}");
        assert!(text.chars().count() <= 20_000);
        assert!(
            !text.contains("<img") && !text.contains("<script") && !text.contains("@all"),
            "{text}"
        );
    }
    let mut long = full();
    long.metrics = (0..1000)
        .map(|index| {
            let mut row = long.metrics[0].clone();
            row.name = format!("{index}{}", "x".repeat(400));
            row
        })
        .collect();
    // Three scopes are one comment, of which GitHub takes 65,536 characters; and one does not swallow the next.
    long.environment.diff = (0..100)
        .map(|index| {
            let mut row = full().environment.diff[0].clone();
            row.fact = format!("{index}{}", "x".repeat(400));
            row.base = Some("y".repeat(400));
            row
        })
        .collect();
    let text = markdown(&long, &around());
    assert!(text.chars().count() <= 20_000 && text.contains("… (cut)\n"));
    assert!(
        text.trim_end().ends_with("report.html)"),
        "where the rest is"
    );
    assert_eq!(
        text.matches("<details>").count(),
        text.matches("</details>").count()
    );
    assert_eq!(text.matches("```").count() % 2, 0);
    let bad = Surroundings {
        page: Some("javascript:alert(1)".into()),
        ..around()
    };
    assert!(!markdown(&full(), &bad).contains("javascript"));
}

#[test]
fn the_page_asks_nobody_and_lets_nobody_out() {
    for report in [full(), reproduced(), halted(), hostile()] {
        let page = html(&report, &around()).unwrap();
        for fetching in [
            "src=\"", "src='", "url(h", "@import", "<link", "<iframe", "<object", "<base",
            "fetch(", "XMLHttp", "<img",
        ] {
            assert!(!page.contains(fetching), "{fetching}");
        }
        // `url(#tip)` is a marker within; nothing else may be referred to.
        assert_eq!(
            page.matches("url(").count(),
            page.matches("url(#tip)").count()
        );
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("alert(1)</script>"));
        let policy = page
            .split("Content-Security-Policy\" content=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let script = page
            .split("<script>")
            .nth(1)
            .unwrap()
            .split("</script>")
            .next()
            .unwrap();
        let digest = data_encoding::BASE64
            .encode(sealstone_spec::digest::Digest::sha256(script.as_bytes()).bytes());
        assert!(
            policy.contains(&format!("script-src 'sha256-{digest}'")),
            "{policy}"
        );
        assert!(page.contains(&report.verdict.as_str().replace('_', " ")));
    }
}

#[test]
fn every_verdict_but_reproduced_has_a_problem_and_a_next_step() {
    let codes = [
        "other",
        "stage",
        "environment",
        "isolation",
        "runner",
        "machine",
        "artifact",
        "metric",
        "test",
        "usage",
        "override",
    ];
    let cases = Verdict::ALL
        .into_iter()
        .flat_map(|verdict| codes.map(|code| (verdict, code)));
    for (verdict, code) in cases {
        let mut report = reproduced();
        if verdict != Verdict::Reproduced {
            report.reasons = vec![Reason::new(verdict, code, "x", "y")];
        }
        report.decide();
        assert_eq!(report.verdict, verdict);
        let is_empty = problems(&report).is_empty();
        assert_eq!(is_empty, verdict == Verdict::Reproduced, "{verdict} {code}");
        let text = junit(&report);
        let is_red = text.contains("<failure") || text.contains("<error");
        assert_eq!(is_red, !verdict.is_reproduced(), "{verdict} {code}: {text}");
        if is_red {
            let page = markdown(&report, &around());
            assert!(!page.contains("Nothing changed"), "{page}");
        }
        let (why, command) = next_step(&report, &around());
        assert!(!why.is_empty() && command.starts_with("sealstone "));
    }
}

/// It ended well, and then it could not be run again, or not with another seed.
#[test]
fn a_stage_that_failed_after_it_ended_well_is_told_in_every_rendering() {
    let mut report = reproduced();
    let name = report.stages[1].name.clone();
    let why = "with seed 7: it took too long";
    let reason = Reason::new(Verdict::Error, "stage", &name, why);
    report.reasons.push(reason);
    report.decide();
    let found = problems(&report);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].rule.id, found[0].stage.as_str()),
        ("RB005", name.as_str())
    );
    for page in [
        terminal(&report, &around(), false),
        junit(&report),
        sarif(&report, &around()),
        markdown(&report, &around()),
        html(&report, &around()).unwrap(),
    ] {
        assert!(page.contains("it took too long"), "{page}");
    }
    // Where it did not end well in the first place, it is one problem and not two.
    report.stages[1].status = StageStatus::Error;
    let found = problems(&report);
    assert_eq!(found.len(), 1, "{found:?}");
    let page = markdown(&report, &around());
    let rows = page.lines().filter(|line| line.contains("**error**"));
    assert_eq!(rows.count(), 1, "{page}");
}

#[test]
fn whatever_fails_has_a_row_in_the_comment_and_a_line_on_the_terminal() {
    let row_of = |page: &str, word: &str| {
        let mut rows = page.lines().filter(|line| line.starts_with("| "));
        rows.position(|line| line.contains(word))
    };
    // The recipe states a metric no longer, and another one moved within its tolerance: not everything is ok.
    let mut report = reproduced();
    let mut moved = full().metrics[1].clone();
    moved.name = "moved".into();
    report.metrics = vec![moved.clone()];
    let why = "the recipe does not state it any more";
    let reason = Reason::new(Verdict::Inconclusive, "metric", "forgotten", why);
    report.reasons.push(reason);
    report.decide();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let text = terminal(&report, &around(), false);
    assert!(
        text.contains(&format!("error    forgotten: {why}")),
        "{text}"
    );
    let page = markdown(&report, &around());
    assert_eq!(row_of(&page, "forgotten"), Some(2), "{page}");
    assert_eq!(row_of(&page, "**undecided**"), Some(2), "{page}");
    assert_eq!(row_of(&page, "metric moved"), Some(3), "{page}");
    // Nor do rows of what is fine push it out.
    report.metrics = vec![moved.clone(); 60];
    let page = markdown(&report, &around());
    assert_eq!(row_of(&page, "forgotten"), Some(2), "{page}");

    // A fact that has to match is folded away with the others: it fails, and has a row.
    let mut report = full();
    report.environment.diff[3].exception = None;
    let page = markdown(&report, &around());
    assert!(
        page.contains("| env-must |  | gpu.name&#58; H100"),
        "{page}"
    );

    // A line names one output of a stage, and tables are cut.
    let mut other = report.stages[2].artifacts[0].clone();
    other.path = "work/other.npy".into();
    report.stages[2].artifacts.push(other);
    report.metrics = vec![moved; 50];
    let mut last = full().metrics[0].clone();
    last.name = "last".into();
    report.metrics.push(last);
    let text = terminal(&report, &around(), false);
    for due in [
        "error    work/other.npy of stage features",
        "error    metric last is",
    ] {
        assert!(text.contains(due), "{text}");
    }
    let again = |due: &str| text.matches(due).count();
    assert_eq!(
        (again("gpu.name: H100"), again("metric auc is")),
        (0, 0),
        "{text}"
    );
}

#[test]
fn a_page_of_an_error_does_not_say_that_nothing_can_be_said() {
    let mut report = full();
    report
        .reasons
        .push(Reason::new(Verdict::Error, "machine", "full", "y"));
    report.decide();
    let page = html(&report, &around()).unwrap();
    assert!(page.contains("what was seen stands below"), "{page}");
    assert!(!page.contains("nothing can be said"), "{page}");
}

#[test]
fn rules_are_in_order_and_no_two_have_one_identifier() {
    for pair in RULES.windows(2) {
        assert!(pair[0].id < pair[1].id);
    }
}
