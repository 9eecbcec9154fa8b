//! x

pub mod fuzzing;
pub mod model;
