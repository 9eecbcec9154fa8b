//! `sealstone list`: being written.

use super::Context;
use sealstone::{Error, Result};

/// Arguments of `sealstone list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args, _context: &Context) -> Result<()> {
    Err(Error::other("sealstone list is not written yet"))
}
