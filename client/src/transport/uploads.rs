//! Blobs on their way to a registry: small ones at once, large ones in sessions that can be resumed.
//!
//! Source: OCI distribution specification, "Pushing blobs". Owns the requests and the reading of
//! Location, Range and OCI-Chunk-Min-Length. Does not decide how to go on: that is
//! [`crate::transfer`]'s. Invariant: where a session stands is what the registry says, never what this
//! client believes to have sent.

use super::address::with_query;
use super::answer::Answer;
use super::client::Taken;
use super::error::{Refusal, TransportError};
use super::repository::{Access, RegistryStore};
use crate::error::Result;
use crate::store::Store as _;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::name::RepoName;
use std::sync::atomic::Ordering;
use url::Url;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An upload that a registry has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadSession {
    /// Where to send what follows. It may hold secrets of the registry.
    pub(crate) location: Url,
    /// Bytes that the registry has.
    pub(crate) offset: u64,
    /// Least size of a chunk that is not the last, if the registry said so.
    pub(crate) least_chunk: Option<u64>,
}

/// How an upload began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The blob was mounted from another repository: nothing is to be sent.
    Mounted,
    /// A session is open.
    Session(UploadSession),
}

impl RegistryStore {
    /// Begins an upload; with `mount_from`, tries to mount the blob from that repository.
    pub(crate) async fn start_upload(
        &self,
        digest: &Digest,
        mount_from: Option<&RepoName>,
    ) -> Result<Start, TransportError> {
        if let Some(from) = mount_from {
            let mounted = self.post_upload(digest, Some(from)).await;
            match mounted {
                Ok(start) => return Ok(start),
                // A registry that answers a mount it does not grant with an error is asked without.
                Err(error) if !error.is_passing() => {
                    tracing::debug!(%error, "mount was refused, uploading instead");
                }
                Err(error) => return Err(error),
            }
        }
        self.post_upload(digest, None).await
    }

    async fn post_upload(
        &self,
        digest: &Digest,
        mount_from: Option<&RepoName>,
    ) -> Result<Start, TransportError> {
        let what = format!("upload of blob {digest}");
        let mut call = self
            .call(Method::POST, "blobs/uploads/", Access::Write, what)
            .await?;
        if let Some(from) = mount_from {
            call.url = with_query(&call.url, "mount", &digest.to_string());
            call.url = with_query(&call.url, "from", from.as_str());
            call.scopes.push(format!("repository:{from}:pull"));
        } else if digest.algorithm() != Algorithm::Sha256 {
            call.url = with_query(&call.url, "digest-algorithm", digest.algorithm().as_str());
        }
        let answer = self
            .registry()
            .send(&call)
            .await?
            .expect(&[201, 202])
            .await?;
        if answer.status() == 201 {
            return match mount_from {
                Some(_) => Ok(Start::Mounted),
                None => Err(answer.protocol("status 201 before a byte was sent")),
            };
        }
        Ok(Start::Session(UploadSession {
            location: answer.location()?,
            offset: 0,
            least_chunk: least_chunk(&answer),
        }))
    }

    /// Sends a small blob: with the POST itself where the registry takes that, else by PUT.
    pub(crate) async fn upload_small(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let at_once = self.registry().posts_blobs_at_once();
        let mut session = None;
        if at_once.load(Ordering::Relaxed) {
            let what = format!("upload of blob {digest}");
            let mut call = self
                .call(Method::POST, "blobs/uploads/", Access::Write, what)
                .await?;
            call.url = with_query(&call.url, "digest", &digest.to_string());
            call.headers.insert(CONTENT_TYPE, OCTETS);
            call.body = content.clone();
            let answer = self
                .registry()
                .send(&call)
                .await?
                .expect(&[201, 202])
                .await?;
            if answer.status() == 201 {
                return Ok(());
            }
            // The bytes were ignored. The next blob of this registry is not sent in vain.
            at_once.store(false, Ordering::Relaxed);
            session = Some(answer.location()?);
        }
        let location = match session {
            Some(location) => location,
            None => match self.start_upload(digest, None).await? {
                Start::Session(session) => session.location,
                Start::Mounted => return Ok(()),
            },
        };
        let blob = Descriptor::new("application/octet-stream", *digest, content.len() as u64);
        let Err(error) = self.finish_upload(&location, digest, content).await else {
            return Ok(());
        };
        // The answer may have been lost on its way here, after all was stored: what was sent again found no session.
        let may_be_there = error.refusal().is_some_and(Refusal::is_about_its_session);
        if may_be_there && self.has_blob(&blob).await.unwrap_or(false) {
            return Ok(());
        }
        Err(error.into())
    }

