//! What changes from one policy to another, in plain words: for those who are asked to sign it.

use super::canonical;
use super::rule::Rule;
use super::{Policy, Scope};
use std::collections::BTreeMap;

impl Policy {
    /// What `next` changes, a line each; empty if the two mean the same.
    pub fn diff(&self, next: &Policy) -> Vec<String> {
        let mut lines = Vec::new();
        let mut change = |what: &str, from: String, to: String| {
            if from != to {
                lines.push(format!("{what}: {from} -> {to}"));
            }
        };
        let text =
            |time: Option<super::Time>| time.map_or("never".to_owned(), |time| time.to_string());
        change(
            "schema",
            self.edition().schema().into(),
            next.edition().schema().into(),
        );
        change(
            "version",
            self.version().to_string(),
            next.version().to_string(),
        );
        change("expires", text(self.expires()), text(next.expires()));
        let roots = |policy: &Policy| match policy.roots() {
            None => "none".to_owned(),
            Some(roots) => {
                let keys: Vec<String> = roots.keys.iter().map(|key| key.id().to_string()).collect();
                format!("{} of {}", roots.threshold, keys.join(", "))
            }
        };
        change("roots", roots(self), roots(next));
        let authority = |policy: &Policy| json(policy.authority());
        change("authority", authority(self), authority(next));
        compare(&mut lines, "identity", &identities(self), &identities(next));
        compare(&mut lines, "log", &logs(self), &logs(next));
        compare(
            &mut lines,
            "exception",
            &exceptions(self),
            &exceptions(next),
        );
        scopes(&mut lines, self, next);
        lines
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a policy is made of text and numbers")
}

/// Each identity by name; each of its keys in a line of text.
fn identities(policy: &Policy) -> BTreeMap<String, String> {
    let one = |identity: &super::Identity| {
        let keys: Vec<String> = identity
            .keys
            .iter()
            .map(|key| {
                let from = match key.valid_from_index {
                    0 => String::new(),
                    index => format!(" from log index {index} on"),
                };
                format!("{} for {}{from} {:?}", key.id(), key.roles, key.status)
            })
            .collect();
        let teams: Vec<&str> = identity.teams.iter().map(String::as_str).collect();
        format!("teams [{}], keys [{}]", teams.join(", "), keys.join("; "))
    };
    policy
        .identities()
        .iter()
        .map(|identity| (identity.name.clone(), one(identity)))
        .collect()
}

fn logs(policy: &Policy) -> BTreeMap<String, String> {
    policy
        .logs()
        .iter()
        .map(|log| (log.vkey.clone(), json(log)))
        .collect()
}

fn exceptions(policy: &Policy) -> BTreeMap<String, String> {
    policy
        .exceptions()
        .iter()
        .map(|exception| (exception.id.clone(), json(exception)))
        .collect()
}

fn compare(
    lines: &mut Vec<String>,
    what: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) {
    for (name, value) in old {
        match new.get(name) {
            None => lines.push(format!("{what} {name} is removed")),
            Some(other) if other != value => {
                lines.push(format!("{what} {name}: {value} -> {other}"));
            }
            Some(_) => {}
        }
    }
    for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        lines.push(format!("{what} {name} is added: {value}"));
    }
}

/// Scopes are told apart by their patterns.
fn scopes(lines: &mut Vec<String>, old: &Policy, new: &Policy) {
    let by_patterns = |policy: &Policy| -> BTreeMap<String, Scope> {
        let name = |scope: &Scope| json(&scope.repositories());
        let scopes = policy.scopes().iter();
        scopes.map(|scope| (name(scope), scope.clone())).collect()
    };
    let (old_scopes, new_scopes) = (by_patterns(old), by_patterns(new));
    for (name, scope) in &old_scopes {
        let Some(other) = new_scopes.get(name) else {
            lines.push(format!("scope {name} is removed"));
            continue;
        };
        let needs =
            |scope: &Scope| -> Vec<String> { scope.rules().iter().map(Rule::describe).collect() };
        let (before, after) = (needs(scope), needs(other));
        for gone in before.iter().filter(|need| !after.contains(need)) {
            lines.push(format!("scope {name} no longer asks for {gone}"));
        }
        for added in after.iter().filter(|need| !before.contains(need)) {
            lines.push(format!("scope {name} now asks for {added}"));
        }
        let rest = |scope: &Scope, edition| {
            let mut value = canonical::scope(scope, edition);
            value["require"] = serde_json::Value::Null;
            value.to_string()
        };
        let (before, after) = (rest(scope, old.edition()), rest(other, new.edition()));
        if before != after {
            lines.push(format!("scope {name}: {before} -> {after}"));
        }
    }
    for (name, scope) in new_scopes
        .iter()
        .filter(|(name, _)| !old_scopes.contains_key(*name))
    {
        let needs: Vec<String> = scope.rules().iter().map(Rule::describe).collect();
        let needs = match needs.is_empty() {
            true => "nothing".to_owned(),
            false => needs.join("; "),
        };
        lines.push(format!("scope {name} is added and asks for {needs}"));
    }
}
