//! Asking witnesses to cosign.
//!
//! Runs beside the appender and never holds it up. All are asked for the same checkpoint, at once; the latest
//! that enough of them cosigned is kept, and served where readers ask for it. Where the operator wants it,
//! a push that sets a tag waits for that; how many are enough is the quorum, without one it is all.

use super::{Error, Log};
use crate::metadata::log::PublishedCheckpoint;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sealstone_spec::log::{
    AddCheckpoint, NoteSignature, SignedCheckpoint, VerifierKey, parse_cosignatures,
};
use sealstone_spec::media;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Least time between two rounds: nobody waits for one, or somebody may.
const ROUND: Duration = Duration::from_secs(1);
const URGENT_ROUND: Duration = Duration::from_millis(20);
/// After so long a checkpoint is shown again that too few cosigned.
const AGAIN: Duration = Duration::from_secs(10);
const URGENT_AGAIN: Duration = Duration::from_millis(500);
/// How long those are waited for who have not answered when enough others have.
const STRAGGLERS: Duration = Duration::from_millis(200);
/// Longest wait for a witness.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes.
const MOST: usize = 64 * 1024;

/// The latest checkpoint that enough witnesses cosigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cosigned {
    /// Its size.
    pub size: u64,
    /// How many did.
    pub witnesses: usize,
}

impl Cosigned {
    /// As it was kept, with those of its cosignatures that are by witnesses of now: who is no longer configured
    /// does not count.
    pub(super) fn of(
        kept: &PublishedCheckpoint,
        parties: &[WitnessParty],
    ) -> Result<Cosigned, Error> {
        let note = SignedCheckpoint::parse(kept.note.as_bytes())?;
        let is_by = |party: &WitnessParty, line: &NoteSignature| {
            line.name == party.key.name() && line.key_id == party.key.id()
        };
        let heard = parties
            .iter()
            .filter(|party| note.signatures().iter().any(|line| is_by(party, line)));
        Ok(Cosigned {
            size: kept.size,
            witnesses: heard.count(),
        })
    }
}

/// A witness.
#[derive(Clone, Debug)]
pub struct WitnessParty {
    /// Its key.
    pub key: VerifierKey,
    /// Its submission prefix.
    pub url: String,
}