    /// Sends `length` bytes from the session's offset on. The body is spent, whatever happens.
    ///
    /// `is_bare` leaves Content-Range out, for the one PATCH that carries all: every registry takes
    /// that, some take no other first one.
    pub(crate) async fn send_part(
        &self,
        session: &mut UploadSession,
        body: reqwest::Body,
        length: u64,
        taken: &Taken,
        is_bare: bool,
    ) -> Result<(), TransportError> {
        let mut call = self.call_at(Method::PATCH, session.location.clone(), "upload of a part");
        call.headers.insert(CONTENT_TYPE, OCTETS);
        call.wait = self.registry().options().settle;
        if !is_bare {
            let range = format!("{}-{}", session.offset, session.offset + length - 1);
            call.headers.insert(
                CONTENT_RANGE,
                HeaderValue::from_str(&range).expect("digits make a header"),
            );
        }
        let answer = self
            .registry()
            .send_stream(&call, body, length, taken)
            .await?;
        let answer = answer.expect(&[202, 201, 204]).await?;
        session.location = answer.location()?;
        let sent = session.offset + length;
        session.offset = answer
            .header(RANGE)
            .map_or(Some(sent), received)
            .unwrap_or(sent);
        if session.offset != sent {
            return Err(answer.protocol(format!(
                "{sent} bytes were sent, it says that it has {}",
                session.offset
            )));
        }
        Ok(())
    }

    /// Sends a whole blob as the PUT that ends the session, for registries without PATCH.
    pub(crate) async fn put_whole(
        &self,
        session: &UploadSession,
        digest: &Digest,
        body: reqwest::Body,
        length: u64,
        taken: &Taken,
    ) -> Result<(), TransportError> {
        let url = with_query(&session.location, "digest", &digest.to_string());
        let mut call = self.call_at(Method::PUT, url, format!("upload of blob {digest}"));
        call.headers.insert(CONTENT_TYPE, OCTETS);
        call.wait = self.registry().options().settle;
        let answer = self
            .registry()
            .send_stream(&call, body, length, taken)
            .await?;
        answer.expect(&[201, 204]).await.map(drop)
    }

    /// Ends a session with the last bytes, which may be none.
    pub(crate) async fn finish_upload(
        &self,
        location: &Url,
        digest: &Digest,
        last: Bytes,
    ) -> Result<(), TransportError> {
        let url = with_query(location, "digest", &digest.to_string());
        let mut call = self.call_at(Method::PUT, url, format!("upload of blob {digest}"));
        call.headers.insert(CONTENT_TYPE, OCTETS);
        call.body = last;
        call.wait = self.registry().options().settle;
        self.registry()
            .send(&call)
            .await?
            .expect(&[201, 204])
            .await
            .map(drop)
    }

    /// Where a session stands; `None` if the registry does not know it any more.
    pub(crate) async fn upload_status(
        &self,
        location: &Url,
    ) -> Result<Option<UploadSession>, TransportError> {
        let call = self.call_at(Method::GET, location.clone(), "state of an upload");
        let answer = self.registry().send(&call).await?;
        // 404 is the specification's; the others come from registries that cannot tell.
        if matches!(answer.status(), 400 | 404 | 405 | 410) {
            return Ok(None);
        }
        let answer = answer.expect(&[204, 202, 200]).await?;
        let Some(offset) = answer.header(RANGE).and_then(received) else {
            return Ok(None);
        };
        let location = answer.location().unwrap_or_else(|_| location.clone());
        Ok(Some(UploadSession {
            location,
            offset,
            least_chunk: least_chunk(&answer),
        }))
    }

    /// Gives a session up. That this may fail does no harm: registries clear old ones.
    pub(crate) async fn cancel_upload(&self, location: &Url) {
        let call = self.call_at(Method::DELETE, location.clone(), "end of an upload");
        if let Err(error) = self.registry().send(&call).await {
            tracing::debug!(%error, "an upload could not be given up");
        }
    }
}

fn least_chunk(answer: &Answer) -> Option<u64> {
    answer.named_header("oci-chunk-min-length")?.parse().ok()
}

/// Bytes received, from `Range: 0-N`. `0-0` means none: registries send it for an empty session, and
/// nobody sends one byte alone. (If one did, the registry would answer 416 and the session be begun
/// anew.)
fn received(text: &str) -> Option<u64> {
    let text = text.trim();
    let (first, last) = text
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .split_once('-')?;
    let last: i64 = match last.trim() {
        "" => return None,
        last => last.parse().ok()?,
    };
    match (first.trim(), last) {
        ("0", ..=0) => Some(0),
        ("0", last) => Some(last as u64 + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_an_upload_is_read() {
        assert_eq!(received("0-1023"), Some(1024));
        assert_eq!(received("bytes=0-9"), Some(10));
        assert_eq!(received("0-0"), Some(0));
        assert_eq!(received("0--1"), Some(0));
        assert_eq!(received("5-9"), None);
        assert_eq!(received("x"), None);
    }
}
