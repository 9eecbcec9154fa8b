//! JSON in, strictly; JSON out, canonically.
//!
//! Two parsers that read a document differently can be made to believe different things, so input
//! with duplicate keys, trailing bytes or too much nesting is refused. Output follows RFC 8785 (JCS).

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 64;

/// Why a JSON document was refused; the text holds line and column where they are known.
#[derive(Debug, thiserror::Error)]
#[error("invalid JSON: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Reads one JSON document of at most `max_bytes` into `T`.
///
/// # Errors
/// Refuses documents that are too long, deeper than [`MAX_DEPTH`], hold a key twice in one object
/// or go on after their end, and whatever `T` refuses.
pub fn parse_strict<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, JsonError> {
    let value = parse_value(bytes, max_bytes)?;
    Ok(serde_json::from_value(value)?)
}

/// As [`parse_strict`], into a plain value.
///
/// # Errors
/// See [`parse_strict`].
pub fn parse_value(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    if bytes.len() > max_bytes {
        let text = format!(
            "document has {} bytes, at most {max_bytes} are read",
            bytes.len()
        );
        return Err(JsonError(serde_json::Error::custom(text)));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Writes `value` in the canonical form of RFC 8785.
///
/// # Errors
/// If `value` cannot be represented in JSON, for example a map with keys that are no strings.
pub fn to_canonical_json(value: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// Puts quotes around `NaN`, `Infinity` and `-Infinity` outside of texts.
///
/// Python writes these words without quotes, which is no JSON. What is written by programs and has to be read all the
/// same, a metric or a step of training, is read behind this; a document that is signed never is.
///
/// ```
/// use sealstone_spec::canonical::quote_words;
/// assert_eq!(quote_words(r#"{"loss": NaN, "why": "NaN"}"#), r#"{"loss": "NaN", "why": "NaN"}"#);
/// ```
pub fn quote_words(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_text = false;
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        match (in_text, word) {
            (false, Some(word)) => {
                done.push('"');
                done.push_str(word);
                done.push('"');
                rest = &rest[word.len()..];
                continue;
            }
            (true, _) if c == '\\' => {
                let escaped: String = rest.chars().take(2).collect();
                done.push_str(&escaped);
                rest = &rest[escaped.len()..];
                continue;
            }
            _ => {}
        }
        if c == '"' {
            in_text = !in_text;
        }
        done.push(c);
        rest = &rest[c.len_utf8()..];
    }
    done
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Strict, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Strict {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if map.contains_key(&key) {
                let shown: String = key.chars().take(60).collect();
                return Err(A::Error::custom(format_args!(
                    "key \"{shown}\" stands twice in one object"
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn refuses_what_two_parsers_could_read_differently() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{}"#,
            "",
            &deep,
            r#"{"a":1,"\u0061":2}"#,
            "[1,]",
            "NaN",
            "\u{feff}{}",
        ] {
            assert!(parse_value(bad.as_bytes(), 1000).is_err(), "{bad}");
        }
        assert!(parse_value(b"[1]", 2).is_err());
        let fits = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert!(parse_value(fits.as_bytes(), 1000).is_ok());
    }

    #[test]
    fn canonical_form_sorts_keys_and_drops_space() {
        let written = to_canonical_json(&json!({"b": 1, "a": [true, null, "é"]})).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"a":[true,null,"é"],"b":1}"#
        );
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_where_it_accepts(text in "[\\[\\]{}:,\"a-c0-9 .\\\\-]{0,40}") {
            if let Ok(value) = parse_value(text.as_bytes(), 1000) {
                prop_assert_eq!(Some(value), serde_json::from_str(&text).ok());
            }
        }
    }
}
