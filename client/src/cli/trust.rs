//! Arguments that say whom to trust; shared by commands that verify.

use sealstone::keys::read_public_list;
use sealstone::store::{Location, Store};
use sealstone::transport::ConnectOptions;
use sealstone::trust::{
    HandedOut, Judge, KeptPolicies, Remembered, policy_by_roots, read_policy, registry_policy,
    signed_policy,
};
use sealstone::{Error, Result};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Policy, Roots};
use std::path::{Path, PathBuf};

const VARIABLE: &str = "SEALSTONE_POLICY";

/// Whom to trust.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// Policy that must hold; without it and without --key, the file in SEALSTONE_POLICY
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    policy: Option<PathBuf>,

    /// Public key that must have signed; may be repeated. NAME.pub and NAME-p256.pub are one signer
    #[arg(long, value_name = "FILE.pub")]
    key: Vec<PathBuf>,

    /// How many of the signers must have signed
    #[arg(long, value_name = "N", requires = "key", default_value_t = 1)]
    threshold: u32,

    /// Judge by the registry's own policy, which its roots have signed; it is pinned when it is first
    /// seen, and only a successor is taken after that
    #[arg(long, conflicts_with_all = ["key", "policy", "root"])]
    registry_policy: bool,

    /// Root keys: judge by the newest policy that travels with the bundle and that they have signed; it is
    /// remembered, and an older one is refused after that
    #[arg(long, value_name = "FILE.pem", conflicts_with_all = ["policy", "key"])]
    root: Option<PathBuf>,

    /// How many of the root keys must have signed that policy; without it, all of them
    #[arg(long, value_name = "N", requires = "root", value_parser = clap::value_parser!(u32).range(1..))]
    root_threshold: Option<u32>,

    /// Repository whose rules hold, for layouts and archives, which have no repository of their own; `verify` can do
    /// without for an archive, where a log of the policy proves it and the policy judges the same in every repository
    #[arg(long, value_name = "NAME")]
    repository: Option<RepoName>,
}

impl TrustArgs {
    /// The judge for a bundle, if one was named: root keys find theirs beside the bundle. A policy that
    /// is older than one which was seen of the same registry, or under the same root keys, is refused.
    pub(crate) async fn judge_for(
        &self,
        location: &Location,
        options: &ConnectOptions,
        store: &dyn Store,
        manifest: &VerifiedManifest,
    ) -> Result<Option<Judge>> {
        let Some(path) = &self.root else {
            let policy = match self.policy_file() {
                _ if self.registry_policy => Some(pinned(location, options, None).await?),
                Some(path) => Some(from_file(&path, location, None)?),
                None if self.key.is_empty() => None,
                None => return Judge::from_key_files(&self.key, self.threshold).map(Some),
            };
            return Ok(policy.map(Judge::from_policy));
        };
        let listed = read_public_list(path)?;
        let keys: Vec<_> = listed.into_iter().map(|listed| listed.key).collect();
        let all = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let threshold = self.root_threshold.unwrap_or(all);
        if threshold > all {
            return Err(Error::usage(format!(
                "--root-threshold {threshold} asks for more than the {all} keys in \"{}\"",
                path.display()
            )));
        }
        let roots = Roots::new(threshold, keys);
        let signed = policy_by_roots(store, manifest, &roots).await?;
        let remembered = match (KeptPolicies::of_user(), location) {
            (Ok(kept), _) => {
                if let Location::Registry(image) = location {
                    kept.check(&image.registry.to_string(), signed.policy())?;
                }
                // Of archives and layouts too: the file of an attacker is as old as he likes.
                kept.take_by_roots(&roots, &signed)?
            }
            (Err(error), Location::Registry(_)) => return Err(error),
            (Err(error), _) => Remembered::No(error),
        };
        if let Remembered::No(error) = remembered {
            tracing::warn!(
                "the policy is not remembered, so an older one would not be noticed next time: {error}"
            );
        }
        Ok(Some(Judge::from_policy(signed.into_policy())))
    }

    /// Whether somebody to trust was named.
    pub(crate) fn names_somebody(&self) -> bool {
        self.registry_policy
            || self.root.is_some()
            || !self.key.is_empty()
            || self.policy_file().is_some()
    }

    /// The policy named, else that of the environment; keys that are named win over the latter, which
    /// is why clap does not read it: to clap, it would contradict them.
    fn policy_file(&self) -> Option<PathBuf> {
        let from_environment = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        match &self.policy {
            None if self.key.is_empty() && self.root.is_none() && !self.registry_policy => {
                from_environment().map(PathBuf::from)
            }
            stated => stated.clone(),
        }
    }

    /// The repository whose rules hold for what lies at `location`.
    pub(crate) fn repository(&self, location: &Location) -> Result<RepoName> {
        let by_policy = self.registry_policy || self.root.is_some() || self.policy_file().is_some();
        repository_of(location, self.repository.as_ref(), by_policy)
    }
}

