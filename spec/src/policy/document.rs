//! The policy document: a tree into identities, scopes and rules, with nothing left over.
//!
//! Whatever in it could be meant in two ways, or could never be met, is an error here, when its author
//! is looking, and not a surprise at a release.

mod people;
mod scopes;

use super::identity::Identity;
use super::reader::{Fields, Node, PolicyError, Source};
use super::rule::Rule;
use super::scope::{Authority, Roots, Scope, StandingException, TrustedLog};
use super::{Edition, MAX_POLICY_BYTES, Time};
use crate::key::PublicKey;
use people::{identities, public_key};
use scopes::{exceptions, scopes};
use std::collections::BTreeSet;

const MAX_NAME_CHARS: usize = 100;
/// Most roles of one key. What becomes of a key is an entry of the log, with its roles, and an entry has a bound.
const MAX_ROLES: usize = 64;
/// Everything that a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) edition: Edition,
    pub(super) version: u64,
    pub(super) expires: Option<Time>,
    pub(super) roots: Option<Roots>,
    pub(super) identities: Vec<Identity>,
    pub(super) logs: Vec<TrustedLog>,
    pub(super) authority: Authority,
    pub(super) scopes: Vec<Scope>,
    pub(super) exceptions: Vec<StandingException>,
}

impl Parts {
    /// What holds where nothing was said.
    pub(super) fn empty() -> Parts {
        Parts {
            edition: Edition::V1,
            version: 0,
            expires: None,
            roots: None,
            identities: Vec::new(),
            logs: Vec::new(),
            authority: Authority::default(),
            scopes: Vec::new(),
            exceptions: Vec::new(),
        }
    }
}

pub(super) fn read_toml(toml: &str) -> Result<Parts, PolicyError> {
    if toml.len() > MAX_POLICY_BYTES {
        let problem = format!("{} bytes, at most {MAX_POLICY_BYTES} are read", toml.len());
        return Err(Source(Some(toml)).error(0..0, problem, None));
    }
    let (source, root) = Source::toml(toml)?;
    read(source, &root)
}

pub(super) fn read_json(value: &serde_json::Value) -> Result<Parts, PolicyError> {
    let (source, root) = Source::json(value);
    let parts = read(source, &root)?;
    match parts.edition {
        Edition::V1 => Err(PolicyError::nowhere(
            "documents of version 1 are not signed: write one of \"sealstone-policy/v2\"",
        )),
        Edition::V2 => Ok(parts),
    }
}

fn read<'a>(source: Source<'a>, root: &'a Node) -> Result<Parts, PolicyError> {
    let root = Fields::of(source, root, "policy")?;
    // The schema first: under another one, every other complaint would mislead.
    let schema = root.require("schema")?;
    let found = source.text(schema, "schema")?;
    let Some(edition) = Edition::of(found) else {
        let shown: String = found.chars().take(60).collect();
        let problem = format!("schema \"{shown}\" is not known here");
        let suggestion = format!(
            "this version reads \"{}\" and \"{}\"",
            Edition::V1.schema(),
            Edition::V2.schema()
        );
        return Err(source.error(schema.place(), problem, suggestion));
    };
    match edition {
        Edition::V1 => {
            let root = root.only(&["schema", "identity", "scope"])?;
            let identities = identities(source, root.tables("identity")?, edition)?;
            let scopes = scopes(source, root.tables("scope")?, &identities, edition)?;
            Ok(Parts {
                identities,
                scopes,
                ..Parts::empty()
            })
        }
        Edition::V2 => second(source, root),
    }
}

