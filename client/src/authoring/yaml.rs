//! YAML of other tools, read within limits.
//!
//! Nesting, nodes and what aliases unfold to are bounded, so a file cannot cost more than its length allows.
//! Duplicate keys are refused. Invariant: what is refused is named with the file's name.

use crate::error::{Error, Result};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Longest file that is read, in bytes.
pub(super) const MAX_YAML_BYTES: usize = 8 << 20;

/// Reads a document.
///
/// # Errors
/// If it is too long, no YAML, or beyond the limits.
pub fn read(text: &str, file: &str) -> Result<Value> {
    read_as(text, file)
}

/// The same, as a type of one's own: a [`Value`] does not know in which order its keys stood.
pub(super) fn read_as<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    if text.len() > MAX_YAML_BYTES {
        return Err(Error::usage(format!(
            "\"{file}\" is longer than {MAX_YAML_BYTES} bytes"
        )));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_nodes: 400_000,
            max_events: 1_000_000,
            max_aliases: 500,
            max_anchors: 500,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 500,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Error::usage(format!("\"{file}\" cannot be read: {error}")))
}

/// A table with its entries in the order of the document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InOrder(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<InOrder, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// The table under a key; empty where there is none.
pub(super) fn table<'a>(value: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    value.get(key)?.as_object()
}

/// The text under a key.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// The list under a key; empty where there is none.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let found = value.get(key).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;

    #[test]
    fn hostile_documents_are_refused() {
        let deep = format!("a: {}1{}", "[".repeat(5000), "]".repeat(5000));
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (from, to) in ["ab", "bc", "cd", "de", "ef", "fg"].map(|pair| pair.split_at(1)) {
            let again = vec![format!("*{from}"); 10].join(",");
            bomb.push_str(&format!("{to}: &{to} [{again}]\n"));
        }
        let long = format!("a: \"{}\"", "x".repeat(MAX_YAML_BYTES));
        let wide = format!("a: [{}1]", "1,".repeat(500_000));
        for text in [
            &deep,
            &bomb,
            &long,
            &wide,
            "a: 1\na: 2\n",
            "a: [",
            "&a [*a]",
            "\u{0}",
        ] {
            let error = read(text, "x.yaml").unwrap_err();
            assert_eq!(error.outcome(), Outcome::Usage);
            assert!(error.message().contains("x.yaml"), "{error:?}");
        }
        let value = read("a: &x {b: on}\nc: *x\n", "x.yaml").unwrap();
        assert_eq!(value["c"]["b"], "on");
    }

    #[test]
    fn a_table_keeps_the_order_of_its_document() {
        let table: InOrder = read_as("z: 1\na: {y: 2}\nm:\n", "x.yaml").unwrap();
        let due = [
            ("z".to_owned(), 1.into()),
            ("a".to_owned(), serde_json::json!({"y": 2})),
            ("m".to_owned(), Value::Null),
        ];
        assert_eq!(table.0, due);
        assert!(read_as::<InOrder>("a: 1\nb: 2\na: 3\n", "x.yaml").is_err());
    }
}
