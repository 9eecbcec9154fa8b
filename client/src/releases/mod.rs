//! Releases held against each other, and bytes held against releases.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `difference` | what changed between two bundles: files, parameters, environment, metrics, dependencies |
//! | `origin` | which releases a file or directory belongs to |
//!
//! Reads manifests and locks, which are small; weights are compared by digest here, and tensor by tensor by
//! [`crate::compare`].
//! Invariant: nothing here says that a release is trusted; `verify` does.

mod difference;
mod origin;

pub use difference::{FileChange, ReleaseDifference, ValueChange, compare_releases};
pub use origin::{Match, Origin, find_origin};
