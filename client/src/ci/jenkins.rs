//! Jenkins, with the variables of its git plugin.

use super::{Reader, Run};
use crate::error::Result;
use sealstone_spec::statement::model_train::Workflow;

pub(super) fn run(reader: &Reader<'_>) -> Result<Run> {
    let url = reader.due("GIT_URL")?;
    let revision = reader.due("GIT_BRANCH")?;
    let job = reader.due("JOB_URL")?;
    let workflow = url.contains("://").then(|| Workflow {
        repository: url.clone(),
        revision: revision.clone(),
        path: job.clone(),
        ..Workflow::default()
    });
    // host:path is ssh, in the short form that git also takes.
    let address = match (url.contains("://"), url.split_once(':')) {
        (false, Some((host, path))) => format!("ssh://{host}/{path}"),
        _ => url,
    };
    Ok(Run {
        system: "jenkins",
        builder_id: job,
        source: format!("git+{address}@{revision}"),
        commit: reader.due("GIT_COMMIT")?,
        workflow,
        invocation_id: Some(reader.due("BUILD_URL")?),
        runner: reader.listed(&[("NODE_NAME", "node"), ("JOB_NAME", "job")])?,
    })
}