fn second<'a>(source: Source<'a>, root: Fields<'a>) -> Result<Parts, PolicyError> {
    let root = root.only(&[
        "schema",
        "version",
        "expires",
        "roots",
        "identity",
        "log",
        "authority",
        "scope",
        "exception",
    ])?;
    let version_node = root.require("version")?;
    let version = source.index(version_node, "version")?;
    if version == 0 {
        let problem = "versions begin at 1 and grow with every change";
        return Err(source.error(version_node.place(), problem, None));
    }
    let expires = time(source, root.require("expires")?, "expires")?;
    let roots = roots(source, root.require("roots")?)?;
    let identities = identities(source, root.tables("identity")?, Edition::V2)?;
    for (identity, key) in identities
        .iter()
        .flat_map(|identity| identity.keys.iter().map(move |key| (identity, key)))
    {
        if roots.keys.contains(&key.public) {
            let problem = format!(
                "key {} of \"{}\" is a root key too",
                key.id(),
                identity.name
            );
            let suggestion =
                "root keys stay offline and sign the policy and nothing else".to_owned();
            return Err(source.error(root.place(), problem, suggestion));
        }
    }
    let scopes = scopes(source, root.tables("scope")?, &identities, Edition::V2)?;
    let logs = logs(source, root.tables("log")?)?;
    let mut rules = scopes.iter().flat_map(|scope| &scope.require);
    if logs.is_empty() && rules.any(|rule| matches!(rule, Rule::Log(_))) {
        let problem = "a rule \"log\" can never be met without a [[log]]";
        return Err(source.error(root.place(), problem, None));
    }
    Ok(Parts {
        edition: Edition::V2,
        version,
        expires: Some(expires),
        roots: Some(roots),
        logs,
        authority: authority(source, root.get("authority"))?,
        exceptions: exceptions(source, root.tables("exception")?, &identities)?,
        identities,
        scopes,
    })
}

pub(super) fn time<'a>(
    source: Source<'a>,
    node: &'a Node,
    what: &str,
) -> Result<Time, PolicyError> {
    source
        .text(node, what)?
        .parse()
        .map_err(|error| source.error(node.place(), format!("{what}: {error}"), None))
}

fn roots<'a>(source: Source<'a>, node: &'a Node) -> Result<Roots, PolicyError> {
    let fields = Fields::of(source, node, "roots")?.only(&["threshold", "keys"])?;
    let keys_node = fields.require("keys")?;
    let mut keys: Vec<PublicKey> = Vec::new();
    for node in source.list(keys_node, "keys")? {
        let key = public_key(source, node)?;
        if keys.contains(&key) {
            let problem = format!("root key {} stands here for the second time", key.id());
            return Err(source.error(node.place(), problem, None));
        }
        keys.push(key);
    }
    let threshold_node = fields.require("threshold")?;
    let threshold = source.count(threshold_node, "threshold")?;
    if threshold as usize > keys.len() {
        let problem = format!(
            "threshold {threshold} can never be met by {} root keys",
            keys.len()
        );
        return Err(source.error(threshold_node.place(), problem, None));
    }
    Ok(Roots { threshold, keys })
}

fn plain_name<'a>(source: Source<'a>, node: &'a Node) -> Result<String, PolicyError> {
    let name = source.text(node, "name")?;
    if is_plain(name, MAX_NAME_CHARS) {
        return Ok(name.to_owned());
    }
    let problem = format!("a name has 1 to {MAX_NAME_CHARS} characters, no control characters");
    let suggestion = "and no space around it".to_owned();
    Err(source.error(node.place(), problem, suggestion))
}

pub(super) fn plain_text<'a>(
    source: Source<'a>,
    node: &'a Node,
    what: &str,
) -> Result<String, PolicyError> {
    let text = source.text(node, what)?;
    if is_plain(text, 500) {
        return Ok(text.to_owned());
    }
    let problem = format!("{what} has 1 to 500 characters, no control characters");
    Err(source.error(node.place(), problem, None))
}

fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && text.trim() == text
}

/// A role, a team: short, in small letters.
pub(super) fn word<'a>(
    source: Source<'a>,
    node: &'a Node,
    what: &str,
) -> Result<String, PolicyError> {
    let text = source.text(node, what)?;
    let is_word = (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if is_word {
        return Ok(text.to_owned());
    }
    let problem = format!("{what} has 1 to 40 characters: small letters, digits, - and _");
    Err(source.error(node.place(), problem, None))
}

pub(super) fn words<'a>(
    source: Source<'a>,
    node: Option<&'a Node>,
    what: &str,
) -> Result<BTreeSet<String>, PolicyError> {
    let mut words = BTreeSet::new();
    let Some(node) = node else {
        return Ok(words);
    };
    for node in source.list(node, what)? {
        let text = word(source, node, what)?;
        if !words.insert(text.clone()) {
            let problem = format!("\"{text}\" stands here for the second time");
            return Err(source.error(node.place(), problem, None));
        }
    }
    Ok(words)
}

