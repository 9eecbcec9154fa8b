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
use sealstone_spec::policy::{
    MAX_POLICY_BYTES, Policy, PolicyEnvelope, Roots, SignedPolicy, SignedPolicyError, Time,
};
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read as _};
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
            // Below what is no directory, such as a home of /dev/null, nothing can be.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
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

    /// What is kept, if it is this very document with these signatures: then nothing is to be written, and a directory
    /// that cannot be written is good enough.
    fn same(&self, registry: &str, envelope: &PolicyEnvelope) -> Result<Option<SignedPolicy>> {
        let last = self.last(registry)?;
        Ok(last.filter(|last| last.envelope() == envelope))
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
        let is_pinned = self.same(registry, signed.envelope())?.is_some();
        if is_pinned || (roots.is_none() && self.last(registry)?.is_none()) {
            return Ok(());
        }
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
        let checked = |taken: SignedPolicy| -> Result<SignedPolicy, SignedPolicyError> {
            if let Some(roots) = roots {
                SignedPolicy::verify(taken.envelope().clone(), roots)?;
            }
            taken.check_time(now())?;
            Ok(taken)
        };
        let refused = |error: SignedPolicyError| rollback(registry, &error);
        if let Some(same) = self.same(registry, &envelope)? {
            return checked(same).map_err(refused);
        }
        let _lock = state::lock(&self.path(registry))?;
        let taken = match (self.last(registry)?, roots) {
            (Some(last), _) => last.succeed(envelope),
            (None, Some(roots)) => SignedPolicy::verify(envelope, roots),
            (None, None) => SignedPolicy::first(envelope),
        };
        let taken = taken.and_then(checked).map_err(refused)?;
        self.replace(registry, &taken)?;
        Ok(taken)
    }

    /// The same of what a registry hands out by itself. Another process may have taken a successor since it was asked:
    /// where its answer is older than what is kept, and only then, it is asked `again`, once.
    ///
    /// # Errors
    /// As [`KeptPolicies::take`]; or if it cannot be asked again.
    pub async fn take_newest<Answer>(
        &self,
        registry: &str,
        envelope: PolicyEnvelope,
        roots: Option<&Roots>,
        again: impl FnOnce() -> Answer,
    ) -> Result<SignedPolicy>
    where
        Answer: Future<Output = Result<PolicyEnvelope>>,
    {
        match self.take(registry, envelope.clone(), roots) {
            Err(_) if self.has_newer(registry, &envelope)? => {
                self.take(registry, again().await?, roots)
            }
            taken => taken,
        }
    }

    /// Whether what is kept of a registry is of a higher version than this claims to be.
    fn has_newer(&self, registry: &str, envelope: &PolicyEnvelope) -> Result<bool> {
        let last = self.last(registry)?;
        let found = envelope.unverified().ok();
        Ok(match (last, found) {
            (Some(last), Some(found)) => last.policy().version() > found.version(),
            _ => false,
        })
    }

    /// Takes a policy that came along with a release and that these root keys have signed: it is remembered of
    /// them, whoever they are root keys of, and no older one is taken after that, from wherever it comes.
    ///
    /// # Errors
    /// [`Outcome::Refused`](crate::Outcome::Refused) if a newer one was seen under the same root keys; or if what is kept
    /// cannot be read. That nothing can be written is no error: the root keys vouch for the policy all the same.
    pub fn take_by_roots(&self, roots: &Roots, signed: &SignedPolicy) -> Result<Remembered> {
        let name = name_of_roots(roots);
        self.check_by_roots(&name, signed)?;
        if self.same(&name, signed.envelope())?.is_some() {
            return Ok(Remembered::Yes);
        }
        let _lock = match state::lock(&self.path(&name)) {
            Ok(lock) => lock,
            Err(error) => return Ok(Remembered::No(error)),
        };
        self.check_by_roots(&name, signed)?;
        Ok(match self.replace(&name, signed) {
            Ok(()) => Remembered::Yes,
            Err(error) => Remembered::No(error),
        })
    }

    fn check_by_roots(&self, name: &str, signed: &SignedPolicy) -> Result<()> {
        let Some(last) = self.last(name)? else {
            return Ok(());
        };
        let known = last.policy();
        let checked = signed
            .policy()
            .check_not_older(known.version(), known.digest());
        checked.map_err(|error| {
            Error::refused(format!("the policy that came along is refused: {error}")).hint(
                "a newer one that the same root keys signed was seen before: bring the release with that one, exported anew",
            )
        })
    }
}

/// Whether a policy is remembered from now on.
#[derive(Debug)]
#[must_use]
pub enum Remembered {
    /// It is.
    Yes,
    /// There is no place that can be written, and an older one would not be noticed.
    No(Error),
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

/// Asks a registry for its policy, to rely on.
///
/// # Errors
/// As [`registry_policy`]; [`Outcome::Refused`](crate::Outcome::Refused) for one that is not signed.
pub async fn signed_policy(registry: &str, options: &ConnectOptions) -> Result<PolicyEnvelope> {
    match registry_policy(registry, options).await? {
        HandedOut::Signed(envelope) => Ok(envelope),
        HandedOut::Unsigned(_) => Err(Error::refused(format!(
            "the policy of {registry} is not signed, so it is the registry's word and no more"
        ))
        .hint(
            "give your own: --policy FILE (to verify or pull also --key FILE.pub for each signer)",
        )),
    }
}

#[cfg(test)]
mod tests;
