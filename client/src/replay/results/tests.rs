//! What is said of files by what was measured and asked.

#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

/// `evaluate` makes a file that `measure` reads; nothing reads what `aside` makes.
const RECIPE: &str = r#"
    [recipe]
    version = 1
    name = "r"
    [environment]
    kind = "host"
    [stage.evaluate]
    kind = "evaluate"
    run = ["true"]
    out = ["m.json"]
    [stage.measure]
    kind = "evaluate"
    run = ["true"]
    in = ["m.json"]
    out = ["metrics.json"]
    [stage.aside]
    kind = "train"
    run = ["true"]
    out = ["aside.bin"]
"#;

fn settled(
    required: Class,
    judged: &[(MetricRow, Class)],
    golden: &[Held],
) -> (Option<Class>, Class, bool) {
    settled_without(&Unmeasured::default(), required, judged, golden)
}

/// A stage with one file that is another one than the baseline's, after what is said of it.
fn settled_without(
    unmeasured: &Unmeasured<'_>,
    required: Class,
    judged: &[(MetricRow, Class)],
    golden: &[Held],
) -> (Option<Class>, Class, bool) {
    settled_asked(unmeasured, required, judged, golden, "m.json")
}

/// The same, after what was asked of the file at `model`.
fn settled_asked(
    unmeasured: &Unmeasured<'_>,
    required: Class,
    judged: &[(MetricRow, Class)],
    golden: &[Held],
    model: &str,
) -> (Option<Class>, Class, bool) {
    let (base, now) = (
        sealstone_spec::digest::Digest::sha256(b"then"),
        sealstone_spec::digest::Digest::sha256(b"now"),
    );
    let stage = json!({"name": "evaluate", "status": "OK", "artifacts": [
        {"path": "m.json", "base": base, "now": now, "class": "divergent", "required": required, "ok": false}]});
    let mut stages: Vec<StageRow> = vec![serde_json::from_value(stage).unwrap()];
    let recipe = Recipe::parse(RECIPE).unwrap();
    let model: RecipePath = model.parse().unwrap();
    let golden: Vec<Golden> = golden
        .iter()
        .map(|held| Golden::of(&recipe, *held, vec![&model]))
        .collect();
    let said = Said::of(&recipe, judged, &golden, unmeasured);
    settle(&mut stages, &said);
    let row = &stages[0].artifacts[0];
    (row.class, row.required, row.ok)
}

fn metric(method: Option<&str>, class: Class) -> (MetricRow, Class) {
    let mut row = json!({"name": "loss", "from": "m.json#/loss", "base": "0.1", "now": "0.2", "mode": "replay", "ok": true});
    if let Some(method) = method {
        row["rule"] = json!({"method": method});
    }
    (serde_json::from_value(row).unwrap(), class)
}

#[test]
fn what_a_sample_decides_is_statistical() {
    let scalar = metric(None, Class::Numeric);
    for method in ["interval", "tost"] {
        let sample = metric(Some(method), Class::Statistical);
        for judged in [vec![sample.clone()], vec![sample, scalar.clone()]] {
            assert_eq!(
                settled(Class::Numeric, &judged, &[]),
                (Some(Class::Statistical), Class::Statistical, true)
            );
        }
    }
    let numeric = (Some(Class::Numeric), Class::Numeric, true);
    assert_eq!(
        settled(Class::Numeric, std::slice::from_ref(&scalar), &[]),
        numeric
    );
    // One that is new has no class, and takes none away.
    let mut new = metric(Some("interval"), Class::Divergent);
    new.0.base = None;
    assert_eq!(settled(Class::Numeric, &[scalar, new], &[]), numeric);
}

#[test]
fn where_a_metric_is_left_out_its_file_stays_open() {
    let unmeasured = Unmeasured {
        files: BTreeSet::from(["m.json"]),
        isolated: false,
    };
    let (holds, mut fails) = (metric(None, Class::Numeric), metric(None, Class::Divergent));
    fails.0.ok = false;
    let divergent = Some(Class::Divergent);
    for (required, judged, due) in [
        (Class::Numeric, vec![], None),
        (Class::Statistical, vec![], None),
        // What the others in the file say is not said of it.
        (Class::Numeric, vec![holds.clone()], None),
        (Class::Numeric, vec![holds.clone(), fails], divergent),
        (Class::BitExact, vec![holds.clone()], divergent),
    ] {
        let settled = settled_without(&unmeasured, required, &judged, &[]);
        assert_eq!(settled, (due, required, false), "{required} {judged:?}");
    }
}

