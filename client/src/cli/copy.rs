//! `sealstone copy`: being written.

use super::Context;
use sealstone::{Error, Result};

/// Arguments of `sealstone copy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args, _context: &Context) -> Result<()> {
    Err(Error::other("sealstone copy is not written yet"))
}
