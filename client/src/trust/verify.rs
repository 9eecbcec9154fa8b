//! The judgement: evidence against a policy of the caller's own, or against keys.
//!
//! Keys are turned into a policy document and go through the same evaluator: there is one function
//! that decides. The registry's verdict plays no part.
//! Invariant: a judge that asks for nothing is refused, because its yes would be worth nothing.

use super::evidence::Evidence;
use crate::error::{Error, Result};
use crate::keys::read_public_list;
use sealstone_spec::admission::Admission;
use sealstone_spec::key::{ListedKey, PublicKey};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Evaluation, Policy, SCHEMA};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Who decides whether a bundle may be used.
///
/// ```
/// use sealstone::trust::Judge;
/// use sealstone_spec::key::{SecretKey, Signer};
/// let key = SecretKey::ed25519_from_seed(&[7; 32])?;
/// let judge = Judge::from_keys([("alice", key.public_key().clone())], 1)?;
/// assert!(judge.requirements(&"models/x".parse()?).join("").contains("alice"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Judge {
    policy: Policy,
    source: TrustSource,
}

/// Where a judge's rules come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustSource {
    /// A policy document.
    Policy,
    /// Keys that were named one by one.
    Keys,
}

/// A bundle that passed.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What every rule found.
    pub evaluation: Evaluation,
    /// The proof that the policy holds.
    pub admission: Admission,
}

impl Judge {
    /// Judges by a policy.
    pub fn from_policy(policy: Policy) -> Judge {
        Judge {
            policy,
            source: TrustSource::Policy,
        }
    }

    /// Judges by the policy in a file: TOML, or a signed document.
    ///
    /// # Errors
    /// If the file cannot be read or is no policy; names line and column.
    pub fn from_policy_file(path: &Path) -> Result<Judge> {
        let (policy, _) = super::read_policy(path, None)?;
        Ok(Judge::from_policy(policy))
    }

    /// Judges by keys: `threshold` different names must have signed. Keys of the same name are one
    /// signer.
    ///
    /// # Errors
    /// If there are no keys, a key stands under two names, or fewer names than `threshold`.
    pub fn from_keys<N: Into<String>>(
        keys: impl IntoIterator<Item = (N, PublicKey)>,
        threshold: u32,
    ) -> Result<Judge> {
        let mut identities: BTreeMap<String, Vec<PublicKey>> = BTreeMap::new();
        for (name, key) in keys {
            let known = identities.entry(name.into()).or_default();
            if !known.contains(&key) {
                known.push(key);
            }
        }
        if identities.is_empty() {
            return Err(Error::usage("no key to verify with").hint("give --key FILE.pub"));
        }
        let policy = Policy::parse(&document(&identities, threshold))
            .map_err(|error| Error::usage("these keys make no policy").source(error))?;
        Ok(Judge {
            policy,
            source: TrustSource::Keys,
        })
    }

