//! Identities and their keys, as a document states them.

use super::{key_roles, plain_name, plain_text, words};
use crate::key::{KeyId, PublicKey};
use crate::policy::Edition;
use crate::policy::identity::{Identity, Key, Roles, Status};
use crate::policy::reader::{Fields, Node, PolicyError, Source, suggest};
use std::collections::BTreeMap;

pub(super) fn public_key<'a>(source: Source<'a>, node: &'a Node) -> Result<PublicKey, PolicyError> {
    source
        .text(node, "a key")?
        .parse()
        .map_err(|error| source.error(node.place(), format!("{error}"), None))
}

pub(super) fn identities<'a>(
    source: Source<'a>,
    nodes: &'a [Node],
    edition: Edition,
) -> Result<Vec<Identity>, PolicyError> {
    let mut identities: Vec<Identity> = Vec::new();
    let mut owners: BTreeMap<KeyId, String> = BTreeMap::new();
    let known: &[&str] = match edition {
        Edition::V1 => &["name", "keys"],
        Edition::V2 => &["name", "teams", "roles", "keys"],
    };
    for node in nodes {
        let fields = Fields::of(source, node, "identity")?.only(known)?;
        let name_node = fields.require("name")?;
        let name = plain_name(source, name_node)?;
        if identities.iter().any(|other| other.name == name) {
            let problem = format!("identity \"{name}\" stands here for the second time");
            let suggestion = "put all its keys into one [[identity]]".to_owned();
            return Err(source.error(name_node.place(), problem, suggestion));
        }
        let roles = match edition {
            Edition::V1 => Roles::Every,
            Edition::V2 => Roles::Of(key_roles(source, fields.get("roles"))?),
        };
        let keys_node = fields.require("keys")?;
        let mut keys = Vec::new();
        for node in source.list(keys_node, "keys")? {
            let key = match edition {
                Edition::V2 if node.is_table() => key_of(source, node, &roles)?,
                _ => Key {
                    public: public_key(source, node)?,
                    roles: roles.clone(),
                    valid_from_index: 0,
                    status: Status::Active,
                },
            };
            if let Some(owner) = owners.insert(*key.id(), name.clone()) {
                let problem = format!("key {} already belongs to \"{owner}\"", key.id());
                let suggestion = "a key speaks for one identity, and stands there once".to_owned();
                return Err(source.error(node.place(), problem, suggestion));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            let problem = format!("identity \"{name}\" has no keys");
            return Err(source.error(keys_node.place(), problem, None));
        }
        identities.push(Identity {
            name,
            teams: words(source, fields.get("teams"), "a team")?,
            keys,
        });
    }
    Ok(identities)
}

fn key_of<'a>(source: Source<'a>, node: &'a Node, roles: &Roles) -> Result<Key, PolicyError> {
    let fields = Fields::of(source, node, "key")?.only(&[
        "key",
        "roles",
        "status",
        "valid_from_index",
        "valid_until_index",
        "revoked_at_index",
        "reason",
    ])?;
    let public = public_key(source, fields.require("key")?)?;
    let roles = match fields.get("roles") {
        Some(node) => Roles::Of(key_roles(source, Some(node))?),
        None => roles.clone(),
    };
    let refuse = |key: &'static str, status: &str| match fields.get(key) {
        None => Ok(()),
        Some(node) => {
            let problem = format!("a key that is {status} has no {key}");
            Err(source.error(node.place(), problem, None))
        }
    };
    let status_node = fields.get("status");
    let status = match status_node.map_or(Ok("active"), |node| source.text(node, "status"))? {
        "active" => {
            for key in ["valid_until_index", "revoked_at_index", "reason"] {
                refuse(key, "active")?;
            }
            Status::Active
        }
        "retired" => {
            for key in ["revoked_at_index", "reason"] {
                refuse(key, "retired")?;
            }
            let node = fields.require("valid_until_index")?;
            Status::Retired {
                valid_until_index: source.index(node, "valid_until_index")?,
            }
        }
        "revoked" => {
            refuse("valid_until_index", "revoked")?;
            let node = fields.require("revoked_at_index")?;
            Status::Revoked {
                revoked_at_index: source.index(node, "revoked_at_index")?,
                reason: plain_text(source, fields.require("reason")?, "reason")?,
            }
        }
        other => {
            let shown: String = other.chars().take(60).collect();
            let place = status_node.map_or_else(|| fields.place(), Node::place);
            let problem = format!("status cannot be \"{shown}\"");
            let known = ["active", "retired", "revoked"];
            return Err(source.error(place, problem, suggest(&shown, &known)));
        }
    };
    let from_node = fields.get("valid_from_index");
    let valid_from_index =
        from_node.map_or(Ok(0), |node| source.index(node, "valid_from_index"))?;
    let end = match &status {
        Status::Active => None,
        Status::Retired { valid_until_index } => Some(*valid_until_index),
        Status::Revoked {
            revoked_at_index, ..
        } => Some(*revoked_at_index),
    };
    // Where it ends at 0 it counts for nothing anyway, and says so.
    if let (Some(node), Some(end @ 1..)) = (from_node, end)
        && end <= valid_from_index
    {
        let problem = format!("a key that ends at index {end} cannot begin at {valid_from_index}");
        return Err(source.error(node.place(), problem, None));
    }
    Ok(Key {
        public,
        roles,
        valid_from_index,
        status,
    })
}
