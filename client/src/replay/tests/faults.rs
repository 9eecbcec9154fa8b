use super::super::{Halt, Project, ProjectError, Unmade};
use super::laboratory::{Laboratory, RECIPE, TRAIN, Trial, facts};
use sealstone_spec::environment::Isolation;
use sealstone_spec::report::{Cause, Reason, ReplayScope, Report, StageStatus, Verdict};
use sealstone_spec::statement::Subject;

fn nothing(_: &mut Trial) {}

/// Verdict, exit code, origin, place and attribution, in one line: what each case states.
#[track_caller]
pub(super) fn expect(
    report: &Report,
    verdict: Verdict,
    exit: u8,
    origin: Option<(&str, &str)>,
    locator: Option<&str>,
    attribution: Option<&str>,
) {
    let shown = serde_json::to_string_pretty(report).unwrap();
    assert_eq!(report.verdict, verdict, "{shown}");
    assert_eq!(report.verdict.exit_code(false), exit);
    let first = report
        .first_divergence
        .as_ref()
        .filter(|first| !first.tolerated);
    assert_eq!(
        first.map(|first| (
            first.stage.as_str(),
            first.artifact.as_deref().unwrap_or_default()
        )),
        origin,
        "{shown}"
    );
    if let Some(wanted) = locator {
        assert_eq!(
            first.and_then(|first| first.locator.as_deref()),
            Some(wanted),
            "{shown}"
        );
    }
    assert_eq!(
        report.attribution.map(|attribution| attribution.as_str()),
        attribution,
        "{shown}"
    );
}

pub(super) fn status(report: &Report, stage: &str) -> StageStatus {
    report
        .stages
        .iter()
        .find(|row| row.name == stage)
        .unwrap()
        .status
}

#[track_caller]
fn expect_halt(report: &Report, code: &str, subject: &str, attribution: Option<&str>) {
    expect(report, Verdict::Halted, 3, None, None, attribution);
    assert_eq!(
        (
            report.reasons[0].code.as_str(),
            report.reasons[0].subject.as_str()
        ),
        (code, subject)
    );
    assert!(report.stages.is_empty());
}

#[test]
fn an_unchanged_project_is_reproduced_in_every_mode() {
    let laboratory = Laboratory::new();
    for (isolated, twice) in [(false, false), (true, false), (false, true)] {
        let report = laboratory.replay(|trial| (trial.isolated, trial.twice) = (isolated, twice));
        expect(&report, Verdict::Reproduced, 0, None, None, None);
        assert!(
            report
                .stages
                .iter()
                .all(|row| row.status == StageStatus::Ok && row.attempts == 1)
        );
        assert_eq!(report.class.achieved.unwrap().as_str(), "bit_exact");
        assert_eq!(report.tests.len(), 1);
    }
    let sealed = laboratory.replay_sealed(nothing);
    expect(&sealed, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(sealed.baseline.id, "line:1.0");
}

#[test]
fn scopes_run_what_they_say() {
    let laboratory = Laboratory::new();
    for (scope, ran, tests) in [
        (ReplayScope::Verify, 0, 0),
        (ReplayScope::Infer, 0, 1),
        (ReplayScope::Eval, 1, 1),
        (ReplayScope::Full, 3, 1),
    ] {
        let report = laboratory.replay(|trial| trial.scope = Some(scope));
        expect(&report, Verdict::Reproduced, 0, None, None, None);
        assert_eq!(
            report.stages.iter().filter(|row| row.attempts > 0).count(),
            ran,
            "{scope}"
        );
        assert_eq!(report.tests.len(), tests, "{scope}");
    }
}

#[test]
fn a_byte_flipped_in_data_halts_before_anything_runs() {
    let laboratory = Laboratory::new();
    laboratory.edit("data/raw.csv", "7,7", "7,8");
    expect_halt(
        &laboratory.replay(nothing),
        "input-digest",
        "data/raw.csv",
        Some("data"),
    );
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "input-digest",
        "data/raw.csv",
        Some("data"),
    );
}

