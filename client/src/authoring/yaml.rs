//! YAML of other tools, read within limits.
//!
//! Nesting, nodes and what aliases unfold to are bounded, so a file cannot cost more than its length allows.
//! Duplicate keys are refused. Invariant: what is refused is named with the file's name.

use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// Longest file that is read, in bytes.
pub(super) const MAX_YAML_BYTES: usize = 8 << 20;

/// Reads a document.
///
/// # Errors
/// If it is too long, no YAML, or beyond the limits.
pub fn read(text: &str, file: &str) -> Result<Value> {
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
}
