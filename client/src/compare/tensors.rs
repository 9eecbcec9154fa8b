//! Files as sets of named tensors, and the comparison of two such sets.
//!
//! Every reader of a tensor format ends here: it says where the elements lie, this file reads and sums them.
//! A few threads take blocks of 2^20 elements; figures are folded by block number, so they do not depend on who
//! took which. Blocks whose bytes are the same are skipped at the speed of the disk, and read again only in
//! tensors that do differ: their norm needs them.

use super::accumulate::{BLOCK_ELEMENTS, Sums, Tally, items, pairs};
use super::bytes::{Bytes, first_difference};
use super::comparison::{
    Difference, Element, MAX_ROWS, PredictionComparison, TensorComparison, TensorCounts,
};
use super::limits::{DIMENSIONS, GATHERED_BYTES, TENSORS, Unreadable, malformed, unsupported};
use super::locator::{Locator, Place, shown};
use super::numbers::{self, BF16, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
use super::predictions;
use crate::error::{Error, Result};
use sealstone_spec::compare::{ArtifactRule, Class, Decimal, ElementType, NanRule, TensorFigures};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZero;
use std::sync::Mutex;

/// Elements that are read at once.
const PIECE_ELEMENTS: u64 = 64 * 1024;
/// Bytes of items that are read at once, where the format says how wide an element is: a file may state gigabytes.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Threads that read and sum, where there are as many processors.
const THREADS: usize = 8;

/// A tensor where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(super) name: String,
    pub(super) element: ElementType,
    /// The format's own word for the type, where `element` does not say it all.
    pub(super) label: String,
    /// Bytes of one element.
    pub(super) width: usize,
    pub(super) shape: Vec<u64>,
    pub(super) data: Bytes,
    pub(super) big_endian: bool,
    /// Whether the first index runs fastest.
    pub(super) column_major: bool,
}

impl Tensor {
    /// A tensor of `element`s in row-major order, little end first.
    ///
    /// # Errors
    /// If shape and data do not agree.
    pub(super) fn new(
        name: impl Into<String>,
        element: ElementType,
        shape: Vec<u64>,
        data: Bytes,
    ) -> Result<Tensor, Unreadable> {
        let width = numbers::width(element).unwrap_or(1);
        Tensor::of_width(name, element, element.as_str(), width, shape, data)
    }

    /// As [`Tensor::new`], with the format's word for the type.
    pub(super) fn of_width(
        name: impl Into<String>,
        element: ElementType,
        label: impl Into<String>,
        width: usize,
        shape: Vec<u64>,
        data: Bytes,
    ) -> Result<Tensor, Unreadable> {
        let name = name.into();
        let due = elements_of(&shape).and_then(|count| count.checked_mul(width as u64));
        if due != Some(data.len()) || width == 0 {
            return malformed(format!(
                "tensor \"{}\" of shape {shape:?} has {} bytes",
                shown(&name),
                data.len()
            ));
        }
        Ok(Tensor {
            name,
            element,
            label: label.into(),
            width,
            shape,
            data,
            big_endian: false,
            column_major: false,
        })
    }

    fn elements(&self) -> u64 {
        self.data.len() / self.width as u64
    }

    fn is_like(&self, other: &Tensor) -> bool {
        self.element == other.element && self.label == other.label && self.width == other.width
    }

    /// Reads elements, the little end first.
    pub(super) fn read(&self, buffer: &mut [u8], from: u64) -> io::Result<()> {
        self.data.read(buffer, from * self.width as u64)?;
        if self.big_endian {
            let part = match self.element {
                ElementType::C64 | ElementType::C128 => self.width / 2,
                _ => self.width,
            };
            buffer.chunks_exact_mut(part).for_each(<[u8]>::reverse);
        }
        Ok(())
    }

    /// Place of an element, from where it lies in storage.
    fn index(&self, mut place: u64) -> Vec<u64> {
        let mut index = vec![0; self.shape.len()];
        let take = |axis: usize, place: &mut u64, index: &mut Vec<u64>| {
            let length = self.shape[axis].max(1);
            index[axis] = *place % length;
            *place /= length;
        };
        match self.column_major {
            true => (0..self.shape.len()).for_each(|axis| take(axis, &mut place, &mut index)),
            false => (0..self.shape.len())
                .rev()
                .for_each(|axis| take(axis, &mut place, &mut index)),
        }
        index
    }

