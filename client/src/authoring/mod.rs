//! Recipes written for projects that have none: by looking, by tracing one run, by importing.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `draft`, `write` | a recipe with gaps, and its commented text |
//! | `classify` | what a name of a script, metric, parameter or file usually means |
//! | `scan`, `python` | scripts and files of a project; what the text of a Python script says of files |
//! | `trace`, `watch` | one run watched: files opened and written, networks reached; what that makes of stages |
//! | `settle` | what is an input, what is code, what is measured; digests of inputs |
//! | `init` | from a project to a draft |
//! | `dvc`, `mlproject`, `yaml` | drafts from files of other tools |
//! | `lock` | requirements locked with hashes, and the wheels beside them |
//!
//! Guesses go into a file that somebody reads; nothing here decides anything later. Does not run stages as
//! `run` does: a trace is no baseline.
//! Invariant: what could not be known stands in the recipe as a TODO, which `lint` reports; nothing is made up.

mod classify;
mod draft;
pub mod dvc;
mod init;
pub mod lock;
pub mod mlproject;
mod python;
mod scan;
mod settle;
mod trace;
mod watch;
mod write;
pub mod yaml;

pub use draft::{Draft, DraftEnvironment, DraftInput, DraftMetric, DraftStage, Pin};
pub use init::{InitOptions, Written, init, may_write, write_recipe};
pub use trace::{Call, IsStep, Process, Step, read_line, steps};
