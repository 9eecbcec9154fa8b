//! Which logs are believed, and how many witnesses must have seen a checkpoint (C2SP tlog-policy).
//!
//! Invariant: a checkpoint counts when one of the logs signed it and the quorum cosigned it, and a
//! document that could be read in two ways is refused.

use super::LogError;
use super::checkpoint::{SignedCheckpoint, VerifiedCheckpoint};
use super::vkey::{KeyKind, VerifierKey};
use std::collections::{BTreeMap, BTreeSet};

/// Longest document that is read, in bytes.
pub const MAX_TRUST_BYTES: usize = 256 * 1024;
/// Most logs, witnesses and groups together.
const MAX_NAMES: usize = 1024;

/// A log or witness of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its key.
    pub key: VerifierKey,
    /// Where it is reached, if the document says so.
    pub url: Option<String>,
}

/// Whom a checkpoint must be seen by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Witness(Box<Party>),
    Group { needed: usize, members: Vec<String> },
}

/// The document: logs, witnesses, groups, quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTrust {
    logs: Vec<Party>,
    nodes: BTreeMap<String, Node>,
    quorum: Option<String>,
}

impl LogTrust {
    /// Trusts some logs and asks for no witness.
    ///
    /// # Errors
    /// If a key is no log's, or stands twice.
    pub fn in_logs(keys: impl IntoIterator<Item = VerifierKey>) -> Result<LogTrust, LogError> {
        let mut trust = LogTrust {
            logs: Vec::new(),
            nodes: BTreeMap::new(),
            quorum: None,
        };
        for key in keys {
            trust.add_log(Party { key, url: None }, 0)?;
        }
        Ok(trust)
    }

