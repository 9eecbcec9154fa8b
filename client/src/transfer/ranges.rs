//! A large blob in parallel ranges: each group of 256 KiB checked against the registry's BLAKE3 tree
//! as it lands, the whole digest computed in order beside it.
//!
//! Each connection has one blocking thread that checks and writes; one more thread hashes. What lands
//! ahead of the hash waits in memory up to a limit, and is read back from the file above it.
//! Invariant: success means that the named digest was compared over all bytes in order; the tree only
//! finds damage sooner.

use super::disk::{Block, Disk};
use super::fetch::writing;
use super::kept::{self, Kept};
use super::progress::Track;
use super::{TransferOptions, lost, mismatch, other_bytes};
use crate::error::{Error, Result};
use crate::stop::{Stop, StopOnDrop, blocking};
use crate::transport::{RegistryStore, TransportError};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::tree::{ChainingValue, GROUP_BYTES, group_value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use tokio::sync::mpsc;

/// Bytes that are checked, written and hashed together: what stays in a core's cache meanwhile.
const BLOCK: usize = 2 * GROUP_BYTES;

/// Bytes that may wait in memory for the hash to reach them.
const HELD: usize = 16 * 1024 * 1024;

/// Bytes that are handed to a blocking thread together.
const BATCH: usize = 2 * GROUP_BYTES;

/// Batches that wait for a blocking thread.
const AHEAD: usize = 3;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// The file is complete and verified.
    Whole,
    /// The registry does not know ranges after all.
    NoRanges,
}

/// What stops a worker.
enum Ended {
    NoRanges,
    /// The thread behind it ended; its result says why.
    Closed,
    Transport(TransportError),
}

/// What a checking thread found.
enum Fault {
    Disk(io::Error),
    /// A group that is not what the tree says.
    Group {
        index: u64,
        expected: ChainingValue,
        actual: ChainingValue,
    },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Disk(error)
    }
}

/// A verified block on its way to the hash.
struct Landed {
    offset: u64,
    block: Block,
}

#[allow(clippy::too_many_arguments)]
pub(super) async fn fetch(
    store: &RegistryStore,
    descriptor: &Descriptor,
    values: Vec<ChainingValue>,
    kept: Kept,
    path: &Path,
    label: &str,
    options: &TransferOptions,
    track: &Arc<dyn Track>,
) -> Result<Fetched> {
    let size = descriptor.size;
    let values = Arc::new(values);
    let range_bytes = (options.range_bytes / BLOCK as u64).max(1) * BLOCK as u64;
    let next = AtomicU64::new(0);
    let tree = values.clone();
    let look = move |stop: &Stop| -> io::Result<(Kept, BTreeSet<u64>)> {
        let sound = kept::sound_ranges(&kept, size, range_bytes, &tree, stop)?;
        stop.check()?;
        kept.file.set_len(size)?;
        Ok((kept, sound))
    };
    let (kept, sound) = blocking(look)
        .await
        .map_err(lost)?
        .map_err(|error| writing(path, error))?;
    // Each thread has the whole of it, and with it the directory's lock.
    let kept = Arc::new(kept);
    track.stand_at(
        sound
            .iter()
            .map(|start| range_bytes.min(size - start))
            .sum(),
    );

    let (landed, to_hash) = std_mpsc::sync_channel::<Landed>(AHEAD);
    let (spare, spares) = std_mpsc::channel::<Block>();
    let spares = Arc::new(std::sync::Mutex::new(spares));
    let algorithm = descriptor.digest.algorithm();
    let hashed = kept.clone();
    let there = blocks_of(&sound, range_bytes, size);
    let stop = Stop::default();
    let told = stop.on_drop();
    let hashing = tokio::task::spawn_blocking(move || {
        let file = &hashed.file;
        hash_in_order(file, size, algorithm, there, &to_hash, &spare, &stop)
    });

    let workers = options
        .ranges
        .min(size.div_ceil(range_bytes) as usize)
        .max(1);
    let mut threads = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..workers {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (kept, values, landed, spares) =
            (kept.clone(), values.clone(), landed.clone(), spares.clone());
        threads.push(tokio::task::spawn_blocking(move || {
            check_and_write(&kept.file, size, &values, receiver, &landed, &spares)
        }));
        let plan = Plan {
            range_bytes,
            next: &next,
            sound: &sound,
        };
        streams.push(work(store, descriptor, plan, sender, track));
    }
    drop(landed);
    let streamed = together(streams, told).await;

    let mut fault = None;
    for thread in threads {
        if let Err(found) = thread.await.map_err(lost)? {
            fault.get_or_insert(found);
        }
    }
    let hashed = hashing.await.map_err(lost)?;
    match fault {
        Some(Fault::Disk(error)) => return Err(writing(path, error)),
        Some(Fault::Group {
            index,
            expected,
            actual,
        }) => {
            let found = format!(
                "bytes from {} on with BLAKE3 group value {} where the registry's own tree says {}",
                index * GROUP_BYTES as u64,
                HEXLOWER.encode(&actual),
                HEXLOWER.encode(&expected)
            );
            return Err(mismatch(label, &descriptor.digest, &found));
        }
        None => {}
    }
    match streamed {
        Ok(_) => {}
        Err(Ended::NoRanges) => return Ok(Fetched::NoRanges),
        Err(Ended::Transport(error @ TransportError::OtherContent { .. })) => {
            return Err(other_bytes(label, &descriptor.digest).source(error));
        }
        Err(Ended::Transport(error)) => return Err(error.into()),
        Err(Ended::Closed) => {
            return Err(Error::other(format!(
                "writing \"{}\" ended early",
                path.display()
            )));
        }
    }
    match hashed.map_err(|error| writing(path, error))? {
        Some(actual) if actual == descriptor.digest => Ok(Fetched::Whole),
        Some(actual) => Err(mismatch(label, &descriptor.digest, &actual.to_string())),
        None => Err(mismatch(
            label,
            &descriptor.digest,
            "fewer bytes than its size",
        )),
    }
}

