//! Transparency logs from outside: what a registry's log showed before is kept, and whatever it shows next
//! has to go on from there.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `kept` | the last checkpoint of each registry and of each log, under the user's state directory |
//! | `fetch` | checkpoints, tiles, entries and proofs of a registry |
//! | `watch` | the check at each contact, and without one; proofs of tags |
//! | `history` | reading the whole log: every leaf, every chain, every number |
//!
//! Invariant: a checkpoint is kept only after its consistency with the kept one was checked, and a log that
//! contradicts what is kept is [`Outcome::Contradicted`](crate::Outcome), an error of its own that nothing passes over.

mod fetch;
mod history;
mod kept;
mod watch;

pub use fetch::LogSource;
pub use history::{History, Problem, read_history};
pub use kept::{KeptLog, KeptLogs};
pub use watch::{Seen, check_history, check_kept, check_tag, contact, contact_with};
