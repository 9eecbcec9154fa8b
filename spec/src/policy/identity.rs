//! Who signs: people and machines, their keys, what each key may be used for and until when.
//!
//! Invariant: rules count identities. All keys of one identity are one voice.

use crate::key::{KeyId, PublicKey};
use std::collections::BTreeSet;
use std::fmt;

/// Somebody, or something, that signs: a name for people, the keys that speak for it, and its teams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The name that rules use.
    pub name: String,
    /// Teams that it belongs to.
    pub teams: BTreeSet<String>,
    /// At least one.
    pub keys: Vec<Key>,
}

impl Identity {
    /// Whether a key that still signs has the role.
    pub fn has_role(&self, role: &str) -> bool {
        let active = self.keys.iter().filter(|key| key.status == Status::Active);
        active.into_iter().any(|key| key.roles.contains(role))
    }
}

/// A key of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// The key.
    pub public: PublicKey,
    /// What it may be used for.
    pub roles: Roles,
    /// The first index of the log at which it counts: for a statement that is not proven to stand there or later, it does
    /// not. 0 for always, also for what is in no log.
    pub valid_from_index: u64,
    /// Until when.
    pub status: Status,
}

impl Key {
    /// Its fingerprint.
    pub fn id(&self) -> &KeyId {
        self.public.id()
    }

    /// Whether what it signs counts without a log's word about when that was.
    pub fn counts_unlogged(&self) -> bool {
        self.status == Status::Active && self.valid_from_index == 0
    }

    /// Whether a statement at `index` of the log, or outside of it, counts.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn admits(&self, index: Option<u64>) -> Result<(), String> {
        let from = self.valid_from_index;
        match index {
            Some(index) if index < from => {
                return Err(format!(
                    "the key counts from log index {from} on, and this was logged at {index}"
                ));
            }
            None if from > 0 => {
                return Err(format!(
                    "the key counts from log index {from} on, and nothing proves that this was logged"
                ));
            }
            _ => {}
        }
        self.status.admits(index)
    }
}

/// What a key may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Everything: documents of version 1 know no roles.
    Every,
    /// These.
    Of(BTreeSet<String>),
}

impl Roles {
    /// Whether it may be used for `role`.
    pub fn contains(&self, role: &str) -> bool {
        match self {
            Roles::Every => true,
            Roles::Of(roles) => roles.contains(role),
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Roles::Every => f.write_str("every role"),
            Roles::Of(roles) => {
                let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                f.write_str(&roles.join(", "))
            }
        }
    }
}

/// Whether a key's signatures still count. Positions in the log decide and not times: a time comes
/// from the signer, a position does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// They count.
    Active,
    /// Those that the log holds before this index count; none that is not in the log.
    Retired {
        /// The first index that does not count any more.
        valid_until_index: u64,
    },
    /// The same, because somebody else may have the key.
    Revoked {
        /// The first index that is not trusted; 0 for none at all.
        revoked_at_index: u64,
        /// Why.
        reason: String,
    },
}

impl Status {
    /// Whether a statement at `index` of the log, or outside of it, counts.
    ///
    /// # Errors
    /// The reason why not.
    fn admits(&self, index: Option<u64>) -> Result<(), String> {
        let (word, limit, why) = match self {
            Status::Active => return Ok(()),
            Status::Retired { valid_until_index } => ("retired", *valid_until_index, String::new()),
            Status::Revoked {
                revoked_at_index,
                reason,
            } => ("revoked", *revoked_at_index, format!(" ({reason})")),
        };
        match index {
            Some(index) if index < limit => Ok(()),
            Some(index) => Err(format!(
                "the key is {word}{why} from log index {limit} on, and this was logged at {index}"
            )),
            None => Err(format!(
                "the key is {word}{why} from log index {limit} on, and nothing proves that this was logged before"
            )),
        }
    }
}
