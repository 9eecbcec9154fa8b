//! Scopes, their rules and exceptions, as a document states them. Two scopes that could both hold are an error.

use super::{plain_name, plain_text, time, word};
use crate::policy::Edition;
use crate::policy::glob::Glob;
use crate::policy::identity::Identity;
use crate::policy::reader::{Fields, Node, PolicyError, Source, suggest};
use crate::policy::rule::{self, Rule};
use crate::policy::scope::{ExceptionRule, Scope, StandingException, TagRule};
use std::collections::BTreeSet;
use std::ops::Range;

/// Most patterns in one document: all pairs of them are compared.
const MAX_PATTERNS: usize = 1000;

fn globs<'a>(source: Source<'a>, node: &'a Node) -> Result<Vec<(Glob, Range<usize>)>, PolicyError> {
    let mut globs = Vec::new();
    for node in source.list(node, "repositories")? {
        let glob: Glob = source
            .text(node, "a pattern")?
            .parse()
            .map_err(|error| source.error(node.place(), format!("{error}"), None))?;
        globs.push((glob, node.place()));
    }
    Ok(globs)
}

pub(super) fn scopes<'a>(
    source: Source<'a>,
    nodes: &'a [Node],
    identities: &[Identity],
    edition: Edition,
) -> Result<Vec<Scope>, PolicyError> {
    let mut scopes = Vec::new();
    let mut patterns: Vec<(usize, Glob, Range<usize>)> = Vec::new();
    let known: &[&str] = match edition {
        Edition::V1 => &["repositories", "tags", "staging", "require"],
        Edition::V2 => &["repositories", "tags", "staging", "require", "exceptions"],
    };
    for (index, node) in nodes.iter().enumerate() {
        let fields = Fields::of(source, node, "scope")?.only(known)?;
        let list = fields.require("repositories")?;
        let mut repositories = Vec::new();
        for (glob, place) in globs(source, list)? {
            if patterns.len() == MAX_PATTERNS {
                let problem = format!("more than {MAX_PATTERNS} patterns in one policy");
                return Err(source.error(place, problem, None));
            }
            patterns.push((index, glob.clone(), place));
            repositories.push(glob);
        }
        if repositories.is_empty() {
            let problem = "a scope needs at least one pattern";
            return Err(source.error(list.place(), problem, "for all: [\"**\"]".to_owned()));
        }
        let mut require: Vec<Rule> = Vec::new();
        for node in fields.tables("require")? {
            require.push(rule::read(source, node, identities, edition)?);
        }
        scopes.push(Scope {
            repositories,
            tags: tag_rule(source, fields.get("tags"))?,
            staging: fields
                .get("staging")
                .map_or(Ok(true), |node| source.flag(node, "staging"))?,
            require,
            exceptions: fields
                .get("exceptions")
                .map(|node| exception_rule(source, node, identities))
                .transpose()?,
        });
    }
    no_ties(source, &patterns)?;
    Ok(scopes)
}

fn exception_rule<'a>(
    source: Source<'a>,
    node: &'a Node,
    identities: &[Identity],
) -> Result<ExceptionRule, PolicyError> {
    let known = ["rules", "role", "threshold", "max_days"];
    let fields = Fields::of(source, node, "exceptions")?.only(&known)?;
    let list = fields.require("rules")?;
    let mut rules = BTreeSet::new();
    for node in source.list(list, "rules")? {
        rules.insert(waivable(source, node)?);
    }
    if rules.is_empty() {
        let problem = "exceptions from no rule can never be used";
        return Err(source.error(list.place(), problem, None));
    }
    let role_node = fields.require("role")?;
    let role = word(source, role_node, "a role")?;
    let threshold = rule::threshold(&fields)?;
    rule::reachable(&fields, threshold, &[], Some(&role), identities)?;
    Ok(ExceptionRule {
        rules,
        role,
        threshold,
        max_days: fields
            .get("max_days")
            .map_or(Ok(7), |node| source.count(node, "max_days"))?,
    })
}

/// The name of a rule from which there can be exceptions.
fn waivable<'a>(source: Source<'a>, node: &'a Node) -> Result<String, PolicyError> {
    let name = source.text(node, "a rule")?;
    if Rule::NAMES.contains(&name) {
        // What was signed before this was refused is read as it was: nobody could change it in time, and a server that
        // holds it would not start. It waives nothing.
        if Rule::is_waivable(name) || !source.is_written() {
            return Ok(name.to_owned());
        }
        return Err(source.error(node.place(), rule::not_waivable(name), None));
    }
    let shown: String = name.chars().take(60).collect();
    let problem = format!("rule \"{shown}\" is not known");
    Err(source.error(node.place(), problem, suggest(&shown, &Rule::NAMES)))
}

pub(super) fn exceptions<'a>(
    source: Source<'a>,
    nodes: &'a [Node],
    identities: &[Identity],
) -> Result<Vec<StandingException>, PolicyError> {
    let mut exceptions: Vec<StandingException> = Vec::new();
    for node in nodes {
        let fields = Fields::of(source, node, "exception")?.only(&[
            "id",
            "repositories",
            "rule",
            "reason",
            "ticket",
            "approved_by",
            "expires",
            "max_uses",
        ])?;
        let id_node = fields.require("id")?;
        let id = plain_name(source, id_node)?;
        if exceptions.iter().any(|other| other.id == id) {
            let problem = format!("exception \"{id}\" stands here for the second time");
            return Err(source.error(id_node.place(), problem, None));
        }
        let list = fields.require("repositories")?;
        let repositories: Vec<Glob> = globs(source, list)?
            .into_iter()
            .map(|(glob, _)| glob)
            .collect();
        if repositories.is_empty() {
            let problem = "an exception needs at least one pattern";
            return Err(source.error(list.place(), problem, None));
        }
        let approved_node = fields.require("approved_by")?;
        let approved_by = rule::identity_names(source, approved_node, identities)?;
        exceptions.push(StandingException {
            id,
            repositories,
            rule: waivable(source, fields.require("rule")?)?,
            reason: plain_text(source, fields.require("reason")?, "reason")?,
            ticket: plain_text(source, fields.require("ticket")?, "ticket")?,
            approved_by,
            expires: time(source, fields.require("expires")?, "expires")?,
            max_uses: source.count(fields.require("max_uses")?, "max_uses")?,
        });
    }
    Ok(exceptions)
}

fn tag_rule<'a>(source: Source<'a>, node: Option<&'a Node>) -> Result<TagRule, PolicyError> {
    let Some(node) = node else {
        return Ok(TagRule::Immutable);
    };
    match source.text(node, "tags")? {
        "immutable" => Ok(TagRule::Immutable),
        "mutable" => Ok(TagRule::Mutable),
        other => {
            let problem = format!("tags cannot be \"{other}\"");
            let known = ["immutable", "mutable"];
            Err(source.error(node.place(), problem, suggest(other, &known)))
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
