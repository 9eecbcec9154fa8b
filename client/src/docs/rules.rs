//! The rules that a release is judged by, as names and values: what a changelog compares.
//!
//! Flat, in the words of recipe and policy, so that any two states can be compared without knowing them.
//! Invariant: no rule stands in another's place, so that none can change unseen.

use super::Sources;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
        for key in ["require", "why", "tolerance", "resources", "device"] {
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
            let mut taken: BTreeSet<String> = BTreeSet::new();
            for (index, value) in list.iter().enumerate() {
                // By what names it, so that another one before it changes nothing.
                let named = ["fact", "id", "name", "rule"]
                    .iter()
                    .find_map(|key| value.get(key)?.as_str());
                let key = named.map_or_else(|| index.to_string(), str::to_owned);
                // A policy may demand the same rule twice, of two roles: one would hide what changes in the other.
                let key = free(key, |key| taken.contains(key));
                flatten(&format!("{name}.{key}"), value, rules);
                taken.insert(key);
            }
        }
        value => {
            let text = match value {
                toml::Value::String(text) => Value::from(text.as_str()).to_string(),
                other => other.to_string(),
            };
            let name = free(name.to_owned(), |name| rules.contains_key(name));
            let replaced = rules.insert(name, text);
            debug_assert!(replaced.is_none(), "a rule hides another");
        }
    }
}

/// A name that is not taken yet: itself, or with the first number that makes it one.
fn free(name: String, is_taken: impl Fn(&str) -> bool) -> String {
    let mut found = name.clone();
    let mut number = 1;
    while is_taken(&found) {
        number += 1;
        found = format!("{name}#{number}");
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flat(text: &str) -> BTreeMap<String, String> {
        let mut rules = BTreeMap::new();
        let table = text.parse::<toml::Table>().unwrap();
        flatten("policy", &toml::Value::Table(table), &mut rules);
        rules
    }

    #[test]
    fn no_rule_hides_another_of_its_name() {
        let policy = |first: &str, second: &str| {
            flat(&format!(
                "[[scope]]\nid = \"release\"\n\
                 [[scope.require]]\nrule = \"approved\"\nrole = \"owner\"\nat-least = {first}\n\
                 [[scope.require]]\nrule = \"signed\"\n\
                 [[scope.require]]\nrule = \"approved\"\nrole = \"auditor\"\nat-least = {second}\n"
            ))
        };
        let rules = policy("1", "2");
        for (name, value) in [
            ("approved.role", "\"owner\""),
            ("approved.at-least", "1"),
            ("signed.rule", "\"signed\""),
            ("approved#2.role", "\"auditor\""),
            ("approved#2.at-least", "2"),
        ] {
            let name = format!("policy.scope.release.require.{name}");
            assert_eq!(rules.get(&name).map(String::as_str), Some(value), "{name}");
        }
        assert_ne!(policy("1", "2"), policy("3", "2"));
        assert_ne!(policy("1", "2"), policy("1", "3"));
        // Names that look like numbers, or like names with one, and keys that look like paths.
        for (text, count) in [
            (
                "x = [{ a = 1 }, { id = \"0\", a = 2 }, { id = \"0\", a = 3 }, { id = \"0#2\", a = 4 }]",
                7,
            ),
            (
                "x = { \"a.b\" = 1, a = { b = 2 } }\ny = [{ id = \"z.a\", b = 1 }, { id = \"z\", a = { b = 2 } }]",
                6,
            ),
        ] {
            assert_eq!(flat(text).len(), count, "{:?}", flat(text));
        }
    }
}
