//! How much of the world a run could see.
//!
//! Owns the six levels and their order. Does not measure anything: the client's runners probe, and say
//! which level they reached.
//! Invariant: a higher level includes every promise of the lower ones.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a run was kept from, lowest first, so that levels compare as numbers do.
///
/// ```
/// use sealstone_spec::environment::Isolation;
/// assert!(Isolation::I4 > Isolation::I3);
/// assert_eq!("I2".parse(), Ok(Isolation::I2));
/// assert_eq!(serde_json::to_string(&Isolation::I5).unwrap(), "\"I5\"");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Isolation {
    /// Nothing: the caller's own environment and directory.
    I0,
    /// Environment variables scrubbed and set, an empty directory to start from.
    I1,
    /// And nothing beyond the machine can be reached.
    I2,
    /// And only declared files can be read, only outputs written.
    I3,
    /// And system files come from a root file system that is pinned by digest.
    I4,
    /// And the machine belongs to somebody other than the builder. No runner can know that of itself:
    /// whoever compares the keys of two statements decides it.
    I5,
}

impl Isolation {
    /// Every level, lowest first.
    pub const ALL: [Isolation; 6] = [
        Isolation::I0,
        Isolation::I1,
        Isolation::I2,
        Isolation::I3,
        Isolation::I4,
        Isolation::I5,
    ];

    /// The name in documents: `I0` to `I5`.
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::I0 => "I0",
            Isolation::I1 => "I1",
            Isolation::I2 => "I2",
            Isolation::I3 => "I3",
            Isolation::I4 => "I4",
            Isolation::I5 => "I5",
        }
    }

    /// What the level adds, for people.
    pub fn promise(self) -> &'static str {
        match self {
            Isolation::I0 => "none",
            Isolation::I1 => "scrubbed environment, empty directory",
            Isolation::I2 => "network denied",
            Isolation::I3 => "only declared files readable, only outputs writable",
            Isolation::I4 => "system files from a pinned root file system",
            Isolation::I5 => "a machine that is not the builder's",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no level of isolation: write one of I0, I1, I2, I3, I4, I5")]
pub struct IsolationError(String);

impl FromStr for Isolation {
    type Err = IsolationError;

    fn from_str(text: &str) -> Result<Isolation, IsolationError> {
        Isolation::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| IsolationError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels_are_ordered_and_round_trip() {
        for pair in Isolation::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for level in Isolation::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            let json = serde_json::to_string(&level).unwrap();
            assert_eq!(serde_json::from_str::<Isolation>(&json).unwrap(), level);
        }
        for text in ["", "I6", "i3", "3", "I3 "] {
            assert!(text.parse::<Isolation>().is_err(), "{text}");
        }
    }
}
