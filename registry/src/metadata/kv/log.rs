//! Entries, tiles and the way from events to entries.

use super::KvMetadata;
use super::engine::{Engine, Family};
use super::keys;
use super::txn::{Txn, encode};
use crate::metadata::log::{
    LogQuery, LogState, LogStore, LoggedAt, PublishedCheckpoint, Recorded, Scribe,
};
use crate::metadata::{Answer, Error, Event, EventKind, Millis};
use bytes::Bytes;
use sealstone_spec::log::{Entry, EventEntry, Frontier, Hash, Operation, Rekord, TILE_WIDTH};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, Weak};

const STATE: &[u8] = b"log/state";
const SUBMISSIONS: &[u8] = b"log/submissions";
const CHECKPOINT: &[u8] = b"log/checkpoint";
const WITNESSED: &[u8] = b"log/witnessed";
/// Most entries that are made at the end of one group of changes. What is left over waits for [`LogStore::integrate`].
const FOLLOWED: usize = 512;

#[derive(Default, Serialize, Deserialize)]
struct StateRow {
    size: u64,
    peaks: Vec<Hash>,
    events: u64,
    submissions: u64,
}

/// Something that waits to become an entry and is no event of a repository.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Submission {
    /// A signature: its entry.
    Rekord(String),
}

fn read_state(row: Option<StateRow>) -> Result<(Frontier, StateRow), Error> {
    let row = row.unwrap_or_default();
    let frontier = Frontier::from_parts(row.size, row.peaks.clone()).ok_or_else(|| {
        Error::Damaged("the log's state has another number of peaks than its size".into())
    })?;
    Ok((frontier, row))
}

/// Queues a submission; its number.
fn queue(txn: &mut Txn<'_>, submission: &Submission) -> Result<u64, Error> {
    let number = txn.row::<u64>(Family::Server, SUBMISSIONS)?.unwrap_or(0) + 1;
    txn.put_row(Family::Server, SUBMISSIONS.to_vec(), &number);
    txn.put_row(
        Family::LogWaiting,
        number.to_be_bytes().to_vec(),
        submission,
    );
    Ok(number)
}

fn key_of(query: &LogQuery) -> Vec<u8> {
    let (kind, rest) = match query {
        LogQuery::Tag(repo, tag) => (1, keys::repo_text(repo, tag.as_str())),
        LogQuery::Statement(repo, digest) => (2, keys::repo_digest(repo, digest)),
        LogQuery::Entry(leaf) => (3, leaf.as_bytes().to_vec()),
        LogQuery::Key(digest) => (4, keys::digest(digest)),
    };
    [vec![kind], rest].concat()
}

/// Entries that are being appended, and the tiles that they touch.
struct Appending<'t, 'e> {
    txn: &'t mut Txn<'e>,
    frontier: Frontier,
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
}

impl Appending<'_, '_> {
    fn append(&mut self, entry: &Entry) -> Result<LoggedAt, Error> {
        let bytes = entry
            .to_bytes()
            .map_err(|error| Error::Damaged(format!("an event cannot be logged: {error}")))?;
        let at = LoggedAt {
            index: self.frontier.size(),
            leaf: Hash::of_entry(&bytes),
        };
        let mut completed = Vec::new();
        self.frontier.push(at.leaf, |node, hash| {
            if node.level % 8 == 0 {
                completed.push((node, hash));
            }
        });
        for (node, hash) in completed {
            self.extend_tile(node.level / 8, node.index, &hash)?;
        }
        let key = at.index.to_be_bytes().to_vec();
        self.txn.put(Family::LogEntry, key, bytes);
        Ok(at)
    }

    fn extend_tile(&mut self, level: u8, index: u64, hash: &Hash) -> Result<(), Error> {
        let id = (level, index / TILE_WIDTH);
        if !self.tiles.contains_key(&id) {
            let stored = self.txn.get(Family::LogTile, &tile_key(id.0, id.1))?;
            self.tiles.insert(id, stored.unwrap_or_default());
        }
        let tile = self.tiles.entry(id).or_default();
        if tile.len() as u64 != index % TILE_WIDTH * 32 {
            return Err(Error::Damaged(format!(
                "tile {} of level {level} of the log has {} bytes, not those of its entries",
                id.1,
                tile.len()
            )));
        }
        tile.extend_from_slice(hash.as_bytes());
        Ok(())
    }

