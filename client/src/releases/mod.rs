//! Releases held against each other, and bytes held against releases.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `difference` | what changed between two bundles: files, parameters, environment, metrics, dependencies |
//! | `sealed` | a bundle with recipe and lock, held against its own files |
//! | `voices` | what trusted keys have said about a bundle |
//! | `data` | data that a bundle only names, brought by whoever has it |
//! | `chain` | from data to deployment: every link a digest, each verified or not |
//! | `rebuildable` | whether somebody else has made it again, and what is missing |
//! | `checkout` | what people write, restored from a bundle |
//! | `drift`, `regression` | what changed since a baseline; metrics between releases |
//! | `conditions` | what decides what a stage makes, in a lock and in a recipe |
//! | `comparison` | the same as a statement about the newer release |
//! | `origin` | which releases a file or directory belongs to |
//!
//! Reads manifests and locks, which are small; weights are compared by digest here, and tensor by tensor by
//! [`crate::compare`].
//! Invariant: nothing here says that a release is trusted; `verify` does.

mod chain;
mod checkout;
mod comparison;
mod conditions;
mod data;
mod difference;
mod drift;
mod origin;
mod rebuildable;
mod regression;
mod sealed;
mod voices;

pub use chain::{Chain, Deployment, Edge, Node, TagLink, chain};
pub use checkout::{Restored, restore};
pub use comparison::{REGRESSION_SUITE, comparison};
pub use data::{DataAt, absent_data, check_data, place_data};
pub use difference::{FileChange, ReleaseDifference, ValueChange, compare_releases};
pub use drift::{Area, Drift, DriftRow, drift_between, drift_since};
pub use origin::{Match, Origin, Unseen, find_origin};
pub use rebuildable::{Proof, Rebuildable, rebuildable};
pub use regression::{Regression, regressions};
pub use sealed::{SealedRelease, baseline_of, is_of_another_version};
pub use voices::{Heard, Hearing, Unheard, Voice, hear};
