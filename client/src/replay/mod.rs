//! Replay: what a bundle says of itself, done again and held against it.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `project` | recipe, lock and files of the baseline, checked against each other before anything runs |
//! | `halt` | what stops a replay before it begins, and the record of it |
//! | `settings` | scope, mode, what was accepted |
//! | `changes` | the key of each stage now, and what changed in it |
//! | `job` | a stage of the recipe as a job of a runner |
//! | `execute` | stages run, a crashed one once more |
//! | `artifacts`, `metrics`, `checks`, `resources` | what came of it, held against the lock |
//! | `cause` | first divergence, attribution, hints |
//! | `session` | the whole, in its order |
//! | `evidence` | the report as statements: its own, and the standard ones that follow |
//! | `incident`, `alert` | what is left on disk and said to people |
//!
//! Owns the order of things and nothing that decides: classes and tolerances are `sealstone_spec::compare`'s,
//! verdicts `sealstone_spec::report`'s.
//! Invariants: nothing runs before every byte was checked; the baseline is only read; a metric is read from
//! what the replay wrote and from nowhere else; a stage that crashed is run once more, and nothing else is.

mod alert;
mod artifacts;
mod cause;
mod changes;
mod checks;
mod evidence;
mod execute;
mod halt;
mod incident;
mod job;
mod metrics;
mod project;
mod resources;
mod session;
mod settings;

#[cfg(test)]
mod tests;

pub use alert::{Webhook, drop_file};
pub use evidence::{EQUIVALENCE, REBUILD, statements};
pub use halt::Halt;
pub use incident::record as record_incident;
pub use project::{Project, ProjectError};
pub use session::{Compare, Tools, halted, replay};
pub use settings::Settings;
