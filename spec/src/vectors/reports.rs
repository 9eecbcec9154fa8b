//! Reports: documents that are read, documents that are refused, and what follows from evidence.

use super::{agree, text};
use crate::digest::Digest;
use crate::report::{
    Attribution, Report, Runs, StageFacts, Trace, Verdict, attribute, first_difference, hints_for,
    walk,
};
use serde_json::{Value, json};

fn hex(name: &str) -> String {
    Digest::sha256(name.as_bytes()).hex()
}

fn digest(name: &str) -> String {
    Digest::sha256(name.as_bytes()).to_string()
}

/// A replay of three stages in which training diverged.
pub(crate) fn diverged() -> Value {
    let head = json!({
        "verdict": "DIVERGED",
        "reasons": [
            {"verdict": "DIVERGED", "code": "artifact", "subject": "model/weights.safetensors",
             "text": "numeric was demanded, divergent was reached: rel_l2 3.2e-3, at most 1e-9"},
            {"verdict": "DIVERGED", "code": "metric", "subject": "auc", "text": "0.91 then, 0.87 now; abs 1e-6 is tolerated"},
            {"verdict": "REPRODUCED_WITH_WARNINGS", "code": "environment", "subject": "cpu.model", "text": "EPYC then, Xeon now"}],
        "class": {"required": "numeric", "achieved": "divergent"},
        "attribution": "params",
        "evidence": [{"pointsAt": "params", "text": "model.C 1.0→0.8"}],
        "scope": "full",
        "mode": {"chained": true, "isolated": false, "runs": 2},
        "isolation": {"required": "I3", "achieved": "I4"},
        "baseline": {"id": "churn-lr:1.4.0~brisk-otter-quartz", "digest": {"sha256": hex("bundle")}},
        "owner": "team-growth",
        "recipe": {"digest": {"sha256": hex("recipe")}},
        "policy": {"digest": {"sha256": hex("policy")}},
        "environment": {"baseline": {"digest": {"sha256": hex("env then")}}, "replay": {"digest": {"sha256": hex("env now")}},
            "diff": [{"fact": "cpu.model", "base": "EPYC", "now": "Xeon", "level": "W", "exception": null}]}
    });
    let prepare = json!({"name": "prepare", "kind": "prepare", "needs": [], "status": "OK",
             "key": {"base": digest("k1"), "now": digest("k1")}, "changed": [], "argv": ["python", "src/prepare.py"],
             "exit": 0, "attempts": 1, "artifacts": [
                {"path": "work/train.npy", "role": "data", "base": digest("train"), "now": digest("train"),
                 "class": "bit_exact", "required": "bit_exact", "ok": true}]});
    let train = json!({"name": "train", "kind": "train", "needs": ["prepare"], "status": "ORIGIN",
             "key": {"base": digest("k2"), "now": digest("k2 now")}, "changed": ["params"], "changes": ["model.C 1.0→0.8"],
             "argv": ["python", "src/train.py"], "exit": 0, "attempts": 1, "line": 14, "artifacts": [
                {"path": "model/weights.safetensors", "role": "weights", "base": digest("w"), "now": digest("w now"),
                 "class": "divergent", "required": "numeric", "ok": false,
                 "detail": {"format": "safetensors", "first": "tensor:coef[0,0]", "rule": "rel_l2<=1e-9", "observed": "3.2e-3",
                    "why": "BLAS kernel choice",
                    "worst": {"tensor": "coef", "index": [0, 17], "base": "1.25", "now": "1.29", "maxAbs": "0.04", "relL2": "3.2e-3"},
                    "tensorsDiffering": 1, "tensors": 2,
                    "rows": [{"name": "coef", "dtype": "f64", "shape": [1, 20], "changed": 20, "relL2": "3.2e-3", "scaledMax": "9e-3", "maxAbs": "0.04", "ok": false}]}}]});
    let evaluate = json!({"name": "evaluate", "kind": "evaluate", "needs": ["train"], "status": "INHERITED",
             "key": {"base": digest("k3"), "now": digest("k3 now")}, "changed": [], "argv": ["python", "src/evaluate.py"],
             "exit": 0, "attempts": 1, "artifacts": [
                {"path": "metrics.json", "role": "metrics", "base": digest("m"), "now": digest("m now"),
                 "class": "divergent", "required": "numeric", "ok": false, "detail": {"format": "json", "first": "pointer:/auc"}}]});
    let rest = json!({
        "metrics": [{"name": "auc", "from": "metrics.json#/auc", "base": "0.91", "now": "0.87", "delta": "-0.04",
            "rule": {"abs": "1e-6"}, "mode": "replay", "direction": "higher", "ok": false, "stage": "evaluate", "quantum": "0.001", "changed": 40}],
        "tests": [{"id": "inference/golden", "kind": "inference", "ok": true, "durationMs": 812, "evidence": {"digest": {"sha256": hex("out")}}}],
        "firstDivergence": {"stage": "train", "artifact": "model/weights.safetensors", "locator": "tensor:coef[0,17]",
            "base": "1.25", "now": "1.29", "cause": "CHANGED", "tolerated": false, "hints": ["ND-19"]},
        "trail": [{"seq": 1, "at": "2026-01-31T12:00:00Z", "event": "verify.signature", "subject": digest("bundle"), "ok": true}],
        "resources": [{"stage": "train", "quantity": "wall", "unit": "s", "base": "1.2", "now": "1.3", "ratio": "1.08", "bound": "1.5", "ok": true}],
        "timings": {"fetch": "0.412", "materialize": "0.1", "run": "2.5"},
        "builder": {"id": "worker-7", "version": "0.1.0"},
        "startedOn": "2026-01-31T12:00:00Z",
        "finishedOn": "2026-01-31T12:00:04.5Z",
        "stabilizers": [],
        "overrides": []
    });
    let mut report = head;
    report["stages"] = json!([prepare, train, evaluate]);
    for (name, value) in rest.as_object().unwrap() {
        report[name] = value.clone();
    }
    report
}

