//! A document of facts: made by capture, read strictly, written canonically.
//!
//! Invariant: what [`Facts::set`] accepts is in the table and does not look like a secret. Equal facts
//! have equal bytes, and so one digest.

use super::level::{FactRule, fact_rule};
use super::secret::{is_secret_name, looks_secret};
use crate::canonical::{JsonError, parse_strict, to_canonical_json};
use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `schema` of the documents that are read and written here.
pub const SCHEMA: &str = "sealstone-environment/v1";

/// Longest document that is read, in bytes.
pub const MAX_FACTS_BYTES: usize = 4 * 1024 * 1024;

/// Largest number that every reader of JSON holds exactly.
const MAX_EXACT: i64 = 9_007_199_254_740_991;

/// The value of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FactValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// A text; digests, versions and exact decimals too.
    Text(String),
    /// Texts in an order that means something, or sorted.
    List(Vec<String>),
    /// Named values.
    Entries(BTreeMap<String, String>),
}

impl fmt::Display for FactValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FactValue::Flag(value) => write!(f, "{value}"),
            FactValue::Whole(value) => write!(f, "{value}"),
            FactValue::Text(value) => f.write_str(value),
            FactValue::List(values) => f.write_str(&values.join(",")),
            FactValue::Entries(values) => {
                for (index, (name, value)) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                Ok(())
            }
        }
    }
}

impl From<bool> for FactValue {
    fn from(value: bool) -> FactValue {
        FactValue::Flag(value)
    }
}

impl From<i64> for FactValue {
    fn from(value: i64) -> FactValue {
        FactValue::Whole(value)
    }
}

impl From<&str> for FactValue {
    fn from(value: &str) -> FactValue {
        FactValue::Text(value.to_owned())
    }
}

impl From<String> for FactValue {
    fn from(value: String) -> FactValue {
        FactValue::Text(value)
    }
}

impl From<Vec<String>> for FactValue {
    fn from(value: Vec<String>) -> FactValue {
        FactValue::List(value)
    }
}

impl From<BTreeMap<String, String>> for FactValue {
    fn from(value: BTreeMap<String, String>) -> FactValue {
        FactValue::Entries(value)
    }
}

/// Why a fact or a document was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactError {
    /// Only facts of the table are captured.
    #[error("\"{0}\" is no fact of the table: nothing else of an environment is recorded")]
    NotListed(String),
    /// It would publish what should stay private. The value is not repeated here.
    #[error("the value of fact \"{0}\" looks like a secret: it is not recorded")]
    Secret(String),
    /// Not every reader of JSON would read the same number.
    #[error("the value of fact \"{0}\" is too large a number: write it as text")]
    TooLarge(String),
    /// A name is not made of lowercase letters, digits, points and underscores.
    #[error("\"{0}\" cannot be the name of a fact: use a-z, 0-9, \".\" and \"_\"")]
    Name(String),
    /// Another kind of document.
    #[error("schema \"{0}\" is not read here: {SCHEMA} is")]
    Schema(String),
    /// The JSON is not well formed.
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// The facts of an environment.
///
/// ```
/// use sealstone_spec::environment::Facts;
/// let mut facts = Facts::default();
/// facts.set("libc.version", "2.36")?;
/// assert!(facts.set("shell.history", "rm -rf").is_err());
/// let again = Facts::parse(&facts.to_json())?;
/// assert_eq!(again.digest(), facts.digest());
/// # Ok::<(), sealstone_spec::environment::FactError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, FactValue>);

#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    facts: &'a BTreeMap<String, FactValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    schema: String,
    facts: BTreeMap<String, FactValue>,
}

impl Facts {
    /// Records a fact.
    ///
    /// # Errors
    /// If the table has it not, or the value looks like a secret or is no exact number.
    pub fn set(&mut self, name: &str, value: impl Into<FactValue>) -> Result<(), FactError> {
        if fact_rule(name).is_none() {
            return Err(FactError::NotListed(name.chars().take(80).collect()));
        }
        let value = value.into();
        check(name, &value)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// The value of a fact.
    pub fn get(&self, name: &str) -> Option<&FactValue> {
        self.0.get(name)
    }

    /// All facts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FactValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a document. Facts that this version does not know are kept (they count for the digest and
    /// compare as information), so that a newer capture can be read by an older judge.
    ///
    /// # Errors
    /// If it is too long, no strict JSON, of another schema, or holds what looks like a secret.
    pub fn parse(bytes: &[u8]) -> Result<Facts, FactError> {
        let read: Read = parse_strict(bytes, MAX_FACTS_BYTES)?;
        if read.schema != SCHEMA {
            return Err(FactError::Schema(read.schema.chars().take(80).collect()));
        }
        for (name, value) in &read.facts {
            let letters = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte)
            };
            if name.is_empty() || name.len() > 80 || !name.bytes().all(letters) {
                return Err(FactError::Name(name.chars().take(80).collect()));
            }
            check(name, value)?;
        }
        Ok(Facts(read.facts))
    }

    /// The document in its canonical form.
    pub fn to_json(&self) -> Vec<u8> {
        let written = Written {
            schema: SCHEMA,
            facts: &self.0,
        };
        to_canonical_json(&written).expect("facts are text and whole numbers")
    }

    /// The digest of the canonical document: the name of this environment.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.to_json())
    }

    /// The rule of each recorded fact that the table knows.
    pub fn rules(&self) -> impl Iterator<Item = &'static FactRule> {
        self.0.keys().filter_map(|name| fact_rule(name))
    }
}

