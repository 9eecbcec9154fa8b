//! The rules that a release is judged by, as names and values: what a changelog compares.
//!
//! Flat, in the words of recipe and policy, so that any two states can be compared without knowing them.

use super::Sources;
use serde_json::Value;
use std::collections::BTreeMap;

/// Sections of a recipe that are rules; commands and paths are no rules.
const RULES: [&str; 8] = [
    "determinism",
    "isolation",
    "usage",
    "replicates",
    "metric",
    "test",
    "override",
    "environment",
];

/// Names and values of every rule.
pub(super) fn rules(sources: &Sources<'_>) -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    let Ok(recipe) = sources.project.text().parse::<toml::Table>() else {
        return rules;
    };
    for key in RULES {
        if let Some(value) = recipe.get(key) {
            flatten(key, value, &mut rules);
        }
    }
    for key in ["risk", "owner"] {
        if let Some(value) = recipe.get("recipe").and_then(|table| table.get(key)) {
            flatten(&format!("recipe.{key}"), value, &mut rules);
        }
    }
    let stages = recipe.get("stage").and_then(toml::Value::as_table);
    for (name, stage) in stages.into_iter().flatten() {
        for key in ["require", "tolerance", "resources", "device"] {
            if let Some(value) = stage.get(key) {
                flatten(&format!("stage.{name}.{key}"), value, &mut rules);
            }
        }
    }
    if let Some((_, text)) = sources.policy
        && let Ok(policy) = text.parse::<toml::Table>()
    {
        flatten("policy", &toml::Value::Table(policy), &mut rules);
    }
    rules
}

fn flatten(name: &str, value: &toml::Value, rules: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                flatten(&format!("{name}.{key}"), value, rules);
            }
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            for (index, value) in list.iter().enumerate() {
                // By what names it, so that another one before it changes nothing.
                let named = ["fact", "id", "name", "rule"]
                    .iter()
                    .find_map(|key| value.get(key)?.as_str());
                let key = named.map_or_else(|| index.to_string(), str::to_owned);
                flatten(&format!("{name}.{key}"), value, rules);
            }
        }
        value => {
            let text = match value {
                toml::Value::String(text) => Value::from(text.as_str()).to_string(),
                other => other.to_string(),
            };
            rules.insert(name.to_owned(), text);
        }
    }
}
