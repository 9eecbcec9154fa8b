//! Chapter 8: documents with their digests, and differences row by row.

use super::{path, text};
use crate::environment::{Comparing, Facts, Override, Row, compare};
use serde_json::{Value, json};

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    let items = value[key].as_array().unwrap();
    assert!(!items.is_empty(), "no {key}");
    items
}

#[test]
fn documents_have_their_canonical_bytes_and_digests() {
    let vectors = read("environment/facts.json");
    for vector in list(&vectors, "accepted") {
        let name = text(vector, "/name");
        let facts = Facts::parse(vector["document"].to_string().as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(facts.to_json()).unwrap(),
            text(vector, "/canonical"),
            "{name}"
        );
        assert_eq!(
            facts.digest().to_string(),
            text(vector, "/digest"),
            "{name}"
        );
    }
    for vector in list(&vectors, "refused") {
        assert!(
            Facts::parse(text(vector, "/text").as_bytes()).is_err(),
            "{}",
            text(vector, "/name")
        );
    }
}

#[test]
fn differences_have_their_rows() {
    let vectors = read("environment/differences.json");
    for vector in list(&vectors, "differences") {
        let name = text(vector, "/name");
        let facts = |side: &str| {
            let document = json!({"schema": crate::environment::SCHEMA, "facts": vector[side]});
            Facts::parse(document.to_string().as_bytes()).unwrap()
        };
        let overrides: Vec<Override> = serde_json::from_value(vector["overrides"].clone()).unwrap();
        let comparing = Comparing {
            strictness: serde_json::from_value(vector["strictness"].clone()).unwrap(),
            replicate: vector["replicate"].as_bool().unwrap(),
            overrides: &overrides,
            today: text(vector, "/today").parse().unwrap(),
        };
        let difference = compare(&facts("base"), &facts("now"), &comparing);
        let rows: Vec<Row> = serde_json::from_value(vector["rows"].clone()).unwrap();
        assert_eq!(difference.rows, rows, "{name}");
        let expired: Vec<Override> = serde_json::from_value(vector["expired"].clone()).unwrap();
        assert_eq!(difference.expired, expired, "{name}");
        assert_eq!(
            Some(difference.is_inconclusive()),
            vector["inconclusive"].as_bool(),
            "{name}"
        );
    }
}