    /// Judges by key files; `NAME.pub` and `NAME-p256.pub` in one directory are one signer, and so are
    /// the keys of one principal in lists in the style of `allowed_signers`, whichever of the files they stand in.
    ///
    /// # Errors
    /// As [`Judge::from_keys`], and if a file holds no public key.
    pub fn from_key_files(paths: &[PathBuf], threshold: u32) -> Result<Judge> {
        let (mut listed, mut signers) = (Vec::new(), Vec::new());
        for (path, signer) in paths.iter().zip(signer_names(paths)) {
            let keys = read_public_list(path)?;
            signers.extend(keys.iter().map(|_| signer.clone()));
            listed.extend(keys);
        }
        // All at once: whoever stands in two files under one principal is one signer as well.
        let keys = merged(listed).into_iter().zip(signers);
        let keys = keys.map(|(listed, signer)| {
            let principal = listed.principals.into_iter().next();
            (principal.unwrap_or(signer), listed.key)
        });
        Judge::from_keys(keys, threshold)
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every key whose signatures count without a log's word about when they were made.
    pub fn keys(&self) -> Vec<PublicKey> {
        let keys = self.policy.identities().iter().flat_map(|each| &each.keys);
        keys.filter(|key| key.counts_unlogged())
            .map(|key| key.public.clone())
            .collect()
    }

    /// Where the rules come from.
    pub fn source(&self) -> &TrustSource {
        &self.source
    }

    /// What is asked for in a repository, in plain words.
    pub fn requirements(&self, repository: &RepoName) -> Vec<String> {
        let rules = self.policy.scope_for(repository).rules();
        rules.iter().map(|rule| rule.describe()).collect()
    }

    /// What every rule finds, without deciding.
    pub fn evaluate(
        &self,
        repository: &RepoName,
        manifest: &VerifiedManifest,
        evidence: &Evidence,
    ) -> Evaluation {
        let case = evidence.case(repository, manifest);
        self.policy
            .evaluate(repository, &case, &evidence.circumstances(super::now()))
    }

    /// Decides.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) with what is missing as hints and the whole
    /// denial in [`Error::details`]; also if the rules ask for nothing in this repository.
    pub fn judge(
        &self,
        repository: &RepoName,
        manifest: &VerifiedManifest,
        evidence: &Evidence,
    ) -> Result<Judgement> {
        demand_rules(&self.policy, repository)?;
        let case = evidence.case(repository, manifest);
        let place = format!("{}@{}", evidence.place, manifest.digest());
        let circumstances = evidence.circumstances(super::now());
        let (evaluation, verdict) = self.policy.hear(repository, &case, &circumstances);
        let admission = verdict.map_err(|denial| super::denied(&denial, &place))?;
        Ok(Judgement {
            evaluation,
            admission,
        })
    }
}

/// Refuses a policy that asks for nothing in a repository: whatever lies there would meet it.
///
/// # Errors
/// [`Outcome::Refused`](crate::Outcome::Refused) if no rule is in force there.
pub fn demand_rules(policy: &Policy, repository: &RepoName) -> Result<()> {
    match policy.scope_for(repository).rules() {
        [] => Err(Error::refused(format!(
            "the policy asks for nothing in repository \"{repository}\", so nothing would be verified"
        ))
        .hint("is the repository's name right? add a scope with a rule, or verify with --key")),
        _ => Ok(()),
    }
}

/// The same keys, each with one principal: those that share any are one signer, whoever stands first.
fn merged(mut keys: Vec<ListedKey>) -> Vec<ListedKey> {
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    for listed in keys.iter().filter(|listed| !listed.principals.is_empty()) {
        let mut group: BTreeSet<String> = listed.principals.iter().cloned().collect();
        groups.retain(|other| {
            let is_shared = !other.is_disjoint(&group);
            if is_shared {
                group.extend(other.iter().cloned());
            }
            !is_shared
        });
        groups.push(group);
    }
    for listed in &mut keys {
        let own = listed.principals.first();
        let group = own.and_then(|own| groups.iter().find(|group| group.contains(own)));
        listed.principals = group
            .and_then(|group| group.first().cloned())
            .into_iter()
            .collect();
    }
    keys
}

/// The signer of each path, called as the first of its paths has it. Two paths are one signer's if they are the same
/// without marks, as they were given or where they lead: `a.pub` and `./a-p256.pub` lie beside each other.
fn signer_names(paths: &[PathBuf]) -> Vec<String> {
    let mut groups: Vec<(BTreeSet<String>, String)> = Vec::new();
    for path in paths {
        let given = signer_name(path);
        // One that cannot be followed cannot be read either.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let mut marks = BTreeSet::from([given.clone(), signer_name(&real)]);
        let mut name = None;
        groups.retain(|(others, first)| {
            let is_shared = !others.is_disjoint(&marks);
            if is_shared {
                marks.extend(others.iter().cloned());
                name.get_or_insert_with(|| first.clone());
            }
            !is_shared
        });
        groups.push((marks, name.unwrap_or(given)));
    }
    let signer = |path: &PathBuf| {
        let given = signer_name(path);
        let group = groups.iter().find(|(marks, _)| marks.contains(&given));
        group.map_or(given, |(_, name)| name.clone())
    };
    paths.iter().map(signer).collect()
}

/// What a path says of whose key lies there: the path without `.pub` and without the companion's mark.
fn signer_name(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.strip_suffix(".pub").unwrap_or(&text);
    text.strip_suffix("-p256").unwrap_or(text).to_owned()
}

/// A policy in which these signers count, everywhere.
fn document(identities: &BTreeMap<String, Vec<PublicKey>>, threshold: u32) -> String {
    // A JSON string is a TOML string too.
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let list = |texts: Vec<String>| texts.join(", ");
    let mut text = format!("schema = {}\n", quote(SCHEMA));
    for (name, keys) in identities {
        let keys = list(keys.iter().map(|key| quote(&key.to_openssh())).collect());
        let _ = write!(
            text,
            "[[identity]]\nname = {}\nkeys = [{keys}]\n",
            quote(name)
        );
    }
    let names = list(identities.keys().map(|name| quote(name)).collect());
    let _ = write!(
        text,
        "[[scope]]\nrepositories = [\"**\"]\n[[scope.require]]\nrule = \"signatures\"\n\
         threshold = {threshold}\nidentities = [{names}]\n"
    );
    text
}