    /// How many elements are read at once.
    pub(super) fn piece(&self) -> u64 {
        match numbers::width(self.element) {
            Some(_) => PIECE_ELEMENTS,
            None => (PIECE_BYTES / self.width as u64).clamp(1, PIECE_ELEMENTS),
        }
    }

    /// Whether one element is more than should stand in memory.
    pub(super) fn is_wide(&self) -> bool {
        self.width as u64 > PIECE_BYTES
    }

    /// Whether an item has other bytes than that of `other` in its place; for items of any width.
    pub(super) fn item_differs(&self, other: &Tensor, place: u64) -> io::Result<bool> {
        let item = |tensor: &Tensor| {
            let width = tensor.width as u64;
            let start = place.checked_mul(width);
            let item = start.and_then(|start| tensor.data.slice(start, width));
            item.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        Ok(first_difference(&item(self)?, &item(other)?)?.is_some())
    }

    fn text(&self, place: u64) -> io::Result<String> {
        let width = match numbers::width(self.element) {
            Some(_) => self.width,
            // One byte more than is shown says that there are more.
            None => self.width.min(numbers::SHOWN_BYTES + 1),
        };
        let mut bytes = vec![0; width];
        self.read(&mut bytes, place)?;
        Ok(numbers::text(self.element, &bytes))
    }

    /// The same tensor with the last index running fastest, copied where it has to be.
    pub(super) fn row_major(&self) -> Result<Tensor, Unreadable> {
        if !self.column_major || self.shape.len() < 2 {
            let mut same = self.clone();
            same.column_major = false;
            return Ok(same);
        }
        let mut strides = Vec::new();
        let mut stride = 1_u64;
        for length in &self.shape {
            strides.push(stride);
            stride = stride.saturating_mul(*length);
        }
        let data = gather(&self.data, self.width, &self.shape, &strides, 0, &self.name)?;
        Ok(Tensor {
            data,
            column_major: false,
            ..self.clone()
        })
    }
}

/// How many elements a shape has.
pub(super) fn elements_of(shape: &[u64]) -> Option<u64> {
    shape
        .iter()
        .try_fold(1_u64, |product, length| product.checked_mul(*length))
}

/// Elements in row-major order, copied from where strides (in elements) say that they lie.
pub(super) fn gather(
    data: &Bytes,
    width: usize,
    shape: &[u64],
    strides: &[u64],
    offset: u64,
    name: &str,
) -> Result<Bytes, Unreadable> {
    let count = elements_of(shape).unwrap_or(u64::MAX);
    let size = count.saturating_mul(width as u64);
    if size > GATHERED_BYTES || data.len() > GATHERED_BYTES {
        return unsupported(format!(
            "tensor \"{}\" does not lie in row-major order and is too large to be brought into it",
            shown(name)
        ));
    }
    let source = data.read_all(GATHERED_BYTES)?;
    let mut out = Vec::with_capacity(size as usize);
    let mut index = vec![0_u64; shape.len()];
    for _ in 0..count {
        let mut place = Some(offset);
        for (at, stride) in index.iter().zip(strides) {
            place = place.and_then(|place| place.checked_add(at.checked_mul(*stride)?));
        }
        let bytes = place
            .and_then(|place| usize::try_from(place).ok()?.checked_mul(width))
            .and_then(|start| source.get(start..start.checked_add(width)?));
        let Some(bytes) = bytes else {
            return malformed(format!(
                "tensor \"{}\" has elements outside of its storage",
                shown(name)
            ));
        };
        out.extend_from_slice(bytes);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(Bytes::of_memory(out))
}

/// A file as a set of tensors, and what else it says.
#[derive(Debug, Default)]
pub(crate) struct TensorFile {
    pub(super) format: &'static str,
    /// In the order of the file.
    pub(super) tensors: Vec<Tensor>,
    /// Everything that is no tensor and means something, as text.
    pub(super) metadata: BTreeMap<String, String>,
    /// Where the elements begin, for formats in which equal bytes before it and equal tensors are equal files.
    pub(super) header: Option<u64>,
    /// Whether elements lie in other files: then equal bytes are no equal tensors.
    pub(super) beside: bool,
}

impl TensorFile {
    pub(super) fn check(self) -> Result<TensorFile, Unreadable> {
        if self.tensors.len() > TENSORS {
            return unsupported(format!("it has more than {TENSORS} tensors"));
        }
        let mut names = std::collections::HashSet::new();
        for tensor in &self.tensors {
            if tensor.shape.len() > DIMENSIONS {
                return unsupported(format!(
                    "tensor \"{}\" has over {DIMENSIONS} dimensions",
                    shown(&tensor.name)
                ));
            }
            if !names.insert(tensor.name.as_str()) {
                return malformed(format!("tensor \"{}\" stands twice", shown(&tensor.name)));
            }
        }
        Ok(self)
    }
}

/// What was found of two sets of tensors.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) class: Class,
    pub(super) first: Option<Difference>,
    pub(super) worst: Option<TensorComparison>,
    pub(super) counts: TensorCounts,
    pub(super) tensors: Vec<TensorComparison>,
    pub(super) predictions: Option<PredictionComparison>,
    pub(super) notes: Vec<String>,
}

/// One pair on its way through the threads.
struct Pair<'a> {
    base: &'a Tensor,
    now: &'a Tensor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sums: Vec<Sums>,
    skipped: Vec<u64>,
    tally: Tally,
}

