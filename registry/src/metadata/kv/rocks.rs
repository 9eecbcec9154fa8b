//! RocksDB as the engine: one column family for each [`Family`], one write-ahead log for all.
//!
//! Every batch is synced before it counts as written. One process at a time can open a directory.

use super::engine::{Changes, Engine, Family};
use crate::metadata::Error;
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DB, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};
use std::path::Path;
use std::sync::Arc;

/// Memory for blocks of the files, shared by all families, in bytes.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Memory for changes that are not yet in files, in all families together, in bytes.
const WRITE_BUFFER_BYTES: usize = 12 << 20;
/// Memory that a family takes at once for what is written to it. The usual eighth of its buffer, for each of two dozen
/// families, was all that the buffers may take together: every few writes flushed all of them.
const ARENA_BYTES: usize = 64 << 10;

/// An open database.
pub struct RocksEngine {
    db: DB,
}

impl std::fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksEngine({})", self.db.path().display())
    }
}

fn unavailable(error: rocksdb::Error) -> Error {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => Error::Damaged(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}

impl RocksEngine {
    /// Opens the database in `directory`, or makes one there.
    ///
    /// # Errors
    /// If another process has it open, it is damaged, or the directory cannot be written.
    pub fn open(directory: &Path) -> Result<RocksEngine, Error> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_db_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_total_wal_size(64 << 20);
        // A synced append to a log that is written over costs about half of one that grows.
        options.set_recycle_log_file_num(2);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        options.set_keep_log_file_num(4);
        options.set_paranoid_checks(true);
        let families = Family::ALL.map(|family| {
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            table.set_bloom_filter(10.0, false);
            table.set_format_version(5);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_compression_type(rocksdb::DBCompressionType::Lz4);
            options.set_write_buffer_size(WRITE_BUFFER_BYTES);
            options.set_arena_block_size(ARENA_BYTES);
            ColumnFamilyDescriptor::new(family.name(), options)
        });
        let db = DB::open_cf_descriptors(&options, directory, families).map_err(|error| {
            let text = error.to_string();
            if text.contains("lock") {
                Error::Unavailable(format!(
                    "another process has {} open: one server per directory ({text})",
                    directory.display()
                ))
            } else {
                unavailable(error)
            }
        })?;
        Ok(RocksEngine { db })
    }

    fn family(&self, family: Family) -> Arc<BoundColumnFamily<'_>> {
        self.db
            .cf_handle(family.name())
            .expect("every family was opened")
    }
}

impl Engine for RocksEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db
            .get_cf(&self.family(family), key)
            .map_err(unavailable)
    }

    fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let start = if from > prefix { from } else { prefix };
        let mut options = ReadOptions::default();
        if let Some(end) = successor(prefix) {
            options.set_iterate_upper_bound(end);
        }
        // The one that copies neither key nor value: who looks at keys alone does not pay for what stands there.
        let mut entries = self.db.raw_iterator_cf_opt(&self.family(family), options);
        entries.seek(start);
        while let Some((key, value)) = entries.item() {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
            entries.next();
        }
        entries.status().map_err(unavailable)
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, Error> {
        match self
            .db
            .iterator_cf(&self.family(family), IteratorMode::End)
            .next()
        {
            None => Ok(None),
            Some(entry) => Ok(Some(entry.map_err(unavailable)?.0.into_vec())),
        }
    }

    fn write(&self, changes: &Changes, durable: bool) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        for ((family, key), value) in changes {
            match value {
                Some(value) => batch.put_cf(&self.family(*family), key, value),
                None => batch.delete_cf(&self.family(*family), key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        self.db.write_opt(batch, &options).map_err(unavailable)
    }
}

/// The first key after all that begin with `prefix`; `None` if there is no such bound.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Files of the database, with this ending.
    fn files(directory: &Path, ending: &str) -> usize {
        let entries = std::fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().ends_with(ending))
            .count()
    }

    #[test]
    fn small_changes_in_all_families_stay_in_memory_until_they_fill_it() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        for number in 0..400_u32 {
            let mut changes = Changes::new();
            for family in Family::ALL {
                let key = number.to_be_bytes().to_vec();
                changes.insert((family, key), Some(vec![0; 100]));
            }
            engine.write(&changes, false).unwrap();
        }
        // A megabyte and a half, of the twelve that there are.
        assert_eq!(files(directory.path(), ".sst"), 0);
    }

    #[test]
    fn the_bound_lies_right_behind_the_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(successor(&[0xff]), None);
        assert_eq!(successor(b""), None);
    }
}