/// All streams to their end. The first failure drops the others and with them their threads' senders, and `told`: the hash
/// would read all that was kept from before, which may be most of the blob, for a digest that nobody asks for.
async fn together(
    streams: Vec<impl Future<Output = Result<(), Ended>>>,
    told: StopOnDrop,
) -> Result<StopOnDrop, Ended> {
    futures_util::future::try_join_all(streams).await?;
    Ok(told)
}

/// What a worker tells its thread.
enum Message {
    /// What follows begins here.
    At(u64),
    Bytes(Vec<Bytes>),
    /// The range is complete: nothing may be left over.
    End,
}

/// Which ranges there are to fetch.
#[derive(Clone, Copy)]
struct Plan<'a> {
    range_bytes: u64,
    /// Where the next one begins that nobody has taken.
    next: &'a AtomicU64,
    /// Where those begin that are there already.
    sound: &'a BTreeSet<u64>,
}

/// The blocks of the ranges that are there already, to be read back when the hash reaches them.
fn blocks_of(
    sound: &BTreeSet<u64>,
    range_bytes: u64,
    size: u64,
) -> BTreeMap<u64, (usize, Option<Block>)> {
    sound
        .iter()
        .flat_map(|start| {
            let end = (start + range_bytes).min(size);
            (*start..end)
                .step_by(BLOCK)
                .map(move |at| (at, ((end - at).min(BLOCK as u64) as usize, None)))
        })
        .collect()
}