    /// Reads the document.
    ///
    /// # Errors
    /// Says in which line it is not valid, and why.
    pub fn parse(text: &str) -> Result<LogTrust, LogError> {
        let bad = |line, problem| LogError::Trust { line, problem };
        if text.len() > MAX_TRUST_BYTES {
            return Err(bad(0, "it is too long"));
        }
        let mut trust = LogTrust::in_logs([])?;
        let mut quorum: Option<Option<String>> = None;
        let mut members: BTreeSet<String> = BTreeSet::new();
        for (number, line) in (1..).zip(text.split('\n')) {
            let bad = |problem| bad(number, problem);
            if line
                .chars()
                .any(|c| (c < ' ' && c != '\t') || c == '\u{7f}')
            {
                return Err(bad("it holds a control character"));
            }
            let words: Vec<&str> = line
                .split([' ', '\t'])
                .filter(|word| !word.is_empty())
                .collect();
            if trust.logs.len() + trust.nodes.len() > MAX_NAMES {
                return Err(bad("there are too many logs, witnesses and groups"));
            }
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key, ref url @ ..] if url.len() <= 1 => {
                    trust.add_log(party(key, url, KeyKind::Log, number)?, number)?;
                }
                ["witness", name, key, ref url @ ..] if url.len() <= 1 => {
                    let party = party(key, url, KeyKind::Witness, number)?;
                    let same = |node: &Node| matches!(node, Node::Witness(other) if other.key.public_key() == party.key.public_key());
                    if trust.nodes.values().any(same) {
                        return Err(bad("this witness's key stands there before"));
                    }
                    trust.add_node(name, Node::Witness(Box::new(party)), number)?;
                }
                ["group", name, needed, ref names @ ..] if !names.is_empty() => {
                    let needed = match needed {
                        "any" => 1,
                        "all" => names.len(),
                        decimal => super::number(decimal)
                            .and_then(|needed| usize::try_from(needed).ok())
                            .filter(|needed| (1..=names.len()).contains(needed))
                            .ok_or(bad(
                                "a group needs any, all, or 1 to as many as it has members",
                            ))?,
                    };
                    for name in names {
                        if !trust.nodes.contains_key(*name) {
                            return Err(bad("a group names what no line before it defines"));
                        }
                        if !members.insert((*name).to_owned()) {
                            return Err(bad("a name is a member twice"));
                        }
                    }
                    let members = names.iter().map(|name| (*name).to_owned()).collect();
                    trust.add_node(name, Node::Group { needed, members }, number)?;
                }
                ["quorum", name] => {
                    let named = (name != "none").then(|| name.to_owned());
                    if named
                        .as_ref()
                        .is_some_and(|name| !trust.nodes.contains_key(name))
                    {
                        return Err(bad("the quorum is not defined before this line"));
                    }
                    if quorum.replace(named).is_some() {
                        return Err(bad("there is a second quorum"));
                    }
                }
                _ => {
                    return Err(bad(
                        "it is none of log, witness, group and quorum with what belongs to it",
                    ));
                }
            }
        }
        trust.quorum = quorum.ok_or(bad(
            0,
            "it has no quorum line; without witnesses, write: quorum none",
        ))?;
        Ok(trust)
    }

    fn add_log(&mut self, log: Party, line: u64) -> Result<(), LogError> {
        let problem = if log.key.kind() != KeyKind::Log {
            "this key is a witness's, not a log's"
        } else if self
            .logs
            .iter()
            .any(|other| other.key.public_key() == log.key.public_key())
        {
            "this log's key stands there before"
        } else {
            self.logs.push(log);
            return Ok(());
        };
        Err(LogError::Trust { line, problem })
    }

    fn add_node(&mut self, name: &str, node: Node, line: u64) -> Result<(), LogError> {
        if name == "none" || self.nodes.insert(name.to_owned(), node).is_some() {
            let problem = "this name is taken";
            return Err(LogError::Trust { line, problem });
        }
        Ok(())
    }

    /// The logs.
    pub fn logs(&self) -> &[Party] {
        &self.logs
    }

    /// The witnesses, whether the quorum needs them or not.
    pub fn witnesses(&self) -> impl Iterator<Item = &Party> {
        self.nodes.values().filter_map(|node| match node {
            Node::Witness(party) => Some(&**party),
            Node::Group { .. } => None,
        })
    }

    /// Checks a checkpoint: signed by one of the logs, cosigned by the quorum.
    ///
    /// # Errors
    /// If it is of another log, or any signature of a known key does not hold, or too few witnesses saw it.
    pub fn verify(&self, checkpoint: &SignedCheckpoint) -> Result<VerifiedCheckpoint, LogError> {
        let origin = &checkpoint.claim().origin;
        let mut named = self.logs.iter().filter(|log| log.key.name() == origin);
        // A log that changes its key has two, and one of them is enough.
        let mut outcome = Err(LogError::UnknownLog(origin.chars().take(80).collect()));
        for log in &mut named {
            outcome = checkpoint.verify(&log.key);
            if !matches!(outcome, Err(LogError::Unsigned(_))) {
                break;
            }
        }
        let verified = outcome?;
        let seen = checkpoint.cosignatures(self.witnesses().map(|witness| &witness.key))?;
        let Some(quorum) = &self.quorum else {
            return Ok(verified);
        };
        let is_seen = |party: &Party| {
            seen.iter()
                .any(|cosignature| cosignature.witness == party.key)
        };
        if self.holds(quorum, &is_seen) {
            Ok(verified)
        } else {
            Err(LogError::Quorum {
                quorum: quorum.clone(),
                seen: seen.len(),
            })
        }
    }

    // Groups name only what stands before them, so this ends.
    fn holds(&self, name: &str, is_seen: &impl Fn(&Party) -> bool) -> bool {
        match self.nodes.get(name) {
            Some(Node::Witness(party)) => is_seen(party),
            Some(Node::Group { needed, members }) => {
                let held = members.iter().filter(|member| self.holds(member, is_seen));
                held.count() >= *needed
            }
            None => false,
        }
    }
}

fn party(key: &str, url: &[&str], kind: KeyKind, line: u64) -> Result<Party, LogError> {
    let key: VerifierKey = key.parse()?;
    if key.kind() != kind {
        let problem = "the key is of the other kind: logs have type 1, witnesses type 4";
        return Err(LogError::Trust { line, problem });
    }
    let url = url.first().map(|url| (*url).to_owned());
    Ok(Party { key, url })
}
