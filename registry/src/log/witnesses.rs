//! Asking witnesses to cosign.
//!
//! Runs beside the appender and never holds it up: a push does not wait for witnesses. The latest checkpoint
//! that all of them cosigned is kept, and served where readers ask for it.

use super::{Error, Log};
use crate::metadata::log::PublishedCheckpoint;
use sealstone_spec::log::{
    AddCheckpoint, NoteSignature, SignedCheckpoint, VerifierKey, parse_cosignatures,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Least time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Longest wait for a witness.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes.
const MOST: usize = 64 * 1024;

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
        let mut published = self.inner.published.subscribe();
        published.mark_changed();
        loop {
            tokio::select! {
                changed = published.changed() => if changed.is_err() { break },
                () = stop.cancelled() => break,
            }
            let checkpoint = published.borrow_and_update().clone();
            let mut lines = Vec::new();
            for (party, size) in parties.iter().zip(&mut sizes) {
                match self.ask(&client, party, size, &checkpoint).await {
                    Ok(line) => lines.push(line),
                    Err(problem) => {
                        self.inner.metrics.log_witness_failures.inc();
                        tracing::warn!(
                            witness = party.key.name(),
                            problem,
                            "a witness did not cosign"
                        );
                    }
                }
            }
            if lines.len() == parties.len()
                && let Err(error) = self.keep_cosigned(checkpoint, lines).await
            {
                tracing::warn!(%error, "cosignatures could not be kept");
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = stop.cancelled() => break,
            }
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
            let body = read(answer).await?;
            match status {
                200 => {
                    let line = parse_cosignatures(&body, &note, &party.key)
                        .map_err(|error| error.to_string())?
                        .ok_or("its answer has no line by its key")?;
                    *kept = checkpoint.size;
                    return Ok(line);
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
        lines
            .into_iter()
            .for_each(|line| note.add_cosignature(line));
        checkpoint.note = note.to_string();
        self.inner.store.keep_witnessed(checkpoint.clone()).await?;
        self.inner
            .metrics
            .log_witnessed_size
            .set(i64::try_from(checkpoint.size).unwrap_or(i64::MAX));
        // The served one gets the lines too, if it is still the same.
        self.inner.published.send_if_modified(|latest| {
            if latest.size == checkpoint.size && latest.root == checkpoint.root {
                latest.note.clone_from(&checkpoint.note);
            }
            false
        });
        Ok(())
    }
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