/// Fetches range after range over one connection.
async fn work(
    store: &RegistryStore,
    descriptor: &Descriptor,
    plan: Plan<'_>,
    sender: mpsc::Sender<Message>,
    track: &Arc<dyn Track>,
) -> Result<(), Ended> {
    let send = |message| {
        let sender = &sender;
        async move { sender.send(message).await.map_err(|_| Ended::Closed) }
    };
    loop {
        let start = plan.next.fetch_add(plan.range_bytes, Ordering::Relaxed);
        if start >= descriptor.size {
            return Ok(());
        }
        if plan.sound.contains(&start) {
            continue;
        }
        let end = (start + plan.range_bytes).min(descriptor.size);
        send(Message::At(start)).await?;
        let (mut position, mut farthest, mut attempt) = (start, start, 1);
        let (mut batch, mut batched) = (Vec::new(), 0);
        while position < end {
            let failure = match store.open_blob(descriptor, position, Some(end)).await {
                Ok(download) if !download.is_range => return Err(Ended::NoRanges),
                Ok(mut download) => loop {
                    match download.chunk().await {
                        Ok(Some(chunk)) => {
                            let length = chunk.len() as u64;
                            position += length;
                            batched += chunk.len();
                            batch.push(chunk);
                            track.advance(length);
                            if batched >= BATCH {
                                batched = 0;
                                send(Message::Bytes(std::mem::take(&mut batch))).await?;
                            }
                        }
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                },
                Err(error) => Some(error),
            };
            let Some(failure) = failure else { break };
            if position > farthest {
                (farthest, attempt) = (position, 1);
            }
            if !(failure.is_passing()
                && store
                    .registry()
                    .options()
                    .patience
                    .pause(attempt, None)
                    .await)
            {
                return Err(Ended::Transport(failure));
            }
            attempt += 1;
        }
        send(Message::Bytes(batch)).await?;
        send(Message::End).await?;
    }
}

/// Collects blocks, checks their groups, writes them, and hands them to the hash.
fn check_and_write(
    file: &File,
    size: u64,
    values: &[ChainingValue],
    mut receiver: mpsc::Receiver<Message>,
    landed: &std_mpsc::SyncSender<Landed>,
    spares: &std::sync::Mutex<std_mpsc::Receiver<Block>>,
) -> Result<(), Fault> {
    let fresh = || {
        let spare = spares.lock().ok().and_then(|spares| spares.try_recv().ok());
        spare.unwrap_or_else(|| Block::new(BLOCK))
    };
    let mut block = fresh();
    let mut offset = 0;
    let mut disk = Disk::of(file)?;
    let mut put = |block: Block, offset: u64| -> Result<Block, Fault> {
        let first = offset / GROUP_BYTES as u64;
        for (index, group) in (first..).zip(block.chunks(GROUP_BYTES)) {
            let expected = values.get(index as usize).copied().unwrap_or_default();
            let actual = group_value(index, group, size <= GROUP_BYTES as u64);
            if actual != expected {
                return Err(Fault::Group {
                    index,
                    expected,
                    actual,
                });
            }
        }
        disk.write(&block, offset)?;
        // A hash that has ended has failed, and says so itself.
        let _ = landed.send(Landed { offset, block });
        Ok(fresh())
    };
    while let Some(message) = receiver.blocking_recv() {
        match message {
            Message::At(start) => {
                block.clear();
                offset = start;
            }
            Message::Bytes(batch) => {
                for bytes in batch {
                    let mut bytes = &bytes[..];
                    while !bytes.is_empty() {
                        bytes = &bytes[block.push(bytes)..];
                        if block.is_full() {
                            block = put(block, offset)?;
                            offset += BLOCK as u64;
                        }
                    }
                }
            }
            Message::End if block.is_empty() => {}
            Message::End => {
                let length = block.len() as u64;
                block = put(block, offset)?;
                offset += length;
            }
        }
    }
    Ok(())
}

/// Hashes blocks in the order of the blob, whatever order they land in, and syncs the file when all
/// have. `None` if some never came.
fn hash_in_order(
    file: &File,
    size: u64,
    algorithm: Algorithm,
    there: BTreeMap<u64, (usize, Option<Block>)>,
    landed: &std_mpsc::Receiver<Landed>,
    spare: &std_mpsc::Sender<Block>,
    stop: &Stop,
) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new(algorithm);
    let mut position = 0;
    let mut waiting = there;
    let mut held = 0;
    let mut scratch = Vec::new();
    let give_back = |mut block: Block| {
        block.clear();
        let _ = spare.send(block);
    };
    loop {
        while let Some((length, block)) = waiting.remove(&position) {
            match block {
                Some(block) => {
                    held -= length;
                    hasher.update(&block);
                    give_back(block);
                }
                None => {
                    stop.check()?;
                    scratch.resize(length, 0);
                    file.read_exact_at(&mut scratch, position)?;
                    hasher.update(&scratch);
                }
            }
            position += length as u64;
        }
        let Ok(Landed { offset, block }) = landed.recv() else {
            break;
        };
        if offset == position {
            hasher.update(&block);
            position += block.len() as u64;
            give_back(block);
        } else if held + block.len() <= HELD {
            held += block.len();
            waiting.insert(offset, (block.len(), Some(block)));
        } else {
            waiting.insert(offset, (block.len(), None));
            give_back(block);
        }
    }
    if position != size {
        return Ok(None);
    }
    file.sync_all()?;
    Ok(Some(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn block(content: &[u8]) -> Block {
        let mut block = Block::new(BLOCK);
        block.push(content);
        block
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn blocks_are_hashed_in_order_whatever_order_they_land_in(
            order in Just((0..44usize).collect::<Vec<_>>()).prop_shuffle(),
            tail in 1..BLOCK,
        ) {
            // 22 MiB land, more than may wait in memory.
            let content: Vec<u8> = (0..43 * BLOCK + tail).map(|i| (i * 7 % 253) as u8).collect();
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&content, 0).unwrap();
            let (sender, receiver) = std_mpsc::channel();
            let (spare, _spares) = std_mpsc::channel();
            for index in order {
                let offset = index * BLOCK;
                let block = block(&content[offset..(offset + BLOCK).min(content.len())]);
                sender.send(Landed { offset: offset as u64, block }).unwrap();
            }
            drop(sender);
            let digest = hash_in_order(&file, content.len() as u64, Algorithm::Sha256, BTreeMap::new(), &receiver, &spare, &Stop::default()).unwrap();
            prop_assert_eq!(digest, Some(Digest::sha256(&content)));
        }
    }

    #[tokio::test]
    async fn the_hash_is_told_to_stop_by_the_first_stream_that_fails() {
        for (ends, goes_on) in [([true, true], true), ([true, false], false)] {
            let stop = Stop::default();
            let streams = ends.into_iter();
            let streams: Vec<_> = streams
                .map(|well| async move { well.then_some(()).ok_or(Ended::NoRanges) })
                .collect();
            let streamed = together(streams, stop.on_drop()).await;
            assert_eq!(stop.check().is_ok(), goes_on);
            assert_eq!(streamed.is_ok(), goes_on);
        }
    }

    #[test]
    fn a_blob_with_a_hole_has_no_digest() {
        let file = tempfile::tempfile().unwrap();
        let (sender, receiver) = std_mpsc::channel();
        let (spare, _spares) = std_mpsc::channel();
        sender
            .send(Landed {
                offset: BLOCK as u64,
                block: block(&[1; BLOCK]),
            })
            .unwrap();
        drop(sender);
        let digest = hash_in_order(
            &file,
            2 * BLOCK as u64,
            Algorithm::Sha256,
            BTreeMap::new(),
            &receiver,
            &spare,
            &Stop::default(),
        )
        .unwrap();
        assert_eq!(digest, None);
    }
}
