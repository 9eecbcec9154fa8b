//! Another machine, or an environment that is not what it has to be: what may differ, and what leaves it undecided.

use super::super::Unmade;
use super::expected::{WEIGHTS, expect, expect_divergence, expect_warnings, told};
use super::laboratory::{Laboratory, RECIPE, TRAIN, Trial, facts, nothing};
use sealstone_spec::environment::Isolation;
use sealstone_spec::report::{ReplayScope, StageStatus, Verdict};

#[test]
fn one_more_thread_is_the_environment() {
    let threaded = TRAIN.replace("w = b = 0.0", "w = b = float(os.environ['THREADS'])");
    let recipe = RECIPE.replace("threads = 1 }", "threads = 1, env = { THREADS = \"1\" } }");
    let laboratory = Laboratory::with(&recipe, &[("src/train.py", &threaded)]);
    laboratory.edit(
        "recipe.toml",
        "threads = 1, env = { THREADS = \"1\" }",
        "threads = 2, env = { THREADS = \"2\" }",
    );
    let report = laboratory.replay(nothing);
    expect_divergence(&report, WEIGHTS, None, "environment");
    assert!(
        report
            .evidence
            .iter()
            .any(|finding| finding.text == "threads 1→2")
    );
    assert!(
        report
            .first_divergence
            .unwrap()
            .hints
            .contains(&"ND-02".to_owned())
    );
    assert_eq!(
        report.stages[0].status,
        StageStatus::Ok,
        "the key changed, the output did not"
    );
}

#[test]
fn a_fact_that_must_match_leaves_it_undecided_and_nothing_runs() {
    let laboratory = Laboratory::new();
    let report = laboratory.replay(|trial| {
        let mut other = facts();
        other.set("machine.arch", "aarch64").unwrap();
        trial.facts = Some(other);
    });
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    assert!(report.stages.is_empty());
    assert_eq!(report.environment.diff[0].fact, "machine.arch");
}

#[test]
fn too_little_isolation_is_undecided_unless_it_is_accepted_on_the_record() {
    let laboratory = Laboratory::with(&RECIPE.replace("\"I1\"", "\"I3\""), &[]);
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    assert!(report.stages.is_empty());
    let report = laboratory.replay(|trial| trial.accept = Some(Isolation::I1));
    assert_eq!(report.isolation.achieved, Some(Isolation::I1));
    expect_warnings(&report);
    assert_eq!(report.overrides[0].kind, "accept-isolation");
}

#[test]
fn a_fact_that_was_let_go_is_a_warning_and_stands_in_the_report() {
    let decision =
        "override = [{ fact = \"libc.version\", level = \"i\", why = \"tried both\" }]\n";
    let laboratory = Laboratory::with(&format!("{decision}{RECIPE}"), &[]);
    let other = |trial: &mut Trial| {
        let mut other = facts();
        other.set("libc.version", "2.41").unwrap();
        trial.facts = Some(other);
    };
    let report = laboratory.replay(other);
    expect_warnings(&report);
    let row = &report.environment.diff[0];
    assert_eq!(
        (row.level.as_str(), row.exception.as_deref()),
        ("M", Some("tried both"))
    );
    assert_eq!(report.overrides[0].id, "libc.version");
    // Without the decision, nothing runs.
    let report = Laboratory::new().replay(other);
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
}

#[test]
fn what_git_says_is_not_compared() {
    let report = Laboratory::new().replay(|trial| {
        let mut other = facts();
        other.set("git.commit", "0123").unwrap();
        trial.facts = Some(other);
    });
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert!(report.environment.diff.is_empty());
}

#[test]
fn a_device_that_nothing_here_runs_on_is_found_before_the_first_stage() {
    let laboratory = Laboratory::new();
    laboratory.edit("recipe.toml", "device = \"cpu\"", "device = \"mps\"");
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Error, 4, None, None, None);
    assert!(report.stages.is_empty());
    let reason = told(&report, "stage", "train");
    assert!(reason.text.contains("mps"), "{}", reason.text);
    // Who does not run that stage needs no such device.
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Eval));
    let mut ran = report.stages.iter().filter(|row| row.attempts > 0);
    assert_eq!(ran.next().map(|row| row.name.as_str()), Some("evaluate"));
}

#[test]
fn an_environment_that_was_not_made_runs_nothing_and_only_the_machine_is_compared() {
    let laboratory = Laboratory::new();
    for (verdict, exit) in [(Verdict::Inconclusive, 5), (Verdict::Error, 4)] {
        let report = laboratory.replay(|trial| {
            let mut other = facts();
            other
                .set(
                    "python.packages",
                    std::collections::BTreeMap::from([("a".to_owned(), "1".to_owned())]),
                )
                .unwrap();
            other.set("cpu.name", "another").unwrap();
            trial.facts = Some(other);
            trial.unmade = Some(Unmade {
                verdict,
                text: "no".into(),
            });
        });
        expect(&report, verdict, exit, None, None, None);
        assert!(report.stages.is_empty());
        let facts: Vec<&str> = report
            .environment
            .diff
            .iter()
            .map(|row| row.fact.as_str())
            .collect();
        assert_eq!(facts, ["cpu.name"]);
    }
}
