//! The policy that a start puts in force: the configuration's, or the one that the store has.
//!
//! Invariant: a signed policy gives way only to its successor, and what was stored once is read again, whatever a later
//! version would refuse to take.

use crate::config::Config;
use anyhow::{Context as _, bail};
use sealstone_spec::policy::{Policy, PolicyEnvelope, SignedPolicy};

/// A policy, and its signed document if it has one.
pub(super) type LoadedPolicy = (Policy, Option<PolicyEnvelope>);

/// Reads the policy that the configuration names: TOML, or a document that `sealstone policy sign` made.
///
/// # Errors
/// If it cannot be read or is not valid: a server without its policy must not start.
pub(super) fn load_policy(config: &Config) -> anyhow::Result<Option<LoadedPolicy>> {
    let Some(path) = &config.policy else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read policy {}", path.display()))?;
    let named = || format!("policy {}", path.display());
    if !text.trim_start().starts_with('{') {
        return Ok(Some((Policy::parse(&text).with_context(named)?, None)));
    }
    let envelope = PolicyEnvelope::parse(text.trim().as_bytes()).with_context(named)?;
    let signed = SignedPolicy::first(envelope).with_context(named)?;
    let envelope = signed.envelope().clone();
    Ok(Some((signed.into_policy(), Some(envelope))))
}

/// Which policy holds: a signed one that the store has gives way only to its successor.
pub(super) fn choose_policy(
    file: Option<LoadedPolicy>,
    stored: Option<Vec<u8>>,
) -> anyhow::Result<(Policy, Option<Vec<u8>>)> {
    let Some(stored) = stored else {
        return Ok(match file {
            None => (Policy::default_policy(), None),
            Some((policy, envelope)) => (policy, envelope.map(|envelope| envelope.to_bytes())),
        });
    };
    let envelope = PolicyEnvelope::parse(&stored).context("the stored policy")?;
    let trusted = SignedPolicy::first(envelope).context("the stored policy")?;
    let version = trusted.policy().version();
    match file {
        Some((policy, _)) if policy.version() > 0 && policy.version() < version => {
            tracing::info!(
                "policy version {version} was uploaded; version {} of the configuration's file is older and passed over",
                policy.version()
            );
        }
        Some((policy, _)) if policy.digest() == trusted.policy().digest() => {}
        Some((_, Some(next))) => {
            let next = trusted
                .succeed(next)
                .context("the configuration's policy")?;
            let document = next.envelope().to_bytes();
            return Ok((next.into_policy(), Some(document)));
        }
        Some((_, None)) => bail!(
            "the registry holds version {version} of a signed policy, and an unsigned file cannot take its place: sign it with \"sealstone policy sign\", or remove \"policy\" from the configuration"
        ),
        None => {}
    }
    Ok((trusted.into_policy(), Some(stored)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::key::{SecretKey, Signer as _};

    /// A version before this one took exceptions from rule `log`. Refusing to read it again would leave no way to put
    /// another in its place.
    #[test]
    fn a_policy_that_was_stored_does_not_keep_a_server_from_starting() {
        let key = |seed: u8| SecretKey::ed25519_from_seed(&[seed; 32]).unwrap();
        let line = |seed: u8| key(seed).public_key().to_openssh();
        let text = format!(
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2100-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
             [[identity]]\nname = \"gina\"\nroles = [\"governance\"]\nkeys = [\"{}\"]\n\
             [[scope]]\nrepositories = [\"models/**\"]\n[scope.exceptions]\nrules = [\"bom\"]\nrole = \"governance\"\n",
            line(1),
            line(2)
        );
        let written = Policy::parse(&text).unwrap().to_canonical_json();
        let written = String::from_utf8(written).unwrap();
        let older = Policy::parse_canonical(written.replace("\"bom\"", "\"log\"").as_bytes());
        let older = older.unwrap();
        let mut envelope = PolicyEnvelope::of(&older).unwrap();
        envelope.sign(&key(1)).unwrap();
        let stored = envelope.to_bytes();
        for file in [None, Some((older.clone(), Some(envelope)))] {
            let (policy, document) = choose_policy(file, Some(stored.clone())).unwrap();
            assert_eq!(policy.digest(), older.digest());
            assert_eq!(document.as_ref(), Some(&stored));
        }
    }
}
