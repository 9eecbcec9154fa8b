//! Vectors of chapter 7. Scalars and fingerprints were computed by an implementation in another language,
//! intervals and default gates are the measured figures of the chapter; nothing here writes them.

use super::{path, text};
use crate::compare::{
    ArtifactRule, Baseline, Class, Decimal, ElementType, Fingerprint, MetricRule, Purpose,
    RowFingerprint, ScalarTolerance, TensorFigures, TensorGate, statistics,
};
use serde_json::Value;

fn read(name: &str) -> Vec<Value> {
    let bytes = std::fs::read(path(&format!("comparison/{name}.json"))).unwrap();
    let list: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    assert!(!list.is_empty());
    list
}

fn figures() -> Value {
    serde_json::from_slice(&std::fs::read(path("comparison/figures.json")).unwrap()).unwrap()
}

fn number(vector: &Value, pointer: &str) -> Decimal {
    text(vector, pointer).parse().unwrap()
}

#[test]
fn scalars_pass_by_the_rule_of_the_chapter() {
    for vector in read("scalars") {
        let rule: ScalarTolerance = serde_json::from_value(vector["rule"].clone()).unwrap();
        let (base, now) = (number(&vector, "/base"), number(&vector, "/now"));
        let accepted = rule.accepts(base.value(), now.value());
        assert_eq!(Some(accepted), vector["accepted"].as_bool(), "{vector}");
    }
}

/// The figures of two lists of finite numbers, by the words of the chapter: squares, in doubles.
fn figures_of(base: &[f64], now: &[f64], rule: &ArtifactRule) -> TensorFigures {
    let pairs = || base.iter().zip(now);
    let norm = |values: Vec<f64>| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let bounds = rule.scalar();
    TensorFigures {
        elements: base.len() as u64,
        changed: pairs().filter(|(b, n)| b.to_bits() != n.to_bits()).count() as u64,
        base_norm: norm(base.to_vec()),
        now_norm: norm(now.to_vec()),
        difference_norm: norm(pairs().map(|(b, n)| n - b).collect()),
        max_abs: pairs().map(|(b, n)| (n - b).abs()).fold(0.0, f64::max),
        outside: match rule.is_elementwise() {
            true => pairs().filter(|(b, n)| !bounds.accepts(**b, **n)).count() as u64,
            false => 0,
        },
        ..TensorFigures::default()
    }
}

#[test]
fn tensors_pass_by_norms_that_doubles_hold() {
    for vector in read("tensors") {
        let rule: ArtifactRule = serde_json::from_value(vector["rule"].clone()).unwrap();
        let values = |key: &str| -> Vec<f64> {
            let list: Vec<Decimal> = serde_json::from_value(vector[key].clone()).unwrap();
            list.iter().map(Decimal::value).collect()
        };
        let found = figures_of(&values("base"), &values("now"), &rule);
        let judged = rule.gate(ElementType::F64).judge(&found);
        assert_eq!(
            Some(judged.is_ok()),
            vector["accepted"].as_bool(),
            "{}: {judged:?}",
            text(&vector, "/name")
        );
    }
}

#[test]
fn metrics_get_the_outcome_of_the_chapter() {
    for vector in read("metrics") {
        let rule: MetricRule = serde_json::from_value(vector["rule"].clone()).unwrap();
        let base: Baseline = serde_json::from_value(vector["base"].clone()).unwrap();
        let now: Baseline = serde_json::from_value(vector["now"].clone()).unwrap();
        let verdict = match text(&vector, "/mode") {
            "replay" => rule.judge_replay(&base, &now),
            "regression" => rule.judge_regression(&base, &now),
            other => panic!("{other}"),
        };
        let found = serde_json::to_value(&verdict).unwrap();
        for key in ["outcome", "class", "changed", "quantum"] {
            if let Some(expected) = vector.get(key) {
                assert_eq!(
                    &found[key],
                    expected,
                    "{key} of \"{}\"",
                    text(&vector, "/name")
                );
            }
        }
    }
}

#[test]
fn intervals_and_gates_are_the_measured_ones() {
    let figures = figures();
    for vector in figures["half_widths"].as_array().unwrap() {
        let count = vector["replicates"].as_u64().unwrap() as usize;
        let confidence = number(vector, "/confidence").value();
        let found = statistics::half_width(count, confidence).unwrap();
        assert_eq!(
            format!("{found:.2}"),
            text(vector, "/half_width"),
            "k = {count}"
        );
    }
    for vector in figures["gates"].as_array().unwrap() {
        let element: ElementType = serde_json::from_value(vector["type"].clone()).unwrap();
        let purpose: Purpose = serde_json::from_value(vector["purpose"].clone()).unwrap();
        let gate = TensorGate::default_for(element, purpose);
        assert_eq!(gate.rel_l2, number(vector, "/rel_l2"), "{vector}");
        assert_eq!(gate.scaled_max, number(vector, "/scaled_max"), "{vector}");
    }
    let classes: Vec<Class> = serde_json::from_value(figures["classes"].clone()).unwrap();
    assert_eq!(classes, Class::ALL);
}

#[test]
fn rows_have_the_fingerprints_of_the_chapter() {
    for vector in read("fingerprints") {
        let mut running = RowFingerprint::new();
        for row in vector["rows"].as_array().unwrap() {
            running.row(row.as_str().unwrap().as_bytes());
        }
        let expected: Fingerprint = serde_json::from_value(vector["fingerprint"].clone()).unwrap();
        assert_eq!(running.finish(), expected, "{vector}");
    }
}