#[test]
fn what_the_baselines_files_measure_says_nothing_of_others() {
    let mut elsewhere = metric(None, Class::Numeric);
    elsewhere.0.from = Some("metrics.json#/loss".into());
    let (own, statistical) = (metric(None, Class::Numeric), Class::Statistical);
    let isolated = Unmeasured {
        files: BTreeSet::new(),
        isolated: true,
    };
    let weights = std::slice::from_ref(&elsewhere);
    assert_eq!(
        settled(statistical, weights, &[]),
        (Some(statistical), statistical, true)
    );
    assert_eq!(
        settled_without(&isolated, statistical, weights, &[]),
        (None, statistical, false)
    );
    // A file of metrics is what its own stage has made.
    assert_eq!(
        settled_without(&isolated, Class::Numeric, &[own, elsewhere], &[]),
        (Some(Class::Numeric), Class::Numeric, true)
    );
}

#[test]
fn what_was_made_of_the_baselines_files_answers_for_no_others() {
    let functional = Class::Functional;
    let isolated = Unmeasured {
        files: BTreeSet::new(),
        isolated: true,
    };
    let (chained, divergent) = (Unmeasured::default(), Some(Class::Divergent));
    let holds = (Some(functional), functional, true);
    let (open, fails) = ((None, functional, false), (divergent, functional, false));
    // The stage makes `m.json` itself, and `metrics.json` is made of it by another.
    for (unmeasured, model, held, due) in [
        (&chained, "metrics.json", Held::Holds, holds),
        (&isolated, "metrics.json", Held::Holds, open),
        (&isolated, "metrics.json", Held::Fails, open),
        (&isolated, "m.json", Held::Holds, holds),
        (&isolated, "m.json", Held::Fails, fails),
        (&isolated, "aside.bin", Held::Holds, fails),
    ] {
        let settled = settled_asked(unmeasured, functional, &[], &[held], model);
        assert_eq!(settled, due, "{model} {held:?}");
    }
}

#[test]
fn where_only_function_is_demanded_golden_answers_decide() {
    let functional = Class::Functional;
    for (golden, due) in [
        (vec![Held::Holds], (Some(functional), functional, true)),
        // One that was not asked leaves it open.
        (vec![Held::Open], (None, functional, false)),
        (vec![Held::Holds, Held::Open], (None, functional, false)),
        (
            vec![Held::Open, Held::Fails],
            (Some(Class::Divergent), functional, false),
        ),
        (vec![], (Some(Class::Divergent), functional, false)),
    ] {
        assert_eq!(settled(functional, &[], &golden), due, "{golden:?}");
    }
}

#[test]
fn what_is_measured_or_asked_elsewhere_says_nothing_of_a_file() {
    let recipe = Recipe::parse(RECIPE).unwrap();
    let (base, now) = (
        sealstone_spec::digest::Digest::sha256(b"then"),
        sealstone_spec::digest::Digest::sha256(b"now"),
    );
    let (of_stage, after, aside): (RecipePath, RecipePath, RecipePath) = (
        "m.json".parse().unwrap(),
        "metrics.json".parse().unwrap(),
        "aside.bin".parse().unwrap(),
    );
    let class_of = |stage: &str, path: &str, required: Class, read: &RecipePath| {
        let stage = json!({"name": stage, "status": "OK", "artifacts": [
            {"path": path, "base": base, "now": now, "class": "divergent", "required": required, "ok": false}]});
        let mut stages: Vec<StageRow> = vec![serde_json::from_value(stage).unwrap()];
        let mut measured = metric(None, Class::Numeric);
        measured.0.from = Some(format!("{read}#/loss"));
        let golden = [Golden::of(&recipe, Held::Holds, vec![read])];
        let (judged, unmeasured) = ([measured], Unmeasured::default());
        let said = Said::of(&recipe, &judged, &golden, &unmeasured);
        settle(&mut stages, &said);
        stages[0].artifacts[0].class
    };
    for required in [Class::Functional, Class::Statistical] {
        let divergent = Some(Class::Divergent);
        let of_m = |read| class_of("evaluate", "m.txt", required, read);
        assert_eq!(of_m(&of_stage), Some(required));
        assert_eq!(of_m(&after), Some(required));
        assert_eq!(of_m(&aside), divergent);
        let of_aside = |read| class_of("aside", "aside.txt", required, read);
        assert_eq!(of_aside(&after), divergent);
        assert_eq!(of_aside(&aside), Some(required));
    }
}