/// The roles of keys.
pub(super) fn key_roles<'a>(
    source: Source<'a>,
    node: Option<&'a Node>,
) -> Result<BTreeSet<String>, PolicyError> {
    let roles = words(source, node, "a role")?;
    if let Some(node) = node
        && roles.len() > MAX_ROLES
        && source.is_written()
    {
        let problem = format!(
            "{} roles stand here: a key has at most {MAX_ROLES}",
            roles.len()
        );
        return Err(source.error(node.place(), problem, None));
    }
    Ok(roles)
}

fn logs<'a>(source: Source<'a>, nodes: &'a [Node]) -> Result<Vec<TrustedLog>, PolicyError> {
    let mut logs: Vec<TrustedLog> = Vec::new();
    for node in nodes {
        let fields = Fields::of(source, node, "log")?.only(&["vkey", "witnesses", "quorum"])?;
        let vkey_node = fields.require("vkey")?;
        let vkey = plain_text(source, vkey_node, "vkey")?;
        if logs.iter().any(|log| log.vkey == vkey) {
            let problem = "this log stands here for the second time";
            return Err(source.error(vkey_node.place(), problem, None));
        }
        let mut witnesses: Vec<String> = Vec::new();
        for node in fields
            .get("witnesses")
            .map_or(Ok(&[][..]), |node| source.list(node, "witnesses"))?
        {
            let witness = plain_text(source, node, "a witness")?;
            if witnesses.contains(&witness) {
                let problem = "this witness stands here for the second time";
                return Err(source.error(node.place(), problem, None));
            }
            witnesses.push(witness);
        }
        let quorum_node = fields.get("quorum");
        let quorum = quorum_node.map_or(Ok(0), |node| source.index(node, "quorum"))?;
        if quorum > witnesses.len() as u64 {
            let place = quorum_node.map_or_else(|| fields.place(), Node::place);
            let problem = format!(
                "quorum {quorum} can never be met by {} witnesses",
                witnesses.len()
            );
            return Err(source.error(place, problem, None));
        }
        let log = TrustedLog {
            vkey,
            witnesses,
            quorum: u32::try_from(quorum).unwrap_or(u32::MAX),
        };
        log.trust()
            .map_err(|error| source.error(vkey_node.place(), error.to_string(), None))?;
        // What was signed before this was refused is read as it was, and the two are told apart by their keys.
        if source.is_written() && logs.iter().any(|other| other.name() == log.name()) {
            let problem = TrustedLog::namesake(log.name());
            let suggestion = "a log that was set up anew takes the place of the old one".to_owned();
            return Err(source.error(vkey_node.place(), problem, suggestion));
        }
        logs.push(log);
    }
    Ok(logs)
}

fn authority<'a>(source: Source<'a>, node: Option<&'a Node>) -> Result<Authority, PolicyError> {
    let Some(node) = node else {
        return Ok(Authority::default());
    };
    let fields = Fields::of(source, node, "authority")?.only(&[
        "reject",
        "deprecate",
        "revoke",
        "incident",
        "close",
    ])?;
    let default = Authority::default();
    let roles = |key: &'static str, default: BTreeSet<String>| match fields.get(key) {
        None => Ok(default),
        Some(node) => {
            let roles = words(source, Some(node), "a role")?;
            match roles.is_empty() {
                true => Err(source.error(
                    node.place(),
                    format!("nobody would have the word on \"{key}\" of a release"),
                    "name a role".to_owned(),
                )),
                false => Ok(roles),
            }
        }
    };
    Ok(Authority {
        reject: roles("reject", default.reject)?,
        deprecate: roles("deprecate", default.deprecate)?,
        revoke: roles("revoke", default.revoke)?,
        incident: roles("incident", default.incident)?,
        close: roles("close", default.close)?,
    })
}
