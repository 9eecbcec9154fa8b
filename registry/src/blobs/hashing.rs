//! One pass over the bytes that computes both of a blob's digests.

use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use sealstone_spec::tree::{ChainingValue, TreeHasher};

/// Bytes hashed at a time: they stay in the first-level caches between the two hashes.
const STEP: usize = 32 * 1024;

/// The digest that the client named and the BLAKE3 tree, side by side.
#[derive(Debug)]
pub struct BlobHasher {
    /// `None` when the client names blobs by BLAKE3: the tree's root is that digest.
    named: Option<Hasher>,
    algorithm: Algorithm,
    tree: TreeHasher,
    /// Values of groups that are finished and not yet taken.
    values: Vec<ChainingValue>,
}

/// Both digests of a whole blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobDigests {
    /// In the algorithm that was asked for.
    pub named: Digest,
    /// The tree's root.
    pub root: ChainingValue,
}

impl BlobHasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> BlobHasher {
        let named = (algorithm != Algorithm::Blake3).then(|| Hasher::new(algorithm));
        BlobHasher {
            named,
            algorithm,
            tree: TreeHasher::default(),
            values: Vec::new(),
        }
    }

    /// Goes on from a saved state of the named hash and the values of finished groups; the tree still
    /// has to be fed what lies between the last of these and the state with [`BlobHasher::update_tree`].
    pub(super) fn resume(
        algorithm: Algorithm,
        state: &[u8],
        values: &[ChainingValue],
    ) -> Option<BlobHasher> {
        let named = match algorithm {
            Algorithm::Blake3 => None,
            _ if state.is_empty() => Some(Hasher::new(algorithm)),
            _ => Some(Hasher::restore(algorithm, state)?),
        };
        Some(BlobHasher {
            named,
            algorithm,
            tree: TreeHasher::resume(values),
            values: Vec::new(),
        })
    }

    /// The algorithm of the named digest.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Adds bytes to both.
    pub fn update(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(STEP) {
            if let Some(named) = &mut self.named {
                named.update(piece);
            }
            self.tree.update(piece, |value| self.values.push(value));
        }
    }

    pub(super) fn update_tree(&mut self, bytes: &[u8]) {
        self.tree.update(bytes, |value| self.values.push(value));
    }

    /// The named hash's state.
    pub(super) fn state(&self) -> Vec<u8> {
        self.named
            .as_ref()
            .and_then(Hasher::save)
            .unwrap_or_default()
    }

    /// Values of groups finished since the last call.
    pub(super) fn take_values(&mut self) -> Vec<ChainingValue> {
        std::mem::take(&mut self.values)
    }

    /// Both digests, and the last values that were not taken.
    pub fn finish(self) -> (BlobDigests, Vec<ChainingValue>) {
        let mut values = self.values;
        let (last, root) = self.tree.finish();
        values.extend(last);
        let named = match self.named {
            Some(hasher) => hasher.finalize(),
            None => {
                Digest::from_bytes(Algorithm::Blake3, &root).expect("a BLAKE3 root has 32 bytes")
            }
        };
        (BlobDigests { named, root }, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_digests_are_those_of_the_bytes() {
        let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 253) as u8).collect();
        for algorithm in Algorithm::ALL {
            let mut hasher = BlobHasher::new(algorithm);
            data.chunks(70_001).for_each(|piece| hasher.update(piece));
            let (digests, values) = hasher.finish();
            assert_eq!(digests.named, Digest::of(algorithm, &data));
            assert_eq!(digests.root, *blake3::hash(&data).as_bytes());
            assert_eq!(values.len(), 4);
        }
    }
}
