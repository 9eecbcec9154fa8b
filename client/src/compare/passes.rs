//! Two tensors of each name, read block by block by a few threads, and what their elements sum up to.
//!
//! A few threads take blocks of 2^20 elements; figures are folded by block number, so they do not depend on who
//! took which. Blocks whose bytes are the same are skipped at the speed of the disk, and read again only in
//! tensors that do differ: their norm needs them. Invariant: of a tensor no more stands in memory here than a piece
//! for each thread.

use super::accumulate::{BLOCK_ELEMENTS, Sums, Tally, items, pairs};
use super::limits::Unreadable;
use super::numbers::{BF16, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
use super::tensors::Tensor;
use sealstone_spec::compare::{ArtifactRule, ElementType};
use std::io;
use std::num::NonZero;
use std::sync::Mutex;

/// Threads that read and sum, where there are as many processors.
const THREADS: usize = 8;

/// One pair on its way through the threads.
pub(super) struct Pair<'a> {
    pub(super) base: &'a Tensor,
    pub(super) now: &'a Tensor,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sums: Vec<Sums>,
    skipped: Vec<u64>,
    pub(super) tally: Tally,
}

impl Pair<'_> {
    fn blocks(&self) -> u64 {
        self.base.elements().div_ceil(BLOCK_ELEMENTS)
    }
}

/// Runs every block of every pair through the threads, then those blocks that were skipped in tensors that
/// differ.
pub(super) fn measure(all: &[Pair], rule: &ArtifactRule) -> Result<(), Unreadable> {
    let blocks = all
        .iter()
        .enumerate()
        .flat_map(|(number, pair)| (0..pair.blocks()).map(move |block| (number, block)));
    run(all, blocks, |pair, block, buffers| {
        first_pass(pair, block, rule, buffers)
    })?;
    let mut again: Vec<(usize, u64)> = Vec::new();
    for (number, pair) in all.iter().enumerate() {
        let state = pair.state.lock().map_err(|_| poisoned())?;
        if state.tally.changed > 0 && pair.base.element != ElementType::Opaque {
            again.extend(state.skipped.iter().map(|block| (number, *block)));
        }
    }
    run(all, again.into_iter(), |pair, block, buffers| {
        full_pass(pair, block, 0, rule, buffers)
    })
}

pub(super) fn poisoned() -> Unreadable {
    Unreadable::Malformed("a thread that compared tensors ended early".to_owned())
}

#[derive(Default)]
struct Buffers {
    base: Vec<u8>,
    now: Vec<u8>,
}

fn run(
    all: &[Pair],
    tasks: impl Iterator<Item = (usize, u64)> + Send,
    work: impl Fn(&Pair, u64, &mut Buffers) -> io::Result<()> + Sync,
) -> Result<(), Unreadable> {
    let tasks = Mutex::new(tasks);
    let next = || tasks.lock().ok()?.next();
    let worker = || -> io::Result<()> {
        let mut buffers = Buffers::default();
        while let Some((number, block)) = next() {
            work(&all[number], block, &mut buffers)?;
        }
        Ok(())
    };
    let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS.min(processors))
            .map(|_| scope.spawn(worker))
            .collect();
        let mut result = worker();
        for other in others {
            let ended = other
                .join()
                .map_err(|_| io::Error::other("a thread panicked"));
            result = result.and(ended.and_then(|ended| ended));
        }
        result
    })
    .map_err(Unreadable::from)
}

/// Elements of a block, and of each of its pieces: (first, count).
fn pieces(tensor: &Tensor, block: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
    let start = block * BLOCK_ELEMENTS;
    let end = (start + BLOCK_ELEMENTS).min(tensor.elements());
    let piece = tensor.piece();
    (start..end)
        .step_by(piece as usize)
        .map(move |from| (from, piece.min(end - from)))
}

fn load(pair: &Pair, from: u64, count: u64, buffers: &mut Buffers) -> io::Result<()> {
    let size = count as usize * pair.base.width;
    buffers.base.resize(size, 0);
    buffers.now.resize(size, 0);
    pair.base.read(&mut buffers.base, from)?;
    pair.now.read(&mut buffers.now, from)
}