/// The same replay, gone well.
pub(crate) fn reproduced() -> Value {
    let mut report = diverged();
    for (pointer, value) in [
        ("/verdict", json!("REPRODUCED")),
        ("/reasons", json!([])),
        ("/class/achieved", json!("bit_exact")),
        ("/environment/diff", json!([])),
        ("/evidence", json!([])),
        ("/metrics/0/now", json!("0.91")),
        ("/metrics/0/delta", json!("0")),
        ("/metrics/0/changed", json!(0)),
        ("/metrics/0/ok", json!(true)),
    ] {
        *report.pointer_mut(pointer).unwrap() = value;
    }
    for stage in report["stages"].as_array_mut().unwrap() {
        stage["status"] = json!("OK");
        stage["changed"] = json!([]);
        stage["changes"] = json!([]);
        let base = stage.pointer("/artifacts/0/base").unwrap().clone();
        let row = stage.pointer_mut("/artifacts/0").unwrap();
        row["now"] = base;
        row["class"] = json!("bit_exact");
        row["ok"] = json!(true);
        row.as_object_mut().unwrap().remove("detail");
    }
    let fields = report.as_object_mut().unwrap();
    fields.remove("attribution");
    fields.remove("firstDivergence");
    report
}

#[test]
fn reports_are_read_and_written_without_a_change() {
    for (name, built, verdict) in [
        ("report/diverged.json", diverged(), Verdict::Diverged),
        ("report/reproduced.json", reproduced(), Verdict::Reproduced),
    ] {
        let stored = agree(name, &built);
        let bytes = serde_json::to_vec(&stored).unwrap();
        let report = Report::parse(&bytes).unwrap();
        assert_eq!(report.verdict, verdict);
        let again = Report::parse(&report.to_bytes()).unwrap();
        assert_eq!(again, report);
        assert_eq!(
            Report::from_predicate(&report.to_predicate()).unwrap(),
            report
        );
    }
}

