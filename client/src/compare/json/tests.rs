//! Documents: what is a number in them, and where they differ.

#![allow(clippy::unwrap_used)]
use super::*;
use sealstone_spec::compare::Class;
use serde_json::json;

fn found(base: &Value, now: &Value, rule: &str) -> Found {
    let text = is_xgboost(base);
    compare(base, now, &toml::from_str(rule).unwrap(), text).unwrap()
}

#[test]
fn differences_have_pointers() {
    for (base, now, place) in [
        (
            json!({"a": {"b/c": [1.5, 2.5]}}),
            json!({"a": {"b/c": [1.5, 3.5]}}),
            "pointer:/a/b~1c/1",
        ),
        (json!({"a": 1}), json!({"a": 2}), "pointer:/a"),
        (json!({"a": 1}), json!({}), "pointer:/a"),
        (json!({}), json!({"x": null}), "pointer:/x"),
        (
            json!([[1, 2], ["x"]]),
            json!([[1, 2], ["y"]]),
            "pointer:/1/0",
        ),
        (json!([1]), json!([1, 2]), "pointer:/-"),
        (
            json!({"a": "x".repeat(500)}),
            json!({"a": "x".repeat(501)}),
            "pointer:/a",
        ),
        (json!({"m": "NaN"}), json!({"m": 0.5}), "pointer:/m"),
    ] {
        let found = found(&base, &now, "class = \"numeric\"");
        assert_eq!(found.class, Class::Divergent, "{base}");
        assert_eq!(found.first.unwrap().locator.to_string(), place);
    }
}

#[test]
fn numbers_are_gated_and_integers_exact() {
    let (base, near) = (
        json!({"w": [1.0, -2.0], "n": 3}),
        json!({"w": [1.000_000_000_01, -2.0], "n": 3}),
    );
    assert_eq!(found(&base, &near, "").class, Class::Numeric);
    assert_eq!(
        found(&base, &near, "rel_l2 = 1e-15").class,
        Class::Divergent
    );
    let counted = json!({"w": [1.0, -2.0], "n": 4});
    assert_eq!(
        found(&base, &counted, "rel_l2 = 1.0").class,
        Class::Divergent
    );
    assert_eq!(found(&base, &counted, "abs = 1.0").class, Class::Numeric);
    // Writers that drop ".0" mean the same number.
    assert_eq!(
        found(&json!({"auc": 1}), &json!({"auc": 1.0}), "").class,
        Class::ContentExact
    );
}

#[test]
fn integers_that_one_double_stands_for_are_told_apart() {
    let large = 1_i64 << 60;
    let alone = |value: i64| json!({"id": value});
    let among = |value: i64| json!({"id": [value, 0.5]});
    for rule in ["", "abs = 1000.0"] {
        for (base, now) in [
            (alone(large), alone(large + 1)),
            (among(large), among(large + 1)),
        ] {
            assert_eq!(found(&base, &now, rule).class, Class::Divergent, "{base}");
        }
    }
    let near = found(&alone(large), &alone(large + 256), "abs = 1000.0");
    assert_eq!(near.class, Class::Numeric);
    // Nor is it the double, unless it is written with the same digits.
    let double = json!({"id": large as f64});
    assert_eq!(
        found(&alone(large + 1), &double, "abs = 1000.0").class,
        Class::Divergent
    );
    for same in [large, 1_152_921_504_606_847_000] {
        assert_eq!(
            found(&alone(same), &double, "").class,
            Class::ContentExact,
            "{same}"
        );
    }
}

#[test]
fn zero_is_not_the_content_of_minus_zero() {
    for (base, now) in [
        (json!([0.0, 1.5]), json!([-0.0, 1.5])),
        (json!(0), json!(-0.0)),
    ] {
        assert_eq!(found(&base, &now, "").class, Class::Numeric, "{base}");
    }
    assert!(Numeric::of_digits("0").unwrap().is(Numeric::Double(0.0)));
    assert!(Numeric::of_digits("-0").unwrap().is(Numeric::Double(-0.0)));
}

#[test]
fn xgboost_writes_numbers_as_text() {
    let model = |score: &str| {
        json!({"version": [2, 0, 0], "learner": {"gradient_booster": {"name": "gbtree"},
            "learner_model_param": {"base_score": score}}})
    };
    let (base, near) = (model("5.0000000000001E-1"), model("5E-1"));
    assert_eq!(found(&base, &near, "").class, Class::Numeric);
    assert_eq!(
        found(&model("5E-1"), &model("0.5"), "").class,
        Class::ContentExact
    );
    assert_eq!(
        found(&json!({"a": "5E-1"}), &json!({"a": "0.5"}), "").class,
        Class::Divergent
    );
    // Digits that 64 bits do not hold stay text.
    for (one, two) in [
        ("123456789012345678901", "123456789012345678902"),
        ("-9223372036854775809", "-9223372036854775810"),
    ] {
        let other = found(&model(one), &model(two), "abs = 1e300");
        assert_eq!(other.class, Class::Divergent, "{one}");
    }
}

#[test]
fn names_of_features_are_no_numbers() {
    let model = |names: [&str; 2], types: [&str; 2], score: &str| {
        json!({"version": [3, 2, 0], "learner": {"feature_names": names, "feature_types": types,
            "gradient_booster": {"name": "gbtree"}, "learner_model_param": {"base_score": score}}})
    };
    let base = model(["1e3", "2e3"], ["float", "1"], "0.5");
    for (names, types, place) in [
        (["1000", "2e3"], ["float", "1"], "/learner/feature_names/0"),
        (
            ["1e3", "2000.0000001"],
            ["float", "1"],
            "/learner/feature_names/1",
        ),
        (["1e3", "2e3"], ["float", "1.0"], "/learner/feature_types/1"),
    ] {
        let other = found(&base, &model(names, types, "0.5"), "abs = 1.0");
        assert_eq!(other.class, Class::Divergent, "{place}");
        assert_eq!(
            other.first.unwrap().locator.to_string(),
            format!("pointer:{place}")
        );
    }
    // What comes behind them is read as before.
    let other = model(["1e3", "2e3"], ["float", "1"], "5E-1");
    assert_eq!(found(&base, &other, "").class, Class::ContentExact);
}
