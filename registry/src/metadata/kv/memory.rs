//! An engine in memory: for tests, and for work on everything else without building RocksDB.

use super::engine::{Changes, Engine, Family, FullKey};
use crate::metadata::Error;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

/// Sorted maps behind a lock. Forgets everything when dropped.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    entries: RwLock<BTreeMap<FullKey, Vec<u8>>>,
}

impl Engine for MemoryEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.get(&(family, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let start = if from > prefix { from } else { prefix };
        let range = (Bound::Included((family, start.to_vec())), Bound::Unbounded);
        for ((found, key), value) in entries.range(range) {
            if *found != family || !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, Error> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        Ok(entries
            .keys()
            .rev()
            .find(|(found, _)| *found == family)
            .map(|(_, key)| key.clone()))
    }

    fn write(&self, changes: &Changes, _durable: bool) -> Result<(), Error> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        Ok(())
    }
}
