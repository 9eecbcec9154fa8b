//! RocksDB as the engine: one column family for each [`Family`], one write-ahead log for all.
//!
//! Every batch is synced before it counts as written. One process at a time can open a directory.
//! Invariant: a database that has lost synced writes is not opened unless somebody accepts that, and is not changed by
//! the attempt.

use super::disk::{self, LastEnd};
use super::engine::{Changes, Engine, Family};
use super::last_write::{self, LastWrite};
use crate::metadata::{Error, Millis};
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DB, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Memory for blocks of the files, shared by all families, in bytes.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Memory for changes that are not yet in files, in all families together, in bytes.
pub(super) const WRITE_BUFFER_BYTES: usize = 12 << 20;
/// Memory that a family takes at once for what is written to it. The usual eighth of its buffer, for each of two dozen
/// families, was all that the buffers may take together: every few writes flushed all of them.
const ARENA_BYTES: usize = 64 << 10;

/// An open database.
pub struct RocksEngine {
    db: DB,
    last_write: LastWrite,
    last_end: LastEnd,
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
    /// If another process has it open, it is damaged or has lost synced writes, or the directory cannot be written.
    pub fn open(directory: &Path) -> Result<RocksEngine, Error> {
        let path = last_write::path(directory);
        let noted = last_write::read(&path)?.unwrap_or(0);
        let state = state(directory)?;
        if let State::Headless(found) = &state {
            return Err(headless(directory, found));
        }
        // A replay deletes what it could not read. So the first look changes nothing: the disk, or a memory bank, may
        // give back at the next attempt what it hides now.
        if noted > 0
            && let Some(found) = last_readable(directory)
        {
            check(directory, noted, found)?;
        }
        let db = open_database(directory, &state)?;
        check(directory, noted, db.latest_sequence_number())?;
        Ok(RocksEngine {
            db,
            last_write: LastWrite::start(path, noted)?,
            last_end: LastEnd::open(directory)?,
        })
    }

    /// The same for somebody who accepts that synced writes were lost. Says whether they were, or may have been.
    ///
    /// # Errors
    /// If another process has it open, it cannot be read otherwise, or the directory cannot be written.
    pub fn open_after_loss(directory: &Path) -> Result<(RocksEngine, bool), Error> {
        let path = last_write::path(directory);
        let state = state(directory)?;
        // Nothing of it could be read, so there is nothing to go on with: only a backup helps.
        if let State::Headless(found) = &state {
            return Err(headless(directory, found));
        }
        let db = open_database(directory, &state)?;
        let found = db.latest_sequence_number();
        let lost = match last_write::read(&path) {
            Ok(noted) => noted.is_some_and(|noted| noted > found),
            Err(_) => true,
        };
        // The next synced write begins a new one.
        last_write::remove(&path)?;
        let engine = RocksEngine {
            db,
            last_write: LastWrite::start(path, 0)?,
            last_end: LastEnd::open(directory)?,
        };
        Ok((engine, lost))
    }

    /// Whether a database, or what is left of one, lies in `directory`. Makes none.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_in(directory: &Path) -> Result<bool, Error> {
        Ok(!matches!(state(directory)?, State::New))
    }

    fn family(&self, family: Family) -> Arc<BoundColumnFamily<'_>> {
        self.db
            .cf_handle(family.name())
            .expect("every family was opened")
    }
}

/// Refuses a database whose writes do not reach as far as they were synced.
fn check(directory: &Path, noted: u64, found: u64) -> Result<(), Error> {
    if found >= noted {
        return Ok(());
    }
    Err(Error::Damaged(format!(
        "in {}, the last {} changes or more that were written and synced cannot be read any more: a part of the write-ahead log is damaged or missing. Put back the whole data directory from a backup that has them; or, if what was pushed last may be lost, start once with \"sealstone-registry serve --accept-lost-writes\" and have it pushed again",
        directory.display(),
        noted - found
    )))
}

/// The number of the last write that a replay finds. `None` where that cannot be told: to open the database says why.
fn last_readable(directory: &Path) -> Option<u64> {
    let options = options();
    let there = DB::list_cf(&options, directory).ok()?;
    let mut families = families();
    families.retain(|family| there.iter().any(|name| name == family.name()));
    let db = DB::open_cf_descriptors_read_only(&options, directory, families, false).ok()?;
    Some(db.latest_sequence_number())
}

/// What lies in the directory.
enum State {
    /// No database, or one whose making was cut short before anything was written to it.
    New,
    /// A database.
    Made,
    /// What only a database has, this file for one, and not the file by which it is found. To make one there would delete
    /// all that is left.
    Headless(String),
}

