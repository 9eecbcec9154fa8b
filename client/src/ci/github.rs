//! GitHub Actions.

use super::{Reader, Run};
use crate::error::Result;
use sealstone_spec::statement::model_train::Workflow;

pub(super) fn run(reader: &Reader<'_>) -> Result<Run> {
    let server = reader.due("GITHUB_SERVER_URL")?;
    let repository = format!("{server}/{}", reader.due("GITHUB_REPOSITORY")?);
    let revision = reader.due("GITHUB_REF")?;
    // OWNER/REPOSITORY/PATH@REF, of the file that runs, which may be another repository's.
    let workflow = reader.due("GITHUB_WORKFLOW_REF")?;
    let path = workflow.split('@').next().unwrap_or(&workflow);
    let path = path.splitn(3, '/').nth(2).unwrap_or(path).to_owned();
    let run = reader.due("GITHUB_RUN_ID")?;
    let attempt = reader
        .maybe("GITHUB_RUN_ATTEMPT")?
        .unwrap_or_else(|| "1".into());
    Ok(Run {
        system: "github",
        builder_id: format!("{server}/{workflow}"),
        source: format!("git+{repository}@{revision}"),
        commit: reader.due("GITHUB_SHA")?,
        invocation_id: Some(format!(
            "{repository}/actions/runs/{run}/attempts/{attempt}"
        )),
        workflow: Some(Workflow {
            repository,
            revision,
            path,
            ..Workflow::default()
        }),
        runner: reader.listed(&[
            ("RUNNER_ENVIRONMENT", "environment"),
            ("RUNNER_OS", "os"),
            ("RUNNER_ARCH", "arch"),
            ("GITHUB_EVENT_NAME", "event"),
        ])?,
    })
}
