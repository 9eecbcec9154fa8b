//! Paths as recipes write them: relative to the recipe, a slash at the end for a directory.

use crate::bundle::{BundleError, BundlePath};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A path that is safe in a bundle, and whether it was written as a directory.
///
/// Equality and order look at the path alone: `model` and `model/` are one place.
#[derive(Clone, Debug)]
pub struct RecipePath {
    path: BundlePath,
    is_directory: bool,
}

impl RecipePath {
    /// The path, without a slash at its end.
    pub fn path(&self) -> &BundlePath {
        &self.path
    }

    /// The path's text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.path.as_str()
    }

    /// Whether it was written with a slash at its end.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// Whether `other` is this path or lies below it.
    pub fn contains(&self, other: &RecipePath) -> bool {
        self.contains_path(other.as_str())
    }

    /// As [`RecipePath::contains`], of a plain text.
    pub fn contains_path(&self, other: &str) -> bool {
        other
            .strip_prefix(self.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether one contains the other.
    pub fn overlaps(&self, other: &RecipePath) -> bool {
        self.contains(other) || other.contains(self)
    }
}

impl PartialEq for RecipePath {
    fn eq(&self, other: &RecipePath) -> bool {
        self.path == other.path
    }
}

impl Eq for RecipePath {}

impl PartialOrd for RecipePath {
    fn partial_cmp(&self, other: &RecipePath) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RecipePath {
    fn cmp(&self, other: &RecipePath) -> std::cmp::Ordering {
        self.path.cmp(&other.path)
    }
}

impl std::hash::Hash for RecipePath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

impl FromStr for RecipePath {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<RecipePath, BundleError> {
        let (body, is_directory) = match text.strip_suffix('/') {
            Some(body) => (body, true),
            None => (text, false),
        };
        // `./src` is what people write; it is the same place as `src`.
        let body = body.strip_prefix("./").unwrap_or(body);
        Ok(RecipePath {
            path: body.parse()?,
            is_directory,
        })
    }
}

impl From<BundlePath> for RecipePath {
    fn from(path: BundlePath) -> RecipePath {
        RecipePath {
            path,
            is_directory: false,
        }
    }
}

impl fmt::Display for RecipePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        f.write_str(if self.is_directory { "/" } else { "" })
    }
}

impl Serialize for RecipePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecipePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RecipePath, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path: RecipePath = text.parse().map_err(serde::de::Error::custom)?;
        // One text for one path, or two locks could say the same thing.
        if path.to_string() != text {
            return Err(serde::de::Error::custom(format!(
                "\"{text}\" is not written as \"{path}\""
            )));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_slash_at_the_end_is_a_directory_and_the_same_place() {
        let (file, directory): (RecipePath, RecipePath) =
            ("model".parse().unwrap(), "model/".parse().unwrap());
        assert_eq!(file, directory);
        assert!(directory.is_directory() && !file.is_directory());
        assert_eq!(directory.to_string(), "model/");
        assert_eq!("./src/".parse::<RecipePath>().unwrap().to_string(), "src/");
        for bad in [
            "", "/", "./", "../x", "a/../b", "/a", "a//", "C:\\x", "././a",
        ] {
            assert!(bad.parse::<RecipePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn containment_goes_by_elements() {
        let path = |text: &str| text.parse::<RecipePath>().unwrap();
        assert!(path("model/").contains(&path("model/a/b")));
        assert!(path("model").contains(&path("model/")));
        assert!(!path("model").contains(&path("models/a")));
        assert!(path("model/a").overlaps(&path("model")));
    }
}
