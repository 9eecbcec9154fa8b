//! The BLAKE3 tree over fixed groups of a blob: what lets a reader check any part of it alone.
//!
//! SHA-256 can say that a blob is wrong only after its last byte. BLAKE3 is a tree, so the chaining
//! value of each group of [`GROUP_BYTES`] can be kept (the *outboard*, 32 bytes a group) and every
//! group can be checked before it is used. Sources: the BLAKE3 paper, section 2.1, and the
//! `blake3::hazmat` documentation, which fixes the shape of the tree.
//!
//! Owns the shape of that tree. Does not read or write anything.
//! Invariant: [`root`] of the values of a blob's groups is the BLAKE3 hash of the blob.

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes in every group but the last: 256 KiB, which stays in a core's L2 cache while it is
/// copied, checked and sent. A power of two times BLAKE3's chunk (1 KiB), as the tree demands.
pub const GROUP_BYTES: usize = 256 * 1024;

/// Groups in a segment: 1,024, so 256 MiB of a blob and 32 KiB of outboard.
pub const SEGMENT_GROUPS: usize = 1024;

/// The BLAKE3 chaining value of a group or a subtree.
pub type ChainingValue = [u8; 32];

/// Number of groups in a blob of `size` bytes. The empty blob is one empty group.
pub fn group_count(size: u64) -> u64 {
    size.div_ceil(GROUP_BYTES as u64).max(1)
}

/// The value of group number `index` (from zero) holding `data`.
///
/// `is_only` says that the blob is this single group; its value then is the BLAKE3 hash itself.
pub fn group_value(index: u64, data: &[u8], is_only: bool) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    if is_only {
        return *hasher.update(data).finalize().as_bytes();
    }
    hasher.set_input_offset(index * GROUP_BYTES as u64);
    hasher.update(data);
    hasher.finalize_non_root()
}

/// The BLAKE3 hash of the blob whose groups have these values, in order.
///
/// One value is that hash already. No values at all are taken as the empty blob.
pub fn root(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [] => group_value(0, &[], true),
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            let (left, right) = (subtree(left), subtree(right));
            *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
        }
    }
}

