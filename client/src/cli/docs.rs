//! `sealstone docs`: documents that live with a recipe.

use super::Context;
use sealstone::docs::{Sources, stale, write};
use sealstone::recipe::Project;
use sealstone::{Error, Result};
use sealstone_spec::policy::Policy;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `sealstone docs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes, from recipe, lock and policy alone:
  REBUILD.md          every command that a stranger types, from nothing to a verdict
  CRITERIA.md         every output, metric and test with its tolerance and its reason
  DECISIONS.md        overrides, weaker classes and exceptions, why, and until when
  TROUBLESHOOTING.md  verdicts, rules and the catalogue of causes, ND-01 and on
  CHANGELOG.md        rules that changed since the documents were last written

The same sources give the same bytes. With --check nothing is written: exit code 3 names what is stale.

Examples:
  sealstone docs
  sealstone docs my-model --policy policy.toml --out my-model/docs
  sealstone docs --check                        for a build server")]
pub(crate) struct Args {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Where the documents lie; without it docs/ in the project
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The policy that releases are judged by: a policy.toml
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Write nothing: fail if a document is not what the sources say
    #[arg(long)]
    check: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, context: &Context) -> Result<()> {
    let project = Project::open(&args.directory)?;
    let lock = project.lock(None)?;
    let policy = match &args.policy {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))?;
            let policy = Policy::parse(&text).map_err(|error| {
                Error::usage(format!("\"{}\" is no policy: {error}", path.display()))
            })?;
            Some((policy, text))
        }
    };
    let sources = Sources {
        project: &project,
        lock: lock.as_ref(),
        policy: policy
            .as_ref()
            .map(|(policy, text)| (policy, text.as_str())),
    };
    let out = args.out.unwrap_or_else(|| args.directory.join("docs"));
    if args.check {
        let stale = stale(&sources, &out)?;
        if stale.is_empty() {
            context
                .output
                .note("the documents are what recipe, lock and policy say");
            return Ok(());
        }
        let named: Vec<String> = stale
            .iter()
            .map(|name| out.join(name).display().to_string())
            .collect();
        return Err(Error::refused(format!("stale: {}", named.join(", ")))
            .hint("write them anew: sealstone docs")
            .detail(json!({ "stale": named })));
    }
    let changed = write(&sources, &out)?;
    let text = match changed.is_empty() {
        true => format!("nothing has changed in {}", out.display()),
        false => format!("wrote {} into {}", changed.join(", "), out.display()),
    };
    context
        .output
        .result(&json!({ "directory": out, "written": changed }), text);
    Ok(())
}
