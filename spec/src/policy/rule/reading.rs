//! What the tables of rules have in common, read: thresholds, roles, names.

use super::super::identity::Identity;
use super::super::reader::{Fields, Node, PolicyError, Source, suggest};

/// `threshold`, or 1.
pub(in super::super) fn threshold(fields: &Fields<'_>) -> Result<u32, PolicyError> {
    fields
        .get("threshold")
        .map_or(Ok(1), |node| fields.source().count(node, "threshold"))
}

/// `role`, or the rule's own.
pub(super) fn role(fields: &Fields<'_>, default: &str) -> Result<String, PolicyError> {
    match fields.get("role") {
        None => Ok(default.to_owned()),
        Some(node) => super::super::document::word(fields.source(), node, "a role"),
    }
}

/// Names of identities, each defined and there once.
pub(in super::super) fn identity_names<'a>(
    source: Source<'a>,
    list: &'a Node,
    identities: &[Identity],
) -> Result<Vec<String>, PolicyError> {
    let mut names: Vec<String> = Vec::new();
    for node in source.list(list, "identities")? {
        let name = source.text(node, "an identity")?;
        if !identities.iter().any(|identity| identity.name == name) {
            let known: Vec<&str> = identities
                .iter()
                .map(|identity| identity.name.as_str())
                .collect();
            let shown: String = name.chars().take(100).collect();
            let problem = format!("identity \"{shown}\" is not defined");
            let hint = suggest(&shown, &known).unwrap_or("add an [[identity]] for it".into());
            return Err(source.error(node.place(), problem, hint));
        }
        if names.iter().any(|other| other == name) {
            let problem = format!("identity \"{name}\" stands twice and would count once");
            return Err(source.error(node.place(), problem, None));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(source.error(
            list.place(),
            "a rule without identities can never be met",
            None,
        ));
    }
    Ok(names)
}

/// Refuses a threshold that those who may sign cannot reach.
pub(in super::super) fn reachable(
    fields: &Fields<'_>,
    threshold: u32,
    names: &[String],
    role: Option<&str>,
    identities: &[Identity],
) -> Result<(), PolicyError> {
    let counted = identities
        .iter()
        .filter(|identity| names.is_empty() || names.contains(&identity.name))
        .filter(|identity| role.is_none_or(|role| identity.has_role(role)))
        .count();
    if threshold as usize <= counted {
        return Ok(());
    }
    let place = fields
        .get("threshold")
        .map_or_else(|| fields.place(), Node::place);
    let problem = match role {
        None => format!("threshold {threshold} can never be met by {counted} identities"),
        Some(role) => format!(
            "threshold {threshold} can never be met by {counted} identities that have an active key with role \"{role}\""
        ),
    };
    let suggestion = "the keys of one identity count once".to_owned();
    Err(fields.source().error(place, problem, suggestion))
}

/// A list of texts, each of 1 to 500 characters.
pub(super) fn texts(fields: &Fields<'_>, key: &str) -> Result<Vec<String>, PolicyError> {
    let Some(list) = fields.get(key) else {
        return Ok(Vec::new());
    };
    let mut texts: Vec<String> = Vec::new();
    for node in fields.source().list(list, key)? {
        let text = super::super::document::plain_text(fields.source(), node, key)?;
        if texts.contains(&text) {
            let problem = format!("\"{text}\" stands here for the second time");
            return Err(fields.source().error(node.place(), problem, None));
        }
        texts.push(text);
    }
    if texts.is_empty() {
        let problem = format!("an empty list of {key} can never be met");
        return Err(fields.source().error(list.place(), problem, None));
    }
    Ok(texts)
}