#[test]
fn what_is_changed_behind_a_replay_halts_it_where_it_would_be_read() {
    let laboratory = Laboratory::new();
    let data = "data/raw.csv";
    let events = |report: &Report| -> Vec<String> {
        let trail = report.trail.iter();
        trail.map(|entry| entry.event.clone()).collect()
    };
    let before = laboratory.replay(|trial| trial.meddled = Some(data));
    expect_halt(&before, "input-digest", data, Some("data"));
    assert_eq!(before.owner.as_deref(), Some("team-lab"));
    let done = [
        "verify.project",
        "environment.compare",
        "verify.input-digest",
    ];
    assert_eq!(events(&before), done);
    // Between its plan and its start as well, and nothing runs after that.
    let between = laboratory.replay(|trial| trial.meddles = Some(data));
    expect_halt(&between, "input-digest", data, Some("data"));
    assert!(!events(&between).contains(&"stage.run".to_owned()));
    let said: Vec<bool> = between
        .trail
        .iter()
        .filter(|entry| entry.event == "verify.inputs")
        .map(|entry| entry.ok)
        .collect();
    assert_eq!(said, [true, false]);
    // All of a bundle was checked, so its code may not change either.
    let script = "src/train.py";
    let sealed = laboratory.replay_sealed(|trial| trial.meddled = Some(script));
    expect_halt(&sealed, "file-digest", script, None);
    assert!(events(&sealed).contains(&"stage.run".to_owned()));
    let tests = laboratory.replay_sealed(|trial| {
        (trial.scope, trial.meddles) = (Some(ReplayScope::Infer), Some("golden/in.json"));
    });
    expect_halt(&tests, "input-digest", "golden/in.json", Some("data"));
}

#[test]
fn permuted_rows_of_an_input_halt() {
    let laboratory = Laboratory::new();
    let text = laboratory.read("data/raw.csv");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(1, 2);
    laboratory.write("data/raw.csv", &(lines.join("\n") + "\n"));
    expect_halt(
        &laboratory.replay(nothing),
        "input-digest",
        "data/raw.csv",
        Some("data"),
    );
}

#[test]
fn a_byte_flipped_in_code_of_a_bundle_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("src/train.py", "w = b = 0.0", "w = b = 0.1");
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "file-digest",
        "src/train.py",
        None,
    );
}

#[test]
fn a_byte_flipped_in_weights_of_a_bundle_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("model/weights.json", "{\"w\": ", "{\"w\": 1");
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "file-digest",
        "model/weights.json",
        None,
    );
}

#[test]
fn a_forged_lock_halts() {
    let laboratory = Laboratory::new();
    // The digest of an output, changed in every place: keys and listings no longer follow from it.
    let lock = laboratory.read("recipe.lock");
    let digest =
        sealstone_spec::digest::Digest::sha256(laboratory.read("work/train.csv").as_bytes()).hex();
    let other = format!("{:0>64}", "1");
    laboratory.write("recipe.lock", &lock.replace(&digest, &other));
    expect_halt(&laboratory.replay(nothing), "lock", "recipe.lock", None);
    expect_halt(
        &laboratory.replay_sealed(nothing),
        "lock",
        "recipe.lock",
        None,
    );
}

#[test]
fn a_byte_flipped_in_the_lock_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("recipe.lock", "{\"environment\"", "{ \"environment\"");
    expect_halt(&laboratory.replay(nothing), "lock", "recipe.lock", None);
}

/// Why the laboratory's project cannot be replayed, as a bundle or as a working directory.
fn halt_of(laboratory: &Laboratory, sealed: bool) -> Halt {
    let bundle = sealstone_spec::digest::Digest::sha256(b"bundle");
    let loaded = match sealed {
        true => Project::of_bundle(laboratory.root.path(), "line:1.0", bundle, None),
        false => Project::of_directory(laboratory.root.path(), None),
    };
    match loaded.unwrap_err() {
        ProjectError::Halt(halt) => halt,
        ProjectError::Failed(error) => panic!("{error:?}"),
    }
}

