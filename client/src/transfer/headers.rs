//! How much a tar archive may say between the contents of two files.
//!
//! The `tar` crate reads long names and extended headers whole into memory, and whatever compresses well makes them as
//! long as the archive's limit: 32 MB unpacked to one name of 3 GiB. Contents are streamed, and bounded by whoever
//! unpacks. Invariant: no more than [`HEADERS`] bytes pass that are not the content of an entry.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use tar::{Entry, EntryType};

/// Bytes of headers, names and padding from one content to the next.
const HEADERS: u64 = 1024 * 1024;

/// How the names begin by which an extended header says that a file's holes were left out.
const SPARSE: &[u8] = b"GNU.sparse.";

/// An archive that is read within the bound.
#[derive(Debug)]
pub(crate) struct Bounded<R> {
    inner: R,
    left: Allowance,
}

/// What may still be read.
#[derive(Clone, Debug)]
pub(crate) struct Allowance(Rc<Cell<u64>>);

/// The archive `inner` from its beginning on. Whoever walks it shows each entry to the allowance.
pub(crate) fn bounded<R: Read>(inner: R) -> (Bounded<R>, Allowance) {
    let left = Allowance(Rc::new(Cell::new(HEADERS)));
    let bounded = Bounded {
        inner,
        left: left.clone(),
    };
    (bounded, left)
}

impl Allowance {
    /// Lets the content of this entry pass, whether it is read or skipped, and what stands before the next.
    pub(crate) fn pass<R: Read>(&self, entry: &Entry<'_, R>) {
        let content = match entry.header().entry_type() {
            // Its size counts holes, which are not in the archive, and an extended header may say another than its own:
            // how much of the archive it is cannot be asked. Whoever reads such files would have to count them.
            EntryType::GNUSparse => 0,
            _ => entry.size(),
        };
        self.0.set(content.saturating_add(HEADERS));
    }
}

/// Whether the archive holds this file without its holes, in one of the two forms of GNU tar: what stands in the archive is
/// another file then.
pub(crate) fn is_sparse<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<bool> {
    match entry.header().entry_type() {
        EntryType::GNUSparse => return Ok(true),
        EntryType::Regular | EntryType::Continuous => {}
        // Asked for its extensions, one that is itself a header would be read whole.
        _ => return Ok(false),
    }
    let Some(mut extensions) = entry.pax_extensions()? else {
        return Ok(false);
    };
    Ok(extensions.any(|extension| {
        extension.is_ok_and(|extension| extension.key_bytes().starts_with(SPARSE))
    }))
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.0.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "more than {HEADERS} bytes of names and headers stand before one of its files"
            )));
        }
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..length])?;
        self.left.0.set(left - count as u64);
        Ok(count)
    }
}
