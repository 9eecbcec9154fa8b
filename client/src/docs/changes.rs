//! `CHANGELOG.md`: rules that changed, from one writing of the documents to the next.
//!
//! The document keeps the rules of its last entry at its end, in a form that is read back. Entries are named by the
//! digests of recipe and policy, not by a time: whoever wants the day asks the repository.
//! Invariant: entries are never changed or taken away; one is added exactly if a rule is another than in the last.

use super::Sources;
use super::page::{code, head};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

const START: &str = "<!-- rules\n";
const END: &str = "\n-->\n";
const ENTRIES: &str = "\n## ";

pub(super) fn changelog(
    known: Option<&str>,
    rules: &BTreeMap<String, String>,
    sources: &Sources<'_>,
) -> Result<String> {
    let mut entries = String::new();
    match known {
        None => entries.push_str(&entry(sources, "First state of the rules.\n")),
        Some(known) => {
            let (before, old) = read(known)?;
            let changes = differences(&old, rules);
            if !changes.is_empty() {
                entries.push_str(&entry(sources, &changes));
            }
            // Newest first.
            entries.push_str(before);
            entries.push('\n');
        }
    }
    let state = serde_json::to_string_pretty(rules)
        .expect("texts are JSON")
        .replace("-->", "--\\u003e");
    Ok(format!("{}{entries}\n{START}{state}{END}", title()))
}

fn title() -> String {
    head(
        "Changes of the rules",
        "Every change of what counts as the same model and of who may release it, newest first: tolerances, classes, seeds, tests, \
         overrides, environments, the policy. When each came into force says the history of this file.",
    )
}

/// Entries and rules of an earlier document.
fn read(known: &str) -> Result<(&str, BTreeMap<String, String>)> {
    let refused = || {
        Error::usage("CHANGELOG.md was not written by sealstone docs, or its end was changed").hint(
            "keep what people wrote in another file, or write the documents elsewhere: --out DIR",
        )
    };
    let (before, rest) = known.rsplit_once(START).ok_or_else(refused)?;
    let state = rest.strip_suffix(END).ok_or_else(refused)?;
    let rules = serde_json::from_str(state).map_err(|_| refused())?;
    let at = before.find(ENTRIES).ok_or_else(refused)?;
    Ok((before[at..].trim_end_matches('\n'), rules))
}

fn entry(sources: &Sources<'_>, text: &str) -> String {
    let policy = sources
        .policy
        .map(|(policy, _)| format!(", policy `{}`", policy.digest()))
        .unwrap_or_default();
    format!(
        "{ENTRIES}Recipe `{}`{policy}\n\n{}\n",
        sources.project.recipe().digest(),
        text.trim_end()
    )
}

fn differences(old: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in now {
        match old.get(name) {
            None => text.push_str(&format!("- new: {} = {}\n", code(name), code(value))),
            Some(before) if before != value => {
                text.push_str(&format!(
                    "- {}: {} → {}\n",
                    code(name),
                    code(before),
                    code(value)
                ));
            }
            Some(_) => {}
        }
    }
    for (name, value) in old.iter().filter(|(name, _)| !now.contains_key(*name)) {
        text.push_str(&format!("- gone: {} = {}\n", code(name), code(value)));
    }
    text
}