#[test]
fn only_a_bundle_that_contradicts_itself_is_called_damaged() {
    let laboratory = Laboratory::new();
    laboratory.edit("data/raw.csv", "7,7", "7,8");
    assert!(halt_of(&laboratory, true).about_bundle);
    let halt = halt_of(&laboratory, false);
    assert!(!halt.about_bundle);
    assert_eq!(halt.id.as_deref(), Some("line:1.0"), "the recipe's name");
    // Code that is not its lock's, and a lock that was changed by hand.
    for (path, from, to) in [
        ("src/train.py", "w = b = 0.0", "w = b = 0.1"),
        ("recipe.lock", "{\"environment\"", "{ \"environment\""),
    ] {
        let laboratory = Laboratory::new();
        laboratory.edit(path, from, to);
        assert!(halt_of(&laboratory, true).about_bundle, "{path}");
    }
    // What a later version has written is none of its faults.
    let laboratory = Laboratory::new();
    let schema = sealstone_spec::recipe::LOCK_SCHEMA;
    laboratory.edit("recipe.lock", schema, "sealstone-lock/v99");
    let halt = halt_of(&laboratory, true);
    assert_eq!(halt.code, "lock");
    assert!(halt.text.contains("v99"), "{halt}");
    assert!(!halt.about_bundle);
}

#[test]
fn a_changed_learning_rate_is_named_with_both_values() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        Some("pointer:/b"),
        Some("params"),
    );
    assert_eq!(report.evidence[0].text, "lr 0.05→0.04");
    assert_eq!(status(&report, "evaluate"), StageStatus::Inherited);
    assert_eq!(status(&report, "prepare"), StageStatus::Ok);
    let first = report.first_divergence.unwrap();
    assert_eq!(first.cause, Cause::Changed);
    let trace = first.trace.unwrap();
    assert_eq!((trace.step, trace.column.as_str()), (0, "lr"));
    assert_eq!(first.hints[0], "ND-19");
    let metric = &report.metrics[0];
    assert!(!metric.ok && metric.base != metric.now);
}

#[test]
fn changed_code_is_named_and_what_follows_is_inherited() {
    let laboratory = Laboratory::new();
    laboratory.edit("src/prepare.py", "/ 10", "/ 11");
    let report = laboratory.replay(nothing);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("prepare", "work/train.csv")),
        None,
        Some("code"),
    );
    assert_eq!(report.evidence[0].text, "src/prepare.py");
    assert_eq!(status(&report, "train"), StageStatus::Inherited);
    // Alone, on the baseline's inputs, the others do what they did.
    let report = laboratory.replay(|trial| trial.isolated = true);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("prepare", "work/train.csv")),
        None,
        Some("code"),
    );
    assert_eq!(status(&report, "train"), StageStatus::Ok);
}

#[test]
fn code_that_changed_without_effect_is_a_warning() {
    let laboratory = Laboratory::new();
    laboratory.write("src/train.py", &format!("# a comment\n{TRAIN}"));
    let report = laboratory.replay(nothing);
    expect(
        &report,
        Verdict::ReproducedWithWarnings,
        0,
        None,
        None,
        None,
    );
    assert_eq!(report.verdict.exit_code(true), 1);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.code == "drift" && reason.subject == "train")
    );
}

#[test]
fn code_and_parameters_changed_at_once_are_put_down_to_neither() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    laboratory.edit("src/train.py", "w = b = 0.0", "w = b = 0.1");
    let report = laboratory.replay(nothing);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        None,
        Some("unknown"),
    );
    assert_eq!(report.stages[1].changed, ["code", "params"]);
}

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
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        None,
        Some("environment"),
    );
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
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("prepare", "work/train.csv")),
        None,
        Some("nondeterminism"),
    );
    assert_eq!(
        report.first_divergence.as_ref().unwrap().cause,
        Cause::NondeterministicOrHidden
    );
    assert!(report.stages[0].artifacts[0].detail.is_some());
    // One run alone proves nothing.
    let report = fixed.replay(nothing);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("prepare", "work/train.csv")),
        None,
        Some("unknown"),
    );
}

#[test]
fn a_stage_that_depends_on_the_clock_is_nondeterministic() {
    let clock = format!(
        "{TRAIN}\nimport time\njson.dump({{\"w\": w, \"b\": b, \"at\": time.time()}}, open(\"model/weights.json\", \"w\"))\n"
    );
    let laboratory = Laboratory::with(RECIPE, &[("src/train.py", &clock)]);
    let report = laboratory.replay(|trial| trial.twice = true);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        Some("pointer:/at"),
        Some("nondeterminism"),
    );
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
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        None,
        Some("unknown"),
    );
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
    expect(
        &report,
        Verdict::ReproducedWithWarnings,
        0,
        None,
        None,
        None,
    );
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
    expect(
        &report,
        Verdict::ReproducedWithWarnings,
        0,
        None,
        None,
        None,
    );
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

