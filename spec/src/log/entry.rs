//! What a leaf says: a signature in sigstore's shape, or an event of the registry in ours.
//!
//! Invariant: an entry has one spelling, canonical JSON, so that its hash can be computed from what it
//! says. Events of one tag are chained: each names the leaf of the one before, so that whoever follows a
//! tag needs no other entries to see that it moved.

use super::LogError;
use super::hash::Hash;
use super::rekord::{self, Rekord};
use super::tile::MAX_ENTRY_BYTES;
use crate::canonical::{parse_value, to_canonical_json};
use crate::digest::Digest;
use crate::exact::parse_exact;
use crate::name::{RepoName, Tag};
use serde::{Deserialize, Serialize};

/// `kind` of events.
pub const ENTRY_KIND: &str = "dev.sealstone.event";
const API_VERSION: &str = "1";
/// Pieces of evidence that an event lists; more are named by one digest.
const LISTED_EVIDENCE: usize = 128;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Operation {
    /// A tag was set or moved that is no release: it may move again.
    Tag,
    /// A tag was set for ever, after the policy admitted what it names.
    Release,
    /// A tag was deleted.
    Untag,
    /// A manifest was deleted.
    Delete,
    /// A statement was attached that is none of those below.
    Attach,
    /// A statement that approves was attached.
    Approve,
    /// A statement that allows an exception was attached.
    Except,
    /// A statement that deprecates or revokes was attached.
    Retract,
    /// A statement was attached that reports damaged content of a release, or closes such a report.
    Incident,
    /// Stored content turned out to be damaged.
    Damage,
    /// Damaged content came again and is whole.
    Repair,
    /// A policy came into force.
    Policy,
    /// A key was added, changed or removed: of a policy, or of the registry itself.
    Key,
}

impl Operation {
    /// Whether it is about a tag.
    pub fn is_of_tag(self) -> bool {
        matches!(self, Operation::Tag | Operation::Release | Operation::Untag)
    }

    /// Whether it attaches a statement to a manifest.
    pub fn is_of_statement(self) -> bool {
        matches!(
            self,
            Operation::Attach
                | Operation::Approve
                | Operation::Except
                | Operation::Retract
                | Operation::Incident
        )
    }

    /// The operation under which a statement of this predicate type is logged. The type is what the
    /// referrer claims; the statement itself, named by its digest, says whether it is so.
    pub fn of_predicate(predicate_type: &str) -> Operation {
        let name =
            predicate_type.trim_end_matches(|c: char| c.is_ascii_digit() || "v./".contains(c));
        match name.rsplit('/').next().unwrap_or_default() {
            "svr" | "approval" => Operation::Approve,
            "exception" => Operation::Except,
            "incident" | "incident-close" => Operation::Incident,
            "retraction" | "revocation" | "deprecation" | "rejection" => Operation::Retract,
            _ => Operation::Attach,
        }
    }
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChange {
    /// It counts from here on.
    Added,
    /// Its roles, or how long it counts, are others from here on.
    Changed,
    /// It is not there any more.
    Removed,
}

/// A key, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// What happened.
    pub change: KeyChange,
    /// What it is for: `identity`, `root`, `log`, `witness` of a policy; `registry-log`, `registry-statements`.
    pub kind: String,
    /// Whose it is: the name of an identity, of a log or of a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Its fingerprint.
    pub id: String,
    /// What an identity may use it for; none for every role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// `active`, `retired` or `revoked`; of an identity's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The first index of the log at which it counts; absent for the first of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The first index of the log at which it does not count any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// An event, as it is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventEntry {
    /// What happened.
    pub op: Operation,
    /// Number of the event in the registry's own record, where it has one. They grow, without gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<u64>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepoName>,
    /// The tag, for events of tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The manifest that the tag names, or that the statement is about; for a policy or a key, its digest.
    pub digest: Digest,
    /// The manifest that carries the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Digest>,
    /// The predicate type that this manifest claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// The policy that admitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// Evidence that counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// In place of a long list: SHA-256 over its digests, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_set: Option<Digest>,
    /// What became of a key, for events of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyEntry>,
    /// Leaf of the last event of this tag; absent in its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Hash>,
    /// Who did it, as the registry calls them.
    pub actor: String,
    /// When, by the registry's clock, in milliseconds since 1970. Order is given by the index, not by this.
    pub time: u64,
}

impl EventEntry {
    /// An event of which only these are known.
    pub fn new(op: Operation, digest: Digest, actor: impl Into<String>, time: u64) -> EventEntry {
        EventEntry {
            op,
            event: None,
            repository: None,
            tag: None,
            digest,
            statement: None,
            predicate_type: None,
            policy: None,
            evidence: Vec::new(),
            evidence_set: None,
            key: None,
            prev: None,
            actor: actor.into(),
            time,
        }
    }

    /// Lists evidence, or names it by one digest if it is much.
    pub fn set_evidence(&mut self, evidence: &[Digest]) {
        if evidence.len() <= LISTED_EVIDENCE {
            self.evidence = evidence.to_vec();
        } else {
            let lines: String = evidence
                .iter()
                .map(|digest| format!("{digest}\n"))
                .collect();
            self.evidence_set = Some(Digest::sha256(lines.as_bytes()));
        }
    }

    /// The same, fit for the log: registries recorded events of keys whose end, or whose roles, no entry can hold, before
    /// a policy with such was refused. The end is the last that there is then, and one word stands for the roles, with
    /// the SHA-256 over them, one a line.
    #[must_use]
    pub fn fitted(mut self) -> EventEntry {
        if let Some(key) = &mut self.key {
            key.until = key.until.map(|until| until.min(MAX_EXACT));
            key.from = key.from.map(|from| from.min(MAX_EXACT));
            if key.roles.iter().map(String::len).sum::<usize>() > MAX_ENTRY_BYTES / 4 {
                let lines: String = key.roles.iter().map(|role| format!("{role}\n")).collect();
                key.roles = vec![Digest::sha256(lines.as_bytes()).to_string()];
            }
        }
        self
    }

