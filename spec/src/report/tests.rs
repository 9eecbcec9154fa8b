#![allow(clippy::unwrap_used)]
use super::*;
use crate::digest::Digest;
use crate::vectors::reports::{diverged, reproduced};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(value: &Value) -> Report {
    Report::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn precedence_is_halted_error_diverged_inconclusive_warnings() {
    let mut order = Verdict::ALL;
    order.sort();
    assert_eq!(order, Verdict::ALL);
    let codes: Vec<u8> = Verdict::ALL
        .iter()
        .map(|verdict| verdict.exit_code(false))
        .collect();
    assert_eq!(codes, [0, 0, 5, 2, 4, 3]);
    assert_eq!(Verdict::ReproducedWithWarnings.exit_code(true), 1);
    assert_eq!(Verdict::Reproduced.exit_code(true), 0);
    for verdict in Verdict::ALL {
        assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
    }
}

#[test]
fn alerts_name_stage_artifact_place_test_and_owner() {
    let line = alert_line(&read(&diverged()), Some("REBUILD.md"));
    assert_eq!(
        line,
        "DIVERGED churn-lr:1.4.0~brisk-otter-quartz stage=train artifact=model/weights.safetensors at=tensor:coef[0,17] \
         test=numeric(rel_l2<=1e-9) observed=3.2e-3 attribution=params(model.C 1.0→0.8) owner=@team-growth runbook=REBUILD.md"
    );
    assert_eq!(
        alert_line(&read(&reproduced()), None),
        "REPRODUCED churn-lr:1.4.0~brisk-otter-quartz owner=@team-growth"
    );
}

#[test]
fn what_failed_is_named_with_what_was_expected_and_found() {
    let report = read(&diverged());
    let failing = report.failing().unwrap();
    assert_eq!(failing.stage, Some("train"));
    assert_eq!(failing.artifact, Some("model/weights.safetensors"));
    assert_eq!(failing.locator, Some("tensor:coef[0,17]"));
    assert_eq!(failing.test.as_deref(), Some("numeric(rel_l2<=1e-9)"));
    assert_eq!(
        (failing.expected, failing.observed),
        (Some("1.25"), Some("3.2e-3"))
    );
    // Where no stage is the origin, the first reason of the verdict is what failed.
    let mut metric = read(&diverged());
    metric.first_divergence = None;
    metric.reasons.retain(|reason| reason.code == "metric");
    let failing = metric.failing().unwrap();
    assert_eq!(failing.test.as_deref(), Some("metric/auc"));
    assert_eq!(
        (failing.expected, failing.observed),
        (Some("0.91"), Some("0.87"))
    );
    assert_eq!(read(&reproduced()).failing(), None);
}

#[test]
fn an_alert_is_one_line_whatever_the_bundle_says() {
    let mut value = diverged();
    value["firstDivergence"]["artifact"] = json!("a\nREPRODUCED \u{1b}[2Jb");
    value["owner"] = json!("x".repeat(5000));
    let line = alert_line(&read(&value), None);
    assert!(!line.chars().any(char::is_control), "{line}");
    assert!(line.len() < 2000);
}

#[test]
fn a_halt_names_the_check() {
    let mut value = reproduced();
    value["verdict"] = json!("HALTED");
    value["reasons"] = json!([{"verdict": "HALTED", "code": "input-digest", "subject": "data/raw.csv", "text": "expected sha256:aa, found sha256:bb"}]);
    let line = alert_line(&read(&value), None);
    assert!(
        line.contains("check=input-digest subject=data/raw.csv found=expected"),
        "{line}"
    );
}

#[test]
fn an_alert_about_a_metric_names_the_stage_that_wrote_it() {
    let mut value = diverged();
    value["firstDivergence"] = Value::Null;
    value["reasons"].as_array_mut().unwrap().remove(0);
    let report = read(&value);
    let stage = report.metrics[0].stage.clone().unwrap();
    assert_eq!(report.stage_at_fault(), Some(stage.as_str()));
    let line = alert_line(&report, None);
    let due = format!("stage={stage} check=metric subject=auc found=0.91 then");
    assert!(line.contains(&due), "{line}");
}

#[test]
fn an_alert_about_a_crash_names_the_stage_that_crashed() {
    let mut value = diverged();
    value["firstDivergence"] = Value::Null;
    value["verdict"] = json!("ERROR");
    value["reasons"] =
        json!([{"verdict": "ERROR", "code": "stage", "subject": "train", "text": "exit code 1"}]);
    let report = read(&value);
    assert_eq!(report.stage_at_fault(), Some("train"));
    assert_eq!(report.failing().unwrap().stage, Some("train"));
    let line = alert_line(&report, None);
    assert!(
        line.contains("stage=train check=stage subject=train found=exit"),
        "{line}"
    );
}

#[test]
fn fingerprints_do_not_depend_on_when_or_how_much() {
    let one = read(&diverged());
    let mut two = one.clone();
    two.started_on = "2026-01-31T11:00:00Z".into();
    two.metrics[0].now = Some("0.5".into());
    assert_eq!(one.fingerprint(), two.fingerprint());
    two.first_divergence.as_mut().unwrap().locator = Some("tensor:coef[0,18]".into());
    assert_ne!(one.fingerprint(), two.fingerprint());
}

#[test]
fn a_long_table_is_cut_and_what_failed_stays() {
    let mut report = read(&reproduced());
    assert!(report.cut().is_none());
    let row = report.metrics[0].clone();
    report.metrics = (0..2500)
        .map(|index| MetricRow {
            name: format!("m{index}"),
            ok: index != 2400,
            ..row.clone()
        })
        .collect();
    report.decide();
    assert_eq!(report.verdict, Verdict::Diverged);
    assert!(
        Report::parse(&report.to_bytes()).is_err(),
        "too long to be read"
    );
    assert_eq!(Report::parse_whole(&report.to_bytes()).unwrap(), report);
    let better = Report {
        verdict: Verdict::Reproduced,
        ..report.clone()
    };
    assert!(Report::parse_whole(&better.to_bytes()).is_err());
    let short = report.cut().unwrap();
    assert_eq!(short.metrics.len(), MAX_ROWS);
    assert!(short.metrics.iter().any(|row| row.name == "m2400"));
    assert_eq!(
        short.cut["metrics"],
        Cut {
            shown: 1000,
            total: 2500
        }
    );
    let whole = Digest::sha256(&report.to_bytes());
    assert_eq!(short.detail, Some(DigestRef::from(whole)));
    assert_eq!(Report::parse(&short.to_bytes()).unwrap(), short);
}

#[test]
fn hints_exist_and_are_numbered() {
    for (index, entry) in CATALOGUE.iter().enumerate() {
        assert_eq!(entry.id, format!("ND-{:02}", index + 1));
        for text in [entry.title, entry.symptom, entry.check, entry.fix] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{}", entry.id);
        }
    }
    for (clue, first) in [
        (Clue::Artifact("x.zip".into()), "ND-04"),
        (Clue::Artifact("x.pt".into()), "ND-15"),
        (Clue::Reordered, "ND-03"),
        (
            Clue::Values("1769860800.1".into(), "1769860801.7".into()),
            "ND-07",
        ),
        (
            Clue::Values("\"2026-01-31\"".into(), "\"2026-02-01\"".into()),
            "ND-07",
        ),
        (Clue::Values("/tmp/a".into(), "/tmp/b".into()), "ND-09"),
        (Clue::Fact("env.PYTHONHASHSEED".into()), "ND-01"),
        (Clue::Fact("threads.OMP_NUM_THREADS".into()), "ND-02"),
        (Clue::Fact("blas.arch".into()), "ND-16"),
        (Clue::Fact("packages.numpy".into()), "ND-17"),
        (Clue::Trace("lr".into(), false), "ND-19"),
        (Clue::Trace("batch_sha256".into(), true), "ND-03"),
        (Clue::Trace("loss".into(), true), "ND-14"),
        (Clue::Hidden, "ND-18"),
        (Clue::NoSeed, "ND-14"),
    ] {
        let hints = hints_for(std::slice::from_ref(&clue));
        assert_eq!(hints[0], first, "{clue:?}");
        assert!(hints.len() <= 5 && hints.iter().all(|id| hint(id).is_some()));
    }
}

