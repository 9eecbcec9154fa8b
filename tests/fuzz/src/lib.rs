//! The fuzz targets' bodies, included from the crate that also runs them as ordinary tests.

#[path = "../../src/fuzzing/mod.rs"]
pub mod fuzzing;
