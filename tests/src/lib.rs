//! Tests of Sealstone as a whole, and what they share: servers and their addresses, the model checker and the fuzz targets.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod deploy;
pub mod examples;
pub mod fuzzing;
pub mod model;
pub mod ports;
pub mod registry;
pub mod scripts;
#[cfg(test)]
mod setup;
pub mod signals;
pub mod skips;
#[cfg(test)]
mod specification;
