//! The shape of the tree, growing it, and making proofs from stored nodes.
//!
//! Owns which nodes a root or a proof is made of. Does not store nodes: whoever holds them hands them
//! out one by one, from memory, a database or fetched tiles.
//! Invariant: only complete subtrees have a stored hash, and a complete subtree never changes.

use super::hash::Hash;

/// A complete subtree: the 2^`level` entries from number `index` * 2^`level` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Height above the entries.
    pub level: u8,
    /// Number within the height, from the left.
    pub index: u64,
}

/// The largest complete subtrees of the first `size` entries, from the left.
pub fn peaks(size: u64) -> Vec<NodeId> {
    range_peaks(0, size)
}

/// The same for the entries `begin..end`, where `begin` is a multiple of the range's largest power of two.
fn range_peaks(begin: u64, end: u64) -> Vec<NodeId> {
    let len = end - begin;
    let mut found = Vec::with_capacity(len.count_ones() as usize);
    let mut at = begin;
    for level in (0..64).rev().filter(|level| len >> level & 1 == 1) {
        found.push(NodeId {
            level: u8::try_from(level).expect("below 64"),
            index: at >> level,
        });
        at += 1 << level;
    }
    found
}

/// The hash over peaks, folded from the right. Without any it is the root of nothing.
fn fold(peaks: &[Hash]) -> Hash {
    let mut rest = peaks.iter().rev();
    let Some(last) = rest.next() else {
        return Hash::of_nothing();
    };
    rest.fold(*last, |right, left| Hash::of_node(left, &right))
}

fn range_hash<E>(
    begin: u64,
    end: u64,
    node: &mut impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let hashes: Result<Vec<Hash>, E> = range_peaks(begin, end).into_iter().map(node).collect();
    Ok(fold(&hashes?))
}

/// The root of the first `size` entries. `node` hands out hashes of complete subtrees.
///
/// # Errors
/// What `node` answers.
pub fn root<E>(size: u64, mut node: impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Hash, E> {
    range_hash(0, size, &mut node)
}

/// The proof that entry `index` is among the first `size`, from the leaf upwards. `index` is below `size`;
/// otherwise the proof is empty and proves nothing.
///
/// # Errors
/// What `node` answers.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut node: impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    let (mut begin, mut end) = (0, size);
    while end.saturating_sub(begin) > 1 {
        let middle = begin + left_len(end - begin);
        if index < middle {
            path.push(range_hash(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range_hash(begin, middle, &mut node)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the first `old` entries of the tree of `new` entries are what they were. Empty if the
/// sizes are equal or `old` is zero.
///
/// # Errors
/// What `node` answers.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    mut node: impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut begin, mut end) = (0, new);
    while old != end {
        let middle = begin + left_len(end - begin);
        if old <= middle {
            path.push(range_hash(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range_hash(begin, middle, &mut node)?);
            begin = middle;
        }
    }
    // The old tree is one complete subtree that the verifier knows as its root, unless it lies to the right.
    if begin > 0 {
        path.push(range_hash(begin, end, &mut node)?);
    }
    path.reverse();
    Ok(path)
}

/// Entries of the left child over `len` entries: the largest power of two below `len`.
fn left_len(len: u64) -> u64 {
    debug_assert!(len > 1);
    1 << (u64::BITS - 1 - (len - 1).leading_zeros())
}

/// What must be kept of a tree to append to it and to know its root: one hash for each peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Default for Frontier {
    fn default() -> Self {
        Frontier::new()
    }
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Frontier {
        Frontier {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// A tree that was kept. `None` if the number of peaks is not that of the size.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Frontier> {
        (peaks.len() == size.count_ones() as usize).then_some(Frontier { size, peaks })
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of its [`peaks`].
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends an entry by its hash and hands `complete` every subtree that this completes, from the
    /// leaf itself upwards.
    pub fn push(&mut self, leaf: Hash, mut complete: impl FnMut(NodeId, Hash)) {
        let (mut index, mut hash) = (self.size, leaf);
        let mut level = 0;
        complete(NodeId { level, index }, hash);
        while index & 1 == 1 {
            let left = self
                .peaks
                .pop()
                .expect("there is a peak for each bit of the size");
            hash = Hash::of_node(&left, &hash);
            index >>= 1;
            level += 1;
            complete(NodeId { level, index }, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}
