//! The tree against a naive one, and every form against each change of one byte.
#![allow(clippy::unwrap_used)]

mod forms;
mod trees;

use super::*;
use crate::fixtures::{ed25519, p256};
use crate::key::Signer as _;

pub(crate) const ORIGIN: &str = "log.example.com";
/// 2026-01-01, in seconds and milliseconds.
pub(crate) const SECONDS: u64 = 1_767_225_600;
pub(crate) const MILLIS: u64 = SECONDS * 1000;

pub(crate) fn log_key() -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Log, ed25519(5).public_key().clone()).unwrap()
}

pub(crate) fn witness_key(seed: u8) -> VerifierKey {
    let name = format!("witness{seed}.example");
    VerifierKey::new(&name, KeyKind::Witness, ed25519(seed).public_key().clone()).unwrap()
}

pub(crate) fn trust() -> LogTrust {
    LogTrust::in_logs([log_key()]).unwrap()
}

/// A log in memory: entries, and every complete subtree.
#[derive(Default)]
pub(crate) struct Grown {
    pub(crate) entries: Vec<Vec<u8>>,
    frontier: Frontier,
    nodes: std::collections::BTreeMap<NodeId, Hash>,
}

impl Grown {
    pub(crate) fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Grown {
        let mut grown = Grown::default();
        for entry in entries {
            let nodes = &mut grown.nodes;
            grown.frontier.push(Hash::of_entry(&entry), |id, hash| {
                assert!(
                    nodes.insert(id, hash).is_none(),
                    "a subtree is completed once"
                );
            });
            grown.entries.push(entry);
        }
        grown
    }

    pub(crate) fn numbered(size: u64) -> Grown {
        Grown::of((0..size).map(|n| n.to_string().into_bytes()))
    }

    pub(crate) fn node(&self, id: NodeId) -> Result<Hash, NodeId> {
        self.nodes.get(&id).copied().ok_or(id)
    }

    pub(crate) fn root_at(&self, size: u64) -> Hash {
        root(size, |id| self.node(id)).unwrap()
    }

    pub(crate) fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let checkpoint = Checkpoint::new(ORIGIN, size, self.root_at(size));
        checkpoint.sign(&log_key(), &ed25519(5)).unwrap()
    }

    pub(crate) fn proof(&self, index: u64, size: u64) -> LogProof {
        LogProof {
            extra: Some(self.entries[usize::try_from(index).unwrap()].clone()),
            index,
            hashes: inclusion_proof(index, size, |id| self.node(id)).unwrap(),
            checkpoint: self.checkpoint(size),
        }
    }
}

/// The same checkpoint under the log's name, signed by somebody else's key.
pub(crate) fn signed_by_stranger(checkpoint: &SignedCheckpoint) -> SignedCheckpoint {
    let key = VerifierKey::new(ORIGIN, KeyKind::Log, ed25519(99).public_key().clone()).unwrap();
    let own = checkpoint.claim();
    let same = Checkpoint::new(ORIGIN, own.size, own.root);
    same.sign(&key, &ed25519(99)).unwrap()
}

/// A signature of the fixtures, as an entry.
pub(crate) fn rekord() -> Rekord {
    let envelope = crate::envelope::seal("a/b", b"payload", &p256(2)).unwrap();
    Rekord::of_envelope(&envelope, p256(2).public_key()).unwrap()
}

pub(crate) fn event() -> EventEntry {
    let mut event = EventEntry::new(
        Operation::Release,
        crate::digest::Digest::sha256(b"manifest"),
        "user:alice",
        MILLIS,
    );
    event.repository = Some("models/credit".parse().unwrap());
    event.tag = Some("1.0.0".parse().unwrap());
    event.event = Some(1);
    event.policy = Some(crate::digest::Digest::sha256(b"policy"));
    event
}
