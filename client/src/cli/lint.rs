//! `sealstone lint`: what is wrong in a recipe, and what could be better.

use super::Context;
use jiff::Timestamp;
use sealstone::recipe::{Project, fill_digests};
use sealstone::report::as_lines;
use sealstone::{Error, Result};
use sealstone_spec::environment::Day;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `sealstone lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Errors (RE..) keep a recipe from being run: exit code 2 or 3. Warnings (RW..) do not, unless --strict
is given. Each names its line and column and says what to do.

Examples:
  sealstone lint
  sealstone lint my-model --strict
  sealstone lint --fix-digests          write the digests of inputs as they are now")]
pub(crate) struct Args {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Fail on warnings too
    #[arg(long)]
    strict: bool,

    /// Write the digests of inputs as they are now into the recipe
    #[arg(long)]
    fix_digests: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, context: &Context) -> Result<()> {
    if args.fix_digests {
        for (path, digest) in fill_digests(&args.directory)? {
            context.output.note(format!("{path}: {digest}"));
        }
    }
    let project = Project::open(&args.directory)?;
    let today: Option<Day> = Timestamp::now()
        .strftime("%Y-%m-%d")
        .to_string()
        .parse()
        .ok();
    let findings = project.lint(today)?;
    for finding in &findings {
        let text = as_lines(&finding.to_string());
        context.output.result(finding, text);
    }
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    if errors > 0 || (args.strict && warnings > 0) {
        let text = format!("the recipe has {errors} errors and {warnings} warnings");
        return Err(Error::refused(text).detail(json!({"errors": errors, "warnings": warnings})));
    }
    context
        .output
        .note(format!("no errors, {warnings} warnings"));
    Ok(())
}
