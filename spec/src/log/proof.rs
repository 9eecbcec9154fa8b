//! Checking proofs of inclusion and of consistency: RFC 9162, sections 2.1.3.2 and 2.1.4.2.
//!
//! Says only whether two roots and some hashes go together. Whether a root is the log's is for
//! [`super::VerifiedCheckpoint`] to say.

use super::hash::Hash;

/// Most hashes in a proof; a tree of 2^63 entries needs no more.
pub const MAX_PROOF_HASHES: usize = 64;

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The entry is not within the tree, or the older tree is the larger one.
    #[error("the proof is about {index} in a tree of {size} entries")]
    OutOfTree {
        /// Index of the entry, or size of the older tree.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// Too many or too few hashes for these sizes.
    #[error("the proof has {0} hashes, another number than a tree of this size needs")]
    Length(usize),
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Mismatch,
}

/// Checks that the entry with hash `leaf` is number `index` in the tree of `size` entries under `root`.
///
/// # Errors
/// If it does not follow from `proof`.
pub fn check_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfTree { index, size });
    }
    let wrong_length = ProofError::Length(proof.len());
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = Hash::of_node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::of_node(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Mismatch)
    }
}

/// Checks that the tree of `old` entries under `old_root` is the beginning of the tree of `new` entries
/// under `new_root`.
///
/// # Errors
/// If it does not follow from `proof`.
pub fn check_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::OutOfTree {
            index: old,
            size: new,
        });
    }
    let wrong_length = ProofError::Length(proof.len());
    if old == 0 || old == new {
        // Nothing to prove; but the root of the smaller tree must be what it can be.
        let expected = if old == 0 {
            Hash::of_nothing()
        } else {
            *new_root
        };
        if !proof.is_empty() {
            return Err(wrong_length);
        }
        return if *old_root == expected {
            Ok(())
        } else {
            Err(ProofError::Mismatch)
        };
    }
    // An old tree that is one complete subtree is not repeated in the proof.
    let (first, rest) = if old.is_power_of_two() {
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(wrong_length)?;
        (*first, rest)
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old_hash = Hash::of_node(sibling, &old_hash);
            new_hash = Hash::of_node(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = Hash::of_node(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old_hash == *old_root && new_hash == *new_root {
        Ok(())
    } else {
        Err(ProofError::Mismatch)
    }
}