#[test]
fn a_test_that_could_not_be_made_is_undecided() {
    let laboratory = Laboratory::new();
    std::fs::remove_file(laboratory.path("src/predict.py")).unwrap();
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Infer));
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    assert!(report.tests[0].undecided);
}

#[test]
fn a_crash_is_tried_once_more_and_then_an_error() {
    let laboratory = Laboratory::new();
    laboratory.write("src/train.py", "import sys\nsys.exit('out of luck')\n");
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Error, 4, None, None, None);
    let train = &report.stages[1];
    assert_eq!(
        (train.status, train.attempts, train.exit),
        (StageStatus::Error, 2, Some(1))
    );
    assert!(train.note.as_ref().unwrap().contains("out of luck"));
    assert_eq!(status(&report, "evaluate"), StageStatus::Skipped);
}

#[test]
fn a_crash_that_does_not_come_again_is_forgotten_but_told() {
    let marker = tempfile::tempdir().unwrap();
    let path = marker.path().join("once");
    let flaky = format!(
        "import os\nif os.environ.get('FLAKY') and not os.path.exists({path:?}):\n    open({path:?}, 'w')\n    os.kill(os.getpid(), 11)\n{TRAIN}"
    );
    let laboratory = Laboratory::with(RECIPE, &[("src/train.py", &flaky)]);
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("FLAKY".into(), "1".into())));
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(report.stages[1].attempts, 2);
    assert!(
        report
            .trail
            .iter()
            .any(|entry| entry.event == "stage.run" && !entry.ok)
    );
}

#[test]
fn a_stage_that_diverges_is_not_tried_again() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    assert!(report.stages.iter().all(|row| row.attempts == 1));
}

#[test]
fn an_output_that_is_not_written_diverges() {
    let laboratory = Laboratory::new();
    laboratory.edit("src/evaluate.py", "json.dump(", "print(");
    laboratory.edit("src/evaluate.py", ", open(\"metrics.json\", \"w\"))", ")");
    let report = laboratory.replay(nothing);
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("evaluate", "metrics.json")),
        None,
        Some("code"),
    );
    assert!(
        report
            .metrics
            .iter()
            .all(|metric| metric.undecided && metric.now.is_none())
    );
}

/// A stage's result with another evaluation, as a metrics file written by it.
fn evaluated(body: &str) -> Report {
    let laboratory = Laboratory::with(
        &RECIPE.replace("class = \"bit_exact\", seed", "class = \"numeric\", seed"),
        &[],
    );
    laboratory.write("src/evaluate.py", body);
    laboratory.replay(nothing)
}

#[test]
fn a_missing_metric_is_undecided() {
    let report = evaluated("open('metrics.json', 'w').write('{\"loss\": 0}')\n");
    let metric = report
        .metrics
        .iter()
        .find(|metric| metric.name == "r2")
        .unwrap();
    assert!(metric.undecided && !metric.ok);
    assert!(report.verdict >= Verdict::Inconclusive);
}

#[test]
fn a_metric_that_is_nan_never_passes() {
    let report = evaluated("open('metrics.json', 'w').write('{\"loss\": NaN, \"r2\": NaN}')\n");
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("evaluate", "metrics.json")),
        None,
        Some("code"),
    );
    assert!(
        report
            .metrics
            .iter()
            .all(|metric| !metric.ok && metric.now.as_deref() == Some("NaN"))
    );
}

#[test]
fn a_better_metric_is_another_metric() {
    let report = evaluated("open('metrics.json', 'w').write('{\"loss\": 0.0, \"r2\": 1.0}')\n");
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("evaluate", "metrics.json")),
        Some("pointer:/loss"),
        Some("code"),
    );
    let metric = report
        .metrics
        .iter()
        .find(|metric| metric.name == "r2")
        .unwrap();
    assert!(
        !metric.ok && metric.note.as_ref().unwrap().contains("better"),
        "{metric:?}"
    );
}

#[test]
fn a_tampered_metrics_file_beside_the_code_is_not_read() {
    let laboratory = Laboratory::new();
    laboratory.write("metrics.json", "{\"loss\": 0.0, \"r2\": 1.0}");
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert!(
        report
            .metrics
            .iter()
            .all(|metric| metric.ok && metric.now == metric.base)
    );
}

