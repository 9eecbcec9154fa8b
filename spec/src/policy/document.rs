//! The policy document: TOML into identities, scopes and rules, with nothing left over.
//!
//! Whatever in it could be meant in two ways, or could never be met, is an error here, when its author
//! is looking, and not a surprise at a release.

use super::reader::{Fields, Node, PolicyError, Source, suggest};
use super::rule::{Rule, Signatures};
use super::{Glob, Identity, MAX_POLICY_BYTES, SCHEMA, Scope, TagRule};
use crate::key::{KeyId, PublicKey};
use std::collections::BTreeMap;
use std::ops::Range;

const MAX_NAME_CHARS: usize = 100;
/// Most patterns in one document: all pairs of them are compared.
const MAX_PATTERNS: usize = 1000;

pub(super) fn read(toml: &str) -> Result<(Vec<Identity>, Vec<Scope>), PolicyError> {
    let source = Source(toml);
    if toml.len() > MAX_POLICY_BYTES {
        let problem = format!("{} bytes, at most {MAX_POLICY_BYTES} are read", toml.len());
        return Err(source.error(0..0, problem, None));
    }
    let document = source.document()?;
    let root = Fields::root(source, &document);
    // The schema first: under another one, every other complaint would mislead.
    let schema = root.require("schema")?;
    let found = source.text(schema, "schema")?;
    if found != SCHEMA {
        let problem = format!("schema \"{found}\" is not known here");
        let suggestion = format!("this version reads \"{SCHEMA}\"");
        return Err(source.error(schema.span(), problem, suggestion));
    }
    let root = root.only(&["schema", "identity", "scope"])?;
    let identities = identities(source, root.tables("identity")?)?;
    let scopes = scopes(source, root.tables("scope")?, &identities)?;
    Ok((identities, scopes))
}

fn identities<'a>(source: Source<'a>, nodes: &'a [Node<'a>]) -> Result<Vec<Identity>, PolicyError> {
    let mut identities: Vec<Identity> = Vec::new();
    let mut owners: BTreeMap<KeyId, String> = BTreeMap::new();
    for node in nodes {
        let fields = Fields::of(source, node, "identity")?.only(&["name", "keys"])?;
        let name_node = fields.require("name")?;
        let name = identity_name(source, name_node)?;
        if identities.iter().any(|other| other.name == name) {
            let problem = format!("identity \"{name}\" stands here for the second time");
            let suggestion = "put all its keys into one [[identity]]".to_owned();
            return Err(source.error(name_node.span(), problem, suggestion));
        }
        let keys_node = fields.require("keys")?;
        let mut keys = Vec::new();
        for node in source.list(keys_node, "keys")? {
            let key: PublicKey = source
                .text(node, "a key")?
                .parse()
                .map_err(|error| source.error(node.span(), format!("{error}"), None))?;
            if let Some(owner) = owners.insert(*key.id(), name.clone()) {
                let problem = format!("key {} already belongs to \"{owner}\"", key.id());
                let suggestion = "a key speaks for one identity, and stands there once".to_owned();
                return Err(source.error(node.span(), problem, suggestion));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            let problem = format!("identity \"{name}\" has no keys");
            return Err(source.error(keys_node.span(), problem, None));
        }
        identities.push(Identity { name, keys });
    }
    Ok(identities)
}

fn identity_name<'a>(source: Source<'a>, node: &'a Node<'a>) -> Result<String, PolicyError> {
    let name = source.text(node, "name")?;
    let length = name.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&length)
        || name.chars().any(char::is_control)
        || name.trim() != name
    {
        let problem = format!("a name has 1 to {MAX_NAME_CHARS} characters, no control characters");
        let suggestion = "and no space around it".to_owned();
        return Err(source.error(node.span(), problem, suggestion));
    }
    Ok(name.to_owned())
}

