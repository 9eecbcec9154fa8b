//! JUnit: a suite for each group, a case for each thing that can fail, each with a name of its own.
//!
//! Build servers ignore the second of two cases of one name, and do not fail by the file alone: the exit
//! code counts.

use super::escape::xml;
use super::problems::{Level, Problem, problems};
use sealstone_spec::report::{Report, StageStatus, TrailEntry, Verdict, alert_line};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Longest message of a case, in characters.
const MAX_MESSAGE_CHARS: usize = 2000;
/// Checks of a whole. What they were made on is a name, a digest or a count, another one with every release or file, and
/// under another name a case has no history; the trail says it.
const WHOLE: [&str; 3] = ["verify.signature", "verify.bundle", "verify.project"];

struct Case {
    name: String,
    seconds: f64,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(String),
    Broken(String),
    Skipped(String),
}

/// The report as the XML of JUnit.
pub fn junit(report: &Report) -> String {
    let found = problems(report);
    let mut suites = vec![
        ("integrity".to_owned(), integrity(report)),
        ("stage".to_owned(), stages(report, &found)),
        ("metric".to_owned(), metrics(report, &found)),
    ];
    suites.extend(tests(report));
    suites.push(("resource".to_owned(), resources(report)));
    // Whatever no row stands for: a file that is all green under a verdict that fails would be believed.
    let fails = |case: &Case| matches!(case.outcome, Outcome::Failed(_) | Outcome::Broken(_));
    let is_red = suites.iter().flat_map(|(_, cases)| cases).any(fails);
    if report.verdict > Verdict::ReproducedWithWarnings && !is_red {
        suites[0].1.push(Case {
            name: "integrity.verdict".into(),
            seconds: 0.0,
            outcome: Outcome::Broken(alert_line(report, None)),
        });
    }
    let mut body = String::new();
    let mut totals = [0usize; 4];
    for (group, mut cases) in suites {
        if cases.is_empty() {
            continue;
        }
        make_unique(&mut cases);
        let count = |wanted: fn(&Outcome) -> bool| {
            cases.iter().filter(|case| wanted(&case.outcome)).count()
        };
        let failures = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let errors = count(|outcome| matches!(outcome, Outcome::Broken(_)));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        for (total, part) in totals
            .iter_mut()
            .zip([cases.len(), failures, errors, skipped])
        {
            *total += part;
        }
        let seconds: f64 = cases.iter().map(|case| case.seconds).sum();
        let _ = writeln!(
            body,
            "  <testsuite name=\"sealstone.{group}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\" timestamp=\"{}\">",
            cases.len(),
            xml(report.finished_on.trim_end_matches('Z'))
        );
        for case in &cases {
            write_case(&mut body, &group, case);
        }
        if group == "stage" {
            let _ = writeln!(body, "    <system-out>{}</system-out>", xml(&trail(report)));
        }
        body.push_str("  </testsuite>\n");
    }
    let [tests, failures, errors, skipped] = totals;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"sealstone replay {}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">\n{body}</testsuites>\n",
        xml(&report.baseline.id)
    )
}

fn write_case(body: &mut String, group: &str, case: &Case) {
    let _ = write!(
        body,
        "    <testcase classname=\"sealstone.{group}\" name=\"{}\" time=\"{:.3}\"",
        xml(&case.name),
        case.seconds
    );
    let cut = |text: &str| -> String { text.chars().take(MAX_MESSAGE_CHARS).collect() };
    let (tag, text) = match &case.outcome {
        Outcome::Passed => {
            body.push_str("/>\n");
            return;
        }
        Outcome::Failed(text) => ("failure", text),
        Outcome::Broken(text) => ("error", text),
        Outcome::Skipped(text) => ("skipped", text),
    };
    let text = xml(&cut(text));
    let _ = writeln!(
        body,
        "><{tag} message=\"{}\"/></testcase>",
        text.replace('\n', " ")
    );
}

/// Two cases of one name would be one.
fn make_unique(cases: &mut [Case]) {
    let mut taken = BTreeSet::new();
    for case in cases {
        let mut name = case.name.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{} ({number})", case.name);
            number += 1;
        }
        case.name = name;
    }
}

