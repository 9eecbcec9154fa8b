//! x

#[cfg(test)]
mod deploy;
pub mod fuzzing;
pub mod model;
