//! Predicates: their types by name, and what all typed predicates have in common.
//!
//! Owns reading and writing of any typed predicate, and the bounds that hold for all of them. The fields
//! of each type stand in a file of its own. Does not know who may say what: policies do.
//!
//! Fields that a type does not name are passed over when reading, as in-toto's parsing rules demand, so
//! nothing may ever follow from the absence of one. Where something is about to be signed, the same
//! fields are told by [`unread_fields`], because there they are mistakes.
//! Invariant: what [`write()`] returns, [`read`] accepts.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// A signature and nothing more: what `cosign sign` writes, and the only type that counts as one.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// SLSA provenance: [`super::provenance::Provenance`].
pub const SLSA_PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// SLSA verification summary: [`super::summary::Summary`].
pub const VERIFICATION_SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
/// CycloneDX bill of materials.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";
/// Result of tests: [`super::test_result::TestResult`].
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// Simple verification result, an approval for example: [`super::svr::Svr`].
pub const SVR: &str = "https://in-toto.io/attestation/svr/v0.2";
/// Published under a name: [`super::release::Release`].
pub const RELEASE: &str = "https://in-toto.io/attestation/release/v0.1";
/// Documents elsewhere: [`super::reference::Reference`].
pub const REFERENCE: &str = "https://in-toto.io/attestation/reference/v0.1";
/// OpenSSF Model Signing.
pub const MODEL_SIGNATURE: &str = "https://model_signing/signature/v1.0";
/// Report of a reproduction.
pub const REPRODUCTION: &str = "https://sealstone.dev/attestation/reproduction/v0.1";

/// Longest text of one field, in bytes: an identifier, a URI, a name.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Most entries of one list.
pub const MAX_ENTRIES: usize = 100_000;

/// Why a predicate was refused: of which type, where in it, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredicateError {
    predicate_type: &'static str,
    at: String,
    problem: String,
}

impl PredicateError {
    /// A problem at `at`, for example `runDetails.builder.id`; empty for the predicate as a whole.
    pub fn new(
        predicate_type: &'static str,
        at: impl Into<String>,
        problem: impl Into<String>,
    ) -> PredicateError {
        PredicateError {
            predicate_type,
            at: at.into(),
            problem: problem.into(),
        }
    }

    /// A problem that was found in a predicate of type `P`.
    pub(crate) fn of<P: Predicate>(problem: Problem) -> PredicateError {
        PredicateError::new(P::TYPE, problem.at, problem.text)
    }

    /// Where it is; empty for the predicate as a whole.
    pub fn at(&self) -> &str {
        &self.at
    }
}

impl fmt::Display for PredicateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "predicate {}: ", self.predicate_type)?;
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for PredicateError {}

/// A place in a predicate and what is wrong there; [`read`] and [`write()`] add the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    at: String,
    text: String,
}

impl Problem {
    /// A problem at `at`.
    pub(crate) fn new(at: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem {
            at: at.into(),
            text: text.into(),
        }
    }

    /// The same problem, seen from outside of `prefix`.
    pub(crate) fn within(mut self, prefix: &str) -> Problem {
        self.at = match self.at.as_str() {
            "" => prefix.to_owned(),
            inner if inner.starts_with('[') => format!("{prefix}{inner}"),
            inner => format!("{prefix}.{inner}"),
        };
        self
    }
}

/// A predicate whose fields this crate knows.
pub trait Predicate: Serialize + DeserializeOwned {
    /// Its `predicateType`.
    const TYPE: &'static str;

    /// What the fields' types alone do not say.
    ///
    /// # Errors
    /// The first place that is not as the type demands.
    fn check(&self) -> Result<(), Problem>;
}

/// Reads a predicate.
///
/// # Errors
/// If a field that is due is missing, one is of another type, or the values do not hold together.
pub fn read<P: Predicate>(predicate: &Map<String, Value>) -> Result<P, PredicateError> {
    let refused = |problem: String| PredicateError::new(P::TYPE, "", problem);
    // A list in place of an object would be read by position; the parts must be objects too.
    let read = P::deserialize(predicate).map_err(|error| refused(error.to_string()))?;
    let written = to_map(&read)?;
    if let Some(at) = list_for_object("", predicate, &written) {
        let problem = "a list stands where an object is due";
        return Err(PredicateError::new(P::TYPE, at, problem));
    }
    checked(&read)?;
    Ok(read)
}

/// Writes a predicate.
///
/// # Errors
/// If it is not what its type demands.
pub fn write<P: Predicate>(predicate: &P) -> Result<Map<String, Value>, PredicateError> {
    checked(predicate)?;
    to_map(predicate)
}

/// The fields of `predicate` that `P` does not read, as paths; those that are marked as somebody's
/// extension, by a `_` or `:` in their name, are left out. Empty if it cannot be read at all.
pub fn unread_fields<P: Predicate>(predicate: &Map<String, Value>) -> Vec<String> {
    let mut unread = Vec::new();
    if let Ok(written) = read::<P>(predicate).and_then(|read| to_map(&read)) {
        gather_unread("", predicate, &written, &mut unread);
    }
    unread
}

