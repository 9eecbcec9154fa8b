//! One operation's view of the store: its own changes over those of the operations before it in the
//! same group, over what is on disk.

use super::engine::{Changes, Engine, Entry, Family};
use crate::metadata::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Reads and writes of one operation. Nothing of it counts until the committer has written it.
pub(super) struct Txn<'a> {
    engine: &'a dyn Engine,
    group: &'a Changes,
    own: Changes,
}

impl<'a> Txn<'a> {
    pub(super) fn new(engine: &'a dyn Engine, group: &'a Changes) -> Txn<'a> {
        Txn {
            engine,
            group,
            own: Changes::new(),
        }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.own
    }

    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        // A tuple of owned parts is what the map is keyed by; keys are short.
        let full = (family, key.to_vec());
        if let Some(change) = self.own.get(&full).or_else(|| self.group.get(&full)) {
            return Ok(change.clone());
        }
        self.engine.get(family, key)
    }

    pub(super) fn row<T: DeserializeOwned>(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<T>, Error> {
        self.get(family, key)?
            .map(|value| decode(family, &value))
            .transpose()
    }

    pub(super) fn has(&self, family: Family, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get(family, key)?.is_some())
    }

    pub(super) fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.own.insert((family, key), Some(value));
    }

    pub(super) fn put_row(&mut self, family: Family, key: Vec<u8>, row: &impl Serialize) {
        self.put(family, key, encode(row));
    }

    pub(super) fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.own.insert((family, key), None);
    }

    /// The entries that begin with `prefix`, in order, from `from` on, at most `limit`.
    pub(super) fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut changed: BTreeMap<&[u8], &Option<Vec<u8>>> = BTreeMap::new();
        for changes in [self.group, &self.own] {
            let start = (family, from.max(prefix).to_vec());
            for ((found, key), value) in changes.range(start..) {
                if *found != family || !key.starts_with(prefix) {
                    break;
                }
                changed.insert(key, value);
            }
        }
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = changed
            .iter()
            .filter_map(|(key, value)| value.as_ref().map(|value| (key.to_vec(), value.clone())))
            .collect();
        let mut unchanged = 0;
        self.engine.scan(family, prefix, from, &mut |key, value| {
            if !changed.contains_key(key) {
                entries.insert(key.to_vec(), value.to_vec());
                unchanged += 1;
            }
            unchanged < limit
        })?;
        Ok(entries.into_iter().take(limit).collect())
    }

    /// The keys alone that begin with `prefix`, in order: for where values can be long, and nobody looks at them.
    pub(super) fn keys(&self, family: Family, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = BTreeSet::new();
        self.engine.scan(family, prefix, prefix, &mut |key, _| {
            found.insert(key.to_vec());
            true
        })?;
        for changes in [self.group, &self.own] {
            let start = (family, prefix.to_vec());
            for ((changed, key), value) in changes.range(start..) {
                if *changed != family || !key.starts_with(prefix) {
                    break;
                }
                if value.is_some() {
                    found.insert(key.clone());
                } else {
                    found.remove(key);
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

pub(super) fn encode(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows have text keys only")
}

pub(super) fn decode<T: DeserializeOwned>(family: Family, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value)
        .map_err(|error| Error::Damaged(format!("a {} row cannot be read: {error}", family.name())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::memory::MemoryEngine;
    use super::*;

    #[test]
    fn a_scan_sees_disk_group_and_own_changes_in_this_order() {
        let engine = MemoryEngine::default();
        let entry = |key: &str, value: Option<&str>| {
            (
                (Family::Tag, key.as_bytes().to_vec()),
                value.map(|v| v.as_bytes().to_vec()),
            )
        };
        let disk = Changes::from([
            entry("a", Some("disk")),
            entry("b", Some("disk")),
            entry("c", Some("disk")),
        ]);
        engine.write(&disk, true).unwrap();
        let group = Changes::from([
            entry("b", Some("group")),
            entry("c", None),
            entry("d", Some("group")),
        ]);
        let mut txn = Txn::new(&engine, &group);
        txn.put(Family::Tag, b"aa".to_vec(), b"own".to_vec());
        txn.delete(Family::Tag, b"d".to_vec());
        let all = |limit| -> Vec<String> {
            let found = txn.scan(Family::Tag, b"", b"", limit).unwrap();
            found
                .into_iter()
                .map(|(k, v)| String::from_utf8([k, v].join(&b'=')).unwrap())
                .collect()
        };
        assert_eq!(all(10), ["a=disk", "aa=own", "b=group"]);
        assert_eq!(all(2), ["a=disk", "aa=own"]);
        let keys = txn.keys(Family::Tag, b"").unwrap();
        assert_eq!(keys, [&b"a"[..], b"aa", b"b"]);
        assert_eq!(txn.keys(Family::Tag, b"a").unwrap(), keys[..2]);
        assert_eq!(txn.get(Family::Tag, b"c").unwrap(), None);
    }
}