    fn note(&mut self, query: &LogQuery, at: LoggedAt) {
        self.txn.put_row(Family::LogPlace, key_of(query), &at);
    }

    fn event(&mut self, number: u64, event: &Event) -> Result<(), Error> {
        let tag = match (&event.repo, &event.tag) {
            (Some(repo), Some(tag)) => Some(LogQuery::Tag(repo.clone(), tag.clone())),
            _ => None,
        };
        let prev = match &tag {
            Some(query) => self.txn.row::<LoggedAt>(Family::LogPlace, &key_of(query))?,
            None => None,
        };
        let mut entry = EventEntry::new(
            operation(event),
            event.digest,
            event.by.as_str(),
            since_1970(event.at),
        );
        entry.event = Some(number);
        entry.repository.clone_from(&event.repo);
        entry.tag.clone_from(&event.tag);
        entry.policy = event.policy;
        entry.set_evidence(&event.evidence);
        entry.key.clone_from(&event.key);
        entry.prev = prev.map(|prev| prev.leaf);
        let statement = match (&event.repo, event.subject) {
            (Some(repo), Some(subject)) => {
                entry.digest = subject;
                entry.statement = Some(event.digest);
                entry.predicate_type.clone_from(&event.predicate_type);
                Some(LogQuery::Statement(repo.clone(), event.digest))
            }
            _ => None,
        };
        let at = self.append(&Entry::Event(entry.fitted()))?;
        let key = event.key.as_ref().map(|_| LogQuery::Key(event.digest));
        if let Some(query) = tag.or(statement).or(key) {
            self.note(&query, at);
        }
        Ok(())
    }

    fn submission(&mut self, submission: Submission) -> Result<(), Error> {
        match submission {
            Submission::Rekord(text) => {
                let rekord = Rekord::parse(text.as_bytes()).map_err(|error| {
                    Error::Damaged(format!(
                        "an entry that was submitted cannot be read: {error}"
                    ))
                })?;
                let query = LogQuery::Entry(rekord.leaf());
                // Submitted twice, it is one entry.
                if self.txn.has(Family::LogPlace, &key_of(&query))? {
                    return Ok(());
                }
                let at = self.append(&Entry::Signature(rekord))?;
                self.note(&query, at);
                Ok(())
            }
        }
    }
}

fn operation(event: &Event) -> Operation {
    match event.kind {
        EventKind::TagCreated | EventKind::TagMoved
            if event.immutable && event.policy.is_some() =>
        {
            Operation::Release
        }
        EventKind::TagCreated | EventKind::TagMoved => Operation::Tag,
        EventKind::TagDeleted => Operation::Untag,
        EventKind::ManifestDeleted => Operation::Delete,
        EventKind::PolicyChanged => Operation::Policy,
        EventKind::KeyChanged => Operation::Key,
        EventKind::ContentDamaged => Operation::Damage,
        EventKind::ContentRepaired => Operation::Repair,
        EventKind::StatementAttached => {
            Operation::of_predicate(event.predicate_type.as_deref().unwrap_or_default())
        }
    }
}

fn since_1970(time: Millis) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

fn tile_key(level: u8, index: u64) -> Vec<u8> {
    [&[level][..], &index.to_be_bytes()].concat()
}

