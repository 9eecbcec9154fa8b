//! Named digests: `algorithm:hex`, as the OCI image specification's descriptor chapter defines them.
//!
//! Owns the three algorithms that Sealstone stores content under (sha256, sha512 and blake3-256) and
//! the running hashes behind them. Does not decide which of them a server accepts where.
//! Invariant: a [`Digest`] is always a supported algorithm with exactly that algorithm's length, in
//! lowercase hex; text that is anything else never becomes one.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::str::FromStr;

/// A digest algorithm registered in the OCI image specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, the one that every registry and client must know.
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE3 with 256 bits of output.
    Blake3,
}

impl Algorithm {
    /// Every algorithm, in the order of their tags in stored keys.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3];

    /// The name before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
            Algorithm::Blake3 => "blake3",
        }
    }

    /// Length of the raw digest, in bytes.
    pub fn byte_len(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// Length of the digest as hex, in characters.
    pub fn hex_len(self) -> usize {
        self.byte_len() * 2
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| DigestError::UnsupportedAlgorithm(shorten(text)))
    }
}

/// Why a text is not a digest that Sealstone can store under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no colon between an algorithm and its value.
    #[error("digest \"{0}\" has no algorithm: write it as \"sha256:<64 lowercase hex digits>\"")]
    NoAlgorithm(String),
    /// The algorithm is unknown here, even if its name is well formed.
    #[error("digest algorithm \"{0}\" is not supported: use sha256, sha512 or blake3")]
    UnsupportedAlgorithm(String),
    /// The value has the wrong length.
    #[error("{algorithm} digest has {found} characters after the colon where {expected} are due")]
    WrongLength {
        /// The algorithm named.
        algorithm: Algorithm,
        /// Characters that its value must have.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// The value is not lowercase hex.
    #[error("{0} digest is not lowercase hexadecimal")]
    NotLowercaseHex(Algorithm),
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The digest of some bytes, with its algorithm: the identity of content.
///
/// ```
/// use sealstone_spec::digest::Digest;
/// let digest = Digest::sha256(b"{}");
/// assert_eq!(digest.to_string(), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
/// assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
/// assert!("sha256:ABCD".parse::<Digest>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Bytes past the algorithm's length are zero, so that equality and order can be derived.
    value: [u8; 64],
}

impl Digest {
    /// Reads `algorithm:hex`.
    ///
    /// # Errors
    /// Says what is wrong with the text; see [`DigestError`].
    pub fn parse(text: &str) -> Result<Digest, DigestError> {
        let (algorithm, hex) = text
            .split_once(':')
            .ok_or_else(|| DigestError::NoAlgorithm(shorten(text)))?;
        let algorithm: Algorithm = algorithm.parse()?;
        if hex.len() != algorithm.hex_len() {
            return Err(DigestError::WrongLength {
                algorithm,
                expected: algorithm.hex_len(),
                found: hex.len(),
            });
        }
        let bytes = HEXLOWER
            .decode(hex.as_bytes())
            .map_err(|_| DigestError::NotLowercaseHex(algorithm))?;
        Ok(Digest::from_bytes(algorithm, &bytes).expect("the hex has the algorithm's length"))
    }

    /// The digest of `content`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finalize()
    }

    /// The SHA-256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    /// A digest from its raw bytes; `None` if they have not the algorithm's length.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Digest> {
        if bytes.len() != algorithm.byte_len() {
            return None;
        }
        let mut value = [0; 64];
        value[..bytes.len()].copy_from_slice(bytes);
        Some(Digest { algorithm, value })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest, 32 or 64 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.value[..self.algorithm.byte_len()]
    }

    /// The digest in lowercase hex, without the algorithm.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(self.bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Digest::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Digest::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A running hash. SHA-2 states can be saved and restored, so that an upload survives a restart
