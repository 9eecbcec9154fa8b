//! Policies read and kept: from files, signed or not, and from registries, whose highest version is
//! remembered, as is that of each set of root keys.
//!
//! Invariant: of a registry whose signed policy was seen once, only a successor is taken, signed by the
//! roots of the one before. An older version is refused loudly, wherever it comes from.

use crate::error::{Error, Result};
use crate::state;
use crate::transport::{Admin, ConnectOptions, Registry};
use reqwest::Method;
use sealstone_spec::canonical::to_canonical_json;
use sealstone_spec::digest::Digest;
use sealstone_spec::policy::{MAX_POLICY_BYTES, Policy, PolicyEnvelope, Roots, SignedPolicy, Time};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The time, for whoever decides.
pub fn now() -> Time {
    Time::from_seconds(jiff::Timestamp::now().as_second())
}

/// Reads a policy from a file: TOML, or a document that `sealstone policy sign` made. Of the latter the
/// signatures are checked, against `roots` where some are given, else against its own.
///
/// # Errors
/// If the file cannot be read or is no policy; names line and column.
pub fn read_policy(path: &Path, roots: Option<&Roots>) -> Result<(Policy, Option<SignedPolicy>)> {
    let text = read_text(path)?;
    let refused = |error: &dyn std::fmt::Display| {
        Error::usage(format!(
            "\"{}\" is no policy that can be used: {error}",
            path.display()
        ))
    };
    if !text.trim_start().starts_with('{') {
        if roots.is_some() {
            return Err(Error::refused(format!(
                "\"{}\" is not signed, and root keys were named",
                path.display()
            ))
            .hint("sign it: sealstone policy sign FILE --key root.key -o FILE.json"));
        }
        return Ok((Policy::parse(&text).map_err(|error| refused(&error))?, None));
    }
    let envelope =
        PolicyEnvelope::parse(text.trim().as_bytes()).map_err(|error| refused(&error))?;
    let signed = match roots {
        Some(roots) => SignedPolicy::verify(envelope, roots),
        None => SignedPolicy::first(envelope),
    }
    .map_err(|error| Error::refused(format!("\"{}\": {error}", path.display())))?;
    Ok((signed.policy().clone(), Some(signed)))
}

/// Reads a file that holds an envelope, or TOML that is put into one: to be signed.
///
/// # Errors
/// If it is neither, of version 1, which cannot be signed, or says what no new document may.
pub fn read_to_sign(path: &Path) -> Result<PolicyEnvelope> {
    let text = read_text(path)?;
    let parsed = if text.trim_start().starts_with('{') {
        PolicyEnvelope::parse(text.trim().as_bytes()).and_then(|envelope| {
            envelope.unverified()?.check_new()?;
            Ok(envelope)
        })
    } else {
        Policy::parse(&text)
            .map_err(Into::into)
            .and_then(|policy| PolicyEnvelope::of(&policy))
    };
    parsed.map_err(|error| Error::usage(format!("\"{}\": {error}", path.display())))
}