fn scopes<'a>(
    source: Source<'a>,
    nodes: &'a [Node<'a>],
    identities: &[Identity],
) -> Result<Vec<Scope>, PolicyError> {
    let mut scopes = Vec::new();
    let mut patterns: Vec<(usize, Glob, Range<usize>)> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let known = ["repositories", "tags", "staging", "require"];
        let fields = Fields::of(source, node, "scope")?.only(&known)?;
        let list = fields.require("repositories")?;
        let mut repositories = Vec::new();
        for node in source.list(list, "repositories")? {
            let glob: Glob = source
                .text(node, "a pattern")?
                .parse()
                .map_err(|error| source.error(node.span(), format!("{error}"), None))?;
            if patterns.len() == MAX_PATTERNS {
                let problem = format!("more than {MAX_PATTERNS} patterns in one policy");
                return Err(source.error(node.span(), problem, None));
            }
            patterns.push((index, glob.clone(), node.span()));
            repositories.push(glob);
        }
        if repositories.is_empty() {
            let problem = "a scope needs at least one pattern";
            return Err(source.error(list.span(), problem, "for all: [\"**\"]".to_owned()));
        }
        let mut require = Vec::new();
        for node in fields.tables("require")? {
            require.push(rule(source, node, identities)?);
        }
        scopes.push(Scope {
            repositories,
            tags: tag_rule(source, fields.get("tags"))?,
            staging: fields
                .get("staging")
                .map_or(Ok(true), |node| source.flag(node, "staging"))?,
            require,
        });
    }
    no_ties(source, &patterns)?;
    Ok(scopes)
}

fn tag_rule<'a>(source: Source<'a>, node: Option<&'a Node<'a>>) -> Result<TagRule, PolicyError> {
    let Some(node) = node else {
        return Ok(TagRule::Immutable);
    };
    match source.text(node, "tags")? {
        "immutable" => Ok(TagRule::Immutable),
        "mutable" => Ok(TagRule::Mutable),
        other => {
            let problem = format!("tags cannot be \"{other}\"");
            Err(source.error(
                node.span(),
                problem,
                suggest(other, &["immutable", "mutable"]),
            ))
        }
    }
}

/// Two patterns of different scopes that are equally specific and could match one name.
fn no_ties(
    source: Source<'_>,
    patterns: &[(usize, Glob, Range<usize>)],
) -> Result<(), PolicyError> {
    for (index, (scope, glob, place)) in patterns.iter().enumerate() {
        let tied = patterns[..index].iter().find(|(other_scope, other, _)| {
            other_scope != scope
                && other.specificity() == glob.specificity()
                && other.overlaps(glob)
        });
        if let Some((_, other, _)) = tied {
            let problem =
                format!("\"{glob}\" and \"{other}\" of another scope match the same names");
            let suggestion =
                "make one of them more specific, so that it is clear which holds".to_owned();
            return Err(source.error(place.clone(), problem, suggestion));
        }
    }
    Ok(())
}

fn rule<'a>(
    source: Source<'a>,
    node: &'a Node<'a>,
    identities: &[Identity],
) -> Result<Rule, PolicyError> {
    let fields = Fields::of(source, node, "require")?;
    let name_node = fields.require("rule")?;
    match source.text(name_node, "rule")? {
        Signatures::NAME => {
            let fields = fields.only(&["rule", "threshold", "identities"])?;
            signatures(source, &fields, identities).map(Rule::Signatures)
        }
        other => {
            let shown: String = other.chars().take(60).collect();
            let problem = format!("rule \"{shown}\" is not known");
            Err(source.error(name_node.span(), problem, suggest(&shown, &Rule::NAMES)))
        }
    }
}

fn signatures<'a>(
    source: Source<'a>,
    fields: &Fields<'a>,
    identities: &[Identity],
) -> Result<Signatures, PolicyError> {
    let list = fields.require("identities")?;
    let mut names: Vec<String> = Vec::new();
    for node in source.list(list, "identities")? {
        let name = source.text(node, "an identity")?;
        if !identities.iter().any(|identity| identity.name == name) {
            let known: Vec<&str> = identities
                .iter()
                .map(|identity| identity.name.as_str())
                .collect();
            let problem = format!("identity \"{name}\" is not defined");
            let hint = suggest(name, &known).unwrap_or("add an [[identity]] for it".into());
            return Err(source.error(node.span(), problem, hint));
        }
        if names.iter().any(|other| other == name) {
            let problem = format!("identity \"{name}\" stands twice and would count once");
            return Err(source.error(node.span(), problem, None));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(source.error(
            list.span(),
            "a rule without identities can never be met",
            None,
        ));
    }
    let node = fields.get("threshold");
    let threshold = node.map_or(Ok(1), |node| source.count(node, "threshold"))?;
    let reachable = u32::try_from(names.len()).unwrap_or(u32::MAX);
    if threshold > reachable {
        let place = node.map_or_else(|| fields.place(), |node| node.span());
        let problem = format!("threshold {threshold} can never be met by {reachable} identities");
        let suggestion = "the keys of one identity count once".to_owned();
        return Err(source.error(place, problem, suggestion));
    }
    Ok(Signatures::new(threshold, names))
}
