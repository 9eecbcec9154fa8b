//! `sealstone login`: being written.

use super::Context;
use sealstone::{Error, Result};

/// Arguments of `sealstone login`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args, _context: &Context) -> Result<()> {
    Err(Error::other("sealstone login is not written yet"))
}
