//! The name that people say, checked: a tag and three words must speak of the same bundle.

use crate::error::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::words::{agree, three_words};

/// Checks that `name` is the three words of `digest`; `place` is what it was read from.
///
/// # Errors
/// [`Outcome::Refused`](crate::Outcome::Refused) if it is another name.
pub fn expect_name(name: &str, digest: &Digest, place: &str) -> Result<()> {
    if agree(name, digest) {
        return Ok(());
    }
    Err(Error::refused(format!("{place} is \"{}\", not \"{name}\"", three_words(digest)))
        .hint(format!("its digest is {digest}; the tag and the name speak of two bundles: ask whoever told you the name")))
}
