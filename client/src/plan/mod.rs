//! A stage or test of a recipe as a job for a runner, and the key that says whether it has to run.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `roots` | where the files of a path lie: a project, a profile's outputs, what a replay has made |
//! | `contents` | what lies at a declared path, by digest |
//! | `command` | words in braces replaced |
//! | `settings` | what every command of a recipe gets |
//! | `stage` | a stage as a job, with its key |
//! | `machine` | programs, and the facts of the machine with them |
//!
//! Runs nothing and compares nothing. A run and a replay plan with the same functions, so both give a stage
//! the same.
//! Invariant: a job names every file that the command may read, with its digest; the key is made of these
//! digests.

mod command;
mod contents;
mod machine;
mod roots;
mod settings;
mod stage;

pub(crate) use command::{command, plain};
pub(crate) use contents::{contents, lock_files};
pub use machine::{Looking, Machine, captured, machine, source_date_epoch};
pub use roots::Roots;
pub(crate) use settings::{DEVICES, device, settings};
pub use stage::{Planned, plan, strictest};
pub(crate) use stage::{keyed, limits, told_threads, variables};

use sealstone_spec::recipe::{Params, Recipe};
use std::path::Path;

/// What a stage or test is planned with.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Where files lie.
    pub roots: &'a Roots,
    /// All parameters.
    pub params: &'a Params,
    /// The seed.
    pub seed: Option<u64>,
    /// The machine.
    pub machine: &'a Machine,
    /// A directory for the run's own files.
    pub scratch: &'a Path,
}