#[test]
fn trainer_states_are_traces() {
    let state = json!({"log_history": [
        {"step": 10, "loss": 0.5, "learning_rate": 0.001, "grad_norm": 1.5, "epoch": 1.0},
        {"step": 20, "eval_loss": 0.4}, {"step": 20, "loss": 0.4, "learning_rate": 0.0005}]});
    let base = Trace::parse_trainer_state(state.to_string().as_bytes()).unwrap();
    assert_eq!(base.len(), 2);
    let mut other = state.clone();
    other["log_history"][2]["learning_rate"] = json!(0.0004);
    let now = Trace::parse_trainer_state(other.to_string().as_bytes()).unwrap();
    let first = first_difference(&base, &now).unwrap();
    assert_eq!((first.step, first.column.as_str()), (20, "lr"));
    assert!(Trace::parse_trainer_state(b"{}").is_err());
    assert!(Trace::parse_lines("{\"loss\":1}").is_err());
    assert!(Trace::parse_lines("[]").is_err());
    assert_eq!(
        Trace::parse_lines("\n{\"step\":0}\nx")
            .unwrap_err()
            .to_string()
            .split(':')
            .next(),
        Some("trace, line 3")
    );
    // Python writes NaN without quotes, and Hugging Face's Trainer with it.
    let lost = state.to_string().replace("0.4,", "NaN,");
    let first =
        first_difference(&base, &Trace::parse_trainer_state(lost.as_bytes()).unwrap()).unwrap();
    assert_eq!((first.step, first.column.as_str()), (20, "loss"));
    assert_eq!(first.now.as_deref(), Some("NaN"));
}

