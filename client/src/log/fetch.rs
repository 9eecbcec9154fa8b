//! A registry's log over HTTP. Nothing that comes is believed here.
//!
//! Entries, and proofs by number, name repositories that nobody knows beforehand, so no session can be asked for that covers
//! them: these requests show the account's secret.

use crate::error::{Error, Result};
use crate::transport::{Registry, TransportError};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{
    Hash, LogError, LogProof, MAX_ENTRY_BYTES, MAX_NOTE_BYTES, MAX_PROOF_FILE_BYTES, NodeId,
    Rekord, SignedCheckpoint, TILE_WIDTH, TileKind, TilePath, Tiles, TlogEntry, VerifierKey,
    consistency_proof, decode_entries,
};
use sealstone_spec::name::{RepoName, Tag};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// The log of a registry.
#[derive(Clone, Debug)]
pub struct LogSource {
    registry: Registry,
}

/// A path or query of the log that the registry answered with 404 is `None`.
type Found<T> = Result<Option<T>>;

/// What a request needs.
enum Rights<'a> {
    /// Everybody may ask.
    None,
    /// Of a reader of this repository.
    Pull(&'a RepoName),
    /// All that the account has.
    Account,
}

impl LogSource {
    /// The log of this registry.
    pub fn new(registry: Registry) -> LogSource {
        LogSource { registry }
    }

    /// The registry's name.
    pub fn registry(&self) -> &str {
        self.registry.name()
    }

    async fn get(&self, path: &str, rights: Rights<'_>, limit: usize) -> Found<Bytes> {
        let mut call = self
            .registry
            .call(Method::GET, path, format!("GET /{path}"))
            .await?;
        match rights {
            Rights::None => {}
            Rights::Pull(repo) => call.scopes = vec![format!("repository:{repo}:pull")],
            Rights::Account => call.shows_secret = true,
        }
        let answer = self.registry.send(&call).await?;
        if matches!(answer.status(), 404 | 405 | 410) {
            return Ok(None);
        }
        Ok(Some(answer.expect(&[200]).await?.bytes(limit).await?))
    }

    fn broken(&self, what: &str, error: LogError) -> Error {
        let text = format!(
            "registry {} gives {what} that cannot be read",
            self.registry()
        );
        Error::halted(text).source(error)
    }

    /// The log's key, as the registry shows it: to be believed on first contact at most.
    ///
    /// # Errors
    /// If the registry does not answer, or with something else.
    pub async fn key(&self) -> Found<VerifierKey> {
        let Some(bytes) = self.get("api/v1/log/key", Rights::None, 4096).await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        text.trim()
            .parse()
            .map(Some)
            .map_err(|error| self.broken("a log key", error))
    }

    /// The latest checkpoint. Whatever is no checkpoint is `None`: a registry of another kind may answer
    /// any path with a page.
    ///
    /// # Errors
    /// If the registry cannot be reached or fails, or does not let this caller ask.
    pub async fn checkpoint(&self) -> Found<SignedCheckpoint> {
        Ok(self.ask_checkpoint().await?)
    }

    /// The same of a registry of which no log was ever seen: then it has none either if it wants credentials for that path,
    /// knows no such request, or leads away from it. Of one that had a log that would be an excuse.
    ///
    /// # Errors
    /// If the registry cannot be reached or fails.
    pub async fn first_checkpoint(&self) -> Found<SignedCheckpoint> {
        match self.ask_checkpoint().await {
            Err(TransportError::Unauthorized { .. } | TransportError::Protocol { .. }) => Ok(None),
            Err(TransportError::Refused(refusal)) if refusal.status == 501 => Ok(None),
            other => Ok(other?),
        }
    }

    async fn ask_checkpoint(&self) -> Result<Option<SignedCheckpoint>, TransportError> {
        let what = "GET /checkpoint";
        let call = self.registry.call(Method::GET, "checkpoint", what).await?;
        let answer = self.registry.send(&call).await?;
        if matches!(answer.status(), 201..=499) {
            return Ok(None);
        }
        let bytes = match answer.expect(&[200]).await?.bytes(1 << 20).await {
            Err(error) if error.is_passing() => return Err(error),
            other => other.ok(),
        };
        Ok(bytes
            .filter(|bytes| bytes.len() <= MAX_NOTE_BYTES)
            .and_then(|bytes| SignedCheckpoint::parse(&bytes).ok()))
    }

    /// The tiles of hashes that hold these nodes of a tree of `size` entries.
    ///
    /// # Errors
    /// If one is missing or has another size than its path says.
    pub async fn tiles(&self, nodes: &[NodeId], size: u64) -> Result<Tiles> {
        let paths: BTreeSet<TilePath> = nodes
            .iter()
            .filter_map(|node| TilePath::of_node(*node, size))
            .collect();
        let mut tiles = Tiles::default();
        for path in paths {
            let bytes = self.get(&path.to_string(), Rights::None, 8192).await?;
            let bytes = bytes.ok_or_else(|| {
                Error::halted(format!("registry {} has no {path} of its log, which its checkpoint of {size} entries needs", self.registry()))
            })?;
            tiles
                .insert(path, &bytes)
                .map_err(|error| self.broken("a tile", error))?;
        }
        Ok(tiles)
    }

    /// What says that the first `old` entries of `size` are what they were.
    ///
    /// # Errors
    /// If the tiles for it are not there.
    pub async fn consistency(&self, old: u64, size: u64) -> Result<Vec<Hash>> {
        let found = self.consistencies(&BTreeSet::from([old]), size).await?;
        Ok(found.into_values().next().unwrap_or_default())
    }