impl Pair<'_> {
    fn blocks(&self) -> u64 {
        self.base.elements().div_ceil(BLOCK_ELEMENTS)
    }
}

/// Compares two sets of tensors; the class is `content_exact` where all are the same.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn compare(
    base: &TensorFile,
    now: &TensorFile,
    rule: &ArtifactRule,
) -> Result<Found, Unreadable> {
    let mut broken: Vec<Difference> = Vec::new();
    let mut counts = TensorCounts::default();
    let others: HashMap<&str, &Tensor> = now
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    let known: std::collections::HashSet<&str> = base
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let mut matched: Vec<(Tensor, Tensor)> = Vec::new();
    for tensor in &base.tensors {
        let differs = |what: &str, base: String, now: Option<String>| Difference {
            locator: Locator::at(Place::Tensor {
                name: tensor.name.clone(),
                index: Vec::new(),
            }),
            what: what.to_owned(),
            base: Some(base),
            now,
        };
        let described = |tensor: &Tensor| format!("{} {:?}", shown(&tensor.label), tensor.shape);
        let problem = match others.get(tensor.name.as_str()) {
            None => differs("missing", described(tensor), None),
            Some(other) if !tensor.is_like(other) => {
                differs("type", described(tensor), Some(described(other)))
            }
            Some(other) if tensor.shape != other.shape => {
                differs("shape", described(tensor), Some(described(other)))
            }
            Some(other) => {
                matched.push(match tensor.column_major == other.column_major {
                    true => (tensor.clone(), (*other).clone()),
                    false => (tensor.row_major()?, other.row_major()?),
                });
                continue;
            }
        };
        counts.tensors_missing += 1;
        broken.push(problem);
    }
    for tensor in &now.tensors {
        if !known.contains(tensor.name.as_str()) {
            counts.tensors_added += 1;
            broken.push(Difference {
                locator: Locator::at(Place::Tensor {
                    name: tensor.name.clone(),
                    index: Vec::new(),
                }),
                what: "added".to_owned(),
                base: None,
                now: Some(format!("{} {:?}", shown(&tensor.label), tensor.shape)),
            });
        }
    }
    let same_metadata = match base.format == now.format {
        true => compare_metadata(base, now, &mut broken),
        false => true,
    };
    let pairs: Vec<Pair> = matched
        .iter()
        .map(|(base, now)| Pair {
            base,
            now,
            state: Mutex::default(),
        })
        .collect();
    measure(&pairs, rule)?;

    let mut table: Vec<TensorComparison> = Vec::new();
    let mut failing: Option<Difference> = None;
    let mut differing: Option<Difference> = None;
    let mut notes = Vec::new();
    for pair in pairs {
        counts.tensors += 1;
        counts.elements += pair.base.elements();
        let (base, now) = (pair.base, pair.now);
        let state = pair.state.into_inner().map_err(|_| poisoned())?;
        if state.tally.changed == 0 {
            continue;
        }
        let compared = conclude(base, now, &state, rule)?;
        counts.tensors_differing += 1;
        counts.elements_changed += compared.changed;
        counts.sign_flips += compared.sign_flips;
        counts.base_nan += compared.base_nan;
        counts.now_nan += compared.now_nan;
        let place = |index: Vec<u64>| {
            Locator::at(Place::Tensor {
                name: base.name.clone(),
                index,
            })
        };
        if !compared.ok && failing.is_none() {
            let at = compared.at.clone();
            failing = Some(Difference {
                locator: place(at.as_ref().map(|at| at.index.clone()).unwrap_or_default()),
                what: compared
                    .problem
                    .clone()
                    .unwrap_or_else(|| "value".to_owned()),
                base: at.as_ref().map(|at| at.base.clone()),
                now: at.map(|at| at.now),
            });
        }
        if differing.is_none() {
            let first = state.tally.first_changed.unwrap_or(0);
            differing = Some(Difference {
                locator: place(base.index(first_index(base, first))),
                what: "value".to_owned(),
                base: Some(base.text(first_index(base, first))?),
                now: Some(now.text(first_index(now, first))?),
            });
        }
        if !compared.ok && notes.len() < 10 {
            let problem = compared.problem.as_deref().unwrap_or("not within its gate");
            notes.push(format!("tensor \"{}\": {problem}", shown(&base.name)));
        }
        table.push(compared);
    }
    let worst = table
        .iter()
        .reduce(|one, two| if is_worse(two, one) { two } else { one })
        .cloned();
    let predictions = predictions::of_tensors(&matched, rule)?;
    let structure = broken.is_empty();
    let same = structure && same_metadata && table.is_empty();
    // What is demanded of labels holds beside the gates: numbers may be near enough and a label still turn.
    let labels_hold = predictions
        .as_ref()
        .is_none_or(|found| found.problem.is_none());
    let gates = structure && same_metadata && failing.is_none() && labels_hold;
    let is_functional = predictions
        .as_ref()
        .is_some_and(|found| found.problem.is_none())
        && structure
        && (!rule.is_elementwise() && rule.rel_l2.is_none() && rule.scaled_max.is_none()
            || failing.is_none());
    let class = if same {
        Class::ContentExact
    } else if gates {
        Class::Numeric
    } else if is_functional {
        Class::Functional
    } else {
        Class::Divergent
    };
    table.sort_by(|one, two| one.tensor.cmp(&two.tensor));
    table.truncate(MAX_ROWS);
    Ok(Found {
        class,
        first: broken.into_iter().next().or(failing).or(differing),
        worst,
        counts,
        tensors: table,
        predictions,
        notes,
    })
}