fn read_text(path: &Path) -> Result<String> {
    let what = || format!("reading the policy \"{}\"", path.display());
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| {
            file.take(2 * MAX_POLICY_BYTES as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|source| Error::io(what(), source))?;
    Ok(text)
}

/// The policies that were seen, one for each registry.
#[derive(Clone, Debug)]
pub struct KeptPolicies {
    directory: PathBuf,
}

impl KeptPolicies {
    /// Those of the user: in `SEALSTONE_STATE`, else below `XDG_STATE_HOME`, else `~/.local/state`.
    ///
    /// # Errors
    /// If none of these variables is set.
    pub fn of_user() -> Result<KeptPolicies> {
        let base = state::directory().ok_or_else(|| {
            Error::usage("there is no place to remember policies")
                .hint("set SEALSTONE_STATE, XDG_STATE_HOME or HOME")
        })?;
        Ok(KeptPolicies::in_directory(base.join("policies")))
    }

    /// Those in a directory.
    pub fn in_directory(directory: PathBuf) -> KeptPolicies {
        KeptPolicies { directory }
    }

    fn path(&self, registry: &str) -> PathBuf {
        let safe = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        let name: String = registry
            .chars()
            .map(|c| if safe(c) { c } else { '_' })
            .collect();
        self.directory.join(format!("{name}.json"))
    }

    /// What was seen last of a registry.
    ///
    /// # Errors
    /// If what is kept cannot be read: it is not passed over, because then a rollback would pass too.
    pub fn last(&self, registry: &str) -> Result<Option<SignedPolicy>> {
        let path = self.path(registry);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::io(format!("reading \"{}\"", path.display()), source));
            }
        };
        let kept = PolicyEnvelope::parse(&bytes).and_then(SignedPolicy::first);
        kept.map(Some).map_err(|error| {
            Error::other(format!("\"{}\" is damaged: {error}", path.display())).hint(
                "if you are sure that the registry's policy is the right one, remove the file",
            )
        })
    }

    /// Remembers a policy, as a whole or not at all, unless a newer one has been seen meanwhile.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) for an older one, and for another document of the same
    /// version; or if it cannot be written.
    pub fn keep(&self, registry: &str, policy: &SignedPolicy) -> Result<()> {
        let _lock = state::lock(&self.path(registry))?;
        self.check(registry, policy.policy())?;
        self.replace(registry, policy)
    }

    /// Replaces what is kept. The caller holds the lock, and looked at it since it does.
    fn replace(&self, registry: &str, policy: &SignedPolicy) -> Result<()> {
        state::replace(&self.path(registry), &policy.envelope().to_bytes())
    }

    /// Refuses a policy that is older than one which was seen of this registry.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) for an older one, and for another document of the
    /// same version.
    pub fn check(&self, registry: &str, policy: &Policy) -> Result<()> {
        let Some(last) = self.last(registry)? else {
            return Ok(());
        };
        let known = last.policy();
        policy
            .check_not_older(known.version(), known.digest())
            .map_err(|error| rollback(registry, &error))
    }

    /// Takes a signed policy from a file of the user's own: of a registry whose policy is pinned it must be a
    /// successor, and becomes what is pinned. Nothing is pinned on the word of a file alone: only where the
    /// root keys that must have signed it were named.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) if it is older than what is pinned, or not signed by those
    /// roots.
    pub fn take_file(
        &self,
        registry: &str,
        signed: &SignedPolicy,
        roots: Option<&Roots>,
    ) -> Result<()> {
        let _lock = state::lock(&self.path(registry))?;
        let pinned = match (self.last(registry)?, roots) {
            (Some(last), _) => last.succeed(signed.envelope().clone()),
            (None, Some(roots)) => SignedPolicy::verify(signed.envelope().clone(), roots),
            (None, None) => return Ok(()),
        };
        let pinned = pinned.map_err(|error| rollback(registry, &error))?;
        self.replace(registry, &pinned)
    }

    /// Takes a registry's signed policy: pinned when it is the first, else as the successor of the last.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) if it is older, wrongly signed or expired.
    pub fn take(
        &self,
        registry: &str,
        envelope: PolicyEnvelope,
        roots: Option<&Roots>,
    ) -> Result<SignedPolicy> {
        let _lock = state::lock(&self.path(registry))?;
        let taken = match (self.last(registry)?, roots) {
            (Some(last), _) => last.succeed(envelope),
            (None, Some(roots)) => SignedPolicy::verify(envelope, roots),
            (None, None) => SignedPolicy::first(envelope),
        };
        let taken = taken.map_err(|error| rollback(registry, &error))?;
        if let Some(roots) = roots {
            SignedPolicy::verify(taken.envelope().clone(), roots)
                .map_err(|error| rollback(registry, &error))?;
        }
        taken
            .check_time(now())
            .map_err(|error| rollback(registry, &error))?;
        self.replace(registry, &taken)?;
        Ok(taken)
    }

    /// Takes a policy that came along with a release and that these root keys have signed: it is remembered of
    /// them, whoever they are root keys of, and no older one is taken after that, from wherever it comes.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) if a newer one was seen under the same root keys.
    pub fn take_by_roots(&self, roots: &Roots, signed: &SignedPolicy) -> Result<()> {
        let name = name_of_roots(roots);
        let _lock = state::lock(&self.path(&name))?;
        if let Some(last) = self.last(&name)? {
            let known = last.policy();
            let checked = signed
                .policy()
                .check_not_older(known.version(), known.digest());
            checked.map_err(|error| {
                Error::refused(format!("the policy that came along is refused: {error}")).hint(
                    "a newer one that the same root keys signed was seen before: bring the release with that one, exported anew",
                )
            })?;
        }
        self.replace(&name, signed)
    }
}

/// What a policy is remembered under that is known by its root keys alone. No registry has such a name: a part of
/// a host's name has at most 63 letters.
fn name_of_roots(roots: &Roots) -> String {
    let ids: BTreeSet<String> = roots.keys.iter().map(|key| key.id().to_string()).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let text = format!("{}\n{}\n", roots.threshold, ids.join("\n"));
    format!("roots-{}", Digest::sha256(text.as_bytes()).hex())
}

fn rollback(registry: &str, error: &dyn std::fmt::Display) -> Error {
    Error::refused(format!("the policy of {registry} is refused: {error}"))
}

/// What a registry hands out: its signed policy, or the unsigned one that it works by.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // made once for an answer, and taken apart at once
pub enum HandedOut {
    /// Signed; nothing has been checked yet.
    Signed(PolicyEnvelope),
    /// Unsigned: the registry's word and no more.
    Unsigned(Policy),
}

/// Asks a registry for its policy.
///
/// # Errors
/// If it cannot be asked, or works by a policy of version 1, which nobody can sign.
pub async fn registry_policy(registry: &str, options: &ConnectOptions) -> Result<HandedOut> {
    let admin = Admin::new(Registry::new(registry, None, options)?);
    let answer = admin.ask(Method::GET, "policy", None).await?;
    let bytes = to_canonical_json(&answer)
        .map_err(|error| Error::other("the registry's policy cannot be read").source(error))?;
    if answer.get("payloadType").is_some() {
        let envelope = PolicyEnvelope::parse(&bytes)
            .map_err(|error| Error::refused(format!("the policy of {registry}: {error}")))?;
        return Ok(HandedOut::Signed(envelope));
    }
    let policy = Policy::parse_canonical(&bytes).map_err(|error| {
        Error::refused(format!("registry {registry} has no signed policy: {error}"))
            .hint("give the policy as a file: --policy FILE")
    })?;
    Ok(HandedOut::Unsigned(policy))
}

#[cfg(test)]
mod tests;