/// The value of the subtree over these groups, when it is not the whole tree.
fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [only] = values {
        return *only;
    }
    let (left, right) = values.split_at(left_len(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// Leaves of the left child of a node over `len` leaves: the largest power of two below `len`.
fn left_len(len: usize) -> usize {
    debug_assert!(len > 1);
    1 << (usize::BITS - 1 - (len - 1).leading_zeros())
}

/// Hashes a blob as it arrives and hands out each group's value as soon as it is certain.
#[derive(Clone, Debug)]
pub struct TreeHasher {
    group: blake3::Hasher,
    filled: usize,
    finished_groups: u64,
    stack: ValueStack,
}

impl Default for TreeHasher {
    fn default() -> Self {
        TreeHasher::resume(&[])
    }
}

impl TreeHasher {
    /// Goes on after whole groups with these values; the next byte to come is the first of group
    /// number `values.len()`.
    pub fn resume(values: &[ChainingValue]) -> TreeHasher {
        let mut stack = ValueStack::default();
        for value in values {
            stack.push(*value);
        }
        TreeHasher {
            group: group_hasher(values.len() as u64),
            filled: 0,
            finished_groups: values.len() as u64,
            stack,
        }
    }

    /// Adds bytes, and calls `emit` with the value of each group that they complete *and* follow:
    /// a full group stays open until another byte shows that it is not the only one.
    pub fn update(&mut self, mut bytes: &[u8], mut emit: impl FnMut(ChainingValue)) {
        while !bytes.is_empty() {
            if self.filled == GROUP_BYTES {
                let value = self.group.finalize_non_root();
                emit(value);
                self.stack.push(value);
                self.finished_groups += 1;
                self.group = group_hasher(self.finished_groups);
                self.filled = 0;
            }
            let take = bytes.len().min(GROUP_BYTES - self.filled);
            self.group.update(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
        }
    }

    /// Number of groups whose value was handed out.
    pub fn finished_groups(&self) -> u64 {
        self.finished_groups
    }

    /// Ends the blob: the last group's value and the root.
    pub fn finish(mut self) -> (Option<ChainingValue>, ChainingValue) {
        if self.finished_groups == 0 {
            let value = *self.group.finalize().as_bytes();
            return (Some(value), value);
        }
        if self.filled == 0 {
            // Only after `resume` at a group's end with no further byte.
            return (None, self.stack.root());
        }
        let value = self.group.finalize_non_root();
        self.stack.push(value);
        (Some(value), self.stack.root())
    }
}

fn group_hasher(index: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * GROUP_BYTES as u64);
    hasher
}

/// The right edge of a growing tree: at most one value for each bit of the count.
#[derive(Clone, Debug, Default)]
struct ValueStack {
    values: Vec<ChainingValue>,
    count: u64,
}

impl ValueStack {
    fn push(&mut self, value: ChainingValue) {
        // Merging waits until a further value comes, because the last merge of all is the root's.
        while self.values.len() > self.count.count_ones() as usize {
            let merged = self.merge_top();
            self.values.push(merged);
        }
        self.values.push(value);
        self.count += 1;
    }

    fn merge_top(&mut self) -> ChainingValue {
        let right = self.values.pop().expect("two values lie on the stack");
        let left = self.values.pop().expect("two values lie on the stack");
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }

    fn root(mut self) -> ChainingValue {
        if self.count == 1 {
            return self.values[0];
        }
        while self.values.len() > 2 {
            let merged = self.merge_top();
            self.values.push(merged);
        }
        *merge_subtrees_root(&self.values[0], &self.values[1], Mode::Hash).as_bytes()
    }
}

/// The outboard folded to one value for each [`SEGMENT_GROUPS`] groups, so that a reader of a
/// 100 GiB blob holds 13 KiB, and checks each 32 KiB piece of the outboard before it trusts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    segments: Vec<ChainingValue>,
    groups: u64,
}

impl SegmentIndex {
    /// Folds the outboard of a blob of `size` bytes, given piecewise: `segment(n)` returns the
    /// values of segment `n`. `None` if the result is not `root`, or a piece has a wrong length.
    pub fn check<E>(
        size: u64,
        root_value: &ChainingValue,
        mut segment: impl FnMut(u64) -> Result<Vec<ChainingValue>, E>,
    ) -> Result<Option<SegmentIndex>, E> {
        let groups = group_count(size);
        let count = groups.div_ceil(SEGMENT_GROUPS as u64);
        let mut segments = Vec::with_capacity(count as usize);
        for number in 0..count {
            let values = segment(number)?;
            if values.len() as u64 != segment_len(groups, number) {
                return Ok(None);
            }
            segments.push(if count == 1 {
                root(&values)
            } else {
                subtree(&values)
            });
        }
        let index = SegmentIndex { segments, groups };
        Ok((root(&index.segments) == *root_value).then_some(index))
    }

    /// Whether `values` are the values of segment `number`.
    pub fn holds(&self, number: u64, values: &[ChainingValue]) -> bool {
        let Some(expected) = self.segments.get(number as usize) else {
            return false;
        };
        if values.len() as u64 != segment_len(self.groups, number) {
            return false;
        }
        let found = if self.segments.len() == 1 {
            root(values)
        } else {
            subtree(values)
        };
        found == *expected
    }

    /// Number of groups of the blob.
    pub fn groups(&self) -> u64 {
        self.groups
    }
}

/// Number of values in segment `number` of a blob of `groups` groups.
pub fn segment_len(groups: u64, number: u64) -> u64 {
    groups
        .saturating_sub(number * SEGMENT_GROUPS as u64)
        .min(SEGMENT_GROUPS as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn values(data: &[u8]) -> Vec<ChainingValue> {
        let is_only = data.len() <= GROUP_BYTES;
        if data.is_empty() {
            return vec![group_value(0, data, true)];
        }
        data.chunks(GROUP_BYTES)
            .enumerate()
            .map(|(index, group)| group_value(index as u64, group, is_only))
            .collect()
    }

    #[test]
    fn the_root_is_the_blake3_hash() {
        for len in [
            0,
            1,
            1024,
            GROUP_BYTES - 1,
            GROUP_BYTES,
            GROUP_BYTES + 1,
            2 * GROUP_BYTES,
            3 * GROUP_BYTES,
            5 * GROUP_BYTES + 7,
            8 * GROUP_BYTES,
            9 * GROUP_BYTES - 1,
        ] {
            let data = content(len);
            let expected = *blake3::hash(&data).as_bytes();
            assert_eq!(root(&values(&data)), expected, "{len}");

            let mut emitted = Vec::new();
            let mut hasher = TreeHasher::default();
            for piece in data.chunks(100_003) {
                hasher.update(piece, |value| emitted.push(value));
            }
            let (last, whole) = hasher.finish();
            emitted.extend(last);
            assert_eq!(whole, expected, "{len}");
            assert_eq!(emitted, values(&data), "{len}");
        }
    }

    #[test]
    fn hashing_goes_on_after_any_finished_group() {
        let data = content(6 * GROUP_BYTES + 10);
        let all = values(&data);
        for done in 0..=6 {
            let mut hasher = TreeHasher::resume(&all[..done]);
            hasher.update(&data[done * GROUP_BYTES..], |_| {});
            assert_eq!(hasher.finish().1, *blake3::hash(&data).as_bytes());
        }
    }

    #[test]
    fn resuming_at_the_very_end_needs_no_further_byte() {
        let data = content(4 * GROUP_BYTES);
        let (last, whole) = TreeHasher::resume(&values(&data)).finish();
        assert_eq!((last, whole), (None, *blake3::hash(&data).as_bytes()));
    }

    #[test]
    fn segments_stand_for_the_outboard_and_a_changed_value_is_seen() {
        // The shape depends on values only, so invented ones do: 2.5 segments.
        let groups = SEGMENT_GROUPS * 5 / 2;
        let all: Vec<ChainingValue> = (0..groups)
            .map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes())
            .collect();
        let size = (groups * GROUP_BYTES) as u64;
        let pieces: Vec<Vec<ChainingValue>> =
            all.chunks(SEGMENT_GROUPS).map(<[_]>::to_vec).collect();
        let read = |n: u64| Ok::<_, ()>(pieces[n as usize].clone());
        let index = SegmentIndex::check(size, &root(&all), read)
            .unwrap()
            .unwrap();
        for (number, piece) in pieces.iter().enumerate() {
            assert!(index.holds(number as u64, piece));
            let mut changed = piece.clone();
            changed[0][0] ^= 1;
            assert!(!index.holds(number as u64, &changed));
            assert!(!index.holds(number as u64 + 1, piece));
        }
        let mut wrong = root(&all);
        wrong[5] ^= 4;
        assert_eq!(SegmentIndex::check(size, &wrong, read).unwrap(), None);
        assert_eq!(
            SegmentIndex::check(size + 1, &root(&all), read).unwrap(),
            None
        );
    }
}
