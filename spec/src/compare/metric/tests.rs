//! Rules, values on both sides, and the outcome that is due.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn rule(text: &str) -> MetricRule {
    toml::from_str(text).unwrap()
}

fn one(text: &str) -> Baseline {
    Baseline::value(text.parse().unwrap())
}

fn many(values: &[f64]) -> Baseline {
    Baseline::replicates(values.iter().copied().map(Decimal::from).collect())
}

#[test]
fn a_replay_is_two_sided() {
    let rule = rule("direction = \"higher\"\nreplay = { abs = 1e-3 }\nn = 1000");
    let base = one("0.91");
    assert_eq!(
        rule.judge_replay(&base, &one("0.91")).class,
        Class::BitExact
    );
    let near = rule.judge_replay(&base, &one("0.9105"));
    assert_eq!((near.outcome, near.class), (Outcome::Pass, Class::Numeric));
    let better = rule.judge_replay(&base, &one("0.95"));
    assert_eq!(better.outcome, Outcome::Fail);
    assert!(better.reason.contains("better"), "{}", better.reason);
    assert_eq!(better.quantum.unwrap().to_string(), "0.001");
    assert_eq!(better.changed, Some(40));
}

#[test]
fn a_release_may_gain_and_lose_only_so_much() {
    let higher = rule("direction = \"higher\"\nregression = { max_loss = 0.005 }");
    let lower = rule("direction = \"lower\"\nregression = { max_loss = 0.005 }");
    for (now, by_higher, by_lower) in [
        ("0.95", Outcome::Pass, Outcome::Fail),
        ("0.906", Outcome::Pass, Outcome::Pass),
        ("0.85", Outcome::Fail, Outcome::Pass),
    ] {
        let (base, now) = (one("0.91"), one(now));
        assert_eq!(higher.judge_regression(&base, &now).outcome, by_higher);
        assert_eq!(lower.judge_regression(&base, &now).outcome, by_lower);
    }
    let none = rule("regression = { max_loss = 0.005 }");
    assert_eq!(
        none.judge_regression(&one("0.91"), &one("0.95")).outcome,
        Outcome::Fail
    );
}

#[test]
fn what_cannot_be_compared_is_no_pass() {
    let wide = rule("replay = { abs = 1e300 }\nregression = { max_loss = 1e300 }");
    let (nothing, nan, value) = (Baseline::default(), one("NaN"), one("0.91"));
    let both = |base: &Baseline, now: &Baseline| {
        let outcome = wide.judge_replay(base, now).outcome;
        assert_eq!(outcome, wide.judge_regression(base, now).outcome);
        outcome
    };
    assert_eq!(both(&value, &nothing), Outcome::Unmeasured);
    assert_eq!(both(&nothing, &nothing), Outcome::Unmeasured);
    assert_eq!(both(&value, &nan), Outcome::Fail);
    assert_eq!(both(&nan, &nan), Outcome::Fail);
    assert_eq!(both(&nan, &value), Outcome::Fail);
    assert_eq!(both(&nothing, &value), Outcome::New);
    assert_eq!(both(&value, &one("Infinity")), Outcome::Fail);
}

#[test]
fn guards_hold_whatever_the_baseline_was() {
    let guarded = rule("min = 0.8\nmax = 0.99");
    for (value, outcome) in [
        ("0.79", Outcome::Fail),
        ("0.8", Outcome::Pass),
        ("1", Outcome::Fail),
    ] {
        assert_eq!(
            guarded.judge_replay(&one(value), &one(value)).outcome,
            outcome
        );
    }
}

#[test]
fn intervals_need_five_replicates() {
    let rule = rule("replay = { method = \"interval\" }");
    let four = many(&[0.86, 0.861, 0.862, 0.863]);
    assert_eq!(
        rule.judge_replay(&four, &one("0.8615")).outcome,
        Outcome::Inconclusive
    );
    let five = many(&[0.86, 0.861, 0.862, 0.863, 0.864]);
    let inside = rule.judge_replay(&five, &one("0.8665"));
    assert_eq!(
        (inside.outcome, inside.class),
        (Outcome::Pass, Class::Statistical)
    );
    // Standard deviation 0.00158, half width 3.04 of them.
    let bound = inside.bound.unwrap().value();
    assert!((bound / 0.001_581_138_8 - 3.04).abs() < 0.005, "{bound}");
    assert_eq!(
        rule.judge_replay(&five, &one("0.867")).outcome,
        Outcome::Fail
    );
    let unspread = many(&[0.86; 5]);
    assert_eq!(
        rule.judge_replay(&unspread, &one("0.86")).outcome,
        Outcome::Pass
    );
    assert_eq!(
        rule.judge_replay(&unspread, &one("0.8600001")).outcome,
        Outcome::Fail
    );
}

#[test]
fn equivalence_is_tested_on_the_side_that_matters() {
    let text = "{ method = \"tost\", margin = 0.005 }";
    let rule = rule(&format!(
        "direction = \"higher\"\nreplay = {text}\nregression = {text}"
    ));
    let base = many(&[0.860, 0.862, 0.858, 0.861, 0.859]);
    let better = many(&[0.880, 0.881, 0.879]);
    assert_eq!(rule.judge_replay(&base, &better).outcome, Outcome::Fail);
    assert_eq!(rule.judge_regression(&base, &better).outcome, Outcome::Pass);
    let same = many(&[0.861, 0.860, 0.859]);
    assert_eq!(rule.judge_replay(&base, &same).outcome, Outcome::Pass);
    let worse = many(&[0.850, 0.851, 0.849]);
    assert_eq!(rule.judge_regression(&base, &worse).outcome, Outcome::Fail);
    let two = many(&[0.861, 0.860]);
    assert_eq!(
        rule.judge_replay(&base, &two).outcome,
        Outcome::Inconclusive
    );
}

