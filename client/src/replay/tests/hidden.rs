//! What no lock holds: hash seeds, clocks, and a variable of the machine that the training reads.

use super::expected::{DATA, WEIGHTS, expect_divergence};
use super::laboratory::{Laboratory, RECIPE, TRAIN, Trial, facts, nothing};
use sealstone_spec::report::{Cause, Verdict};

#[test]
fn an_unset_hash_seed_is_nondeterminism() {
    let shuffled = "import os, random\nos.makedirs('work', exist_ok=True)\nimport subprocess, sys\nenv = dict(os.environ, PYTHONHASHSEED='random')\n\
        names = subprocess.run([sys.executable, '-c', 'print(list({str(i) for i in range(200)}))'], env=env, capture_output=True, text=True).stdout\n\
        open('work/train.csv', 'w').write('x,y\\n0,0\\n1,1\\n' + ('' if os.path.exists('never') else '#' + names))\n";
    let laboratory = Laboratory::new();
    laboratory.write("src/prepare.py", &shuffled.replace("'#' + names", "''"));
    let fixed = Laboratory::with(
        RECIPE,
        &[
            ("src/prepare.py", shuffled),
            (
                "src/train.py",
                &TRAIN.replace(
                    "csv.DictReader(open(\"work/train.csv\"))",
                    "csv.DictReader(l for l in open(\"work/train.csv\") if l[0] != '#')",
                ),
            ),
            (
                "src/evaluate.py",
                "import json\njson.dump({\"loss\": 0.1, \"r2\": 0.9}, open(\"metrics.json\", \"w\"))\n",
            ),
        ],
    );
    let report = fixed.replay(|trial| trial.twice = true);
    expect_divergence(&report, DATA, None, "nondeterminism");
    assert_eq!(
        report.first_divergence.as_ref().unwrap().cause,
        Cause::NondeterministicOrHidden
    );
    assert!(report.stages[0].artifacts[0].detail.is_some());
    // One run alone proves nothing.
    let report = fixed.replay(nothing);
    expect_divergence(&report, DATA, None, "unknown");
}

#[test]
fn a_stage_that_depends_on_the_clock_is_nondeterministic() {
    let clock = format!(
        "{TRAIN}\nimport time\njson.dump({{\"w\": w, \"b\": b, \"at\": time.time()}}, open(\"model/weights.json\", \"w\"))\n"
    );
    let laboratory = Laboratory::with(RECIPE, &[("src/train.py", &clock)]);
    let report = laboratory.replay(|trial| trial.twice = true);
    expect_divergence(&report, WEIGHTS, Some("pointer:/at"), "nondeterminism");
    assert_eq!(report.first_divergence.unwrap().hints[0], "ND-07");
    assert!(
        report.metrics.iter().all(|metric| metric.ok),
        "what is evaluated is the same"
    );
}

#[test]
fn a_hidden_input_shows_when_two_runs_agree_against_the_baseline() {
    let hidden = TRAIN.replace(
        "w = b = 0.0",
        "w = b = float(os.environ.get('MACHINE', '0'))",
    );
    let laboratory = Laboratory::with(RECIPE, &[("src/train.py", &hidden)]);
    let elsewhere = |trial: &mut Trial| {
        trial.twice = true;
        trial.environment.insert("MACHINE".into(), "1".into());
    };
    let report = laboratory.replay(elsewhere);
    expect_divergence(&report, WEIGHTS, None, "unknown");
    assert!(
        report
            .first_divergence
            .unwrap()
            .hints
            .contains(&"ND-18".to_owned())
    );
    // With a fact that differs, it is the machine.
    let report = laboratory.replay(|trial| {
        elsewhere(trial);
        let mut other = facts();
        other.set("cpu.model", "another").unwrap();
        trial.facts = Some(other);
    });
    assert_eq!(report.attribution.unwrap().as_str(), "environment");
}

#[test]
fn two_replayers_that_disagree_state_it_apart() {
    let laboratory = Laboratory::with(
        RECIPE,
        &[(
            "src/train.py",
            &TRAIN.replace(
                "w = b = 0.0",
                "w = b = float(os.environ.get('MACHINE', '0'))",
            ),
        )],
    );
    let one = laboratory.replay(nothing);
    let two =
        laboratory.replay(|trial| drop(trial.environment.insert("MACHINE".into(), "1".into())));
    assert_eq!(
        (one.verdict, two.verdict),
        (Verdict::Reproduced, Verdict::Diverged)
    );
    assert_eq!(one.baseline.digest, two.baseline.digest);
    assert_ne!(one.fingerprint(), two.fingerprint());
}
