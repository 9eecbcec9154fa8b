#![allow(clippy::unwrap_used)]
//! Faults, each with its exact verdict. The project is real (Python's standard library trains it), its stages
//! are real processes; only the walls around them are missing here, which `runner` tests itself.

mod faults;
mod laboratory;
mod scopes;