/// Changes to the reproduced report that must be refused, and a part of the reason.
fn refused() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/verdict", json!("SUCCESS"), "unknown variant"),
        ("/verdict", json!("reproduced"), "unknown variant"),
        ("/class/required", json!("exact"), "unknown variant"),
        ("/scope", json!("some"), "unknown variant"),
        ("/baseline/digest", json!({}), "sha256, sha512, blake3"),
        (
            "/baseline/digest",
            json!({"sha256": "00"}),
            "characters after the colon",
        ),
        (
            "/baseline/digest",
            json!({"sha256": hex("x").to_uppercase()}),
            "lowercase",
        ),
        ("/baseline/id", json!(""), "baseline.id"),
        ("/startedOn", json!("2026-01-31 12:00:00Z"), "startedOn"),
        (
            "/startedOn",
            json!("2026-01-31T12:00:00+00:00"),
            "startedOn",
        ),
        ("/startedOn", json!("2026-13-31T12:00:00Z"), "startedOn"),
        (
            "/finishedOn",
            json!("2026-01-31T11:59:59Z"),
            "before startedOn",
        ),
        ("/timings/run", json!("fast"), "timings.run"),
        (
            "/stages/1/changed",
            json!(["params"]),
            "what changed in stage train allows REPRODUCED_WITH_WARNINGS",
        ),
        ("/timings/run", json!(2.5), "invalid type"),
        ("/metrics/0/now", json!(0.91), "invalid type"),
        ("/builder/keyid", json!("k-1"), "key"),
        // A verdict better than the rows.
        (
            "/stages/1/status",
            json!("ORIGIN"),
            "stage train allows DIVERGED",
        ),
        (
            "/stages/1/status",
            json!("ERROR"),
            "stage train allows ERROR",
        ),
        (
            "/stages/1/artifacts/0/ok",
            json!(false),
            "artifact model/weights.safetensors allows DIVERGED",
        ),
        (
            "/stages/1/artifacts/0/class",
            json!("statistical"),
            "artifact model/weights.safetensors allows DIVERGED",
        ),
        (
            "/stages/1/artifacts/0/class",
            Value::Null,
            "artifact model/weights.safetensors allows INCONCLUSIVE",
        ),
        ("/metrics/0/ok", json!(false), "metric auc allows DIVERGED"),
        (
            "/metrics/0/now",
            Value::Null,
            "metric auc allows INCONCLUSIVE",
        ),
        (
            "/tests/0/ok",
            json!(false),
            "test inference/golden allows DIVERGED",
        ),
        (
            "/class/achieved",
            json!("functional"),
            "the class achieved allows INCONCLUSIVE",
        ),
        (
            "/isolation/achieved",
            json!("I1"),
            "the isolation achieved allows INCONCLUSIVE",
        ),
        (
            "/environment/diff",
            json!([{"fact": "arch", "base": "a", "now": "b", "level": "M"}]),
            "fact arch allows INCONCLUSIVE",
        ),
        (
            "/environment/diff",
            json!([{"fact": "arch", "base": "a", "now": "b", "level": "W"}]),
            "REPRODUCED_WITH_WARNINGS",
        ),
        (
            "/environment/diff",
            json!([{"fact": "arch", "base": "a", "now": "b", "level": "X"}]),
            "none of M, W, i",
        ),
        (
            "/resources/0/ok",
            json!(false),
            "wall of stage train allows REPRODUCED_WITH_WARNINGS",
        ),
        (
            "/overrides",
            json!([{"kind": "insecure", "id": "signatures"}]),
            "an override allows REPRODUCED_WITH_WARNINGS",
        ),
        (
            "/reasons",
            json!([{"verdict": "HALTED", "code": "c", "subject": "s", "text": "t"}]),
            "allows HALTED",
        ),
    ]
}

