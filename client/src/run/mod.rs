//! Stages of a recipe run in order, and the lock that says what came of them.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `agreement` | whether a lock still says what lies in its project |
//! | `baseline` | the run itself, from recipe to lock |
//! | `inputs` | inputs held against the recipe |
//! | `stages` | stages run, or taken from an earlier run |
//! | `remembered` | stages that ended well in runs that did not |
//! | `measure` | metrics, replicates, the recipe's tests |
//! | `document` | the lock as it is written |
//! | `places` | where outputs go on this machine: through no link, over nothing that is mounted |
//! | `publish` | outputs put in place, whole or not at all |
//! | `replaced` | what an output would replace and no lock records: kept |
//! | `metric` | a number in a JSON file, with the text that it has there |
//! | `logfile` | what a stage prints |
//! | `trace` | what a training trace says in short |
//!
//! Does not plan (`plan` does) or isolate (runners do), and judges nothing but the recipe's own tests.
//! Invariant: a lock is written only after every stage, metric and test of it ended well, in one rename;
//! an output has its final name only if its stage ended well.

mod agreement;
mod baseline;
mod document;
mod inputs;
mod logfile;
mod measure;
mod metric;
mod places;
mod publish;
mod remembered;
mod replaced;
mod stages;
mod trace;

pub(crate) use agreement::disagreements_while;
pub use agreement::{Disagreement, disagreements, refuse_disagreements};
pub use baseline::{Ran, RunEvents, RunOptions, StageRan, home, run};
pub use metric::{MetricError, read_metric};
pub(crate) use publish::write_whole;
pub(crate) use trace::data_wait_ms;