#[test]
fn a_replay_whose_spread_hides_everything_is_no_divergence() {
    let rule = rule(
        "replay = { method = \"tost\", margin = 0.005 }\nregression = { method = \"tost\", margin = 0.005 }",
    );
    let wide = [0.80, 0.86, 0.92, 0.83, 0.89];
    let base = many(&wide);
    // The same numbers seed by seed are the same, however wide apart.
    let same = rule.judge_replay(&base, &many(&wide));
    assert_eq!((same.outcome, same.class), (Outcome::Pass, Class::BitExact));
    assert_eq!(same.reason, "equal, replicate by replicate");
    assert_eq!(same.p, None);
    // In another order they are those of other seeds.
    let shuffled = many(&[0.92, 0.80, 0.86, 0.83, 0.89]);
    let fewer = many(&wide[..3]);
    for now in [&shuffled, &fewer] {
        let hidden = rule.judge_replay(&base, now);
        assert_eq!(hidden.outcome, Outcome::Inconclusive, "{}", hidden.reason);
        assert_eq!(hidden.class, Class::Divergent);
    }
    // Beyond the margin on either side, whatever the mean may be.
    for mean in [0.5, 1.5] {
        let far: Vec<f64> = wide.iter().map(|value| value - 0.86 + mean).collect();
        assert_eq!(rule.judge_replay(&base, &many(&far)).outcome, Outcome::Fail);
    }
    // A release has to show that it loses nothing.
    assert_eq!(rule.judge_regression(&base, &base).outcome, Outcome::Fail);
    // The value of the replay itself counts as much as those of its seeds.
    let mut other = base.clone();
    other.value = Some("0.81".parse().unwrap());
    assert_eq!(
        rule.judge_replay(&base, &other).outcome,
        Outcome::Inconclusive
    );
}

#[test]
fn five_copies_of_one_number_are_no_sample() {
    let text = "{ method = \"tost\", margin = 0.005 }";
    let by_test = rule(&format!("replay = {text}\nregression = {text}"));
    let (base, moved) = (many(&[0.86; 5]), many(&[0.864; 5]));
    // Under the margin, and certain by p = 0, which is one run's word.
    let replayed = by_test.judge_replay(&base, &moved);
    assert_eq!(replayed.outcome, Outcome::Fail, "{}", replayed.reason);
    assert_eq!(replayed.p, None);
    assert_eq!(
        by_test.judge_regression(&base, &moved).outcome,
        Outcome::Fail
    );
    assert_eq!(by_test.judge_replay(&base, &base).outcome, Outcome::Pass);
    assert_eq!(
        by_test.judge_regression(&base, &base).outcome,
        Outcome::Pass
    );
    // A bound that somebody states for single values holds.
    let stated = rule(
        "replay = { method = \"tost\", margin = 0.005, abs = 0.005 }\nregression = { method = \"tost\", margin = 0.005, max_loss = 0.005 }",
    );
    assert_eq!(stated.judge_replay(&base, &moved).outcome, Outcome::Pass);
    assert_eq!(
        stated.judge_regression(&base, &moved).outcome,
        Outcome::Pass
    );
    // The value of the replay itself is no copy of theirs.
    let mut other = base.clone();
    other.value = Some("0.9".parse().unwrap());
    assert_eq!(stated.judge_replay(&base, &other).outcome, Outcome::Fail);
    // With a spread on one side there is something to test.
    let spread = many(&[0.860, 0.861, 0.859]);
    let tested = by_test.judge_replay(&base, &spread);
    assert_eq!(
        (tested.outcome, tested.class),
        (Outcome::Pass, Class::Statistical)
    );
}

#[test]
fn documents_hold_rules_and_verdicts_as_text() {
    let read = rule("direction = \"lower\"\nreplay = { rel = 1e-6 }\nmin = 0");
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written["replay"]["rel"], "1e-6");
    assert_eq!(serde_json::from_value::<MetricRule>(written).unwrap(), read);
    assert!(toml::from_str::<MetricRule>("tolerance = 1").is_err());
    let verdict = read.judge_replay(&one("0.5"), &one("0.5"));
    let written = serde_json::to_value(&verdict).unwrap();
    assert_eq!(written["outcome"], "pass");
    assert_eq!(
        serde_json::from_value::<MetricVerdict>(written).unwrap(),
        verdict
    );
}

proptest! {
    #[test]
    fn nan_never_passes(base: f64, abs: f64) {
        let mut rule = MetricRule::default();
        rule.replay.abs = Some(Decimal::from(abs));
        rule.regression.max_loss = Some(Decimal::from(abs));
        let (base, now) = (Baseline::value(Decimal::from(base)), one("NaN"));
        prop_assert!(!rule.judge_replay(&base, &now).outcome.is_pass());
        prop_assert!(!rule.judge_regression(&base, &now).outcome.is_pass());
    }
}
