//! The key of a stage: a digest over everything that decides its outputs.
//!
//! Two runs with one key should have the same outputs; if they do not, something that was not declared
//! decided them. The four parts tell what changed. Times, log and usage are no part of it.

use super::path::RecipePath;
use super::substitution::placeholders;
use crate::canonical::to_canonical_json;
use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// The parts of a key, each a digest by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyParts {
    /// The command, the paths that it writes, and the project's files that it reads.
    pub code: Digest,
    /// Parameters and seed.
    pub params: Digest,
    /// The facts of the environment that must match, variables, threads, processors, device.
    pub environment: Digest,
    /// Inputs, and outputs of other stages.
    pub inputs: Digest,
}

/// A declared path and what is there: of a file its digest, of a directory that of its listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathDigest {
    /// The path, as the recipe declares it; a directory ends in a slash.
    pub path: RecipePath,
    /// The digest.
    pub digest: Digest,
    /// Bytes, of all files together.
    pub size: u64,
    /// Number of files of a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// What `{in}` stands for in a command that has this word: the first path that the stage reads. Where no command asks,
/// the order of what is read decides nothing.
pub fn first_read<'a>(command: &[String], reads: &'a [RecipePath]) -> Option<&'a RecipePath> {
    reads.first().filter(|_| asks_for_first(command))
}

/// Whether a command has the word `{in}`.
pub(super) fn asks_for_first(command: &[String]) -> bool {
    let mut words = command.iter().flat_map(|item| placeholders(item));
    words.any(|word| word.0 == "in")
}

/// What a key is made of.
#[derive(Clone, Debug)]
pub struct KeyMaterial<'a> {
    /// The command, before anything is put in for words in braces: a parameter in it is a change of parameters, not of
    /// code.
    pub command: &'a [String],
    /// Whether a shell reads it.
    pub shell: bool,
    /// The paths that it writes, in the recipe's order: the first is what `{out}` and `SEALSTONE_OUT` name.
    pub writes: &'a [RecipePath],
    /// What `{in}` names, as [`first_read`] says.
    pub first_read: Option<&'a RecipePath>,
    /// The project's files that it reads.
    pub sources: &'a [PathDigest],
    /// Inputs and outputs of other stages that it reads.
    pub inputs: &'a [PathDigest],
    /// Its share of the parameters, as JSON texts.
    pub params: &'a BTreeMap<String, String>,
    /// The seed.
    pub seed: Option<u64>,
    /// `PYTHONHASHSEED`.
    pub hash_seed: u64,
    /// Number of threads that libraries are told to use, stated or not: without a number it follows from `cpus`.
    pub threads: u64,
    /// Processors that it may use; none if it may use all.
    pub cpus: Option<u64>,
    /// The device.
    pub device: Option<&'a str>,
    /// Variables that recipe and stage set.
    pub env: &'a BTreeMap<String, String>,
    /// Digest of the facts of the environment that must match.
    pub facts: &'a Digest,
}

impl KeyMaterial<'_> {
    /// The parts of the key.
    pub fn parts(&self) -> KeyParts {
        let listed = |paths: &[PathDigest]| {
            let mut listed: Vec<(&str, &Digest)> = paths
                .iter()
                .map(|item| (item.path.as_str(), &item.digest))
                .collect();
            listed.sort_unstable();
            json!(listed)
        };
        let mut writes: Vec<&str> = self.writes.iter().map(RecipePath::as_str).collect();
        writes.sort_unstable();
        // With the slash of a directory, as the command gets it.
        let named = |path: Option<&RecipePath>| path.map(ToString::to_string);
        KeyParts {
            code: digest(
                &json!({"command": self.command, "in": named(self.first_read), "out": named(self.writes.first()),
                "shell": self.shell, "sources": listed(self.sources), "writes": writes}),
            ),
            params: digest(&json!({"params": self.params, "seed": self.seed})),
            environment: digest(
                &json!({"cpus": self.cpus, "device": self.device, "env": self.env, "facts": self.facts,
                "hashSeed": self.hash_seed, "threads": self.threads}),
            ),
            inputs: digest(&listed(self.inputs)),
        }
    }
}

impl KeyParts {
    /// The key.
    pub fn key(&self) -> Digest {
        digest(
            &json!({"schema": "sealstone-stage-key/v2", "code": self.code, "params": self.params,
            "environment": self.environment, "inputs": self.inputs}),
        )
    }