/// Compares a block's bytes; sums only where they differ.
fn first_pass(
    pair: &Pair,
    block: u64,
    rule: &ArtifactRule,
    buffers: &mut Buffers,
) -> io::Result<()> {
    if pair.base.is_wide() {
        return wide_pass(pair, block);
    }
    for (number, (from, count)) in pieces(pair.base, block).enumerate() {
        load(pair, from, count, buffers)?;
        if buffers.base != buffers.now {
            return full_pass(pair, block, usize::from(number == 0), rule, buffers);
        }
    }
    let mut state = pair
        .state
        .lock()
        .map_err(|_| io::Error::other("a thread panicked"))?;
    state.skipped.push(block);
    Ok(())
}

/// Counts the items of a block that differ without holding one of them in memory.
fn wide_pass(pair: &Pair, block: u64) -> io::Result<()> {
    let mut tally = Tally::default();
    for (item, _) in pieces(pair.base, block) {
        if pair.base.item_differs(pair.now, item)? {
            tally.changed += 1;
            tally.first_changed.get_or_insert(item);
        }
    }
    let mut state = pair
        .state
        .lock()
        .map_err(|_| io::Error::other("a thread panicked"))?;
    state.tally.merge(&tally);
    Ok(())
}

/// Sums a block; the first `loaded` pieces stand in the buffers already.
fn full_pass(
    pair: &Pair,
    block: u64,
    loaded: usize,
    rule: &ArtifactRule,
    buffers: &mut Buffers,
) -> io::Result<()> {
    let bounds = rule.is_elementwise().then(|| rule.scalar());
    let bounds = bounds.as_ref();
    let stride = if pair.base.elements() > BLOCK_ELEMENTS {
        8
    } else {
        1
    };
    let (mut leaves, mut tally) = (Vec::new(), Tally::default());
    for (number, (from, count)) in pieces(pair.base, block).enumerate() {
        if number >= loaded {
            load(pair, from, count, buffers)?;
        }
        let (base, now) = (&buffers.base, &buffers.now);
        let (leaves, tally) = (&mut leaves, &mut tally);
        match pair.base.element {
            ElementType::Bool | ElementType::U8 => {
                pairs::<U8>(base, now, from, bounds, stride, leaves, tally);
            }
            ElementType::I8 => pairs::<I8>(base, now, from, bounds, stride, leaves, tally),
            ElementType::I16 => pairs::<I16>(base, now, from, bounds, stride, leaves, tally),
            ElementType::I32 => pairs::<I32>(base, now, from, bounds, stride, leaves, tally),
            ElementType::I64 => pairs::<I64>(base, now, from, bounds, stride, leaves, tally),
            ElementType::U16 => pairs::<U16>(base, now, from, bounds, stride, leaves, tally),
            ElementType::U32 => pairs::<U32>(base, now, from, bounds, stride, leaves, tally),
            ElementType::U64 => pairs::<U64>(base, now, from, bounds, stride, leaves, tally),
            ElementType::F16 => pairs::<F16>(base, now, from, bounds, stride, leaves, tally),
            ElementType::BF16 => pairs::<BF16>(base, now, from, bounds, stride, leaves, tally),
            ElementType::F32 => pairs::<F32>(base, now, from, bounds, stride, leaves, tally),
            ElementType::F64 => pairs::<F64>(base, now, from, bounds, stride, leaves, tally),
            ElementType::C64 => pairs::<F32>(base, now, 2 * from, bounds, stride, leaves, tally),
            ElementType::C128 => pairs::<F64>(base, now, 2 * from, bounds, stride, leaves, tally),
            _ => items(base, now, pair.base.width, from, tally),
        }
    }
    let sums = Sums::tree(&leaves);
    let mut state = pair
        .state
        .lock()
        .map_err(|_| io::Error::other("a thread panicked"))?;
    let place = block as usize;
    if state.sums.len() <= place {
        state.sums.resize(place + 1, Sums::default());
    }
    state.sums[place] = sums;
    state.tally.merge(&tally);
    Ok(())
}