fn checked<P: Predicate>(predicate: &P) -> Result<(), PredicateError> {
    predicate.check().map_err(PredicateError::of::<P>)
}

fn to_map<P: Predicate>(predicate: &P) -> Result<Map<String, Value>, PredicateError> {
    match serde_json::to_value(predicate) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(PredicateError::new(P::TYPE, "", "it is no object")),
        Err(error) => Err(PredicateError::new(P::TYPE, "", error.to_string())),
    }
}

fn join(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        _ => format!("{at}.{key}"),
    }
}

/// The pairs of values that stand at the same place in both, one level down.
fn pairs<'a>(
    at: &str,
    given: &'a Value,
    written: &'a Value,
) -> Vec<(String, &'a Value, &'a Value)> {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => given
            .iter()
            .filter_map(|(key, value)| Some((join(at, key), value, written.get(key)?)))
            .collect(),
        (Value::Array(given), Value::Array(written)) => given
            .iter()
            .zip(written)
            .enumerate()
            .map(|(index, (given, written))| (format!("{at}[{index}]"), given, written))
            .collect(),
        _ => Vec::new(),
    }
}

fn list_for_object(
    at: &str,
    given: &Map<String, Value>,
    written: &Map<String, Value>,
) -> Option<String> {
    fn search(at: &str, given: &Value, written: &Value) -> Option<String> {
        if given.is_array() && written.is_object() {
            return Some(at.to_owned());
        }
        pairs(at, given, written)
            .into_iter()
            .find_map(|(at, given, written)| search(&at, given, written))
    }
    given.iter().find_map(|(key, value)| {
        let written = written.get(key)?;
        search(&join(at, key), value, written)
    })
}

fn gather_unread(
    at: &str,
    given: &Map<String, Value>,
    written: &Map<String, Value>,
    unread: &mut Vec<String>,
) {
    fn search(at: &str, given: &Value, written: &Value, unread: &mut Vec<String>) {
        if let (Value::Object(given), Value::Object(written)) = (given, written) {
            gather_unread(at, given, written, unread);
            return;
        }
        for (at, given, written) in pairs(at, given, written) {
            search(&at, given, written, unread);
        }
    }
    for (key, value) in given {
        match written.get(key) {
            Some(written) => search(&join(at, key), value, written, unread),
            // What is not written because it is empty was read all the same.
            None if is_empty(value) || key.contains(['_', ':']) => {}
            None => unread.push(join(at, key)),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Text that must be there: not empty, bounded, without control characters.
pub(crate) fn text(at: &str, text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new(at, "is empty"));
    }
    if text.len() > MAX_TEXT_BYTES {
        let problem = format!(
            "has {} bytes, at most {MAX_TEXT_BYTES} are read",
            text.len()
        );
        return Err(Problem::new(at, problem));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::new(at, "has a control character"));
    }
    Ok(())
}

/// A URI: a lowercase scheme, a colon, and something behind it without blanks.
pub(crate) fn uri(at: &str, uri: &str) -> Result<(), Problem> {
    text(at, uri)?;
    let shown: String = uri.chars().take(120).collect();
    let problem = match uri.split_once(':') {
        None => "has no scheme",
        Some((scheme, rest)) => {
            let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
            let starts = scheme.starts_with(|c: char| c.is_ascii_lowercase());
            if !starts || !scheme.chars().all(known) {
                "has no scheme in lowercase letters"
            } else if rest.is_empty() {
                "ends behind its scheme"
            } else if uri.contains(|c: char| c.is_whitespace() || "<>\"".contains(c)) {
                "has a blank or one of < > \""
            } else {
                return Ok(());
            }
        }
    };
    Err(Problem::new(
        at,
        format!("\"{shown}\" is no URI: it {problem}"),
    ))
}

/// A list of texts: bounded, each once.
pub(crate) fn texts<'a>(
    at: &str,
    items: impl ExactSizeIterator<Item = &'a String>,
) -> Result<(), Problem> {
    entries(at, items.len())?;
    let mut seen = BTreeSet::new();
    for (index, item) in items.enumerate() {
        let at = format!("{at}[{index}]");
        text(&at, item)?;
        if !seen.insert(item) {
            let shown: String = item.chars().take(120).collect();
            return Err(Problem::new(at, format!("\"{shown}\" stands twice")));
        }
    }
    Ok(())
}

/// A bound on the length of a list.
pub(crate) fn entries(at: &str, count: usize) -> Result<(), Problem> {
    if count > MAX_ENTRIES {
        let problem = format!("has {count} entries, at most {MAX_ENTRIES} are read");
        return Err(Problem::new(at, problem));
    }
    Ok(())
}

/// No number with a fraction or an exponent anywhere within: two readers would round it differently.
pub(crate) fn no_fractions(at: &str, value: &Value) -> Result<(), Problem> {
    match value {
        Value::Number(number) if number.is_f64() => Err(Problem::new(
            at,
            format!("{number} is no whole number: write it as text, \"{number}\""),
        )),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| no_fractions(&format!("{at}[{index}]"), item)),
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(key, item)| no_fractions(&join(at, key), item)),
        _ => Ok(()),
    }
}
