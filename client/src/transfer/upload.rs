//! One blob to a registry: skipped if it is there, mounted if it may be, sent once otherwise, and
//! resumed where the registry says that it stands.
//!
//! Invariant: no byte is sent twice that the registry has acknowledged, unless it has lost the
//! session; every loop ends, because attempts without progress are counted.

use super::progress::{Arrival, Track};
use super::read_ahead::{read_ahead, take_failure};
use super::sessions::Claim;
use super::{TransferOptions, lost};
use crate::error::{Error, Result};
use crate::store::Store as _;
use crate::transport::{RegistryStore, Start, Taken, TransportError, UploadSession};
use bytes::Bytes;
use sealstone_spec::manifest::Descriptor;
use std::path::Path;
use std::sync::Arc;

/// Chunk sizes to fall back to, when a registry or a proxy before it refuses a large body.
const CHUNKS: [u64; 3] = [64 * 1024 * 1024, 16 * 1024 * 1024, 4 * 1024 * 1024];

/// How the bytes are cut into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// All that is left in one PATCH.
    Whole,
    /// PATCHes of this size, by index in [`CHUNKS`].
    Chunks(usize),
    /// One PUT: the registry has no PATCH.
    Put,
}

/// What a request did.
enum Step {
    /// The registry has further bytes.
    Sent,
    /// It has the blob.
    Finished,
}

/// Sends a small blob from memory. It must have been checked, and be known to be missing.
pub(crate) async fn upload_bytes(
    store: &RegistryStore,
    descriptor: &Descriptor,
    content: Bytes,
    options: &TransferOptions,
    track: &Arc<dyn Track>,
) -> Result<Arrival> {
    for from in &options.mount_from {
        match store.start_upload(&descriptor.digest, Some(from)).await? {
            Start::Mounted => return Ok(Arrival::Mounted),
            Start::Session(session) => store.cancel_upload(&session.location).await,
        }
    }
    store.upload_small(&descriptor.digest, content).await?;
    track.advance(descriptor.size);
    Ok(Arrival::Moved)
}

/// Sends a blob from a file. The registry compares its digest; a damaged file is refused there.
pub(crate) async fn upload_file(
    store: &RegistryStore,
    descriptor: &Descriptor,
    path: &Path,
    options: &TransferOptions,
    track: Arc<dyn Track>,
) -> Result<Arrival> {
    if store.has_blob(descriptor).await? {
        return Ok(Arrival::Present);
    }
    let claim = claim(store, descriptor, options).await?;
    let mut upload = Upload {
        store,
        descriptor,
        path,
        track,
        claim,
        cut: Cut::Whole,
    };
    let arrival = upload.run(&options.mount_from).await?;
    if let Some(claim) = upload.claim.take() {
        claim.forget();
    }
    Ok(arrival)
}

async fn claim(
    store: &RegistryStore,
    descriptor: &Descriptor,
    options: &TransferOptions,
) -> Result<Option<Claim>> {
    let (sessions, place, digest) = (options.sessions.clone(), store.place(), descriptor.digest);
    tokio::task::spawn_blocking(move || sessions.claim(&place, &digest))
        .await
        .map_err(lost)
}

struct Upload<'a> {
    store: &'a RegistryStore,
    descriptor: &'a Descriptor,
    path: &'a Path,
    track: Arc<dyn Track>,
    claim: Option<Claim>,
    cut: Cut,
}