#[test]
fn a_trace_that_breaks_off_is_compared_up_to_there() {
    let step = |number: u64, loss: &str| format!("{{\"step\":{number},\"loss\":{loss}}}\n");
    let whole = [step(0, "0.7"), step(10, "0.6"), step(20, "0.5")].concat();
    let found = |base: &str, now: &str| {
        let first = first_difference(&Trace::read_lines(base), &Trace::read_lines(now))?;
        Some((first.step, first.column, first.base, first.now))
    };
    let text = |text: &str| Some(text.to_owned());
    let (cut, part) = (&whole[..whole.len() - 6], "{\"step\":20,\"loss\"");
    assert!(cut.ends_with(part));
    let last = text(&json!({"step": 20, "loss": 0.5}).to_string());
    assert_eq!(
        found(&whole, cut),
        Some((20, "line".into(), last.clone(), text(part)))
    );
    assert_eq!(
        found(cut, &whole),
        Some((20, "line".into(), text(part), last))
    );
    // What differs before it is the first difference all the same, and the same line on both sides is none.
    let earlier = cut.replace("0.6", "0.61");
    assert_eq!(
        found(&whole, &earlier),
        Some((10, "loss".into(), text("0.6"), text("0.61")))
    );
    assert_eq!(found(cut, cut), None);
    // Where the other has ended, it is the step that would follow.
    let more = format!("{whole}Killed\n");
    assert_eq!(
        found(&whole, &more),
        Some((21, "line".into(), None, text("Killed")))
    );
    assert_eq!(
        found("", "Killed"),
        Some((0, "line".into(), None, text("Killed")))
    );
    assert_eq!(
        found(&whole, ""),
        Some((0, "length".into(), text("3"), text("0")))
    );
    // No number and the same no number are the same; a number is another.
    let lost = whole.replace("0.5", "NaN");
    assert_eq!(found(&lost, &lost), None);
    assert_eq!(
        found(&whole, &lost),
        Some((20, "loss".into(), text("0.5"), text("NaN")))
    );
    assert!(hints_for(&[Clue::Trace("line".into(), false)]).is_empty());
}

#[test]
fn no_more_of_a_trace_is_read_than_it_takes_to_see_the_difference() {
    let step = |number: u64, loss: u64| format!("{{\"step\":{number},\"loss\":{loss}}}");
    // Runs without an end, and a line without one: whatever follows is not asked for.
    let endless = |turned: u64| (0..).map(move |number| step(number, u64::from(number >= turned)));
    let first = first_difference_of_lines(endless(9), endless(4)).unwrap();
    assert_eq!((first.step, first.column.as_str()), (4, "loss"));
    let long = || {
        let line = std::iter::once("x".repeat(Trace::MAX_LINE_BYTES + 1));
        line.chain(std::iter::repeat_with(|| -> String { panic!("read on") }))
    };
    let first = first_difference_of_lines(endless(9), long()).unwrap();
    assert_eq!((first.step, first.column.as_str()), (0, "line"));
    assert_eq!(first.now, Some("x".repeat(80)));
    assert_eq!(first_difference_of_lines(long(), long()), None);
    // Not even where it holds nothing.
    let blank = || {
        let line = std::iter::once(" ".repeat(Trace::MAX_LINE_BYTES + 1));
        line.chain(std::iter::repeat_with(|| -> String { panic!("read on") }))
    };
    let first = first_difference_of_lines(blank(), endless(9)).unwrap();
    assert_eq!(first.column, "line");
}