#[test]
fn a_changed_golden_answer_halts() {
    let laboratory = Laboratory::new();
    laboratory.edit("golden/out.json", "[", "[1");
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Infer));
    expect_halt(&report, "file-digest", "golden/out.json", None);
}

/// Of the weights only what they do is demanded, and the metrics are looked at from far off: the golden answers have to
/// notice.
pub(super) fn functional() -> String {
    let tolerated = "device = \"cpu\"\ntolerance = { \"model/weights.json\" = { class = \"functional\" }, \"trace.jsonl\" = { class = \"statistical\" } }\n[stage.evaluate]";
    RECIPE
        .replace("device = \"cpu\"\n[stage.evaluate]", tolerated)
        .replace("class = \"bit_exact\", seed", "class = \"numeric\", seed")
        .replace("replay = { abs = 1e-6 }", "replay = { abs = 100 }")
}

/// A training that a variable makes another one.
pub(super) fn spoilt() -> String {
    TRAIN.replace(
        "json.dump({\"w\": w, ",
        "w += float(os.environ.get('SPOILT', '0'))\njson.dump({\"w\": w, ",
    )
}

#[test]
fn wrong_weights_fail_the_golden_test() {
    let laboratory = Laboratory::with(&functional(), &[("src/train.py", &spoilt())]);
    let good = laboratory.replay(nothing);
    expect(&good, Verdict::Reproduced, 0, None, None, None);
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("SPOILT".into(), "0.01".into())));
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        Some("pointer:/w"),
        Some("unknown"),
    );
    assert!(report.metrics.iter().all(|metric| metric.ok));
    let test = &report.tests[0];
    assert!(!test.ok && !test.undecided, "{test:?}");
    assert_eq!(test.locator.as_deref(), Some("pointer:/0"));
    let told = |reason: &&Reason| reason.code == "test" && reason.subject == "inference/golden";
    assert_eq!(
        report.reasons.iter().find(told).unwrap().verdict,
        Verdict::Diverged
    );
}

/// The recipe with rounding tolerated everywhere.
fn tolerant() -> String {
    RECIPE.replace("device = \"cpu\"\n[stage.evaluate]", "device = \"cpu\"\ntolerance = { \"model/weights.json\" = { class = \"numeric\", abs = 1e-6, why = \"summation order\" }, \"trace.jsonl\" = { class = \"statistical\" } }\n[stage.evaluate]")
        .replace("class = \"bit_exact\", seed", "class = \"numeric\", seed").replace("abs = 1e-9", "abs = 1e-6")
}

#[track_caller]
pub(super) fn told<'a>(report: &'a Report, code: &str, subject: &str) -> &'a Reason {
    let is_it = |reason: &&Reason| reason.code == code && reason.subject == subject;
    let found = report.reasons.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {code} of {subject}: {:?}", report.reasons))
}

#[test]
fn a_change_whose_effect_is_tolerated_is_told() {
    let laboratory = Laboratory::with(&tolerant(), &[]);
    laboratory.edit("params.json", "0.05", "0.0500000001");
    let report = laboratory.replay(nothing);
    expect(
        &report,
        Verdict::ReproducedWithWarnings,
        0,
        None,
        None,
        None,
    );
    assert_eq!(report.verdict.exit_code(true), 1);
    assert!(report.first_divergence.as_ref().unwrap().tolerated);
    assert_eq!(
        told(&report, "drift", "train").text,
        "lr 0.05→0.0500000001 changed, and its outputs with it"
    );
}

#[test]
fn what_changed_in_a_stage_that_is_not_run_is_told() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    laboratory.edit("src/prepare.py", "/ 10", "/ 11");
    // As after a checkout: what stages write between each other is not there.
    std::fs::remove_file(laboratory.path("work/train.csv")).unwrap();
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Infer));
    expect(
        &report,
        Verdict::ReproducedWithWarnings,
        0,
        None,
        None,
        None,
    );
    assert_eq!(
        told(&report, "drift", "train").text,
        "lr 0.05→0.04 changed, and it was not run"
    );
    told(&report, "drift", "prepare");
    let rows: Vec<(StageStatus, &[String])> = report
        .stages
        .iter()
        .map(|row| (row.status, row.changed.as_slice()))
        .collect();
    assert_eq!(rows[0], (StageStatus::Skipped, &["code".to_owned()][..]));
    assert_eq!(rows[1], (StageStatus::Skipped, &["params".to_owned()][..]));
    assert_eq!(rows[2], (StageStatus::Skipped, &[][..]));
}

