//! `sealstone push`: being written.

use super::Context;
use sealstone::{Error, Result};

/// Arguments of `sealstone push`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args, _context: &Context) -> Result<()> {
    Err(Error::other("sealstone push is not written yet"))
}
