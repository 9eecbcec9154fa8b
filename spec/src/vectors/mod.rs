//! Test vectors: written from fixed seeds, and read back as another implementation would. Test code only.
//!
//! The expectations stand in the tables here, by hand; the files hold what the tables build. A test
//! fails when the two differ. (Those of `content`, `comparison` and `environment` were written by another
//! implementation and are only read.) To write the files again: `SEALSTONE_WRITE_VECTORS=1 cargo test vectors`.

#![allow(clippy::unwrap_used)]

mod comparison;
mod content;
mod documents;
mod environment;
mod forgery;
mod log;
mod recipe;
mod releases;
pub(crate) mod reports;
mod roots;
mod signing;
mod statements;
mod verdicts;

use serde_json::Value;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name)
}

/// The vectors in file `name`, after a check that they are what `built` says. Compared as values: the
/// order of keys in a file is nothing that an implementation may rest on.
fn agree(name: &str, built: &Value) -> Value {
    if std::env::var_os("SEALSTONE_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(built).unwrap();
        std::fs::write(path(name), text + "\n").unwrap();
    }
    let stored = std::fs::read(path(name)).unwrap();
    let stored: Value = serde_json::from_slice(&stored).unwrap();
    assert!(
        stored == *built,
        "vectors/{name} is not what its table builds"
    );
    stored
}

fn text<'a>(vector: &'a Value, pointer: &str) -> &'a str {
    vector
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{pointer}: {vector}"))
}
