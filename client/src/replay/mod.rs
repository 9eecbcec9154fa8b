//! Replay: what a bundle says of itself, done again and held against it.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `project` | recipe, lock and files of the baseline, checked against each other before anything runs |
//! | `halt` | what stops a replay before it begins |
//! | `environment` | the programs, made of what the baseline names |
//! | `facts` | this machine beside the baseline's, by the levels of chapter 8 |
//! | `settings` | scope, mode, what was accepted |
//! | `outline` | reports of replays that ran nothing |
//! | `session` | the whole, in its order |
//! | `scope` | which stages are asked for |
//! | `stages` | each stage planned, run, held against the lock |
//! | `replicates` | the same with the other seeds, where a metric needs a sample |
//! | `results` | metrics and tests, and what they say about files |
//! | `changes` | what in a stage is another than in the lock |
//! | `terms` | what the recipe asks no longer, and that it is another one |
//! | `room`, `execute` | where commands write; commands run, a crashed one once more |
//! | `artifacts`, `metrics`, `checks`, `resources`, `trace` | what came of it, held against the lock |
//! | `documents` | the project's documents, held against recipe and lock |
//! | `cause` | first divergence, attribution, hints |
//! | `evidence` | the report as statements: its own, and the standard ones that follow |
//! | `incident`, `quarantine`, `alert` | what is left on disk and said to people |
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
mod documents;
mod environment;
mod evidence;
mod execute;
mod facts;
mod halt;
mod incident;
mod metrics;
mod outline;
mod project;
mod quarantine;
mod replicates;
mod resources;
mod results;
mod room;
mod scope;
mod session;
mod settings;
mod stages;
mod terms;
mod trace;

#[cfg(test)]
mod tests;

pub use alert::{Telling, Told, Webhook, tell};
pub use environment::{Materialised, Unmade, materialise};
pub use evidence::statements;
pub use halt::Halt;
pub use incident::{Recorded, record as record_incident};
pub use outline::{halted, undecided, verified_only};
pub use project::{Project, ProjectError};
pub use sealstone_spec::statement::provenance::{EQUIVALENCE, REBUILD};
pub use session::{Tools, replay};
pub use settings::Settings;