fn integrity(report: &Report) -> Vec<Case> {
    let mut cases: Vec<Case> = report
        .trail
        .iter()
        .filter(|entry| entry.event.starts_with("verify"))
        .map(|entry| {
            // As with resources, a warning is a note in the name.
            let warned = !entry.ok && is_warning(report, entry);
            let mark = if warned { " (warning)" } else { "" };
            let name = match WHOLE.contains(&entry.event.as_str()) {
                true => entry.event.clone(),
                false => format!("{} {}", entry.event, entry.subject),
            };
            Case {
                name: format!("integrity.{name}{mark}"),
                seconds: 0.0,
                outcome: match entry.ok || warned {
                    true => Outcome::Passed,
                    false => Outcome::Failed(
                        entry
                            .note
                            .clone()
                            .unwrap_or_else(|| alert_line(report, None)),
                    ),
                },
            }
        })
        .collect();
    let halted = report.verdict == Verdict::Halted;
    if halted
        && !cases
            .iter()
            .any(|case| matches!(case.outcome, Outcome::Failed(_)))
    {
        cases.push(Case {
            name: "integrity".into(),
            seconds: 0.0,
            outcome: Outcome::Failed(alert_line(report, None)),
        });
    }
    // What kept everything from being done, which no row of a table stands for.
    let kept = report.reasons.iter().filter(|reason| {
        ["environment", "isolation", "runner", "machine"].contains(&reason.code.as_str())
            && [Verdict::Inconclusive, Verdict::Error].contains(&reason.verdict)
    });
    cases.extend(kept.map(|reason| Case {
        name: format!("integrity.{}.{}", reason.code, reason.subject),
        seconds: 0.0,
        outcome: Outcome::Broken(reason.text.clone()),
    }));
    cases
}

/// Whether an entry of the trail that is not ok fails nothing: in a working directory, files that are others than in the
/// lock are a drift, which is told. A build server must not fail what the exit code lets pass.
fn is_warning(report: &Report, entry: &TrailEntry) -> bool {
    if report.verdict == Verdict::Halted {
        return false;
    }
    if report.verdict.is_reproduced() {
        return true;
    }
    let drifts = report
        .reasons
        .iter()
        .filter(|reason| reason.code == "drift");
    let verdicts: Vec<Verdict> = drifts.map(|reason| reason.verdict).collect();
    entry.event == "verify.project"
        && !verdicts.is_empty()
        && verdicts
            .iter()
            .all(|verdict| *verdict <= Verdict::ReproducedWithWarnings)
}

fn stages(report: &Report, found: &[Problem]) -> Vec<Case> {
    let mut cases = Vec::new();
    for stage in &report.stages {
        let seconds = stage
            .usage
            .get("wallMs")
            .and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
            .unwrap_or_default()
            / 1000.0;
        let about = |subject: &str| {
            found
                .iter()
                .filter(|problem| problem.stage == stage.name && problem.subject == subject)
                .map(|problem| problem.message.clone())
                .next()
                .unwrap_or_else(|| alert_line(report, None))
        };
        let note = stage.note.clone().unwrap_or_default();
        cases.push(Case {
            name: format!("stage.{}", stage.name),
            seconds,
            outcome: match stage.status {
                StageStatus::Ok => Outcome::Passed,
                StageStatus::Skipped => Outcome::Skipped(note),
                StageStatus::Error => Outcome::Broken(about(&stage.name)),
                StageStatus::Origin => Outcome::Failed(alert_line(report, None)),
                _ => Outcome::Failed(
                    "its outputs differ because those of a stage before it do".into(),
                ),
            },
        });
        cases.extend(stage.artifacts.iter().map(|row| Case {
            name: format!("stage.{}.{}", stage.name, row.path),
            seconds: 0.0,
            outcome: if row.ok {
                Outcome::Passed
            } else {
                Outcome::Failed(about(&row.path))
            },
        }));
    }
    cases
}