#[test]
fn an_evaluation_does_not_hide_that_training_changed() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| {
        trial.scope = Some(ReplayScope::Eval);
        trial.isolated = true;
    });
    expect(
        &report,
        Verdict::ReproducedWithWarnings,
        0,
        None,
        None,
        None,
    );
    told(&report, "drift", "train");
}

#[test]
fn what_a_recipe_no_longer_asks_is_not_passed_over() {
    let evaluation = {
        let from = RECIPE.find("[stage.evaluate]").unwrap();
        let to = RECIPE.find("[test.golden]").unwrap();
        &RECIPE[from..to]
    };
    let metric = {
        let from = RECIPE.find("[metric.r2]").unwrap();
        let to = RECIPE.find("[test.golden]").unwrap();
        &RECIPE[from..to]
    };
    let test = &RECIPE[RECIPE.find("[test.golden]").unwrap()..];
    for (gone, names) in [
        (metric, &["r2"][..]),
        (test, &["golden"]),
        (evaluation, &["evaluate", "loss", "r2"]),
    ] {
        let laboratory = Laboratory::new();
        laboratory.edit("recipe.toml", gone, "");
        let report = laboratory.replay(nothing);
        expect(&report, Verdict::Inconclusive, 5, None, None, None);
        for name in names {
            assert_eq!(
                told(&report, "unmeasured", name).verdict,
                Verdict::Inconclusive
            );
        }
    }
}

#[test]
fn a_recipe_with_wider_rules_is_told() {
    let laboratory = Laboratory::new();
    laboratory.edit("recipe.toml", "abs = 1e-6", "abs = 1e-3");
    let report = laboratory.replay(nothing);
    let warned = Verdict::ReproducedWithWarnings;
    expect(&report, warned, 0, None, None, None);
    told(&report, "drift", "recipe.toml");
    assert!(report.overrides.is_empty());
    // Of the strictest class the lock knows what it was.
    let laboratory = Laboratory::new();
    laboratory.edit(
        "recipe.toml",
        "class = \"bit_exact\"",
        "class = \"numeric\"",
    );
    let report = laboratory.replay(nothing);
    expect(&report, warned, 0, None, None, None);
    assert_eq!(report.overrides[0].kind, "tolerance");
}

#[test]
fn a_directory_that_is_only_verified_is_looked_at_whole() {
    let verify = |laboratory: &Laboratory| {
        laboratory.replay(|trial| trial.scope = Some(ReplayScope::Verify))
    };
    let laboratory = Laboratory::new();
    let good = verify(&laboratory);
    expect(&good, Verdict::Reproduced, 0, None, None, None);
    let files = laboratory.read("recipe.lock").matches("\"role\":").count();
    assert_eq!(good.trail[0].subject, format!("{files} files of the lock"));
    laboratory.edit("src/train.py", "w = b = 0.0", "w = b = 0.1");
    laboratory.edit("model/weights.json", "{\"w\": ", "{\"w\": 1");
    std::fs::remove_file(laboratory.path("work/train.csv")).unwrap();
    let report = verify(&laboratory);
    let warned = Verdict::ReproducedWithWarnings;
    expect(&report, warned, 0, None, None, None);
    told(&report, "drift", "src/train.py");
    told(&report, "drift", "model/weights.json");
    assert!(!report.trail[0].ok);
    assert_eq!(
        report.trail[0].subject,
        format!("{} files of the lock, 1 are not at hand", files - 1)
    );
    // Other scopes have only looked at some, and say at which.
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Full));
    assert_eq!(report.trail[0].subject, "1 files of inputs, 2 of tests");
}

