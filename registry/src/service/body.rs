//! A request's body on its way into an upload: read in pieces, hashed and written in batches, noted now and then.
//!
//! Does not own sessions, nor what becomes of the upload afterwards.

use super::quota::Hold;
use super::{Contributor, Error, Registry};
use crate::blobs::{self, Batch, INLINE_LIMIT, StagedUpload};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use std::sync::Arc;

/// Bytes after which progress is noted: what a restart hashes again at most.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Pieces of a request's body. The error is the reason why it ended early.
pub type Body = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

impl Registry {
    /// Writes a body to the upload, collecting the next batch while the last is hashed and written. `hold` is what
    /// [`Registry::hold`] said. The second result says whether the body came to its end.
    pub(super) async fn take_body(
        &self,
        who: &Contributor,
        upload: Box<StagedUpload>,
        first: Vec<Bytes>,
        body: Body,
        hold: Hold,
    ) -> (Result<Box<StagedUpload>, Error>, Result<(), Error>) {
        let mut noted = upload.offset();
        let mut batch = upload.batch_after(None);
        let mut writer = Writer::Idle(upload);
        let mut ended = Ok(());
        let mut pieces = stream::iter(first.into_iter().map(Ok)).chain(body);
        loop {
            let (mut piece, is_last) = match pieces.next().await {
                Some(Ok(piece)) => (piece, false),
                Some(Err(reason)) => {
                    ended = Err(Error::BodyInterrupted(reason));
                    (Bytes::new(), true)
                }
                None => (Bytes::new(), true),
            };
            batch.fill(&mut piece);
            while batch.is_full() || (is_last && !batch.is_empty()) {
                let upload = match writer.wait().await {
                    Ok(upload) => upload,
                    Err(error) => return (Err(error), ended),
                };
                if upload.offset() - noted >= CHECKPOINT_BYTES {
                    noted = upload.offset();
                    let noting = self.checkpoint(who, &upload, false, hold.at(noted));
                    if let Err(error) = noting.await {
                        return (Err(error), ended);
                    }
                }
                // Of a body whose length nobody said.
                if let Err(error) = who.check_blob(batch.next_offset()) {
                    return (Err(error), ended);
                }
                self.inner.metrics.bytes_received.inc_by(batch.len() as u64);
                let next = upload.batch_after(Some(&batch));
                writer = match Writer::start(upload, std::mem::replace(&mut batch, next)) {
                    Ok(writer) => writer,
                    Err(error) => return (Err(error), ended),
                };
                batch.fill(&mut piece);
            }
            if is_last {
                // What was announced and did not come would lie idle on the disk for as long as the session is kept.
                let upload = match writer.wait().await {
                    Ok(upload) if upload.has_spare() => {
                        super::upload::blocking(move || upload.give_back().map(|()| upload)).await
                    }
                    other => other,
                };
                return (upload, ended);
            }
        }
    }
}

/// The upload, here or with the blocking threads that hash and write a batch: the processor works on one while the
/// disk works on the other.
enum Writer {
    Idle(Box<StagedUpload>),
    Busy {
        hashing: tokio::task::JoinHandle<Result<Box<StagedUpload>, blobs::Error>>,
        writing: tokio::task::JoinHandle<Result<(), blobs::Error>>,
    },
}

impl Writer {
    fn start(mut upload: Box<StagedUpload>, batch: Batch) -> Result<Writer, Error> {
        let batch = Arc::new(batch);
        let job = upload.writing(&batch)?;
        Ok(Writer::Busy {
            writing: tokio::task::spawn_blocking(move || job.write()),
            hashing: tokio::task::spawn_blocking(move || upload.hash(&batch).map(|()| upload)),
        })
    }

    async fn wait(self) -> Result<Box<StagedUpload>, Error> {
        match self {
            Writer::Idle(upload) => Ok(upload),
            Writer::Busy { hashing, writing } => {
                // Both end before anybody hears of a failure of one.
                let (hashed, written) = (hashing.await, writing.await);
                written??;
                Ok(hashed??)
            }
        }
    }
}

pub(super) enum Small {
    Whole(Bytes),
    Longer(Vec<Bytes>),
    /// What came before it ended early, and why it did.
    Cut(Vec<Bytes>, String),
}

/// Reads a body as long as it fits into the metadata store.
pub(super) async fn read_small(body: &mut Body) -> Small {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut len = 0;
    while let Some(piece) = body.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(reason) => return Small::Cut(pieces, reason),
        };
        len += piece.len() as u64;
        pieces.push(piece);
        if len > INLINE_LIMIT {
            return Small::Longer(pieces);
        }
    }
    Small::Whole(match pieces.len() {
        1 => pieces.remove(0),
        _ => Bytes::from(pieces.concat()),
    })
}

/// A body whose reader has failed before: the pieces that came are elsewhere.
pub(super) fn cut(reason: String) -> Body {
    Box::pin(stream::iter([Err::<Bytes, String>(reason)]))
}