#[test]
fn what_is_no_report_is_refused() {
    let built: Vec<Value> = refused()
        .into_iter()
        .map(|(pointer, value, reason)| json!({"pointer": pointer, "value": value, "reason": reason}))
        .collect();
    let stored = agree(
        "report/refused.json",
        &json!({"of": "reproduced.json", "cases": built}),
    );
    for case in stored["cases"].as_array().unwrap() {
        let mut changed = reproduced();
        let (parent, name) = text(case, "/pointer").rsplit_once('/').unwrap();
        match changed.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.insert(name.to_owned(), case["value"].clone())),
            Value::Array(list) => list[name.parse::<usize>().unwrap()] = case["value"].clone(),
            _ => panic!("{case}"),
        }
        let error = Report::parse(changed.to_string().as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(text(case, "/reason")), "{case}: {error}");
    }
    let twice = reproduced()
        .to_string()
        .replacen('{', r#"{"verdict":"REPRODUCED","#, 1);
    assert!(
        Report::parse(twice.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
    let later = reproduced()
        .to_string()
        .replacen('{', r#"{"com_example_more":{"a":[1]},"#, 1);
    assert!(
        Report::parse(later.as_bytes()).is_ok(),
        "unknown fields are ignored"
    );
}

/// Graphs, as (name, needs, letters), and where it begins. Letters: `d` differs, `f` fails, `c` changed,
/// `e` environment changed, `o` differs alone, `i` the same alone.
fn graphs() -> Value {
    json!([
        {"title": "nothing differs", "stages": [["a", [], ""], ["b", ["a"], ""]], "origin": null},
        {"title": "the first of a chain", "stages": [["a", [], "df"], ["b", ["a"], "df"]],
            "origin": "a", "causes": ["NONDETERMINISTIC_OR_HIDDEN", "INHERITED"], "tolerated": false},
        {"title": "the middle of a chain", "stages": [["a", [], ""], ["b", ["a"], "dfc"], ["c", ["b"], "df"]],
            "origin": "b", "causes": [null, "CHANGED", "INHERITED"], "tolerated": false},
        {"title": "an own change beside an inherited one", "stages": [["a", [], "df"], ["b", ["a"], "dfc"]],
            "origin": "a", "causes": ["NONDETERMINISTIC_OR_HIDDEN", "CHANGED"], "tolerated": false},
        {"title": "the environment changes for all, and one begins", "stages": [["a", [], "dfe"], ["b", ["a"], "dfe"]],
            "origin": "a", "causes": ["CHANGED", "INHERITED"], "tolerated": false},
        {"title": "the environment changed and the first stage does not care", "stages": [["a", [], "e"], ["b", ["a"], "dfe"]],
            "origin": "b", "causes": [null, "CHANGED"], "tolerated": false},
        {"title": "a tolerated difference before a failure is where it began", "stages": [["a", [], "d"], ["b", ["a"], "df"]],
            "origin": "a", "causes": ["NONDETERMINISTIC_OR_HIDDEN", "INHERITED"], "tolerated": false},
        {"title": "a tolerated difference beside a failure is not", "stages": [["a", [], "d"], ["b", [], "df"]],
            "origin": "b", "causes": ["NONDETERMINISTIC_OR_HIDDEN", "NONDETERMINISTIC_OR_HIDDEN"], "tolerated": false},
        {"title": "everything is tolerated", "stages": [["a", [], ""], ["b", ["a"], "d"]],
            "origin": "b", "causes": [null, "NONDETERMINISTIC_OR_HIDDEN"], "tolerated": true},
        {"title": "alone it differs too", "stages": [["a", [], "d"], ["b", ["a"], "dfo"]],
            "origin": "a", "causes": ["NONDETERMINISTIC_OR_HIDDEN", "NONDETERMINISTIC_OR_HIDDEN"], "tolerated": false},
        {"title": "alone it does not differ", "stages": [["a", [], "dfo"], ["b", ["a"], "dfci"]],
            "origin": "a", "causes": ["NONDETERMINISTIC_OR_HIDDEN", "INHERITED"], "tolerated": false},
        {"title": "a diamond", "stages": [["a", [], ""], ["b", ["a"], "df"], ["c", ["a"], ""], ["d", ["b", "c"], "df"]],
            "origin": "b", "causes": [null, "NONDETERMINISTIC_OR_HIDDEN", null, "INHERITED"], "tolerated": false},
        {"title": "through a stage that swallows the difference", "stages": [["a", [], "d"], ["b", ["a"], ""], ["c", ["b"], "df"]],
            "origin": "a", "causes": ["NONDETERMINISTIC_OR_HIDDEN", null, "NONDETERMINISTIC_OR_HIDDEN"], "tolerated": false}
    ])
}

#[test]
fn the_origin_is_the_first_stage_that_has_not_inherited() {
    let stored = agree("report/origins.json", &graphs());
    for case in stored.as_array().unwrap() {
        let stages: Vec<StageFacts> = case["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let letters = text(row, "/2");
                StageFacts {
                    name: text(row, "/0").into(),
                    needs: row[1]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|need| need.as_str().unwrap().into())
                        .collect(),
                    changed: letters.contains('c'),
                    environment_changed: letters.contains('e'),
                    differs: letters.contains('d'),
                    fails: letters.contains('f'),
                    differs_alone: letters
                        .contains('o')
                        .then_some(true)
                        .or(letters.contains('i').then_some(false)),
                }
            })
            .collect();
        let title = text(case, "/title");
        let Some(origin) = walk(&stages) else {
            assert!(case["origin"].is_null(), "{title}");
            continue;
        };
        assert_eq!(stages[origin.stage].name, case["origin"], "{title}");
        assert_eq!(origin.tolerated, case["tolerated"], "{title}");
        assert_eq!(
            serde_json::to_value(&origin.causes).unwrap(),
            case["causes"],
            "{title}"
        );
    }
}

fn evidence() -> Value {
    json!([
        {"changes": [["params", "lr 0.1→0.2"]], "runs": "once", "facts": [], "to": "params"},
        {"changes": [["code", "src/train.py"]], "runs": "same", "facts": [], "to": "code"},
        {"changes": [["data", "data/raw.csv"]], "runs": "once", "facts": ["cpu.model"], "to": "data"},
        {"changes": [["environment", "threads 1→2"]], "runs": "same", "facts": [], "to": "environment"},
        {"changes": [], "runs": "same", "facts": ["libc.version"], "to": "environment"},
        {"changes": [], "runs": "once", "facts": ["libc.version"], "to": "environment"},
        {"changes": [], "runs": "different", "facts": ["libc.version"], "to": "nondeterminism"},
        {"changes": [], "runs": "different", "facts": [], "to": "nondeterminism"},
        {"changes": [], "runs": "same", "facts": [], "to": "unknown"},
        {"changes": [], "runs": "once", "facts": [], "to": "unknown"},
        {"changes": [["code", "a.py"], ["params", "lr"]], "runs": "once", "facts": [], "to": "unknown"},
        {"changes": [["code", "a.py"], ["code", "b.py"]], "runs": "once", "facts": [], "to": "code"},
        {"changes": [["code", "a.py"]], "runs": "different", "facts": [], "to": "unknown"}
    ])
}

#[test]
fn attribution_goes_no_further_than_the_evidence() {
    let stored = agree("report/attributions.json", &evidence());
    for case in stored.as_array().unwrap() {
        let changes: Vec<(Attribution, String)> =
            serde_json::from_value(case["changes"].clone()).unwrap();
        let facts: Vec<String> = serde_json::from_value(case["facts"].clone()).unwrap();
        let runs = match text(case, "/runs") {
            "once" => Runs::Once,
            "same" => Runs::Same,
            "different" => Runs::Different,
            other => panic!("{other}"),
        };
        let (to, findings) = attribute(&changes, runs, &facts);
        assert_eq!(to.as_str(), case["to"], "{case}");
        assert!(!findings.is_empty(), "{case}");
    }
}

fn traces() -> Value {
    let line = |step: u64, batch: &str, loss: &str, lr: &str| {
        format!("{{\"step\":{step},\"batch_sha256\":\"{batch}\",\"loss\":{loss},\"lr\":{lr}}}")
    };
    let base = [line(0, "a", "0.7", "0.1"), line(1, "b", "0.6", "0.1")].join("\n");
    let with = |first: String, second: String| [first, second].join("\n");
    let began = |params: &str, loss: &str, lr: &str| {
        format!("{{\"step\":0,\"loss\":{loss},\"lr\":{lr},\"params_sha256\":\"{params}\"}}")
    };
    json!([
        {"base": base, "now": base, "first": null},
        {"base": base, "now": with(line(0, "a", "0.7", "0.1"), line(1, "c", "0.5", "0.1")), "first": [1, "batch_sha256", false]},
        {"base": base, "now": with(line(0, "a", "0.71", "0.1"), line(1, "b", "0.5", "0.1")), "first": [0, "loss", true]},
        {"base": base, "now": with(line(0, "a", "0.7", "0.1"), line(1, "b", "0.5", "0.05")), "first": [1, "lr", false]},
        {"base": base, "now": with(line(0, "a", "7e-1", "1e-1"), line(1, "b", "0.60", "0.1")), "first": null},
        {"base": base, "now": line(0, "a", "0.7", "0.1"), "first": [1, "length", false]},
        {"base": began("w", "0.7", "0.1"), "now": began("v", "0.8", "0.1"), "first": [0, "params_sha256", true]},
        {"base": began("w", "0.7", "0.1"), "now": began("w", "0.7", "0.2"), "first": [0, "lr", true]},
        {"base": base, "now": with(line(0, "a", "0.7", "0.1"), line(1, "b", "NaN", "0.1")), "first": [1, "loss", false]},
        {"base": line(0, "a", "NaN", "0.1"), "now": line(0, "a", "\"NaN\"", "0.1"), "first": null},
        {"base": base, "now": with(line(0, "a", "-Infinity", "0.2"), line(1, "b", "NaN", "0.2")), "first": [0, "lr", true]},
        {"base": base, "now": with(line(0, "a", "0.7", "0.1"), "{\"step\":1,\"batch".into()), "first": [1, "line", false]},
        {"base": base, "now": with(line(0, "a", "0.7", "0.2"), "{\"step\":1,\"batch".into()), "first": [0, "lr", true]},
        {"base": "{\"step\":0,", "now": "{\"step\":0,", "first": null}
    ])
}

#[test]
fn the_first_step_that_differs_is_found() {
    let stored = agree("report/traces.json", &traces());
    for case in stored.as_array().unwrap() {
        let base = Trace::read_lines(text(case, "/base"));
        let now = Trace::read_lines(text(case, "/now"));
        let found = first_difference(&base, &now)
            .map(|first| json!([first.step, first.column, first.at_start]));
        assert_eq!(found.unwrap_or(Value::Null), case["first"], "{case}");
    }
    assert!(hints_for(&[]).is_empty());
}
