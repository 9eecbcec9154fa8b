//! `sealstone env lock`: requirements locked with hashes, and the wheels beside them.

use super::Context;
use sealstone::authoring::lock::{Adopted, LockOptions, adopt, check, lock};
use sealstone::report::as_lines;
use sealstone::{Error, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `sealstone env lock`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// What to lock, relative to the project; without it uv.lock, pylock.toml, requirements.txt or
    /// pyproject.toml, the first that is there
    #[arg(long, value_name = "FILE")]
    requirements: Option<PathBuf>,

    /// Version of Python; without it that of the recipe, of .venv, or on PATH
    #[arg(long, value_name = "VERSION")]
    python: Option<String>,

    /// Change nothing: say whether requirements, lock and wheels agree
    #[arg(long, conflicts_with_all = ["requirements", "python"])]
    check: bool,
}

pub(super) const HELP: &str = "\
Resolves with pip and writes requirements.lock, which names every package, also those that others need, with
its version and the hash of its wheel, and the wheels into wheels/. This is the one step that needs a package
index: pip's own configuration says which. From then on environments are made of these files alone.
Where uv.lock or pylock.toml is there, each wheel is a file that it names, or is built from one, whose hash pip checks.

The lock is for this version of Python and this kind of machine. Wheels in wheels/ that it does not name are
removed. The recipe's environment, if it is host or venv, is set to the lock; without a recipe the lines for
one are shown.

With --check, exit code 3 says that something does not agree.

Examples:
  sealstone env lock
  sealstone env lock my-model --python 3.11
  sealstone env lock --requirements requirements/train.txt
  sealstone env lock --check";

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let root = std::fs::canonicalize(&args.directory)
        .map_err(|source| Error::io(format!("opening \"{}\"", args.directory.display()), source))?;
    if args.check {
        let problems = check(&root)?;
        for problem in &problems {
            context
                .output
                .result(&json!({ "problem": problem }), as_lines(problem));
        }
        return match problems.len() {
            0 => {
                context.output.note("requirements, lock and wheels agree");
                Ok(())
            }
            count => Err(Error::refused(format!("{count} things do not agree"))
                .hint("make lock and wheels anew: sealstone env lock")),
        };
    }
    let options = LockOptions {
        requirements: args.requirements,
        python: args.python,
    };
    let locked = lock(&root, &options, &mut |text| context.output.note(text))?;
    let adopted = adopt(&root, &locked)?;
    for name in &locked.built {
        context.output.note(format!(
            "warning: {name} has no published wheel, so one was built here: others must use these bytes"
        ));
    }
    for name in &locked.removed {
        context
            .output
            .note(format!("removed {}{name}", locked.places.wheels));
    }
    let mut text = format!(
        "locked {} packages for Python {} in {}, wheels in {}",
        locked.wheels.len(),
        locked.python,
        locked.places.lock,
        locked.places.wheels
    );
    let recipe = match &adopted {
        Adopted::AsItWas => "unchanged",
        Adopted::Changed => {
            text.push_str("\nrecipe.toml names them now");
            "changed"
        }
        Adopted::NoRecipe { lines } => {
            text.push_str(&format!("\nthere is no recipe yet: sealstone init --trace\nin one, this names them:\n{lines}"));
            "none"
        }
        Adopted::Other { lines } => {
            text.push_str(&format!(
                "\nthe environment in recipe.toml was left as it is; put this in its place to use them:\n{lines}"
            ));
            "other"
        }
    };
    let packages: Vec<Value> = locked
        .wheels
        .iter()
        .map(|wheel| json!({"name": wheel.name, "version": wheel.version, "digest": wheel.digest, "file": wheel.file}))
        .collect();
    let value = json!({"lock": locked.places.lock, "wheels": locked.places.wheels, "python": locked.python,
        "from": locked.from, "packages": packages, "built": locked.built, "removed": locked.removed, "recipe": recipe});
    context.output.result(&value, text);
    Ok(())
}