/// without reading its bytes again; BLAKE3 does that through [`crate::tree`].
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
    /// BLAKE3.
    Blake3(Box<blake3::Hasher>),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({})", self.algorithm())
    }
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
            Algorithm::Blake3 => Hasher::Blake3(Box::default()),
        }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
            Hasher::Blake3(_) => Algorithm::Blake3,
        }
    }

    /// Adds bytes at the end.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// The digest of everything that was added.
    pub fn finalize(self) -> Digest {
        let algorithm = self.algorithm();
        let digest = match self {
            Hasher::Sha256(hasher) => Digest::from_bytes(algorithm, &hasher.finalize()),
            Hasher::Sha512(hasher) => Digest::from_bytes(algorithm, &hasher.finalize()),
            Hasher::Blake3(hasher) => {
                Digest::from_bytes(algorithm, hasher.finalize().as_bytes().as_slice())
            }
        };
        digest.expect("a hash function returns its own length")
    }

    /// The state as bytes, to go on later with [`Hasher::restore`]; `None` for BLAKE3.
    pub fn save(&self) -> Option<Vec<u8>> {
        match self {
            Hasher::Sha256(hasher) => Some(hasher.serialize().to_vec()),
            Hasher::Sha512(hasher) => Some(hasher.serialize().to_vec()),
            Hasher::Blake3(_) => None,
        }
    }

    /// Goes on from a saved state; `None` if `state` is not one of this algorithm.
    pub fn restore(algorithm: Algorithm, state: &[u8]) -> Option<Hasher> {
        if !counts_real_bytes(algorithm, state) {
            return None;
        }
        match algorithm {
            Algorithm::Sha256 => {
                let state = SerializedState::<Sha256>::try_from(state).ok()?;
                Sha256::deserialize(&state).ok().map(Hasher::Sha256)
            }
            Algorithm::Sha512 => {
                let state = SerializedState::<Sha512>::try_from(state).ok()?;
                Sha512::deserialize(&state).ok().map(Hasher::Sha512)
            }
            Algorithm::Blake3 => None,
        }
    }
}

/// Whether a saved state counts fewer blocks than any upload has. The count stands behind the chaining
/// value, little-endian; sha2 multiplies it at the end, and overflows on one that only a damaged
/// state can hold (found by fuzzing).
fn counts_real_bytes(algorithm: Algorithm, state: &[u8]) -> bool {
    let chaining = algorithm.byte_len();
    let count_len = if algorithm == Algorithm::Sha512 {
        16
    } else {
        8
    };
    let high_bytes = state.get(chaining + 6..chaining + count_len);
    high_bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_that_counts_too_much_is_refused() {
        let mut state = Hasher::new(Algorithm::Sha256).save().unwrap();
        state[39] = 0xff;
        assert!(Hasher::restore(Algorithm::Sha256, &state).is_none());
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:zz",
            "SHA256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "sha256:44136FA355B3678A1146AD16F7E8649E94FB4FC21FE77E8310C060F61CAAFF8A",
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a ",
            "sha512:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:baddigeststring",
        ] {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_hex_under_two_algorithms_is_two_digests() {
        let sha = Digest::sha256(b"x");
        let other = Digest::from_bytes(Algorithm::Blake3, sha.bytes()).unwrap();
        assert_ne!(sha, other);
    }

    proptest! {
        #[test]
        fn text_round_trips(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            for algorithm in Algorithm::ALL {
                let digest = Digest::of(algorithm, &content);
                prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,150}") {
            let _ = Digest::parse(&text);
        }

        #[test]
        fn a_saved_state_goes_on(content in proptest::collection::vec(any::<u8>(), 0..500), cut in 0usize..500) {
            let cut = cut.min(content.len());
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut first = Hasher::new(algorithm);
                first.update(&content[..cut]);
                let mut second = Hasher::restore(algorithm, &first.save().unwrap()).unwrap();
                second.update(&content[cut..]);
                prop_assert_eq!(second.finalize(), Digest::of(algorithm, &content));
            }
        }
    }
}