/// Looks for the file by which RocksDB finds everything else. It is written last when a database is made, by a rename, and
/// replaced in the same way after that; so where a write has left something, it had been there.
fn state(directory: &Path) -> Result<State, Error> {
    let failed = |error: std::io::Error| {
        Error::Unavailable(format!("{} cannot be read: {error}", directory.display()))
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::New),
        entries => entries.map_err(failed)?,
    };
    let mut left = None;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "CURRENT" {
            return Ok(State::Made);
        }
        // A write-ahead log is empty until something is written. RocksDB's log for people is called LOG.
        let is_written = || entry.metadata().map(|found| found.len() > 0);
        let tells = name.ends_with(".sst")
            || last_write::path(directory).file_name() == Some(entry.file_name().as_os_str())
            || (name.ends_with(".log") && is_written().map_err(failed)?);
        if tells {
            left = Some(name);
        }
    }
    Ok(left.map_or(State::New, State::Headless))
}

fn headless(directory: &Path, found: &str) -> Error {
    Error::Damaged(format!(
        "{} holds a part of a database, {found} for one, and not the file CURRENT by which the rest is found: it was not copied or put back as a whole, or the disk lost it. Nothing was changed. Put back the whole data directory from a backup",
        directory.display()
    ))
}

fn open_database(directory: &Path, state: &State) -> Result<DB, Error> {
    let mut options = options();
    options.create_if_missing(matches!(state, State::New));
    options.create_missing_column_families(true);
    DB::open_cf_descriptors(&options, directory, families()).map_err(|error| {
        let text = error.to_string();
        if text.contains("lock") {
            Error::Unavailable(format!(
                "another process has {} open: one server per directory ({text})",
                directory.display()
            ))
        } else {
            unavailable(error)
        }
    })
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_total_wal_size(64 << 20);
    // A synced append to a log that is written over costs about half of one that grows.
    options.set_recycle_log_file_num(2);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(4);
    options.set_paranoid_checks(true);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let families = Family::ALL.iter().map(|family| {
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
    families.collect()
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
        self.db.write_opt(batch, &options).map_err(unavailable)?;
        if durable {
            // One thread writes, so this is the number of the batch that was just synced, with all before it.
            self.last_write.note(self.db.latest_sequence_number());
        }
        Ok(())
    }

    fn check_disk(&self) -> Result<(), Error> {
        disk::check(self.db.path())
    }

    fn last_end(&self) -> Option<Millis> {
        self.last_end.before()
    }

    fn note_end(&self, at: Millis) -> Result<(), Error> {
        self.last_end.note(at)
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
    fn to_look_for_a_database_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata");
        assert!(!RocksEngine::is_in(&path).unwrap() && !path.exists());
        std::fs::create_dir(&path).unwrap();
        assert!(!RocksEngine::is_in(&path).unwrap());
        let engine = RocksEngine::open(&path).unwrap();
        write_one(&engine, 1);
        assert!(RocksEngine::is_in(&path).unwrap());
        drop(engine);
        // What is left of one is not nothing: to open it says what is missing.
        std::fs::remove_file(path.join("CURRENT")).unwrap();
        assert!(RocksEngine::is_in(&path).unwrap());
    }

    /// A database whose log has a flipped bit in its middle; the path of the log, and its content as it was written.
    fn damaged(directory: &Path) -> (std::path::PathBuf, Vec<u8>) {
        let engine = RocksEngine::open(directory).unwrap();
        for number in 0..200 {
            write_one(&engine, number);
        }
        drop(engine);
        let entries = std::fs::read_dir(directory).unwrap();
        let logs = entries.map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.extension().is_some_and(|found| found == "log"));
        let newest = logs.max_by_key(|path| std::fs::metadata(path).unwrap().len());
        let newest = newest.unwrap();
        let whole = std::fs::read(&newest).unwrap();
        assert!(whole.len() > 200_000, "{} bytes", whole.len());
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x10;
        std::fs::write(&newest, flipped).unwrap();
        (newest, whole)
    }

    fn write_one(engine: &RocksEngine, number: u32) {
        let key = number.to_be_bytes().to_vec();
        let changes = Changes::from([((Family::Inline, key), Some(vec![7; 1000]))]);
        engine.write(&changes, true).unwrap();
    }

    fn has(engine: &RocksEngine, number: u32) -> bool {
        let found = engine.get(Family::Inline, &number.to_be_bytes());
        found.unwrap().is_some()
    }

    #[test]
    fn a_database_that_lost_writes_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (log, whole) = damaged(directory.path());
        let flipped = std::fs::read(&log).unwrap();
        for _ in 0..2 {
            let refused = RocksEngine::open(directory.path()).unwrap_err();
            assert!(
                matches!(&refused, Error::Damaged(text) if text.contains("--accept-lost-writes")),
                "{refused}"
            );
            assert!(std::fs::read(&log).unwrap() == flipped);
        }
        // It was the disk that could not be read, and now it can.
        std::fs::write(&log, whole).unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        assert!((0..200).all(|number| has(&engine, number)));
    }

    #[test]
    fn a_loss_can_be_accepted_and_is_told() {
        let directory = tempfile::tempdir().unwrap();
        damaged(directory.path());
        let (engine, lost) = RocksEngine::open_after_loss(directory.path()).unwrap();
        assert!(lost && has(&engine, 0) && !has(&engine, 199));
        write_one(&engine, 500);
        drop(engine);
        let (engine, lost) = RocksEngine::open_after_loss(directory.path()).unwrap();
        assert!(!lost && has(&engine, 500));
        drop(engine);
        // Whoever removes the number accepts it too, and so does whoever comes from a version without it.
        std::fs::remove_file(last_write::path(directory.path())).unwrap_or_default();
        assert!(has(&RocksEngine::open(directory.path()).unwrap(), 500));
    }

    #[test]
    fn what_is_left_of_a_database_is_not_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let engine = RocksEngine::open(path).unwrap();
        write_one(&engine, 1);
        drop(engine);
        let current = path.join("CURRENT");
        let content = std::fs::read(&current).unwrap();
        let names = || {
            let entries = std::fs::read_dir(path).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        std::fs::remove_file(&current).unwrap();
        let left = names();
        for noted in [true, false] {
            if !noted {
                // As of a version without the number: the log tells as well.
                last_write::remove(&last_write::path(path)).unwrap();
            }
            let before = names();
            for refused in [
                RocksEngine::open(path).map(drop),
                RocksEngine::open_after_loss(path).map(drop),
            ] {
                assert!(
                    matches!(&refused, Err(Error::Damaged(text)) if text.contains("CURRENT")),
                    "{refused:?}"
                );
            }
            assert_eq!(names(), before);
        }
        assert!(left.len() > 3, "{left:?}");
        std::fs::write(&current, content).unwrap();
        assert!(has(&RocksEngine::open(path).unwrap(), 1));
    }

    #[test]
    fn a_database_whose_making_was_cut_short_is_made() {
        let whole = tempfile::tempdir().unwrap();
        drop(RocksEngine::open(whole.path()).unwrap());
        let entries = std::fs::read_dir(whole.path()).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        let manifest = paths.find(|path| path.display().to_string().contains("MANIFEST-"));
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("MANIFEST-000001", std::fs::read(manifest.unwrap()).unwrap()),
            ("LOG", b"for people".to_vec()),
            ("LOCK", Vec::new()),
            ("000001.dbtmp", b"MANIFEST-000001\n".to_vec()),
        ] {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let engine = RocksEngine::open(directory.path()).unwrap();
        write_one(&engine, 1);
        assert!(has(&engine, 1));
    }

    #[test]
    fn only_what_was_synced_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        write_one(&engine, 1);
        let noted = || last_write::read(&last_write::path(directory.path())).unwrap();
        for _ in 0..1000 {
            if noted().is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let before = noted();
        let changes = Changes::from([((Family::Inline, vec![2]), Some(vec![7; 1000]))]);
        engine.write(&changes, false).unwrap();
        drop(engine);
        assert!(before.is_some() && noted() == before);
    }

    #[test]
    fn what_is_asked_before_an_end_hurts_no_later_start() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        write_one(&engine, 1);
        engine.check_disk().unwrap();
        assert_eq!(engine.last_end(), None);
        engine.note_end(1_700_000_000_000).unwrap();
        drop(engine);
        // What a kill leaves of a look at the disk.
        std::fs::write(directory.path().join("probe"), [0; 10]).unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        assert!(has(&engine, 1));
        assert_eq!(engine.last_end(), Some(1_700_000_000_000));
        engine.check_disk().unwrap();
        drop(engine);
        let (engine, _) = RocksEngine::open_after_loss(directory.path()).unwrap();
        assert_eq!(engine.last_end(), Some(1_700_000_000_000));
    }

    #[test]
    fn the_bound_lies_right_behind_the_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(successor(&[0xff]), None);
        assert_eq!(successor(b""), None);
    }
}
