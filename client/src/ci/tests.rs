//! Environments of each system, complete, incomplete, and with secrets in them.

#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

const SHA: &str = "d20ace79d20ace79d20ace79d20ace79d20ace79";

fn github() -> BTreeMap<String, String> {
    [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_SERVER_URL", "https://git.example"),
        ("GITHUB_REPOSITORY", "team/demo"),
        ("GITHUB_REF", "refs/tags/v1"),
        ("GITHUB_SHA", SHA),
        (
            "GITHUB_WORKFLOW_REF",
            "team/demo/.github/workflows/train.yml@refs/tags/v1",
        ),
        ("GITHUB_RUN_ID", "42"),
        ("RUNNER_OS", "Linux"),
        ("GITHUB_TOKEN", "ghs_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("MY_SETTING", "unlisted"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn gitlab() -> BTreeMap<String, String> {
    [
        ("GITLAB_CI", "true"),
        ("CI_PROJECT_URL", "https://lab.example/team/demo"),
        ("CI_COMMIT_REF_NAME", "main"),
        ("CI_COMMIT_SHA", SHA),
        ("CI_RUNNER_ID", "7"),
        ("CI_JOB_URL", "https://lab.example/team/demo/-/jobs/1"),
        (
            "CI_REPOSITORY_URL",
            "https://gitlab-ci-token:hunter2hunter2@lab.example/team/demo.git",
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn jenkins() -> BTreeMap<String, String> {
    [
        ("JENKINS_URL", "https://ci.example/"),
        ("BUILD_URL", "https://ci.example/job/train/5/"),
        ("JOB_URL", "https://ci.example/job/train/"),
        ("GIT_URL", "git@git.example:team/demo.git"),
        ("GIT_BRANCH", "origin/main"),
        ("GIT_COMMIT", SHA),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn run_of(variables: &BTreeMap<String, String>) -> Result<Option<Run>> {
    recognise(&|name| variables.get(name).cloned())
}

fn record() -> BuildRecord {
    BuildRecord::parse(
        &serde_json::to_vec(&json!({"externalParameters": {"entryPoint": "train.py"}})).unwrap(),
    )
    .unwrap()
}

#[test]
fn each_system_fills_provenance_and_nothing_unlisted_gets_in() {
    for (variables, system) in [
        (github(), "github"),
        (gitlab(), "gitlab"),
        (jenkins(), "jenkins"),
    ] {
        let run = run_of(&variables).unwrap().unwrap();
        assert_eq!((run.system, run.commit.as_str()), (system, SHA));
        let written = record().provenance(Some(&run), None).unwrap();
        let text = serde_json::to_string(&written).unwrap();
        assert!(
            text.contains(SHA) && text.contains(&run.builder_id),
            "{text}"
        );
        for secret in ["ghs_", "hunter2", "unlisted"] {
            assert!(!text.contains(secret), "{system}: {secret}");
        }
    }
    assert_eq!(run_of(&BTreeMap::new()).unwrap(), None);
}

#[test]
fn a_listed_value_that_looks_like_a_secret_is_refused_and_not_repeated() {
    let mut variables = jenkins();
    variables.insert(
        "GIT_URL".into(),
        "https://ana:hunter2@git.example/demo.git".into(),
    );
    let error = run_of(&variables).unwrap_err().to_string();
    assert!(
        error.contains("GIT_URL") && !error.contains("hunter2"),
        "{error}"
    );
    let mut variables = github();
    variables.remove("GITHUB_SHA");
    assert!(
        run_of(&variables)
            .unwrap_err()
            .to_string()
            .contains("GITHUB_SHA")
    );
}

#[test]
fn record_and_run_must_agree() {
    let run = run_of(&github()).unwrap().unwrap();
    let mut other = record();
    other.external_parameters.insert(
        "source".into(),
        json!({"uri": "git+https://git.example/other/demo@main"}),
    );
    assert!(other.provenance(Some(&run), None).is_err());
    let error = record().provenance(None, None).unwrap_err();
    assert!(error.to_string().contains("who built it"));
    // Without a source nothing says what was built.
    assert!(
        record()
            .provenance(None, Some("https://b.example/x"))
            .is_err()
    );
    assert!(BuildRecord::parse(b"{\"externalParameter\":{}}").is_err());
}
