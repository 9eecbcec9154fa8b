//! Transfers against a registry of the test's own, which cuts, lies and refuses as it is told.
#![allow(clippy::unwrap_used)]

mod copy;
mod cuts;
mod damage;
mod flood;
mod pull;
mod push;
pub(super) mod stock;