/// The repository whose rules hold; a place without one needs its name if a policy decides.
pub(crate) fn repository_of(
    location: &Location,
    stated: Option<&RepoName>,
    by_policy: bool,
) -> Result<RepoName> {
    match (location, stated) {
        (Location::Registry(image), None) => Ok(image.repository.clone()),
        (Location::Registry(image), Some(stated)) if *stated == image.repository => {
            Ok(stated.clone())
        }
        (Location::Registry(image), Some(stated)) => Err(Error::usage(format!(
            "--repository says \"{stated}\", but the bundle lies in \"{}\"",
            image.repository
        ))),
        (Location::Layout { .. } | Location::Archive { .. }, Some(stated)) => Ok(stated.clone()),
        // Keys count everywhere, so any name will do; a policy's rules depend on the name.
        (_, None) if !by_policy => Ok("layout"
            .parse()
            .expect("a lowercase word is a repository name")),
        (_, None) => Err(Error::usage(
            "a layout or archive has no repository, so the policy cannot say which rules hold",
        )
        .hint("add --repository NAME: where the bundle came from or is to go")),
    }
}

/// The policy under which something is said or asked about a bundle.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArgs {
    /// The policy; without it the file in SEALSTONE_POLICY, else what the registry works by (which must be signed
    /// where something is decided)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Root keys of which more than half must have signed the policy
    #[arg(long, value_name = "FILE.pem")]
    root: Option<PathBuf>,

    /// Repository whose rules hold, for layouts, which have no repository of their own
    #[arg(long, value_name = "NAME")]
    repository: Option<RepoName>,
}

impl PolicyArgs {
    /// The policy for what lies at `location`, to see what is asked for: a registry's may be its word and no more.
    pub(crate) async fn policy(
        &self,
        location: &Location,
        options: &ConnectOptions,
    ) -> Result<Policy> {
        match self.file() {
            Some(path) => from_file(&path, location, self.root.as_deref()),
            None => of_registry(location, options, self.root.as_deref()).await,
        }
    }

    /// The policy for what lies at `location`, to rely on: a registry's only if its roots have signed it.
    pub(crate) async fn policy_to_rely_on(
        &self,
        location: &Location,
        options: &ConnectOptions,
    ) -> Result<Policy> {
        match self.file() {
            Some(path) => from_file(&path, location, self.root.as_deref()),
            None => pinned(location, options, self.root.as_deref()).await,
        }
    }

    fn file(&self) -> Option<PathBuf> {
        let from_environment = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let file = self.policy.clone();
        file.or_else(|| from_environment().map(PathBuf::from))
    }

    /// The repository whose rules hold.
    pub(crate) fn repository(&self, location: &Location) -> Result<RepoName> {
        repository_of(location, self.repository.as_ref(), true)
    }
}

/// The keys in a file, more than half of which must have signed.
fn roots(path: Option<&Path>) -> Result<Option<Roots>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let listed = read_public_list(path)?;
    let keys: Vec<_> = listed.into_iter().map(|listed| listed.key).collect();
    let majority = u32::try_from(keys.len() / 2 + 1).unwrap_or(u32::MAX);
    Ok(Some(Roots::new(majority, keys)))
}

/// The policy in a file. Whatever a registry's policy is pinned to stays what it is: a file is no successor because
/// its own roots signed it.
fn from_file(path: &Path, location: &Location, root: Option<&Path>) -> Result<Policy> {
    let roots = roots(root)?;
    let (policy, signed) = read_policy(path, roots.as_ref())?;
    // Documents of version 1 have no version that could go back.
    if let (Location::Registry(image), true) = (location, policy.version() > 0) {
        let kept = KeptPolicies::of_user()?;
        let registry = image.registry.to_string();
        kept.check(&registry, &policy)?;
        if let Some(signed) = signed {
            kept.take_file(&registry, &signed, roots.as_ref())?;
        }
    }
    Ok(policy)
}

fn registry_of(location: &Location) -> Result<String> {
    match location {
        Location::Registry(image) => Ok(image.registry.to_string()),
        _ => Err(
            Error::usage("a layout or archive has no registry that could hand out a policy")
                .hint("give --policy FILE"),
        ),
    }
}

/// The registry's signed policy, pinned.
async fn pinned(
    location: &Location,
    options: &ConnectOptions,
    root: Option<&Path>,
) -> Result<Policy> {
    let registry = registry_of(location)?;
    let envelope = signed_policy(&registry, options).await?;
    let (kept, roots) = (KeptPolicies::of_user()?, roots(root)?);
    let again = || signed_policy(&registry, options);
    let taken = kept.take_newest(&registry, envelope, roots.as_ref(), again);
    Ok(taken.await?.into_policy())
}

/// The same, or an unsigned one: enough to see what is asked for, not to rely on.
async fn of_registry(
    location: &Location,
    options: &ConnectOptions,
    root: Option<&Path>,
) -> Result<Policy> {
    let registry = registry_of(location)?;
    match registry_policy(&registry, options).await? {
        HandedOut::Unsigned(policy) if root.is_none() => Ok(policy),
        _ => pinned(location, options, root).await,
    }
}