#[test]
fn a_stale_document_is_told_and_decides_nothing() {
    let laboratory = Laboratory::new();
    let docs = |laboratory: &Laboratory| {
        let project = crate::recipe::Project::open(laboratory.root.path()).unwrap();
        let lock = project.lock(None).unwrap();
        let sources = crate::docs::Sources {
            project: &project,
            lock: lock.as_ref(),
            policy: None,
        };
        crate::docs::write(&sources, &laboratory.path("docs")).unwrap();
    };
    let row = |report: &Report| {
        let rows = report.tests.iter();
        let mut rows = rows.filter(|row| row.id == "docs/REBUILD.md");
        rows.next().cloned()
    };
    assert_eq!(row(&laboratory.replay(nothing)), None);
    docs(&laboratory);
    let fresh = laboratory.replay(nothing);
    expect(&fresh, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(row(&fresh).unwrap().note, None);
    laboratory.edit("docs/REBUILD.md", "#", "##");
    let report = laboratory.replay(nothing);
    let warned = Verdict::ReproducedWithWarnings;
    expect(&report, warned, 0, None, None, None);
    told(&report, "docs", "docs/REBUILD.md");
    let row = row(&report).unwrap();
    assert!(row.ok && row.note.is_some());
}

#[test]
fn a_metric_that_does_not_hold_by_itself_is_the_evidence() {
    let laboratory = Laboratory::new();
    let measured: serde_json::Value =
        serde_json::from_str(&laboratory.read("recipe.lock")).unwrap();
    let measured = measured["metrics"]["loss"]["value"].as_str().unwrap();
    let forged = format!("\"value\":\"{measured}\"");
    laboratory.edit("recipe.lock", &forged, "\"value\":\"0.001\"");
    let report = laboratory.replay(nothing);
    let diverged = Verdict::Diverged;
    expect(&report, diverged, 2, None, None, Some("unknown"));
    assert!(
        report.evidence[0]
            .text
            .starts_with("metric loss: 0.001 then")
    );
    let line = sealstone_spec::report::alert_line(&report, None);
    assert!(
        line.contains("stage=evaluate check=metric subject=loss"),
        "{line}"
    );
}

#[test]
fn a_comparison_is_told_with_its_place() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    let compared = |ok: bool| {
        let entries = report
            .trail
            .iter()
            .filter(|entry| entry.event == "stage.compare");
        let entries = entries.filter(|entry| entry.ok == ok);
        let note = |note: &Option<String>| note.clone().unwrap_or_default();
        entries
            .map(|entry| (entry.subject.clone(), note(&entry.note)))
            .collect::<Vec<_>>()
    };
    let pair = |subject: &str, note: &str| (subject.to_owned(), note.to_owned());
    assert_eq!(
        compared(true),
        [pair("prepare", "1 files, bit_exact or better")]
    );
    assert_eq!(
        compared(false)[0],
        pair("model/weights.json", "divergent, first at pointer:/b")
    );
}

#[test]
fn what_is_looked_at_around_a_stage_is_told() {
    let laboratory = Laboratory::new();
    let report = laboratory.replay(nothing);
    let told = |stage: &str| -> Vec<(String, String)> {
        let about = report.trail.iter().filter(|entry| entry.subject == stage);
        about
            .map(|entry| (entry.event.clone(), entry.note.clone().unwrap_or_default()))
            .collect()
    };
    let pair = |event: &str, note: &str| (event.to_owned(), note.to_owned());
    assert_eq!(
        told("train"),
        [
            // The script, the data, and its parameters.
            pair("verify.inputs", "3 files hashed"),
            pair("stage.run", ""),
            pair("verify.inputs", "again, once it had ended"),
            pair("verify.outputs", "2 files hashed"),
            pair("stage.compare", "2 files, bit_exact or better"),
        ]
    );
}

#[test]
fn each_phase_has_its_time() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| (trial.twice, trial.slow) = (true, true));
    let phases: Vec<&str> = report.timings.keys().map(String::as_str).collect();
    assert_eq!(phases, ["compare", "run", "test", "twice"]);
    let took = |phase: &str| report.timings[phase].parse::<f64>().unwrap();
    // Three files differ, and each takes a second.
    assert!(took("compare") >= 3.0, "{:?}", report.timings);
}

