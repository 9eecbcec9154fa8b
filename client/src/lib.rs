//! The Sealstone client as a library: pack a model into a bundle, move it between registries and OCI
//! layouts, sign it, and judge it before any of its bytes has its final name.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`error`] | what can go wrong, by what the caller can do about it |
//! | [`store`] | where bundles live: a registry's repository or a layout directory |
//! | [`layout`] | OCI image layouts on disk |
//! | [`archive`] | a release as one file, to carry where there is no network |
//! | [`pack`] | a directory made into a bundle, the same bytes on every machine |
//! | [`compare`] | two files or directories held against each other, tensor by tensor |
//! | [`keys`] | key files: made, read, unlocked |
//! | [`trust`] | signing, attesting, gathering evidence, judging it |
//! | [`ci`] | what a CI system says of the run, by allow-list; build records |
//! | [`bill`] | what a bill of materials is made of and compared with |
//! | [`log`] | transparency logs from outside: kept checkpoints, consistency, proofs |
//! | [`environment`] | facts of this machine captured; environments made of locked wheels, a root file system or an image |
//! | [`authoring`] | recipes written for projects that have none; requirements locked |
//! | [`recipe`] | a project with a recipe: its files and their fingerprints |
//! | [`plan`] | a stage of a recipe as a job for a runner, and its key |
//! | [`check`] | the tests of a recipe: data, serialization, golden inference |
//! | [`run`] | the stages of a recipe run in order, and the lock that says what came of it |
//! | [`runner`] | stages run in isolation, with limits and measured usage |
//! | [`replay`] | a baseline made again from its inputs and held against itself |
//! | [`report`] | a reproduction report, shown: terminal, JUnit, SARIF, Markdown, a page |
//! | [`docs`] | documents that live with a recipe, and whether they are stale |
//! | [`releases`] | what changed between two bundles; which release some bytes belong to |
//! | [`transport`], [`credentials`] | the registry client and who it is |
//! | [`transfer`] | push, pull and copy: parallel, resumable, verified |
//! | [`stop`] | how a thread learns that nobody waits for it any more |
//!
//! Invariant: no public function hands out bytes of a bundle that have not been checked against the
//! digest that they were asked for by.

pub mod archive;
pub mod authoring;
pub mod bill;
mod cache;
pub mod check;
pub mod ci;
pub mod compare;
pub mod credentials;
pub mod docs;
pub mod environment;
pub mod error;
pub mod keys;
pub mod layout;
mod lines;
pub mod log;
pub mod pack;
pub mod plan;
pub mod recipe;
pub mod releases;
pub mod replay;
pub mod report;
pub mod run;
pub mod runner;
#[cfg(test)]
#[path = "../../tests/src/scripts.rs"]
#[allow(unreachable_pub)] // Public where all other tests have it.
mod scripts;
#[cfg(test)]
#[path = "../../tests/src/skips.rs"]
#[allow(unreachable_pub)] // Public where all other tests have it.
mod skips;
mod state;
pub mod stop;
pub mod store;
pub mod transfer;
pub mod transport;
pub mod trust;

pub use error::{Error, Outcome, Result};