fn reasons() -> impl Strategy<Value = Vec<Reason>> {
    let one = prop::sample::select(Verdict::ALL.to_vec())
        .prop_map(|verdict| Reason::new(verdict, "c", "s", "t"));
    prop::collection::vec(one, 0..8)
}

fn graph() -> impl Strategy<Value = Vec<StageFacts>> {
    prop::collection::vec(any::<(u8, bool, bool, bool, bool, Option<bool>)>(), 1..12).prop_map(
        |rows| {
            rows.into_iter()
                .enumerate()
                .map(
                    |(index, (needs, changed, environment_changed, differs, fails, alone))| {
                        StageFacts {
                            name: index.to_string(),
                            needs: (0..index)
                                .filter(|other| {
                                    other % 8 == usize::from(needs) % 8
                                        || usize::from(needs) >> (other % 8) & 1 == 1
                                })
                                .map(|other| other.to_string())
                                .collect(),
                            changed,
                            environment_changed,
                            differs: differs || fails,
                            fails,
                            differs_alone: alone,
                        }
                    },
                )
                .collect()
        },
    )
}

proptest! {
    #[test]
    fn more_reasons_never_make_a_verdict_better(mut some in reasons(), more in reasons()) {
        let before = worst(&some);
        some.extend(more);
        prop_assert!(worst(&some) >= before);
    }

    #[test]
    fn a_decided_report_is_read_back(reasons in reasons(), ok: bool, now: bool) {
        let mut report = read(&reproduced());
        report.reasons = reasons;
        report.metrics[0].ok = ok;
        if !now {
            report.metrics[0].now = None;
        }
        report.decide();
        prop_assert_eq!(Report::parse(&report.to_bytes()).unwrap(), report);
    }

    #[test]
    fn an_origin_has_not_inherited_and_there_is_one_if_anything_differs(stages in graph()) {
        let origin = walk(&stages);
        prop_assert_eq!(origin.is_some(), stages.iter().any(|stage| stage.differs));
        if let Some(origin) = origin {
            prop_assert!(stages[origin.stage].differs);
            prop_assert!(origin.causes[origin.stage].is_some_and(|cause| cause != Cause::Inherited));
            for (stage, cause) in stages.iter().zip(&origin.causes) {
                prop_assert_eq!(stage.differs, cause.is_some());
                if *cause == Some(Cause::Inherited) {
                    let heir = stage.needs.iter().any(|need| stages.iter().any(|other| other.name == *need && other.differs));
                    prop_assert!(heir);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(text in "\\PC{0,200}") {
        let _ = Report::parse(text.as_bytes());
        let _ = Trace::parse_lines(&text);
    }

    #[test]
    fn traces_line_by_line_differ_as_whole_ones_do(
        base in prop::collection::vec(0usize..6, 0..12), now in prop::collection::vec(0usize..6, 0..12)
    ) {
        let lines = ["{\"step\":1,\"loss\":1}", "{\"step\":1,\"loss\":1.0}", "{\"step\":2,\"loss\":NaN}", "", " \r", "Killed"];
        let text = |picked: &[usize]| picked.iter().map(|index| lines[*index]).collect::<Vec<_>>().join("\n");
        let (base, now) = (text(&base), text(&now));
        let whole = first_difference(&Trace::read_lines(&base), &Trace::read_lines(&now));
        prop_assert_eq!(first_difference_of_lines(base.lines(), now.lines()), whole);
    }

    #[test]
    fn one_change_in_a_trace_is_found_where_it_is(length in 1usize..30, at in 0usize..30) {
        let at = at % length;
        let line = |step: usize, loss: usize| format!("{{\"step\":{step},\"loss\":{loss}}}");
        let base: Vec<String> = (0..length).map(|step| line(step, 1)).collect();
        let now: Vec<String> = (0..length).map(|step| line(step, if step >= at { 2 } else { 1 })).collect();
        let parse = |lines: &[String]| Trace::parse_lines(&lines.join("\n")).unwrap();
        let first = first_difference(&parse(&base), &parse(&now)).unwrap();
        prop_assert_eq!(first.step, at as u64);
    }
}