impl Serialize for Facts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            schema: SCHEMA,
            facts: &self.0,
        };
        written.serialize(serializer)
    }
}

fn check(name: &str, value: &FactValue) -> Result<(), FactError> {
    let secret = match value {
        FactValue::Flag(_) => false,
        FactValue::Whole(number) if !(-MAX_EXACT..=MAX_EXACT).contains(number) => {
            return Err(FactError::TooLarge(name.to_owned()));
        }
        FactValue::Whole(_) => false,
        FactValue::Text(text) => looks_secret(text),
        FactValue::List(texts) => texts.iter().any(|text| looks_secret(text)),
        FactValue::Entries(entries) => entries
            .iter()
            .any(|(key, text)| looks_secret(text) || (!is_package(name) && is_secret_name(key))),
    };
    if secret {
        return Err(FactError::Secret(name.to_owned()));
    }
    Ok(())
}

/// Names of packages are public and may well be called "tokenizers".
fn is_package(name: &str) -> bool {
    name == "python.packages" || name == "native.libraries"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_and_unlisted_facts_are_refused() {
        let mut facts = Facts::default();
        let environment =
            |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(matches!(
            facts.set("threads.environment", environment("MY_TOKEN", "1")),
            Err(FactError::Secret(_))
        ));
        assert!(matches!(
            facts.set("os.version", "https://u:p@host"),
            Err(FactError::Secret(_))
        ));
        assert!(matches!(
            facts.set("environ", "x"),
            Err(FactError::NotListed(_))
        ));
        assert!(matches!(
            facts.set("cpu.count", i64::MAX),
            Err(FactError::TooLarge(_))
        ));
        assert!(facts.is_empty());
        facts
            .set("python.packages", environment("tokenizers", "0.15.0"))
            .unwrap();
        let text = String::from_utf8(facts.to_json()).unwrap();
        assert_eq!(
            text,
            r#"{"facts":{"python.packages":{"tokenizers":"0.15.0"}},"schema":"sealstone-environment/v1"}"#
        );
    }

    #[test]
    fn documents_are_read_strictly() {
        let facts = |body: &str| {
            Facts::parse(format!(r#"{{"schema":"{SCHEMA}","facts":{body}}}"#).as_bytes())
        };
        assert!(facts(r#"{"libc.version":"2.36","x.later":[1]}"#).is_err());
        assert!(facts(r#"{"libc.version":"2.36","libc.version":"2.37"}"#).is_err());
        assert!(facts(r#"{"libc.version":1.5}"#).is_err());
        assert!(facts(r#"{"LIBC":"2.36"}"#).is_err());
        assert!(facts(r#"{"cpu.name":"ghp_16C7e42F292c6912E7710c838347Ae178B4a"}"#).is_err());
        let known = facts(r#"{"libc.version":"2.36","x.later":["1"]}"#).unwrap();
        assert_eq!(known.iter().count(), 2);
        assert_eq!(known.rules().count(), 1);
        assert!(Facts::parse(br#"{"schema":"other","facts":{}}"#).is_err());
    }

    proptest! {
        #[test]
        fn documents_round_trip(name in "[a-z0-9. ]{0,20}", count in 0i64..1000, features in proptest::collection::vec("[a-z0-9_]{1,8}", 0..6)) {
            let mut facts = Facts::default();
            facts.set("cpu.name", name).unwrap();
            facts.set("cpu.count", count).unwrap();
            facts.set("cpu.features", features).unwrap();
            let again = Facts::parse(&facts.to_json()).unwrap();
            prop_assert_eq!(again.digest(), facts.digest());
            prop_assert_eq!(again, facts);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Facts::parse(&bytes);
        }
    }
}
