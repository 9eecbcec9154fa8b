//! Fingerprints of rows: whether two lists hold the same rows, and whether in the same order.
//!
//! `ordered` is the SHA-256 of the rows, each behind its length as 8 bytes, little end first. `multiset` is the
//! SHA-256 of the number of rows (8 bytes) and of the sum of `SHA-512(row)` over all rows, as numbers of 512 bits
//! with the little end first, the carry dropped: the same for any order, another when a row is added, lost or
//! repeated.
//! The sum tells a shuffle from an accidental change. It is no proof against somebody who may choose many rows;
//! `ordered` is.

use crate::digest::{Algorithm, Digest, Hasher};
use serde::{Deserialize, Serialize};

/// The fingerprints of a list of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fingerprint {
    /// How many rows.
    pub rows: u64,
    /// The same for the same rows in the same order.
    pub ordered: Digest,
    /// The same for the same rows in any order.
    pub multiset: Digest,
}

impl Fingerprint {
    /// Whether these are the same rows in another order.
    pub fn is_reorder_of(&self, other: &Fingerprint) -> bool {
        self.multiset == other.multiset && self.ordered != other.ordered
    }
}

/// Fingerprints in the making.
///
/// ```
/// use sealstone_spec::compare::RowFingerprint;
/// let of = |rows: &[&str]| {
///     let mut running = RowFingerprint::new();
///     for row in rows { running.row(row.as_bytes()); }
///     running.finish()
/// };
/// assert!(of(&["a", "b"]).is_reorder_of(&of(&["b", "a"])));
/// assert!(!of(&["a", "b"]).is_reorder_of(&of(&["a", "b", "b"])));
/// ```
#[derive(Clone, Debug)]
pub struct RowFingerprint {
    rows: u64,
    ordered: Hasher,
    sum: [u64; 8],
}

impl Default for RowFingerprint {
    fn default() -> RowFingerprint {
        RowFingerprint::new()
    }
}

impl RowFingerprint {
    /// Of no rows yet.
    pub fn new() -> RowFingerprint {
        RowFingerprint {
            rows: 0,
            ordered: Hasher::new(Algorithm::Sha256),
            sum: [0; 8],
        }
    }

    /// Adds a row, without the line's end.
    pub fn row(&mut self, row: &[u8]) {
        self.rows += 1;
        self.ordered.update(&(row.len() as u64).to_le_bytes());
        self.ordered.update(row);
        let digest = Digest::of(Algorithm::Sha512, row);
        let mut carry = false;
        for (limb, bytes) in self.sum.iter_mut().zip(digest.bytes().chunks_exact(8)) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            let (sum, over) = limb.overflowing_add(u64::from_le_bytes(word));
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over || again;
        }
    }

    /// The fingerprints of everything that was added.
    pub fn finish(self) -> Fingerprint {
        let mut multiset = Hasher::new(Algorithm::Sha256);
        multiset.update(&self.rows.to_le_bytes());
        for limb in self.sum {
            multiset.update(&limb.to_le_bytes());
        }
        Fingerprint {
            rows: self.rows,
            ordered: self.ordered.finalize(),
            multiset: multiset.finalize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(rows: &[Vec<u8>]) -> Fingerprint {
        let mut running = RowFingerprint::new();
        for row in rows {
            running.row(row);
        }
        running.finish()
    }

    #[test]
    fn where_rows_end_matters() {
        let rows = |list: &[&str]| {
            of(&list
                .iter()
                .map(|row| row.as_bytes().to_vec())
                .collect::<Vec<_>>())
        };
        assert_ne!(rows(&["ab", "c"]).ordered, rows(&["a", "bc"]).ordered);
        assert_ne!(rows(&["ab", "c"]).multiset, rows(&["a", "bc"]).multiset);
        assert_ne!(rows(&[]), rows(&[""]));
        assert!(!rows(&["a"]).is_reorder_of(&rows(&["a"])));
    }

    proptest! {
        #[test]
        fn order_moves_one_of_the_two(mut rows: Vec<Vec<u8>>, by: usize) {
            let before = of(&rows);
            if !rows.is_empty() {
                let by = by % rows.len();
                rows.rotate_left(by);
            }
            let after = of(&rows);
            prop_assert_eq!(&before.multiset, &after.multiset);
            rows.push(vec![0]);
            prop_assert_ne!(&before.multiset, &of(&rows).multiset);
        }
    }
}