    fn check(&self) -> Result<(), LogError> {
        let is_global = matches!(self.op, Operation::Policy | Operation::Key);
        let problem = if self.repository.is_some() == is_global {
            "every event but those of policies and keys has a repository"
        } else if self.tag.is_some() != self.op.is_of_tag() {
            "events of tags, and no others, have a tag"
        } else if self.prev.is_some() && self.tag.is_none() {
            "only events of tags are chained"
        } else if self.statement.is_some() != self.op.is_of_statement() {
            "events that attach a statement, and no others, name it"
        } else if self.predicate_type.is_some() && self.statement.is_none() {
            "a predicate type belongs to a statement"
        } else if self.key.is_some() != (self.op == Operation::Key) {
            "events of keys, and no others, say what became of one"
        } else if self
            .key
            .as_ref()
            .is_some_and(|key| key.until.is_some_and(|until| until > MAX_EXACT))
        {
            "the end of a key is beyond what JSON numbers hold"
        } else if self.time > MAX_EXACT {
            "its time is beyond what JSON numbers hold"
        } else if self.event.is_some_and(|event| event > MAX_EXACT) {
            "its number is beyond what JSON numbers hold"
        } else {
            return Ok(());
        };
        Err(LogError::Entry(problem))
    }
}

/// Largest integer that every JSON reader keeps.
const MAX_EXACT: u64 = (1 << 53) - 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    api_version: String,
    kind: String,
    spec: EventEntry,
}

/// What a leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // entries are read one at a time, and most are events
pub enum Entry {
    /// A signature.
    Signature(Rekord),
    /// An event.
    Event(EventEntry),
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// If it is of no known kind, or not in the one spelling that it can have.
    pub fn parse(bytes: &[u8]) -> Result<Entry, LogError> {
        let value = parse_value(bytes, MAX_ENTRY_BYTES)?;
        match value.get("kind").and_then(|kind| kind.as_str()) {
            Some(rekord::KIND) => Rekord::parse(bytes).map(Entry::Signature),
            Some(ENTRY_KIND) => {
                let wire: Wire = parse_exact(bytes, MAX_ENTRY_BYTES)?;
                if wire.api_version != API_VERSION {
                    return Err(LogError::Entry("it is an event of another version"));
                }
                wire.spec.check()?;
                let entry = Entry::Event(wire.spec);
                if entry.to_bytes()? != bytes {
                    return Err(LogError::Entry("it is not in canonical form"));
                }
                Ok(entry)
            }
            _ => Err(LogError::Entry(
                "its kind is neither an event nor a hashedrekord",
            )),
        }
    }

    /// The entry in canonical JSON: what is hashed and served.
    ///
    /// # Errors
    /// If an event lacks what belongs to it, or is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LogError> {
        let bytes = match self {
            Entry::Signature(rekord) => rekord.to_bytes(),
            Entry::Event(event) => {
                event.check()?;
                let wire = Wire {
                    api_version: API_VERSION.to_owned(),
                    kind: ENTRY_KIND.to_owned(),
                    spec: event.clone(),
                };
                to_canonical_json(&wire)?
            }
        };
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(LogError::EntryTooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Its hash in the tree.
    ///
    /// # Errors
    /// As [`Entry::to_bytes`].
    pub fn leaf(&self) -> Result<Hash, LogError> {
        Ok(Hash::of_entry(&self.to_bytes()?))
    }
}

#[cfg(test)]
mod tests {
    use super::Operation;
    use crate::policy::lifecycle;
    use crate::statement::predicate;

    #[test]
    fn a_statement_is_logged_by_what_its_type_says() {
        for (predicate_type, operation) in [
            (predicate::SVR, Operation::Approve),
            ("https://example.com/approval/v1", Operation::Approve),
            (lifecycle::EXCEPTION, Operation::Except),
            (lifecycle::REJECTION, Operation::Retract),
            (lifecycle::DEPRECATION, Operation::Retract),
            (lifecycle::REVOCATION, Operation::Retract),
            ("https://example.com/retraction/v2.10", Operation::Retract),
            (lifecycle::INCIDENT, Operation::Incident),
            (lifecycle::INCIDENT_CLOSE, Operation::Incident),
            (predicate::COSIGN_SIGN, Operation::Attach),
            (predicate::MODEL_SIGNATURE, Operation::Attach),
            (predicate::SLSA_PROVENANCE, Operation::Attach),
            (predicate::VERIFICATION_SUMMARY, Operation::Attach),
            (predicate::CYCLONEDX, Operation::Attach),
            (predicate::TEST_RESULT, Operation::Attach),
            (predicate::RELEASE, Operation::Attach),
            (predicate::REFERENCE, Operation::Attach),
            (predicate::REPRODUCTION, Operation::Attach),
            // Whatever version it has, or none; only the last name counts, and all of it.
            ("https://example.com/revocation", Operation::Retract),
            ("revocation", Operation::Retract),
            ("https://revocation.example/note/v1", Operation::Attach),
            ("https://example.com/revocation/note/v1", Operation::Attach),
            ("https://example.com/no-revocation/v1", Operation::Attach),
            ("https://example.com/Revocation/v1", Operation::Attach),
            ("", Operation::Attach),
            ("/v1", Operation::Attach),
        ] {
            let found = Operation::of_predicate(predicate_type);
            assert_eq!(found, operation, "{predicate_type}");
            assert!(found.is_of_statement() && !found.is_of_tag());
        }
    }
}
