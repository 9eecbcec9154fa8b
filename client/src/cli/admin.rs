//! `sealstone admin`: being written.

use super::Context;
use sealstone::{Error, Result};

/// Arguments of `sealstone admin`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args, _context: &Context) -> Result<()> {
    Err(Error::other("sealstone admin is not written yet"))
}
