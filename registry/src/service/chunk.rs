//! A part of an upload: a request's body, held against its Content-Range if it has one.
//!
//! Owns: that no more is taken than was announced, and what is told where the two contradict each other. Does not own: where
//! the upload stands, and what becomes of what came.
//! Invariant: of a body whose length is known and contradicts its range, nothing is taken: who hears that it was refused sends it again.

use super::{Body, Error};
use futures_util::{StreamExt as _, stream};
use sealstone_spec::range::UploadRange;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a request says of the part that it sends.
pub(super) struct Chunk {
    range: Option<UploadRange>,
    /// The length of its body, if it says.
    announced: Option<u64>,
    /// Set when more came than the range has.
    has_more: Arc<AtomicBool>,
}

impl Chunk {
    pub(super) fn new(range: Option<UploadRange>, announced: Option<u64>) -> Chunk {
        Chunk {
            range,
            announced,
            has_more: Arc::default(),
        }
    }

    /// Before anything is read: it begins where the upload stands, and does not contradict itself.
    pub(super) fn check_order(&self, offset: u64) -> Result<(), Error> {
        match (self.range, self.announced) {
            (Some(range), _) if range.start() != offset => Err(Error::OutOfOrder { offset }),
            (Some(range), Some(found)) if found != range.len() => Err(Error::LengthMismatch {
                found,
                announced: range.len(),
                offset: Some(offset),
            }),
            _ => Ok(()),
        }
    }

    /// The body as far as its range goes.
    pub(super) fn within(&self, body: Body) -> Body {
        let Some(range) = self.range else {
            return body;
        };
        let rest = (body, range.len(), Arc::clone(&self.has_more));
        Box::pin(stream::unfold(Some(rest), |rest| async move {
            let (mut body, left, has_more) = rest?;
            let mut piece = match body.next().await? {
                Ok(piece) => piece,
                Err(reason) => return Some((Err(reason), None)),
            };
            let len = piece.len() as u64;
            if len <= left {
                return Some((Ok(piece), Some((body, left - len, has_more))));
            }
            has_more.store(true, Ordering::Relaxed);
            piece.truncate(left as usize);
            Some((Ok(piece), None))
        }))
    }

    /// When all of it was read: `came` bytes, after which the upload has `offset`.
    pub(super) fn check_length(&self, came: u64, offset: u64) -> Result<(), Error> {
        let has_more = self.has_more.load(Ordering::Relaxed);
        match self.range {
            Some(range) if has_more || range.len() != came => Err(Error::LengthMismatch {
                found: came + u64::from(has_more),
                announced: range.len(),
                offset: Some(offset),
            }),
            _ => Ok(()),
        }
    }
}
