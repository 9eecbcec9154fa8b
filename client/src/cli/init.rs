//! `sealstone init`: a recipe for a project that has none.

use super::Context;
use super::output::in_line;
use sealstone::authoring::{Draft, InitOptions, Written, init};
use sealstone::recipe::Project;
use sealstone::report::as_lines;
use sealstone::{Error, Result};
use sealstone_spec::recipe::Code;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `sealstone init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Finds the scripts that prepare, train and evaluate, by name and by content, with data, parameters,
requirements and metrics, and writes a commented recipe.toml. Data is pinned by its digest. What could not
be known says TODO, and `sealstone lint` names each place.

--trace runs each script once, in the project and as you would, and declares what it opened and wrote. It
shows reads outside the project and uses of the network, which stages of a recipe do not have. Programs come
from requirements.lock and wheels/ if they are there (`sealstone env lock`), else from .venv, else from PATH.
It needs strace.

A recipe that is there stays, unless --force is given.

Examples:
  sealstone init
  sealstone init --trace
  sealstone init my-model --trace -- make all      watch this; each Python script in it is a stage
  sealstone init --force --trace")]
pub(crate) struct Args {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Run the scripts once under strace and declare what they read and wrote
    #[arg(long)]
    trace: bool,

    /// Replace a recipe that is there
    #[arg(long)]
    force: bool,

    /// What to trace in place of the scripts that are found
    #[arg(value_name = "COMMAND", last = true, requires = "trace")]
    command: Vec<String>,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let output = context.output.clone();
    let directory = args.directory.clone();
    let written = tokio::task::spawn_blocking(move || {
        let options = InitOptions {
            trace: args.trace,
            command: args.command,
            force: args.force,
        };
        init(&args.directory, &options, &mut |text| output.note(text))
    })
    .await
    .map_err(|error| Error::other("the command ended early").source(error))??;
    report(context, &directory, &written);
    Ok(())
}

/// What was written, what is open in it, and what to type next.
pub(super) fn report(context: &Context, directory: &Path, written: &Written) {
    let Written { path, draft } = written;
    let (open, findings) = open(directory);
    let mut text = format!("wrote {}\n", path.display());
    for stage in &draft.stages {
        let reads: Vec<String> = stage.reads.iter().map(|path| in_line(path)).collect();
        let writes: Vec<String> = stage.writes.iter().map(|path| in_line(path)).collect();
        text.push_str(&format!(
            "  {:<10} {:<9} in {}\n  {:<20} out {}\n",
            in_line(&stage.name),
            stage.kind,
            reads.join(", "),
            "",
            writes.join(", ")
        ));
    }
    for metric in &draft.metrics {
        let (name, from) = (in_line(&metric.name), in_line(&metric.from));
        text.push_str(&format!("  metric {name} from {from}\n"));
    }
    for line in &open {
        text.push_str(&format!("  open: {}\n", as_lines(line)));
    }
    let next = next(draft, !open.is_empty(), directory);
    text.push_str(&format!("next: {next}"));
    let stages: Vec<Value> = draft
        .stages
        .iter()
        .map(|stage| {
            json!({"name": stage.name, "kind": stage.kind, "run": stage.run, "in": stage.reads,
                "out": stage.writes, "description": stage.description})
        })
        .collect();
    let value = json!({"path": path, "stages": stages, "findings": findings, "next": next,
        "inputs": draft.inputs.iter().map(|input| &input.path).collect::<Vec<_>>(),
        "metrics": draft.metrics.iter().map(|metric| &metric.from).collect::<Vec<_>>()});
    context.output.result(&value, text);
}

/// What has to be done before the recipe can be run, and everything that lint says.
fn open(directory: &Path) -> (Vec<String>, Value) {
    match Project::open(directory).and_then(|project| project.lint(None)) {
        Ok(findings) => {
            // What has just been written cannot have been committed yet.
            let errors = findings
                .iter()
                .filter(|finding| finding.is_error() && finding.code != Code::Uncommitted);
            let lines = errors.map(ToString::to_string).collect();
            (lines, json!(findings))
        }
        Err(error) => {
            let findings = error.details().map(|detail| detail["findings"].clone());
            let lines = error
                .message()
                .lines()
                .skip(1)
                .map(|line| line.trim().to_owned())
                .collect();
            (lines, findings.unwrap_or_default())
        }
    }
}

fn next(draft: &Draft, has_open: bool, directory: &Path) -> String {
    let here = match directory.to_str() {
        None | Some(".") => String::new(),
        Some(directory) => format!(" {directory}"),
    };
    let locked = match &draft.environment {
        sealstone::authoring::DraftEnvironment::Venv { lock, .. } => directory.join(lock).is_file(),
        _ => true,
    };
    match (locked, has_open) {
        (false, _) => format!("sealstone env lock{here}"),
        (true, true) => format!("mend what is open, then: sealstone lint{here}"),
        (true, false) => format!("sealstone run{here}"),
    }
}
