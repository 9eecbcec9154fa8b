//! What trusted keys have said about a manifest, read once for whoever asks several things of it.
//!
//! Owns finding the key under which an attached statement holds. Does not judge: a policy says whose word is worth
//! what, and `verify` asks it; here a key is trusted or not.
//! Invariant: a [`Heard`] holds under a key that the caller trusts and is about this very manifest; one statement
//! by one voice stands there once, also if it is signed with two of its keys.

use crate::error::Result;
use crate::store::Store;
use crate::trust::{evidence_of, model_root, open};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{KeyId, PublicKey};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::policy::{Identity, Policy};
use sealstone_spec::sigstore::{ANNOTATION_PREDICATE_TYPE, SigstoreBundle};
use sealstone_spec::statement::{VerifiedStatement, predicate};
use std::collections::BTreeSet;

/// Somebody who is trusted, by one of his keys.
#[derive(Clone, Debug)]
pub struct Voice {
    /// Who it is.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

impl Voice {
    /// Everybody in a policy, by every key that still counts.
    pub fn of_policy(policy: &Policy) -> Vec<Voice> {
        let of = |identity: &Identity| -> Vec<Voice> {
            let keys = identity.keys.iter();
            keys.filter(|key| key.counts_unlogged())
                .map(|key| Voice {
                    name: identity.name.clone(),
                    key: key.public.clone(),
                })
                .collect()
        };
        policy.identities().iter().flat_map(of).collect()
    }
}

/// A statement that holds.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What it is.
    pub predicate_type: String,
    /// Who said it.
    pub by: String,
    /// With which key.
    pub key: KeyId,
    /// The manifest that attaches it.
    pub referrer: Digest,
    /// What was said.
    pub statement: VerifiedStatement,
}

/// Something that is attached and of which nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// What it claims to be.
    pub predicate_type: Option<String>,
    /// The manifest that attaches it.
    pub referrer: Digest,
    /// Why it does not count.
    pub reason: String,
}

/// What was said about a manifest, by voices and by others.
#[derive(Clone, Debug, Default)]
pub struct Hearing {
    /// What holds, in the order of the referrers' digests.
    pub heard: Vec<Heard>,
    /// What does not.
    pub unheard: Vec<Unheard>,
}

impl Hearing {
    /// What was said of one type.
    pub fn of<'a>(&'a self, predicate_type: &'a str) -> impl Iterator<Item = &'a Heard> {
        let heard = self.heard.iter();
        heard.filter(move |heard| heard.predicate_type == predicate_type)
    }
}

/// Hears what is attached to `manifest`.
///
/// # Errors
/// If the place cannot be asked, or more is attached than is read.
pub async fn hear(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    voices: &[Voice],
) -> Result<Hearing> {
    let evidence = evidence_of(store, manifest).await?;
    evidence.demand_all(manifest)?;
    let mut hearing = Hearing::default();
    let silent = evidence.set_aside.into_iter().chain(evidence.unread);
    hearing
        .unheard
        .extend(silent.map(|(referrer, reason)| Unheard {
            predicate_type: None,
            referrer,
            reason,
        }));
    let mut seen: BTreeSet<(String, Digest)> = BTreeSet::new();
    for item in &evidence.attached {
        let referrer = *item.referrer.digest();
        let annotations = item.referrer.annotations();
        let kind = annotations.get(ANNOTATION_PREDICATE_TYPE).cloned();
        match first(&item.bundle, kind.as_deref(), manifest, voices) {
            Ok((voice, statement)) => {
                let said = (voice.name.clone(), *statement.payload_digest());
                if seen.insert(said) {
                    hearing.heard.push(Heard {
                        predicate_type: kind.unwrap_or_default(),
                        by: voice.name.clone(),
                        key: *voice.key.id(),
                        referrer,
                        statement,
                    });
                }
            }
            Err(reason) => hearing.unheard.push(Unheard {
                predicate_type: kind,
                referrer,
                reason,
            }),
        }
    }
    hearing.heard.sort_by_key(|heard| heard.referrer);
    hearing.unheard.sort_by_key(|unheard| unheard.referrer);
    Ok(hearing)
}

/// The first voice under whose key a bundle holds.
fn first<'a>(
    bundle: &[u8],
    kind: Option<&str>,
    manifest: &VerifiedManifest,
    voices: &'a [Voice],
) -> Result<(&'a Voice, VerifiedStatement), String> {
    let kind = kind.ok_or("it does not say what it is")?;
    let bundle = SigstoreBundle::parse(bundle).map_err(|error| error.to_string())?;
    let mut problem = None;
    for voice in voices {
        match read(&bundle, &voice.key, kind, manifest) {
            Ok(statement) => return Ok((voice, statement)),
            // A key that the bundle does not name tells nothing about it.
            Err(_) if !bundle.may_be_by(&voice.key) => {}
            Err(reason) => problem = Some(format!("by {}: {reason}", voice.name)),
        }
    }
    Err(problem.unwrap_or_else(|| "no trusted key signed it".to_owned()))
}

/// The statement that a key signed. Model signatures are about the files and not the manifest that lists them.
fn read(
    bundle: &SigstoreBundle,
    key: &PublicKey,
    kind: &str,
    manifest: &VerifiedManifest,
) -> Result<VerifiedStatement, String> {
    if kind != predicate::MODEL_SIGNATURE {
        return open(bundle, key, kind, manifest);
    }
    if !bundle.may_be_by(key) {
        return Err("it names another key".into());
    }
    let root = model_root(manifest).ok_or("this bundle can have no model signature")?;
    let envelope = bundle
        .envelope()
        .verify(key)
        .map_err(|error| error.to_string())?;
    VerifiedStatement::check(&envelope, &[kind], &root).map_err(|error| error.to_string())
}
