//! Where a statement stands in a transparency log, proven.
//!
//! Invariant: a [`LogPosition`] rests on an inclusion proof that was checked against a checkpoint which
//! a log of the policy signed, and which as many of its witnesses saw as the policy asks for. What came
//! with the evidence is never believed.

use super::evidence::Attached;
use super::scope::TrustedLog;
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::log::{Entry, Hash, LogError, LogProof, LogTrust, LoggedEvidence, TlogEntry};
use serde::Serialize;
use std::collections::BTreeMap;

/// A proven place in a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct LogPosition {
    /// The id of the log's key, of name and key together. A log is told from another by this alone: one that was set up anew
    /// has the name of the last one, and numbers of its own.
    pub log: Hash,
    /// Its name.
    pub origin: String,
    /// The number of the leaf, from 0.
    pub index: u64,
}

impl TrustedLog {
    /// Its name: what stands before the first `+` of its key.
    pub(super) fn name(&self) -> &str {
        let parted = self.vkey.split_once('+');
        parted.map_or(self.vkey.as_str(), |(name, _)| name)
    }

    /// What is wrong with a document that has another log of this name.
    pub(super) fn namesake(name: &str) -> String {
        let name: String = name.chars().take(80).collect();
        format!(
            "there is a log {name} before: keys' limits and later words are places in one log, so each has a name of its own"
        )
    }

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

/// Where a statement is proven to stand, and what is wrong with a proof that does not hold.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) position: Option<LogPosition>,
    pub(super) problem: Option<String>,
}

impl Placed {
    /// What to add to "nothing proves it".
    pub(super) fn because(&self) -> String {
        let problem = self.problem.as_ref();
        problem.map_or_else(String::new, |problem| {
            format!("; a proof does not hold: {problem}")
        })
    }
}

/// The earliest place that is proven for a statement: in an event that names its referrer, or as its very
/// signature. Proofs that do not hold prove nothing; the first problem is told where no proof holds.
pub(super) fn of(
    attached: &Attached,
    manifest: &Digest,
    key: &PublicKey,
    logs: &[LogTrust],
) -> Placed {
    let mut problem = None;
    let mut found: Vec<LogPosition> = Vec::new();
    // The first log that vouches: positions in it are what keys' limits are about.
    for trust in logs {
        for proof in &attached.proofs {
            match in_event(proof, &attached.evidence, manifest, trust) {
                Ok(evidence) => found.push(position(&evidence)),
                Err(text) => problem = problem.or(Some(text)),
            }
        }
        for value in attached.bundle.tlog_entries() {
            let entry = TlogEntry::read(value);
            let logged =
                entry.and_then(|entry| entry.verify(attached.bundle.envelope(), key, trust));
            match logged {
                Ok(logged) => found.push(position(logged.evidence())),
                Err(error) => problem = problem.or(Some(error.to_string())),
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Placed {
        position: found.into_iter().min_by_key(|position| position.index),
        problem,
    }
}

/// The first place that is proven for each of what was said: in the log that stands first in the policy, and there the
/// lowest.
pub(super) fn firsts<'p, Words: Ord>(
    logs: &[LogTrust],
    places: impl IntoIterator<Item = (Words, Option<&'p LogPosition>)>,
) -> BTreeMap<Words, LogPosition> {
    let rank = |position: &LogPosition| {
        let is_its = |trust: &LogTrust| {
            let mut logs = trust.logs().iter();
            logs.any(|log| *log.key.full_id() == position.log)
        };
        let place = logs.iter().position(is_its);
        (place.unwrap_or(usize::MAX), position.index)
    };
    let mut first: BTreeMap<Words, LogPosition> = BTreeMap::new();
    for (words, place) in places {
        let Some(place) = place else {
            continue;
        };
        let earliest = first.entry(words).or_insert_with(|| place.clone());
        if rank(place) < rank(earliest) {
            *earliest = place.clone();
        }
    }
    first
}

fn position(evidence: &LoggedEvidence) -> LogPosition {
    LogPosition {
        log: *evidence.checkpoint().log().full_id(),
        origin: evidence.origin().to_owned(),
        index: evidence.index(),
    }
}

fn in_event(
    proof: &LogProof,
    referrer: &Digest,
    manifest: &Digest,
    trust: &LogTrust,
) -> Result<LoggedEvidence, String> {
    let (entry, evidence) = proof
        .verify_entry(trust)
        .map_err(|error| error.to_string())?;
    match entry {
        Entry::Event(event)
            if event.statement.as_ref() == Some(referrer) && event.digest == *manifest =>
        {
            Ok(evidence)
        }
        _ => Err(format!(
            "entry {} is about something else",
            evidence.index()
        )),
    }
}
