//! Stages of a recipe run in order, and the lock that says what came of it.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `roots` | where the files of a path lie: the project, a profile's outputs, a replicate's |
//! | `plan` | a stage as a job for a runner, and its key |
//! | `baseline` | the run itself: what is reused, run, measured and tested, and the lock |
//! | `publish` | outputs put in place, whole or not at all |
//! | `metric` | a number in a JSON file, with the text that it has there |
//! | `check` | the recipe's tests: data, serialization, golden inference |
//! | `software` | the programs that the recipe names, and what the machine is with them |
//! | `trace` | what a training trace says in short |
//!
//! Does not isolate (runners do) and judges nothing but the recipe's own tests.
//! Invariant: a lock is written only after every stage, metric and test of it ended well, in one rename;
//! an output has its final name only if its stage ended well.

mod baseline;
mod check;
mod metric;
mod plan;
mod publish;
mod roots;
mod software;
mod trace;

pub use baseline::{Ran, RunEvents, RunOptions, StageRan, run};
pub use check::{Compare, TestResult, run_test};
pub use metric::{MetricError, read_metric};
pub use plan::{Given, Machine, Planned, plan, strictest};
pub(crate) use publish::write_whole;
pub use roots::Roots;
pub use software::{Prepared, machine, prepare};