#[test]
fn rounding_within_the_tolerance_is_numeric_and_told() {
    let recipe = tolerant();
    let noisy = TRAIN.replace(
        "json.dump({\"w\": w, ",
        "w += float(os.environ.get('NOISE', '0'))\njson.dump({\"w\": w, ",
    );
    let laboratory = Laboratory::with(&recipe, &[("src/train.py", &noisy)]);
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("NOISE".into(), "1e-9".into())));
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(report.class.achieved.unwrap().as_str(), "numeric");
    let first = report.first_divergence.unwrap();
    assert!(first.tolerated);
    assert_eq!(
        (first.stage.as_str(), first.locator.as_deref()),
        ("train", Some("pointer:/w"))
    );
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("NOISE".into(), "1e-3".into())));
    expect(
        &report,
        Verdict::Diverged,
        2,
        Some(("train", "model/weights.json")),
        Some("pointer:/w"),
        Some("unknown"),
    );
}

#[test]
fn a_report_states_what_follows_from_it_and_no_more() {
    use super::super::{EQUIVALENCE, REBUILD, statements};
    let states = |report: &Report| {
        let bundle = Subject::new("line", &report.baseline.digest.0);
        statements(report, &[bundle]).unwrap()
    };
    let types = |report: &Report| -> Vec<String> {
        let all = states(report);
        for statement in &all {
            assert!(statement.subject[0].names(&report.baseline.digest.0));
        }
        assert_eq!(
            Report::from_predicate(all[0].predicate.as_ref().unwrap())
                .unwrap()
                .verdict,
            report.verdict
        );
        all.into_iter()
            .map(|statement| statement.predicate_type)
            .collect()
    };
    let laboratory = Laboratory::new();
    let good = laboratory.replay(nothing);
    let all = types(&good);
    assert_eq!(all[0], sealstone_spec::report::PREDICATE_TYPE);
    assert_eq!(
        all[1..],
        [
            "https://in-toto.io/attestation/test-result/v0.1",
            "https://in-toto.io/attestation/svr/v0.2",
            "https://slsa.dev/provenance/v1"
        ]
    );
    let text = serde_json::to_string(&states(&good)).unwrap();
    assert!(
        text.contains("REPRO_BIT_EXACT") && text.contains(REBUILD) && !text.contains(EQUIVALENCE)
    );
    // A divergence is signed as well, and vouches for nothing.
    laboratory.edit("params.json", "0.05", "0.04");
    let bad = laboratory.replay(nothing);
    assert_eq!(
        types(&bad),
        [
            sealstone_spec::report::PREDICATE_TYPE,
            "https://in-toto.io/attestation/test-result/v0.1"
        ]
    );
    let text = serde_json::to_string(&states(&bad)).unwrap();
    assert!(text.contains("FAILED") && !text.contains("REPRO_"));
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

#[test]
fn a_halt_leaves_a_record_that_is_never_replaced() {
    use super::super::alert::{drop_file, recover};
    use super::super::{Telling, record_incident};
    let laboratory = Laboratory::new();
    laboratory.edit("data/raw.csv", "7,7", "7,8");
    let report = laboratory.replay(nothing);
    let place = tempfile::tempdir().unwrap();
    let halt = Halt::new("input-digest", "data/raw.csv", "x");
    let one = record_incident(place.path(), &halt, &report, &[]).unwrap();
    let two = record_incident(place.path(), &halt, &report, &[]).unwrap();
    assert_ne!(one, two);
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(one).unwrap()).unwrap();
    assert_eq!(record["state"], "open");
    assert!(
        record["alert"]
            .as_str()
            .unwrap()
            .starts_with("HALTED line:1.0 check=input-digest subject=data/raw.csv")
    );
    // The same alert is one file.
    let alerts = tempfile::tempdir().unwrap();
    let telling = Telling {
        profile: None,
        runbook: None,
        directory: alerts.path(),
    };
    assert!(drop_file(&report, telling).unwrap().is_some());
    assert!(drop_file(&report, telling).unwrap().is_none());
    // The same model, whole again, closes it; another model does not.
    let good = Laboratory::new().replay(nothing);
    assert_eq!(good.verdict, Verdict::Reproduced);
    let mut other = good.clone();
    other.baseline.id = "lines:1.0".into();
    assert!(recover(&other, telling).unwrap().is_empty());
    let closed = recover(&good, telling).unwrap();
    let text = std::fs::read_to_string(&closed[0]).unwrap();
    assert!(text.starts_with("RECOVERED line:1.0") && text.contains("HALTED line:1.0"));
    assert!(recover(&good, telling).unwrap().is_empty());
}