    /// The same of several sizes, none above `size`; each tile is fetched once.
    ///
    /// # Errors
    /// As [`LogSource::consistency`].
    pub async fn consistencies(
        &self,
        old: &BTreeSet<u64>,
        size: u64,
    ) -> Result<BTreeMap<u64, Vec<Hash>>> {
        let mut nodes = Vec::new();
        for old in old {
            let _ = consistency_proof(*old, size, |node| {
                nodes.push(node);
                Ok::<_, Infallible>(Hash::of_nothing())
            });
        }
        let tiles = self.tiles(&nodes, size).await?;
        let proof = |old: &u64| {
            let proof = consistency_proof(*old, size, |node| tiles.node(node));
            Ok((*old, proof.map_err(|error| self.broken("tiles", error))?))
        };
        old.iter().map(proof).collect()
    }

    /// The entries of tile `index` of a tree of `size` entries.
    ///
    /// # Errors
    /// If they are missing, not for this reader, or not as many as there must be.
    pub async fn entries(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>> {
        let Some(path) = TilePath::at(TileKind::Entries, index, size) else {
            return Ok(Vec::new());
        };
        let limit = (MAX_ENTRY_BYTES + 2) * usize::try_from(TILE_WIDTH).expect("a small number");
        let bytes = self.get(&path.to_string(), Rights::Account, limit).await?;
        let bytes = bytes.ok_or_else(|| {
            Error::halted(format!(
                "registry {} withholds {path} of its log",
                self.registry()
            ))
        })?;
        let entries =
            decode_entries(&bytes, path.width).map_err(|error| self.broken("entries", error))?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    async fn proof(&self, query: &str, rights: Rights<'_>) -> Found<LogProof> {
        let path = format!("api/v1/log/proof?{query}");
        let Some(bytes) = self.get(&path, rights, MAX_PROOF_FILE_BYTES).await? else {
            return Ok(None);
        };
        LogProof::parse(&bytes)
            .map(Some)
            .map_err(|error| self.broken("a proof", error))
    }

    /// The proof of the last event of a tag.
    ///
    /// # Errors
    /// If the registry does not answer, or with no proof.
    pub async fn proof_of_tag(&self, repo: &RepoName, tag: &Tag) -> Found<LogProof> {
        let query = format!("repository={repo}&tag={tag}");
        self.proof(&query, Rights::Pull(repo)).await
    }

    /// The proof of the event that attached a statement.
    ///
    /// # Errors
    /// If the registry does not answer, or with no proof.
    pub async fn proof_of_statement(&self, repo: &RepoName, statement: &Digest) -> Found<LogProof> {
        let query = format!("repository={repo}&statement={statement}");
        self.proof(&query, Rights::Pull(repo)).await
    }

    /// The proof of an entry by its number.
    ///
    /// # Errors
    /// If the registry does not answer, or with no proof.
    pub async fn proof_of_index(&self, index: u64) -> Found<LogProof> {
        self.proof(&format!("index={index}"), Rights::Account).await
    }

    /// Has a P-256 signature logged, for a repository in which one may push, sign or approve; the element for a
    /// bundle's `tlogEntries`. The caller verifies it.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn submit(&self, repo: &RepoName, rekord: &Rekord) -> Result<TlogEntry> {
        let path = format!("api/v1/log/entries?repository={repo}");
        let mut call = self
            .registry
            .call(Method::POST, &path, "logging a signature")
            .await?;
        call.scopes = vec![format!("repository:{repo}:pull,push")];
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        call.body = Bytes::from(rekord.to_bytes());
        // Submitting twice makes one entry, so it may be tried again.
        let answer = self.registry.send(&call).await?.expect(&[201]).await?;
        let bytes = answer.bytes(MAX_PROOF_FILE_BYTES).await?;
        let value = sealstone_spec::canonical::parse_value(&bytes, MAX_PROOF_FILE_BYTES)
            .map_err(|error| self.broken("a log entry", error.into()))?;
        TlogEntry::read(&value).map_err(|error| self.broken("a log entry", error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::credentials::{Credential, Fixed};
    use crate::transport::ConnectOptions;
    use crate::transport::testing::{FakeRegistry, Quirks};
    use std::sync::Arc;

    #[tokio::test]
    async fn entries_are_asked_for_with_the_secret_and_the_rest_without() {
        let fake = FakeRegistry::start(Quirks {
            token_uses: Some(1000),
            ..Quirks::default()
        })
        .await;
        let options = ConnectOptions {
            credentials: Some(Arc::new(Fixed(Some(Credential::basic("user", "right"))))),
            ..FakeRegistry::options()
        };
        let source = LogSource::new(Registry::new(&fake.name(), None, &options).unwrap());
        assert!(source.key().await.unwrap().is_none());
        // This registry takes sessions alone, and has no log.
        assert!(source.entries(0, 1).await.is_err());
        assert!(source.proof_of_index(0).await.is_err());
        let (repo, tag) = ("a".parse().unwrap(), "v1".parse().unwrap());
        assert!(source.proof_of_tag(&repo, &tag).await.unwrap().is_none());
        let state = fake.state();
        let mut shown = Vec::new();
        for (line, sent) in state.log.iter().zip(&state.authorizations) {
            if sent
                .as_deref()
                .is_some_and(|sent| sent.starts_with("Basic "))
            {
                shown.push(line.as_str());
            }
        }
        let asked = [
            "GET /token",
            "GET /tile/entries/000.p/1",
            "GET /api/v1/log/proof",
            "GET /token",
        ];
        assert_eq!(shown, asked);
    }
}
