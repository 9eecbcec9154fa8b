//! A number in a JSON file, with the text that it has there.
//!
//! Python writes `NaN` and `Infinity` without quotes, which is no JSON; they are read here, so that a
//! metric that is NaN is called so and not "unreadable".
//! Invariant: the text of a number is never rounded: `0.10` stays `0.10`.

use sealstone_spec::canonical::quote_words;
use sealstone_spec::compare::Decimal;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::MetricSource;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Longest file of metrics that is read.
const MAX_BYTES: u64 = 64 << 20;

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The file is not there.
    #[error("\"{0}\" is not there")]
    NoFile(String),
    /// The file is no JSON.
    #[error("\"{path}\" is no JSON: {problem}")]
    NoJson {
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// The pointer leads nowhere.
    #[error("\"{path}\" has nothing at {pointer}")]
    Nothing {
        /// The file.
        path: String,
        /// The pointer.
        pointer: String,
    },
    /// What is there is no number.
    #[error("\"{path}\" has no number at {pointer}, but {found}")]
    NoNumber {
        /// The file.
        path: String,
        /// The pointer.
        pointer: String,
        /// What is there.
        found: String,
    },
}

/// Reads a metric from `file`.
///
/// # Errors
/// If there is no number: a metric that is missing never passes.
pub fn read_metric(file: &Path, from: &MetricSource) -> Result<Decimal, MetricError> {
    read_metric_of(file, from).map(|(value, _)| value)
}

/// The same, with the SHA-256 of the very bytes that it was read from.
pub(super) fn read_metric_of(
    file: &Path,
    from: &MetricSource,
) -> Result<(Decimal, Digest), MetricError> {
    let path = from.path.to_string();
    let no_json = |problem: String| MetricError::NoJson {
        path: path.clone(),
        problem,
    };
    let metadata = fs::metadata(file).map_err(|_| MetricError::NoFile(path.clone()))?;
    if metadata.len() > MAX_BYTES {
        return Err(no_json(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let text = fs::read_to_string(file).map_err(|error| no_json(error.to_string()))?;
    let digest = Digest::sha256(text.as_bytes());
    let text = quote_words(&text);
    let document: &RawValue =
        serde_json::from_str(&text).map_err(|error| no_json(error.to_string()))?;
    let nothing = || MetricError::Nothing {
        path: path.clone(),
        pointer: from.pointer.clone(),
    };
    let mut place = document.to_owned();
    for part in from.pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        place = step(&place, &key).ok_or_else(nothing)?;
    }
    let raw = place.get().trim();
    let word: Option<String> = serde_json::from_str(raw).ok();
    let number = word.as_deref().unwrap_or(raw).parse::<Decimal>();
    let value = number.map_err(|_| MetricError::NoNumber {
        path: path.clone(),
        pointer: from.pointer.clone(),
        found: raw.chars().take(60).collect(),
    })?;
    Ok((value, digest))
}

fn step(value: &RawValue, key: &str) -> Option<Box<RawValue>> {
    if let Ok(mut table) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(value.get()) {
        return table.remove(key);
    }
    let list: Vec<Box<RawValue>> = serde_json::from_str(value.get()).ok()?;
    let plain = key == "0" || !key.starts_with('0');
    list.into_iter().nth(key.parse().ok().filter(|_| plain)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: &str, pointer: &str) -> Result<String, MetricError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), json).unwrap();
        let from = MetricSource {
            path: "m.json".parse().unwrap(),
            pointer: pointer.to_owned(),
        };
        read_metric(file.path(), &from).map(|decimal| decimal.to_string())
    }

    #[test]
    fn the_text_of_a_number_is_kept() {
        let json = r#"{"a": {"b/c": [0.10, 1e-3]}, "n": 90071992547409931, "nan": NaN, "s": "Infinity", "t": "NaN \" Infinity"}"#;
        for (pointer, due) in [
            ("/a/b~1c/0", "0.10"),
            ("/a/b~1c/1", "1e-3"),
            ("/n", "90071992547409931"),
            ("/nan", "NaN"),
            ("/s", "Infinity"),
        ] {
            assert_eq!(read(json, pointer).unwrap(), due);
        }
        assert!(matches!(
            read(json, "/a/x"),
            Err(MetricError::Nothing { .. })
        ));
        assert!(matches!(
            read(json, "/a/b~1c/00"),
            Err(MetricError::Nothing { .. })
        ));
        assert!(matches!(
            read(json, "/t"),
            Err(MetricError::NoNumber { .. })
        ));
        assert!(matches!(
            read(json, "/a"),
            Err(MetricError::NoNumber { .. })
        ));
        assert!(matches!(read("{", "/a"), Err(MetricError::NoJson { .. })));
        assert_eq!(read(" 7 ", "").unwrap(), "7");
    }
}
