//! One operation's view of the store: its own changes over those of the operations before it in the
//! same group, over what is on disk.

use super::engine::{Changes, Engine, Entry, Family};
use crate::metadata::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::Ordering;
use std::collections::BTreeSet;

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

    /// Whether an operation before this one, in the same group, changed anything of a family.
    pub(super) fn group_changes(&self, family: Family) -> bool {
        let mut from = self.group.range((family, Vec::new())..);
        from.next().is_some_and(|((found, _), _)| *found == family)
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
        let mut found: Vec<Entry> = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let mut changed = self.changed(family, prefix, from).peekable();
        self.engine.scan(family, prefix, from, &mut |key, value| {
            while let Some((before, change)) = changed.next_if(|(next, _)| *next < key) {
                found.extend(change.map(|value| (before.to_vec(), value.to_vec())));
                if found.len() == limit {
                    return false;
                }
            }
            match changed.next_if(|(next, _)| *next == key) {
                Some((_, change)) => {
                    found.extend(change.map(|value| (key.to_vec(), value.to_vec())));
                }
                None => found.push((key.to_vec(), value.to_vec())),
            }
            found.len() < limit
        })?;
        for (key, change) in changed {
            if found.len() == limit {
                break;
            }
            found.extend(change.map(|value| (key.to_vec(), value.to_vec())));
        }
        Ok(found)
    }

    /// The keys alone that begin with `prefix`, in order: for where values can be long, and nobody looks at them.
    pub(super) fn keys(&self, family: Family, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = BTreeSet::new();
        self.engine.scan(family, prefix, prefix, &mut |key, _| {
            found.insert(key.to_vec());
            true
        })?;
        for (key, value) in self.changed(family, prefix, prefix) {
            match value {
                Some(_) => found.insert(key.to_vec()),
                None => found.remove(key),
            };
        }
        Ok(found.into_iter().collect())
    }

    /// What a scan of the disk does not see, in order. Nothing is copied: a collection that is only tried out has all its
    /// changes here, and scans them once for each.
    fn changed<'c>(
        &'c self,
        family: Family,
        prefix: &'c [u8],
        from: &'c [u8],
    ) -> impl Iterator<Item = (&'c [u8], Option<&'c [u8]>)> {
        let mut group = changes_from(self.group, family, prefix, from).peekable();
        let mut own = changes_from(&self.own, family, prefix, from).peekable();
        std::iter::from_fn(move || {
            let order = match (group.peek(), own.peek()) {
                (Some((grouped, _)), Some((owned, _))) => grouped.cmp(owned),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            match order {
                Ordering::Less => group.next(),
                Ordering::Equal => {
                    // What this operation did comes later.
                    group.next();
                    own.next()
                }
                Ordering::Greater => own.next(),
            }
        })
    }
}

/// The changes of keys that begin with `prefix`, from `from` on.
fn changes_from<'c>(
    changes: &'c Changes,
    family: Family,
    prefix: &'c [u8],
    from: &'c [u8],
) -> impl Iterator<Item = (&'c [u8], Option<&'c [u8]>)> {
    let start = (family, from.max(prefix).to_vec());
    changes
        .range(start..)
        .take_while(move |((found, key), _)| *found == family && key.starts_with(prefix))
        .map(|((_, key), value)| (key.as_slice(), value.as_deref()))
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

    #[test]
    fn a_scan_from_anywhere_to_any_limit_is_a_part_of_the_whole() {
        let key = |number: u8| vec![b'k', number];
        // Each key is absent, there or deleted on the disk, in the group and in the operation: all 18 ways.
        let (engine, mut group) = (MemoryEngine::default(), Changes::new());
        let (mut disk, mut own, mut wanted) = (Changes::new(), Changes::new(), Vec::new());
        for number in 0..18_u8 {
            let mut value = None;
            if number % 2 == 1 {
                value = Some(vec![number, 0]);
                disk.insert((Family::Tag, key(number)), value.clone());
            }
            for (changes, layer, way) in
                [(&mut group, 1, number / 2 % 3), (&mut own, 2, number / 6)]
            {
                if way > 0 {
                    value = (way == 1).then(|| vec![number, layer]);
                    changes.insert((Family::Tag, key(number)), value.clone());
                }
            }
            wanted.extend(value.map(|value| (key(number), value)));
        }
        // Neighbours that are of no concern.
        for (family, text) in [
            (Family::Tag, "j"),
            (Family::Tag, "l"),
            (Family::TagOf, "k\0"),
        ] {
            for changes in [&mut disk, &mut group, &mut own] {
                changes.insert((family, text.as_bytes().to_vec()), Some(vec![9]));
            }
        }
        engine.write(&disk, true).unwrap();
        let mut txn = Txn::new(&engine, &group);
        txn.own = own;
        for start in 0..19_u8 {
            let from: Vec<Entry> = wanted
                .iter()
                .filter(|(found, _)| *found >= key(start))
                .cloned()
                .collect();
            for limit in 0..20 {
                let found = txn.scan(Family::Tag, b"k", &key(start), limit).unwrap();
                assert_eq!(found, from[..limit.min(from.len())], "{start} {limit}");
            }
        }
        assert_eq!(txn.scan(Family::Tag, b"k", b"", 99).unwrap(), wanted);
    }
}