fn poisoned() -> Unreadable {
    Unreadable::Malformed("a thread that compared tensors ended early".to_owned())
}

fn compare_metadata(base: &TensorFile, now: &TensorFile, broken: &mut Vec<Difference>) -> bool {
    let keys: std::collections::BTreeSet<&String> =
        base.metadata.keys().chain(now.metadata.keys()).collect();
    let before = broken.len();
    for key in keys {
        let (one, two) = (base.metadata.get(key), now.metadata.get(key));
        if one != two {
            broken.push(Difference {
                locator: Locator::at(Place::Metadata(key.clone())),
                what: "metadata".to_owned(),
                base: one.map(|text| shown(text)),
                now: two.map(|text| shown(text)),
            });
        }
    }
    broken.len() == before
}

/// Failing before passing, then by distance; a distance that is none is the worst.
fn is_worse(one: &TensorComparison, two: &TensorComparison) -> bool {
    let rank = |tensor: &TensorComparison| {
        let far = tensor.rel_l2.value();
        let odd = tensor.base_nan != tensor.now_nan;
        (
            !tensor.ok,
            odd,
            if far.is_nan() { f64::INFINITY } else { far },
        )
    };
    let (a, b) = (rank(one), rank(two));
    (a.0, a.1)
        .cmp(&(b.0, b.1))
        .then(a.2.total_cmp(&b.2))
        .is_gt()
}