fn metrics(report: &Report, found: &[Problem]) -> Vec<Case> {
    let text = |name: &str| {
        let about = found.iter().find(|problem| {
            problem.subject == name
                && problem.level == Level::Error
                && problem.rule.id.starts_with("RB01")
        });
        about
            .map(|problem| problem.message.clone())
            .unwrap_or_default()
    };
    report
        .metrics
        .iter()
        .map(|row| Case {
            name: format!("metric.{}", row.name),
            seconds: 0.0,
            outcome: match (row.ok, row.undecided || row.now.is_none()) {
                (true, false) => Outcome::Passed,
                (_, true) => Outcome::Broken(text(&row.name)),
                (false, false) => Outcome::Failed(text(&row.name)),
            },
        })
        .collect()
}

/// A suite for each kind of test, in the order in which they come.
fn tests(report: &Report) -> Vec<(String, Vec<Case>)> {
    let mut suites: Vec<(String, Vec<Case>)> = Vec::new();
    for row in &report.tests {
        let note = row.note.clone();
        let problem = note.unwrap_or_else(|| "it does not hold".into());
        // Documents never fail: as with resources, a warning is a note in the name.
        let is_stale = row.ok && row.kind == "docs" && row.note.is_some();
        let mark = if is_stale { " (stale)" } else { "" };
        let case = Case {
            name: format!("test.{}{mark}", row.id),
            seconds: row.duration_ms.unwrap_or_default() as f64 / 1000.0,
            outcome: match (row.ok, row.undecided) {
                (true, _) => Outcome::Passed,
                (false, true) => Outcome::Broken(problem),
                (false, false) => Outcome::Failed(problem),
            },
        };
        let group = xml(&row.kind);
        match suites.iter_mut().find(|(name, _)| *name == group) {
            Some((_, cases)) => cases.push(case),
            None => suites.push((group, vec![case])),
        }
    }
    suites
}

/// Resources never fail: a warning is a note in the output, and a limit that nothing enforces was not tried.
fn resources(report: &Report) -> Vec<Case> {
    report
        .resources
        .iter()
        .map(|row| Case {
            name: format!(
                "resource.{}.{}{}",
                row.stage,
                row.quantity,
                if row.ok {
                    ""
                } else {
                    " (outside of its bound)"
                }
            ),
            seconds: 0.0,
            outcome: match row.is_unenforced() {
                true => Outcome::Skipped("nothing here holds the stage to it".into()),
                false => Outcome::Passed,
            },
        })
        .collect()
}

fn trail(report: &Report) -> String {
    let mut text = String::new();
    for entry in &report.trail {
        let mark = if entry.ok { "ok    " } else { "FAILED" };
        let note = entry
            .note
            .as_deref()
            .map(|note| format!(" ({note})"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {mark} {} {}{note}",
            entry.at, entry.event, entry.subject
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn full() -> Value {
        serde_json::from_slice(include_bytes!("golden/full.json")).unwrap()
    }

    fn lines_about(report: &Value, name: &str) -> Vec<String> {
        let report = Report::parse(report.to_string().as_bytes()).unwrap();
        let text = junit(&report);
        let cases = text.lines().filter(|line| line.contains("<testcase "));
        let about = cases.filter(|line| line.contains(name));
        about.map(str::to_owned).collect()
    }

    #[test]
    fn what_was_counted_names_no_case() {
        let counted = |subject: &str| {
            let mut report = full();
            report["trail"][1]["subject"] = json!(subject);
            lines_about(&report, "integrity.verify.project")
        };
        let one = counted("1 files of inputs, 2 of tests");
        assert_eq!(one.len(), 1, "{one:?}");
        assert_eq!(counted("2 files of inputs, 2 of tests"), one);
    }

    #[test]
    fn a_limit_that_nothing_enforces_is_no_case_that_passed() {
        let mut report = full();
        report["resources"] = json!([{"stage": "train", "quantity": "limit.cpus", "bound": "4096", "ok": true,
            "method": "requested-not-enforced"}]);
        let told = lines_about(&report, "resource.train.limit.cpus");
        assert!(told.len() == 1 && told[0].contains("<skipped "), "{told:?}");
    }
}
