//! Where a statement stands in a transparency log, proven.
//!
//! Invariant: a [`LogPosition`] rests on an inclusion proof that was checked against a checkpoint which
//! a log of the policy signed, and which as many of its witnesses saw as the policy asks for. What came
//! with the evidence is never believed.

use super::evidence::Attached;
use super::scope::TrustedLog;
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::log::{Entry, LogError, LogProof, LogTrust, LoggedEvidence, TlogEntry};
use serde::Serialize;

/// A proven place in a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct LogPosition {
    /// The log.
    pub origin: String,
    /// The number of the leaf, from 0.
    pub index: u64,
}

impl TrustedLog {
    /// The same in the words of the log's own code.
    pub(super) fn trust(&self) -> Result<LogTrust, LogError> {
        let mut text = format!("log {}\n", self.vkey);
        for (number, witness) in self.witnesses.iter().enumerate() {
            text += &format!("witness w{number} {witness}\n");
        }
        if self.quorum == 0 {
            text += "quorum none\n";
        } else {
            let names: Vec<String> = (0..self.witnesses.len())
                .map(|number| format!("w{number}"))
                .collect();
            text += &format!(
                "group seen {} {}\nquorum seen\n",
                self.quorum,
                names.join(" ")
            );
        }
        LogTrust::parse(&text)
    }
}

/// The earliest place that is proven for a statement: in an event that names its referrer, or as its very
/// signature. Proofs that do not hold are passed over.
pub(super) fn of(
    attached: &Attached,
    manifest: &Digest,
    key: &PublicKey,
    logs: &[LogTrust],
) -> Option<LogPosition> {
    let mut found: Vec<LogPosition> = Vec::new();
    // The first log that vouches: positions in it are what keys' limits are about.
    for trust in logs {
        let proven = attached
            .proofs
            .iter()
            .filter_map(|proof| in_event(proof, &attached.evidence, manifest, trust));
        found.extend(proven.map(|evidence| position(&evidence)));
        let entries = attached.bundle.tlog_entries().iter();
        let signatures = entries.filter_map(|value| {
            let entry = TlogEntry::read(value).ok()?;
            entry.verify(attached.bundle.envelope(), key, trust).ok()
        });
        found.extend(signatures.map(|logged| position(logged.evidence())));
        if !found.is_empty() {
            break;
        }
    }
    found.into_iter().min_by_key(|position| position.index)
}

fn position(evidence: &LoggedEvidence) -> LogPosition {
    LogPosition {
        origin: evidence.origin().to_owned(),
        index: evidence.index(),
    }
}

fn in_event(
    proof: &LogProof,
    referrer: &Digest,
    manifest: &Digest,
    trust: &LogTrust,
) -> Option<LoggedEvidence> {
    let (entry, evidence) = proof.verify_entry(trust).ok()?;
    match entry {
        Entry::Event(event)
            if event.statement.as_ref() == Some(referrer) && event.digest == *manifest =>
        {
            Some(evidence)
        }
        _ => None,
    }
}