impl Log {
    /// Collects cosignatures until `stop`.
    pub async fn run_witnesses(self, stop: CancellationToken) {
        let parties = self.inner.settings.witnesses.clone();
        if parties.is_empty() {
            return;
        }
        let client = match reqwest::Client::builder().timeout(PATIENCE).build() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "witnesses cannot be asked");
                return;
            }
        };
        // What each is believed to keep; a wrong guess costs one more request.
        let mut sizes = vec![0; parties.len()];
        let mut published = self.inner.pen.published.subscribe();
        published.mark_changed();
        let (pause, again) = match self.inner.settings.quorum {
            0 => (ROUND, AGAIN),
            _ => (URGENT_ROUND, URGENT_AGAIN),
        };
        let mut is_enough = true;
        loop {
            // A checkpoint that too few cosigned is shown again, though nothing has been appended since.
            tokio::select! {
                changed = published.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(again), if !is_enough => {}
                () = stop.cancelled() => break,
            }
            let checkpoint = published.borrow_and_update().clone();
            tokio::select! {
                enough = self.round(&client, &parties, &mut sizes, &checkpoint) => is_enough = enough,
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
    }

    /// How many cosignatures are enough for a checkpoint to be kept.
    fn enough(&self) -> usize {
        match self.inner.settings.quorum {
            0 => self.inner.settings.witnesses.len(),
            quorum => quorum,
        }
    }

    /// Asks every witness for one checkpoint, and keeps it once enough have cosigned; whether they have.
    async fn round(
        &self,
        client: &reqwest::Client,
        parties: &[WitnessParty],
        sizes: &mut [u64],
        checkpoint: &PublishedCheckpoint,
    ) -> bool {
        let mut asked: FuturesUnordered<_> =
            parties
                .iter()
                .zip(sizes)
                .map(|(party, size)| async move {
                    (party, self.ask(client, party, size, checkpoint).await)
                })
                .collect();
        let mut lines: Vec<NoteSignature> = Vec::new();
        loop {
            let is_enough = lines.len() >= self.enough();
            let answered = match is_enough {
                true => tokio::time::timeout(STRAGGLERS, asked.next()).await,
                false => Ok(asked.next().await),
            };
            let Ok(Some((party, answer))) = answered else {
                return is_enough;
            };
            match answer {
                Ok(line) => lines.push(line),
                Err(problem) => {
                    self.inner.metrics.log_witness_failures.inc();
                    tracing::warn!(
                        witness = party.key.name(),
                        problem,
                        "a witness did not cosign"
                    );
                    continue;
                }
            }
            if lines.len() < self.enough() {
                continue;
            }
            // Kept as soon as it is enough, and once more for each that comes later.
            let kept = self.keep_cosigned(checkpoint.clone(), lines.clone()).await;
            if let Err(error) = kept {
                tracing::warn!(%error, "cosignatures could not be kept");
            }
        }
    }

    /// Waits until enough witnesses have cosigned a checkpoint that contains entry `index`, where the operator
    /// wants that; how many have. What is in no checkpoint yet, nobody has cosigned.
    ///
    /// # Errors
    /// [`Error::Unwitnessed`] if that takes too long; the entry is logged all the same.
    pub async fn settle_witnessed(&self, index: Option<u64>) -> Result<Option<usize>, Error> {
        let wanted = self.inner.settings.quorum;
        if wanted == 0 {
            return Ok(None);
        }
        let patience = self.inner.settings.witness_wait;
        if let Some(index) = index {
            let mut cosigned = self.inner.cosigned.subscribe();
            // One that was kept under a smaller quorum is not enough.
            let contains =
                |cosigned: &Cosigned| cosigned.size > index && cosigned.witnesses >= wanted;
            let waited = tokio::time::timeout(patience, cosigned.wait_for(contains)).await;
            if let Ok(Ok(found)) = waited {
                return Ok(Some(found.witnesses));
            }
        }
        Err(Error::Unwitnessed {
            quorum: wanted,
            witnesses: self.inner.settings.witnesses.len(),
            seconds: patience.as_secs(),
        })
    }

    /// What the witnesses have seen, as it grows.
    pub fn cosigned(&self) -> watch::Receiver<Cosigned> {
        self.inner.cosigned.subscribe()
    }

    /// How long somebody waits for witnesses who is asked to; no time at all where there are none.
    pub fn witness_patience(&self) -> Duration {
        match self.inner.settings.witnesses.is_empty() {
            true => Duration::ZERO,
            false => self.inner.settings.witness_wait,
        }
    }

    async fn ask(
        &self,
        client: &reqwest::Client,
        party: &WitnessParty,
        kept: &mut u64,
        checkpoint: &PublishedCheckpoint,
    ) -> Result<NoteSignature, String> {
        let note = SignedCheckpoint::parse(checkpoint.note.as_bytes())
            .map_err(|error| error.to_string())?;
        let url = format!("{}/add-checkpoint", party.url.trim_end_matches('/'));
        for _ in 0..2 {
            if *kept > checkpoint.size {
                return Err(format!(
                    "it keeps a checkpoint of {kept} entries, this log has {}",
                    checkpoint.size
                ));
            }
            let proof = self.consistency(*kept, checkpoint.size).await;
            let request = AddCheckpoint {
                old: *kept,
                proof: proof.map_err(|error| error.to_string())?,
                checkpoint: note.clone(),
            };
            let answer = client.post(&url).body(request.to_string()).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            let names_size = names_size(answer.headers());
            let body = read(answer).await?;
            match status {
                200 => {
                    let line = parse_cosignatures(&body, &note, &party.key)
                        .map_err(|error| error.to_string())?
                        .ok_or("its answer has no line by its key")?;
                    *kept = checkpoint.size;
                    return Ok(line);
                }
                409 if !names_size => {
                    return Err("it answers 409 and no size: it has cosigned another tree".into());
                }
                409 => {
                    let text = String::from_utf8_lossy(&body);
                    *kept = text
                        .trim()
                        .parse()
                        .map_err(|_| "it answers 409 without a size")?;
                }
                status => return Err(format!("it answers with status {status}")),
            }
        }
        Err("it names another size each time".into())
    }

    async fn keep_cosigned(
        &self,
        mut checkpoint: PublishedCheckpoint,
        lines: Vec<NoteSignature>,
    ) -> Result<(), Error> {
        let mut note = SignedCheckpoint::parse(checkpoint.note.as_bytes())?;
        let witnesses = lines.len();
        lines
            .into_iter()
            .for_each(|line| note.add_cosignature(line));
        checkpoint.note = note.to_string();
        self.inner.store.keep_witnessed(checkpoint.clone()).await?;
        self.inner
            .metrics
            .log_witnessed_size
            .set(i64::try_from(checkpoint.size).unwrap_or(i64::MAX));
        self.inner.cosigned.send_replace(Cosigned {
            size: checkpoint.size,
            witnesses,
        });
        // The served one gets the lines too, if it is still the same.
        self.inner.pen.published.send_if_modified(|latest| {
            if latest.size == checkpoint.size && latest.root == checkpoint.root {
                latest.note.clone_from(&checkpoint.note);
            }
            false
        });
        Ok(())
    }
}

/// Whether an answer of 409 says what size the witness keeps: it has the same status where it keeps a tree of the
/// same size and another root, and nothing that could be asked again mends that.
fn names_size(headers: &reqwest::header::HeaderMap) -> bool {
    let kind = headers.get(reqwest::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| media::essence(kind) == "text/x.tlog.size")
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&piece);
        if body.len() > MOST {
            return Err("its answer is too long".into());
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use reqwest::header::{CONTENT_TYPE, HeaderMap};

    #[test]
    fn a_conflict_without_a_size_is_no_size() {
        let mut headers = HeaderMap::new();
        assert!(!names_size(&headers));
        for (kind, is_size) in [
            ("text/x.tlog.size", true),
            ("text/x.tlog.size; charset=utf-8", true),
            ("text/plain; charset=utf-8", false),
            ("text/x.tlog.sizes", false),
        ] {
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(names_size(&headers), is_size, "{kind}");
        }
    }
}