    /// What differs, in the words of reports: `code`, `params`, `env`, `input`.
    pub fn changes(&self, now: &KeyParts) -> Vec<&'static str> {
        let parts = [
            ("code", self.code == now.code),
            ("params", self.params == now.params),
            ("env", self.environment == now.environment),
            ("input", self.inputs == now.inputs),
        ];
        parts
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(name, _)| name)
            .collect()
    }
}

fn digest(value: &serde_json::Value) -> Digest {
    let bytes = to_canonical_json(value).expect("texts, whole numbers and digests can be written");
    Digest::sha256(&bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_part_moves_the_key_and_says_its_name() {
        let path = |text: &str, content: &str| PathDigest {
            path: text.parse().unwrap(),
            digest: Digest::sha256(content.as_bytes()),
            size: content.len() as u64,
            files: None,
        };
        let command = ["python3".to_owned(), "train.py".to_owned()];
        let writes: [RecipePath; 2] = ["model".parse().unwrap(), "log".parse().unwrap()];
        let swapped_writes = [writes[1].clone(), writes[0].clone()];
        let (data, b): (RecipePath, RecipePath) = ("data".parse().unwrap(), "b".parse().unwrap());
        let (sources, inputs) = ([path("train.py", "1")], [path("data", "1"), path("b", "2")]);
        let (params, env) = (
            [("lr".to_owned(), "0.1".to_owned())].into(),
            BTreeMap::new(),
        );
        let facts = Digest::sha256(b"facts");
        let base = KeyMaterial {
            command: &command,
            shell: false,
            writes: &writes,
            first_read: Some(&data),
            sources: &sources,
            inputs: &inputs,
            params: &params,
            seed: Some(1),
            hash_seed: 0,
            threads: 1,
            cpus: None,
            device: None,
            env: &env,
            facts: &facts,
        };
        let parts = base.parts();
        let swapped = [inputs[1].clone(), inputs[0].clone()];
        assert_eq!(
            KeyMaterial {
                inputs: &swapped,
                ..base.clone()
            }
            .parts(),
            parts
        );
        let other_source = [path("train.py", "2")];
        let other_input = [path("data", "2"), path("b", "2")];
        let other_facts = Digest::sha256(b"other");
        for (changed, due) in [
            (
                KeyMaterial {
                    sources: &other_source,
                    ..base.clone()
                },
                "code",
            ),
            (
                KeyMaterial {
                    shell: true,
                    ..base.clone()
                },
                "code",
            ),
            // Nothing else is read or written, but `{in}` and `{out}` are others.
            (
                KeyMaterial {
                    first_read: Some(&b),
                    ..base.clone()
                },
                "code",
            ),
            (
                KeyMaterial {
                    writes: &swapped_writes,
                    ..base.clone()
                },
                "code",
            ),
            (
                KeyMaterial {
                    cpus: Some(4),
                    ..base.clone()
                },
                "env",
            ),
            (
                KeyMaterial {
                    seed: Some(2),
                    ..base.clone()
                },
                "params",
            ),
            (
                KeyMaterial {
                    threads: 2,
                    ..base.clone()
                },
                "env",
            ),
            (
                KeyMaterial {
                    facts: &other_facts,
                    ..base.clone()
                },
                "env",
            ),
            (
                KeyMaterial {
                    device: Some("cpu"),
                    ..base.clone()
                },
                "env",
            ),
            (
                KeyMaterial {
                    inputs: &other_input,
                    ..base.clone()
                },
                "input",
            ),
        ] {
            assert_eq!(parts.changes(&changed.parts()), [due]);
            assert_ne!(parts.key(), changed.parts().key());
        }
    }

    #[test]
    fn what_is_read_first_counts_where_the_command_asks_for_it() {
        let reads: Vec<RecipePath> = vec!["data/".parse().unwrap(), "b".parse().unwrap()];
        let command = |item: &str| vec!["cat".to_owned(), item.to_owned()];
        for (item, due) in [
            ("--from={in}", Some("data/")),
            ("{out}", None),
            ("{{in}}", None),
        ] {
            let found = first_read(&command(item), &reads);
            assert_eq!(found.map(ToString::to_string).as_deref(), due, "{item}");
        }
        assert_eq!(first_read(&command("{in}"), &[]), None);
    }
}
