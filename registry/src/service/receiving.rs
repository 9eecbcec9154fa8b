//! Bodies that are on their way into uploads, so that whoever gives an upload up does not wait for the rest of one.
//!
//! Owns: the mark by which they end. Does not own: turns (`locks`), and what becomes of what came.
//! Invariant: while somebody gives an upload up, no body of it is read.

use super::Body;
use crate::metadata::UploadId;
use futures_util::{StreamExt as _, stream};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio_util::sync::CancellationToken;

/// A mark for each upload that is received or given up.
#[derive(Debug, Default)]
pub(super) struct Receiving(Mutex<HashMap<UploadId, Weak<CancellationToken>>>);

/// Held by whoever gives an upload up, until that is done.
pub(super) struct GivingUp {
    _mark: Arc<CancellationToken>,
}

impl Receiving {
    /// The mark of an upload: the same one for all, for as long as one of them holds it.
    fn mark(&self, id: UploadId) -> Arc<CancellationToken> {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|_, mark| mark.strong_count() > 0);
        let mark = marks.get(&id).and_then(Weak::upgrade).unwrap_or_default();
        marks.insert(id, Arc::downgrade(&mark));
        mark
    }

    /// The same body, which ends with an error when its upload is given up.
    pub(super) fn until_given_up(&self, id: UploadId, body: Body) -> Body {
        let rest = (body, self.mark(id));
        Box::pin(stream::unfold(Some(rest), |rest| async move {
            let (mut body, mark) = rest?;
            let piece = tokio::select! {
                biased;
                () = mark.cancelled() => {
                    return Some((Err("the upload was given up".to_owned()), None));
                }
                piece = body.next() => piece?,
            };
            Some((piece, Some((body, mark))))
        }))
    }

    /// Ends the body that is being received, and those that come until the value is dropped.
    pub(super) fn give_up(&self, id: UploadId) -> GivingUp {
        let mark = self.mark(id);
        mark.cancel();
        GivingUp { _mark: mark }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    #[tokio::test]
    async fn only_bodies_of_an_upload_that_is_given_up_end() {
        let receiving = Receiving::default();
        let [one, other] = [1, 2].map(|number| UploadId(uuid::Uuid::from_u128(number)));
        let endless = |id| {
            let first = stream::iter([Ok::<_, String>(Bytes::from_static(b"x"))]);
            let body = first.chain(stream::pending());
            receiving.until_given_up(id, Box::pin(body))
        };
        let (mut first, mut beside) = (endless(one), endless(other));
        for body in [&mut first, &mut beside] {
            assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"x"))));
        }
        let giving_up = receiving.give_up(one);
        assert!(first.next().await.unwrap().is_err());
        assert_eq!(first.next().await, None);
        assert!(
            endless(one).next().await.unwrap().is_err(),
            "that waited for it"
        );
        let wait = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, beside.next()).await.is_err());
        // Where that could not be done, it goes on.
        drop((giving_up, first));
        assert!(endless(one).next().await.unwrap().is_ok());
    }
}