impl Upload<'_> {
    async fn run(&mut self, mount_from: &[sealstone_spec::name::RepoName]) -> Result<Arrival> {
        let mut session = match self.left_off().await? {
            Some(session) => session,
            None => match self.mount_or_start(mount_from).await? {
                Start::Mounted => return Ok(Arrival::Mounted),
                Start::Session(session) => session,
            },
        };
        self.track.stand_at(session.offset);
        let size = self.descriptor.size;
        let mut farthest = session.offset;
        let mut attempt = 1;
        loop {
            self.remember(&session);
            let outcome = if session.offset >= size {
                let digest = &self.descriptor.digest;
                self.store
                    .finish_upload(&session.location, digest, Bytes::new())
                    .await
                    .map(|()| Step::Finished)
            } else {
                self.send(&mut session).await?
            };
            let failure = match outcome {
                Ok(Step::Finished) => return Ok(Arrival::Moved),
                Ok(Step::Sent) => {
                    (farthest, attempt) = (session.offset, 1);
                    continue;
                }
                Err(failure) => failure,
            };
            tracing::debug!(offset = session.offset, error = %failure, "an upload was interrupted");
            if !self.adapt(&failure) {
                return Err(failure.into());
            }
            if !self
                .store
                .registry()
                .options()
                .patience
                .pause(attempt, None)
                .await
            {
                return Err(failure.into());
            }
            attempt += 1;
            // The answer may have been lost on its way here, after all was stored.
            if session.offset >= size && self.store.has_blob(self.descriptor).await? {
                return Ok(Arrival::Moved);
            }
            session = match self.store.upload_status(&session.location).await? {
                // A put cannot go on in the middle.
                Some(status) if self.cut != Cut::Put || status.offset == 0 => status,
                Some(status) => {
                    self.store.cancel_upload(&status.location).await;
                    self.start().await?
                }
                None => self.start().await?,
            };
            self.track.stand_at(session.offset);
            if session.offset > farthest {
                (farthest, attempt) = (session.offset, 1);
            }
        }
    }

    /// The session of an earlier run, if the registry still knows it.
    async fn left_off(&self) -> Result<Option<UploadSession>> {
        let Some(location) = self.claim.as_ref().and_then(|claim| claim.location.clone()) else {
            return Ok(None);
        };
        let base = self.store.registry().base().await?;
        if location.origin() != base.origin() {
            // Asked without credentials it would only be refused.
            return Ok(None);
        }
        match self.store.upload_status(&location).await {
            Ok(Some(session)) if session.offset <= self.descriptor.size => {
                tracing::debug!(offset = session.offset, "going on with an earlier upload");
                Ok(Some(session))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_passing() => Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "a remembered upload cannot go on");
                Ok(None)
            }
        }
    }

    /// Mounts the blob from the first repository that lets it go, or begins to upload it. An attempt that mounts nothing
    /// opens a session: the last one is gone on with, each other is given up.
    async fn mount_or_start(&self, mount_from: &[sealstone_spec::name::RepoName]) -> Result<Start> {
        let mut opened: Option<UploadSession> = None;
        for from in mount_from {
            let started = self
                .store
                .start_upload(&self.descriptor.digest, Some(from))
                .await;
            if let Some(unused) = opened.take() {
                self.store.cancel_upload(&unused.location).await;
            }
            match started? {
                Start::Mounted => return Ok(Start::Mounted),
                Start::Session(session) => opened = Some(session),
            }
        }
        match opened {
            Some(session) => Ok(Start::Session(session)),
            None => self.start().await.map(Start::Session),
        }
    }

    async fn start(&self) -> Result<UploadSession> {
        match self
            .store
            .start_upload(&self.descriptor.digest, None)
            .await?
        {
            Start::Session(session) => Ok(session),
            Start::Mounted => Err(Error::network(
                "the registry mounted a blob that it was not asked to mount",
            )),
        }
    }

    fn remember(&mut self, session: &UploadSession) {
        if let Some(claim) = &mut self.claim {
            claim.remember(&session.location);
        }
    }

    /// Sends the next request's worth of bytes. The outer error is this machine's.
    async fn send(&mut self, session: &mut UploadSession) -> Result<Result<Step, TransportError>> {
        let size = self.descriptor.size;
        let left = size - session.offset;
        let length = match self.cut {
            Cut::Whole | Cut::Put => left,
            Cut::Chunks(index) => CHUNKS[index]
                .max(session.least_chunk.unwrap_or(0))
                .min(left),
        };
        let taken = Taken::default();
        let part = read_ahead(
            self.path,
            session.offset,
            length,
            taken.clone(),
            self.track.clone(),
        );
        let outcome = if self.cut == Cut::Put {
            let digest = &self.descriptor.digest;
            let put = self
                .store
                .put_whole(session, digest, part.body, length, &taken)
                .await;
            put.map(|()| Step::Finished)
        } else {
            let is_bare = length == size;
            self.store
                .send_part(session, part.body, length, &taken, is_bare)
                .await
                .map(|()| Step::Sent)
        };
        if outcome.is_err()
            && let Some(error) = take_failure(&part.failure)
        {
            return Err(Error::io(
                format!("reading \"{}\"", self.path.display()),
                error,
            ));
        }
        Ok(outcome)
    }

    /// Whether to try again after a failure, and in another way if it asks for one.
    fn adapt(&mut self, failure: &TransportError) -> bool {
        let Some(refusal) = failure.refusal() else {
            return failure.is_passing();
        };
        match (refusal.status, self.cut) {
            (413, Cut::Whole) => self.cut = Cut::Chunks(0),
            (413, Cut::Chunks(index)) if index + 1 < CHUNKS.len() => {
                self.cut = Cut::Chunks(index + 1)
            }
            (405 | 501, Cut::Whole | Cut::Chunks(_)) => self.cut = Cut::Put,
            // Where it stands, or whether it is gone, is asked before going on.
            _ if refusal.is_about_its_session() => {}
            _ => return failure.is_passing(),
        }
        true
    }
}
