//! GitLab CI. Its CI_REPOSITORY_URL holds a token and is never read.

use super::{Reader, Run};
use crate::error::Result;
use sealstone_spec::statement::model_train::Workflow;

pub(super) fn run(reader: &Reader<'_>) -> Result<Run> {
    let project = reader.due("CI_PROJECT_URL")?;
    let name = reader.due("CI_COMMIT_REF_NAME")?;
    let kind = match reader.maybe("CI_COMMIT_TAG")? {
        Some(_) => "refs/tags",
        None => "refs/heads",
    };
    let revision = format!("{kind}/{name}");
    let path = reader
        .maybe("CI_CONFIG_PATH")?
        .unwrap_or_else(|| ".gitlab-ci.yml".into());
    Ok(Run {
        system: "gitlab",
        builder_id: format!("{project}/-/runners/{}", reader.due("CI_RUNNER_ID")?),
        source: format!("git+{project}@{revision}"),
        commit: reader.due("CI_COMMIT_SHA")?,
        invocation_id: reader.maybe("CI_JOB_URL")?,
        workflow: Some(Workflow {
            repository: project,
            revision,
            path,
            ..Workflow::default()
        }),
        runner: reader.listed(&[
            ("CI_RUNNER_VERSION", "version"),
            ("CI_RUNNER_EXECUTABLE_ARCH", "arch"),
            ("CI_JOB_NAME", "job"),
            ("CI_PIPELINE_SOURCE", "event"),
        ])?,
    })
}
