//! Models as LightGBM writes them: sections of `key=value value ...` lines.
//!
//! They become a document of sections, keys and lists, and are compared as JSON is. `tree_sizes` counts the bytes of
//! the text itself and is left out.

use super::bytes::Bytes;
use super::json;
use super::limits::{Unreadable, malformed};
use super::sets::Found;
use sealstone_spec::compare::ArtifactRule;
use serde_json::{Map, Value};

/// Bytes of a model: its values take some ten times as much memory.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

pub(super) fn compare(base: &Bytes, now: &Bytes, rule: &ArtifactRule) -> Result<Found, Unreadable> {
    json::compare(&read(base)?, &read(now)?, rule, true)
}

fn read(file: &Bytes) -> Result<Value, Unreadable> {
    let content = file.read_all(MAX_BYTES)?;
    let text = std::str::from_utf8(&content)
        .map_err(|_| Unreadable::Malformed("the model is no UTF-8".to_owned()))?;
    let mut document = Map::new();
    let mut name = "head".to_owned();
    let mut section = Map::new();
    for line in text.lines().map(str::trim) {
        let is_section = line.starts_with("Tree=")
            || matches!(
                line,
                "parameters:" | "feature_importances:" | "feature importances:" | "end of trees"
            );
        if is_section {
            close(&mut document, &name, &mut section)?;
            name = line.trim_end_matches(':').to_owned();
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some(("tree_sizes", _)) => continue,
            Some((key, value)) => (key.to_owned(), value),
            None if line.is_empty() => continue,
            None => (format!("line {}", section.len() + 1), line),
        };
        let words: Vec<Value> = value.split_ascii_whitespace().map(Value::from).collect();
        if section.insert(key, Value::Array(words)).is_some() {
            return malformed(format!("a key stands twice in section \"{name}\""));
        }
    }
    close(&mut document, &name, &mut section)?;
    Ok(Value::Object(document))
}

fn close(
    document: &mut Map<String, Value>,
    name: &str,
    section: &mut Map<String, Value>,
) -> Result<(), Unreadable> {
    let taken = std::mem::take(section);
    match document.insert(name.to_owned(), Value::Object(taken)) {
        None => Ok(()),
        Some(_) => malformed(format!("section \"{name}\" stands twice")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::compare::Class;

    fn model(leaf: &str, sizes: &str, rate: &str) -> Bytes {
        let text = format!(
            "tree\nversion=v4\nnum_class=1\ntree_sizes={sizes}\n\nTree=0\nnum_leaves=3\nsplit_feature=4 2\n\
             leaf_value=0.1 {leaf} -0.3\n\n\nend of trees\n\nfeature_importances:\na=3\n\nparameters:\n\
             [boosting: gbdt]\n[learning_rate: {rate}]\n\nend of parameters\n"
        );
        Bytes::of_memory(text.into_bytes())
    }

    #[test]
    fn leaves_are_gated_and_parameters_exact() {
        let base = model("0.25", "120", "0.1");
        let rule = ArtifactRule::of(Class::Numeric);
        let found = |now: &Bytes| compare(&base, now, &rule).unwrap();
        assert_eq!(
            found(&model("2.5e-1", "122", "0.1")).class,
            Class::ContentExact
        );
        assert_eq!(
            found(&model("0.25000000000001", "131", "0.1")).class,
            Class::Numeric
        );
        let moved = found(&model("0.35", "120", "0.1"));
        assert_eq!(moved.class, Class::Divergent);
        assert_eq!(
            moved.first.unwrap().locator.to_string(),
            "pointer:/Tree=0/leaf_value/1"
        );
        assert_eq!(found(&model("0.25", "120", "0.2")).class, Class::Divergent);
    }

    #[test]
    fn names_and_ranges_of_features_are_no_numbers() {
        let model = |names: &str, ranges: &str, leaf: &str| {
            let text = format!(
                "tree\nversion=v4\nfeature_names={names}\nfeature_infos={ranges}\n\nTree=0\nleaf_value={leaf}\n\n"
            );
            Bytes::of_memory(text.into_bytes())
        };
        let base = model("1e3 2e3", "[0:1] 7", "0.5");
        let rule = toml::from_str("class = \"numeric\"\nabs = 1.0").unwrap();
        for (names, ranges, place) in [
            ("1000 2e3", "[0:1] 7", "feature_names/0"),
            ("1e3 2000.0000001", "[0:1] 7", "feature_names/1"),
            ("1e3 2e3", "[0:1] 7.0", "feature_infos/1"),
        ] {
            let other = compare(&base, &model(names, ranges, "0.5"), &rule).unwrap();
            assert_eq!(
                (other.class, other.first.unwrap().locator.to_string()),
                (Class::Divergent, format!("pointer:/head/{place}"))
            );
        }
        let other = compare(&base, &model("1e3 2e3", "[0:1] 7", "5e-1"), &rule).unwrap();
        assert_eq!(other.class, Class::ContentExact);
    }
}
