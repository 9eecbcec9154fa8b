//! The keys that a policy works by, as the log tells of them.
//!
//! Owns the comparison of two sets of keys. Where the sets come from, and that each difference becomes an
//! entry, is for whoever keeps the log.

use super::identity::{Roles, Status};
use super::{Policy, TrustedLog};
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::log::{KeyChange, KeyEntry, VerifierKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A key, whose it is, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyRecord {
    /// `identity`, `root`, `log`, `witness`, `registry-log` or `registry-statements`.
    pub kind: String,
    /// The name of an identity, of a log or of a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Its fingerprint.
    pub id: String,
    /// SHA-256 of its SPKI DER.
    pub digest: Digest,
    /// Its roles; none for every role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// `active`, `retired` or `revoked`, of an identity's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The first index of the log at which it counts; absent for the first of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The first index of the log at which it does not count any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

impl KeyRecord {
    /// A key of this kind that has no roles and no end.
    pub fn new(kind: &str, holder: Option<&str>, key: &PublicKey) -> KeyRecord {
        KeyRecord {
            kind: kind.to_owned(),
            holder: holder.map(str::to_owned),
            id: key.id().to_string(),
            digest: Digest::sha256(&key.to_spki_der()),
            roles: Vec::new(),
            status: None,
            from: None,
            until: None,
        }
    }

    fn entry(&self, change: KeyChange) -> (Digest, KeyEntry) {
        let entry = KeyEntry {
            change,
            kind: self.kind.clone(),
            holder: self.holder.clone(),
            id: self.id.clone(),
            roles: self.roles.clone(),
            status: self.status.clone(),
            from: self.from,
            until: self.until,
        };
        (self.digest, entry)
    }

    /// What becomes of keys when `after` takes the place of `before`, each with the digest of the key: those
    /// that come or change in the order of `after`, then those that go. Nothing if the sets are the same.
    pub fn changes(before: &[KeyRecord], after: &[KeyRecord]) -> Vec<(Digest, KeyEntry)> {
        let name = |key: &KeyRecord| (key.kind.clone(), key.holder.clone(), key.id.clone());
        let old: BTreeMap<_, &KeyRecord> = before.iter().map(|key| (name(key), key)).collect();
        let new: BTreeMap<_, &KeyRecord> = after.iter().map(|key| (name(key), key)).collect();
        let come = after.iter().filter_map(|key| match old.get(&name(key)) {
            None => Some(key.entry(KeyChange::Added)),
            Some(before) if *before != key => Some(key.entry(KeyChange::Changed)),
            Some(_) => None,
        });
        let gone = before.iter().filter(|key| !new.contains_key(&name(key)));
        come.chain(gone.map(|key| key.entry(KeyChange::Removed)))
            .collect()
    }
}

impl Policy {
    /// Every key that the policy works by: of identities, of its roots, of the logs and witnesses that it
    /// trusts. In the order of the document, each once for each holder.
    pub fn key_records(&self) -> Vec<KeyRecord> {
        let mut records = Vec::new();
        for identity in self.identities() {
            for key in &identity.keys {
                let mut record = KeyRecord::new("identity", Some(&identity.name), &key.public);
                if let Roles::Of(roles) = &key.roles {
                    record.roles = roles.iter().cloned().collect();
                }
                let (status, until) = match &key.status {
                    Status::Active => ("active", None),
                    Status::Retired { valid_until_index } => ("retired", Some(*valid_until_index)),
                    Status::Revoked {
                        revoked_at_index, ..
                    } => ("revoked", Some(*revoked_at_index)),
                };
                record.status = Some(status.to_owned());
                record.from = Some(key.valid_from_index).filter(|from| *from > 0);
                record.until = until;
                records.push(record);
            }
        }
        let roots = self.roots().into_iter().flat_map(|roots| &roots.keys);
        records.extend(roots.map(|key| KeyRecord::new("root", None, key)));
        for TrustedLog {
            vkey, witnesses, ..
        } in self.logs()
        {
            let keys = std::iter::once(("log", vkey));
            for (kind, line) in keys.chain(witnesses.iter().map(|key| ("witness", key))) {
                if let Ok(key) = line.parse::<VerifierKey>() {
                    let record = KeyRecord::new(kind, Some(key.name()), key.public_key());
                    if !records.contains(&record) {
                        records.push(record);
                    }
                }
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixtures::{ed25519, identities};
    use crate::key::Signer as _;

    #[test]
    fn every_change_of_a_key_is_told_once() {
        let policy = Policy::parse(&identities()).unwrap();
        let before = policy.key_records();
        assert_eq!(before.len(), 3);
        assert!(before.iter().all(|key| key.roles.is_empty()));
        let all_new = KeyRecord::changes(&[], &before);
        assert!(
            all_new
                .iter()
                .all(|(_, entry)| entry.change == KeyChange::Added)
        );
        assert_eq!(all_new.len(), 3);
        assert_eq!(KeyRecord::changes(&before, &before), []);

        let mut after = before.clone();
        after[0].status = Some("revoked".into());
        after[0].until = Some(99);
        let gone = after.remove(2);
        let new = KeyRecord::new("root", None, ed25519(9).public_key());
        after.push(new.clone());
        let told: Vec<(KeyChange, String, Option<u64>)> = KeyRecord::changes(&before, &after)
            .into_iter()
            .map(|(_, entry)| (entry.change, entry.id, entry.until))
            .collect();
        assert_eq!(
            told,
            [
                (KeyChange::Changed, after[0].id.clone(), Some(99)),
                (KeyChange::Added, new.id, None),
                (KeyChange::Removed, gone.id, None)
            ]
        );
        // Somebody else's key is another one, also if it is the same.
        let mut moved = before.clone();
        moved[0].holder = Some("mallory".into());
        assert_eq!(KeyRecord::changes(&before, &moved).len(), 2);
    }
}