fn number_of(family: Family, key: &[u8]) -> Result<u64, Error> {
    let bytes = key
        .try_into()
        .map_err(|_| Error::Damaged(format!("a {} row has no number", family.name())))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A row by its number. They have no holes.
fn numbered<T: DeserializeOwned>(txn: &Txn<'_>, family: Family, number: u64) -> Result<T, Error> {
    let row = txn.row(family, &number.to_be_bytes())?;
    row.ok_or_else(|| Error::Damaged(format!("{} {number} is missing", family.name())))
}

/// One step: events first, then submissions, each in its order.
fn integrate(txn: &mut Txn<'_>, limit: usize) -> Result<LogState, Error> {
    let (frontier, mut row) = read_state(txn.row(Family::Server, STATE)?)?;
    let recorded = Recorded {
        events: txn.row(Family::Server, b"events")?.unwrap_or(0),
        submissions: txn.row(Family::Server, SUBMISSIONS)?.unwrap_or(0),
    };
    // One by one: most were recorded in this very group, and are not looked for on the disk.
    let limit = limit as u64;
    let events = recorded.events.saturating_sub(row.events).min(limit);
    let waiting = recorded.submissions.saturating_sub(row.submissions);
    let waiting = waiting.min(limit - events);
    let mut appending = Appending {
        txn,
        frontier,
        tiles: BTreeMap::new(),
    };
    for _ in 0..events {
        row.events += 1;
        let event = numbered(appending.txn, Family::Event, row.events)?;
        appending.event(row.events, &event)?;
    }
    for _ in 0..waiting {
        row.submissions += 1;
        let submission = numbered(appending.txn, Family::LogWaiting, row.submissions)?;
        appending.submission(submission)?;
        let key = row.submissions.to_be_bytes().to_vec();
        appending.txn.delete(Family::LogWaiting, key);
    }
    let Appending {
        frontier, tiles, ..
    } = appending;
    for ((level, index), tile) in tiles {
        txn.put(Family::LogTile, tile_key(level, index), tile);
    }
    if frontier.size() > row.size || row.size == 0 {
        row.size = frontier.size();
        row.peaks = frontier.peaks().to_vec();
    }
    txn.put_row(Family::Server, STATE.to_vec(), &row);
    Ok(state(&frontier, &row, recorded))
}

fn state(frontier: &Frontier, row: &StateRow, recorded: Recorded) -> LogState {
    LogState {
        size: frontier.size(),
        root: frontier.root(),
        events: row.events,
        submissions: row.submissions,
        is_caught_up: row.events >= recorded.events && row.submissions >= recorded.submissions,
    }
}

fn publish(txn: &mut Txn<'_>, checkpoint: &PublishedCheckpoint) -> Result<bool, Error> {
    let (frontier, row) = read_state(txn.row(Family::Server, STATE)?)?;
    let latest = txn.row::<PublishedCheckpoint>(Family::Server, CHECKPOINT)?;
    let is_of_tree = checkpoint.size == frontier.size()
        && checkpoint.root == frontier.root()
        && checkpoint.events <= row.events
        && checkpoint.submissions <= row.submissions;
    let goes_on = latest.is_none_or(|latest| {
        latest.size < checkpoint.size
            || (latest.size == checkpoint.size && latest.root == checkpoint.root)
    });
    if is_of_tree && goes_on {
        txn.put_row(Family::Server, CHECKPOINT.to_vec(), checkpoint);
    }
    Ok(is_of_tree && goes_on)
}

/// The log's own end of a group of changes: what they recorded becomes entries, and has a checkpoint, in the same write.
#[derive(Default)]
pub(super) struct Following {
    scribe: Mutex<Option<Weak<dyn Scribe>>>,
}

impl Following {
    fn begin(&self, scribe: Weak<dyn Scribe>) {
        *self.scribe.lock().unwrap_or_else(PoisonError::into_inner) = Some(scribe);
    }

    /// Does it, if anything was recorded or became an entry; what is returned tells of the checkpoint.
    ///
    /// # Errors
    /// If what is stored makes no sense. Whoever advances the log then meets the same error, and tells it.
    pub(super) fn close(
        &self,
        txn: &mut Txn<'_>,
    ) -> Result<Option<Box<dyn FnOnce() + Send>>, Error> {
        let recorded = [Family::Event, Family::LogWaiting, Family::LogEntry];
        if !recorded.iter().any(|family| txn.group_changes(*family)) {
            return Ok(None);
        }
        let scribe = self.scribe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(scribe) = scribe.as_ref().and_then(Weak::upgrade) else {
            return Ok(None);
        };
        let state = integrate(txn, FOLLOWED)?;
        // Without a signature it is a tree without a checkpoint, for which the appender signs.
        let Some(checkpoint) = scribe.sign(&state) else {
            return Ok(None);
        };
        if !publish(txn, &checkpoint)? {
            return Err(Error::Damaged(format!(
                "a checkpoint of {} entries is not of the stored tree, or older than the latest",
                checkpoint.size
            )));
        }
        Ok(Some(Box::new(move || scribe.stored(checkpoint))))
    }
}

impl<E: Engine> KvMetadata<E> {
    fn recorded_now(&self) -> Result<Recorded, Error> {
        Ok(Recorded {
            events: self.row(Family::Server, b"events")?.unwrap_or(0),
            submissions: self.row(Family::Server, SUBMISSIONS)?.unwrap_or(0),
        })
    }
}

impl<E: Engine> LogStore for KvMetadata<E> {
    fn submit(&self, rekord: Rekord) -> Answer<'_, u64> {
        Box::pin(async move {
            self.write(move |txn| {
                let text = String::from_utf8(rekord.to_bytes())
                    .map_err(|_| Error::Damaged("an entry is no text".into()))?;
                queue(txn, &Submission::Rekord(text))
            })
            .await
        })
    }

    fn integrate(&self, limit: usize) -> Answer<'_, LogState> {
        Box::pin(async move { self.write(move |txn| integrate(txn, limit)).await })
    }

    fn follow(&self, scribe: Weak<dyn Scribe>) {
        self.following.begin(scribe);
    }

    fn log_state(&self) -> Answer<'_, LogState> {
        Box::pin(async move {
            let (frontier, row) = read_state(self.row(Family::Server, STATE)?)?;
            Ok(state(&frontier, &row, self.recorded_now()?))
        })
    }

    fn recorded(&self) -> Answer<'_, Recorded> {
        Box::pin(async move { self.recorded_now() })
    }

    fn log_entries(&self, from: u64, limit: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            let mut next = from;
            self.list(
                Family::LogEntry,
                b"",
                &from.to_be_bytes(),
                limit,
                |key, value| {
                    if number_of(Family::LogEntry, key)? != next {
                        return Err(Error::Damaged(format!(
                            "entry {next} of the log is missing"
                        )));
                    }
                    next += 1;
                    Ok(Some(Bytes::copy_from_slice(value)))
                },
            )
        })
    }

    fn log_tile(&self, level: u8, index: u64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let tile = self.engine.get(Family::LogTile, &tile_key(level, index))?;
            Ok(tile.map(Bytes::from))
        })
    }

    fn logged<'a>(&'a self, what: &'a LogQuery) -> Answer<'a, Option<LoggedAt>> {
        Box::pin(async move { self.row(Family::LogPlace, &key_of(what)) })
    }

    fn publish(&self, checkpoint: PublishedCheckpoint) -> Answer<'_, bool> {
        // Not synced: the tree that it speaks of is. If a power cut swallows the row, the next start signs a
        // checkpoint of the same tree or a later one.
        Box::pin(async move {
            self.committer
                .run(false, move |txn| publish(txn, &checkpoint))
                .await
        })
    }

    fn published(&self) -> Answer<'_, Option<PublishedCheckpoint>> {
        Box::pin(async move { self.row(Family::Server, CHECKPOINT) })
    }

    fn keep_witnessed(&self, checkpoint: PublishedCheckpoint) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(move |txn| {
                let kept = txn.row::<PublishedCheckpoint>(Family::Server, WITNESSED)?;
                if kept.is_none_or(|kept| kept.size <= checkpoint.size) {
                    txn.put(Family::Server, WITNESSED.to_vec(), encode(&checkpoint));
                }
                Ok(())
            })
            .await
        })
    }

    fn witnessed(&self) -> Answer<'_, Option<PublishedCheckpoint>> {
        Box::pin(async move { self.row(Family::Server, WITNESSED) })
    }
}
