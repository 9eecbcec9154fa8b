#![allow(clippy::unwrap_used)]
//! Faults, each with its exact verdict. The project is real (Python's standard library trains it), its stages
//! are real processes; only the walls around them are missing here, which `runner` tests itself.
//!
//! Each file but `laboratory`, `variants` and `expected` is one kind of fault. Those three know nothing of the others.

mod bytes;
mod changes;
mod expected;
mod hidden;
mod laboratory;
mod machine;
mod measured;
mod record;
mod scopes;
mod terms;
mod unruly;
mod variants;