/// Numbers of a complex tensor are counted in halves.
fn first_index(tensor: &Tensor, number: u64) -> u64 {
    match tensor.element {
        ElementType::C64 | ElementType::C128 => number / 2,
        _ => number,
    }
}

/// Runs every block of every pair through the threads, then those blocks that were skipped in tensors that
/// differ.
fn measure(all: &[Pair], rule: &ArtifactRule) -> Result<(), Unreadable> {
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

fn conclude(
    base: &Tensor,
    now: &Tensor,
    state: &State,
    rule: &ArtifactRule,
) -> Result<TensorComparison, Unreadable> {
    let tally = &state.tally;
    let [difference, base_square, now_square, product, absolute] = Sums::tree(&state.sums).0;
    let parts = match base.element {
        ElementType::C64 | ElementType::C128 => 2,
        _ => 1,
    };
    let figures = TensorFigures {
        elements: base.elements() * parts,
        changed: tally.changed,
        base_norm: base_square.sqrt(),
        now_norm: now_square.sqrt(),
        difference_norm: difference.sqrt(),
        max_abs: tally.max_abs,
        nan_one_side: tally.nan_one_side,
        nan_both: tally.nan_both,
        infinite: tally.infinite,
        outside: tally.outside,
    };
    let gate = rule.gate(base.element);
    // Bounds on single elements that a rule states hold for integers too; what is no number is within none.
    let bounded = rule.is_elementwise() && numbers::width(base.element).is_some();
    let verdict = match bounded {
        true => gate.judge(&figures),
        false => gate.judge_type(base.element, &figures),
    };
    let problem = verdict.err().map(|failure| failure.to_string());
    let ok = problem.is_none();
    let cosine = match base_square > 0.0 && now_square > 0.0 {
        true => product / (base_square.sqrt() * now_square.sqrt()),
        false => f64::from(u8::from(difference == 0.0)),
    };
    let odd = match rule.nan {
        NanRule::Fails => tally.odd_at,
        NanRule::Equal => tally
            .odd_at
            .filter(|_| tally.nan_one_side + tally.infinite > 0),
    };
    let place = odd
        .or(tally
            .outside_at
            .filter(|_| !ok && tally.outside > 0 && tally.max_at.is_none()))
        .or(tally.max_at)
        .or(tally.first_changed);
    let at = match place {
        None => None,
        Some(place) => {
            let place = place / parts;
            Some(Element {
                index: base.index(place),
                base: base.text(place)?,
                now: now.text(place)?,
            })
        }
    };
    let mean = match tally.finite {
        0 => 0.0,
        count => absolute / count as f64,
    };
    Ok(TensorComparison {
        tensor: base.name.clone(),
        element: base.element,
        shape: base.shape.clone(),
        ok,
        problem,
        elements: base.elements(),
        changed: tally.changed,
        sign_flips: tally.sign_flips,
        base_nan: tally.base_nan,
        now_nan: tally.now_nan,
        rel_l2: Decimal::from(figures.rel_l2()),
        scaled_max: Decimal::from(figures.scaled_max()),
        max_abs: Decimal::from(tally.max_abs),
        mean_abs: Decimal::from(mean),
        cosine: Decimal::from(cosine),
        p99_ulp: tally.p99_ulp().map(Decimal::from),
        at,
        first_index: tally.first_changed.map(|place| base.index(place / parts)),
    })
}

impl From<Unreadable> for Error {
    fn from(problem: Unreadable) -> Error {
        match problem {
            Unreadable::Io(error) => Error::io("reading a file to compare", error),
            Unreadable::Malformed(text) | Unreadable::Unsupported(text) => Error::other(text),
        }
    }
}
