//! Arguments that say whom to trust; shared by commands that verify.

use sealstone::keys::read_public_list;
use sealstone::store::{Location, Store};
use sealstone::trust::{Judge, judge_by_roots};
use sealstone::{Error, Result};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use std::path::PathBuf;

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

    /// Root keys: judge by the newest policy that travels with the bundle and that they have signed
    #[arg(long, value_name = "FILE.pem", conflicts_with_all = ["policy", "key"])]
    root: Option<PathBuf>,

    /// How many of the root keys must have signed that policy; without it, all of them
    #[arg(long, value_name = "N", requires = "root", value_parser = clap::value_parser!(u32).range(1..))]
    root_threshold: Option<u32>,

    /// Repository whose rules hold, for layouts and archives, which have no repository of their own
    #[arg(long, value_name = "NAME")]
    repository: Option<RepoName>,
}

impl TrustArgs {
    /// The judge, if one was named.
    pub(crate) fn judge(&self) -> Result<Option<Judge>> {
        match self.policy_file() {
            Some(path) => Judge::from_policy_file(&path).map(Some),
            None if self.key.is_empty() => Ok(None),
            None => Judge::from_key_files(&self.key, self.threshold).map(Some),
        }
    }

    /// The judge for a bundle, if one was named: root keys find theirs beside the bundle.
    pub(crate) async fn judge_for(
        &self,
        store: &dyn Store,
        manifest: &VerifiedManifest,
    ) -> Result<Option<Judge>> {
        let Some(path) = &self.root else {
            return self.judge();
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
        judge_by_roots(store, manifest, &keys, threshold)
            .await
            .map(Some)
    }

    /// Whether somebody to trust was named.
    pub(crate) fn names_somebody(&self) -> bool {
        self.root.is_some() || !self.key.is_empty() || self.policy_file().is_some()
    }

    /// The policy named, else that of the environment; keys that are named win over the latter, which
    /// is why clap does not read it: to clap, it would contradict them.
    fn policy_file(&self) -> Option<PathBuf> {
        let from_environment = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        match &self.policy {
            None if self.key.is_empty() && self.root.is_none() => {
                from_environment().map(PathBuf::from)
            }
            stated => stated.clone(),
        }
    }

    /// The repository whose rules hold for what lies at `location`.
    pub(crate) fn repository(&self, location: &Location) -> Result<RepoName> {
        match (location, &self.repository) {
            (Location::Registry(image), None) => Ok(image.repository.clone()),
            (Location::Registry(image), Some(stated)) if *stated == image.repository => {
                Ok(stated.clone())
            }
            (Location::Registry(image), Some(stated)) => Err(Error::usage(format!(
                "--repository says \"{stated}\", but the bundle lies in \"{}\"",
                image.repository
            ))),
            (Location::Layout { .. } | Location::Archive { .. }, Some(stated)) => {
                Ok(stated.clone())
            }
            // Keys count everywhere, so any name will do; a policy's rules depend on the name.
            (_, None) if self.policy_file().is_none() && self.root.is_none() => Ok("layout"
                .parse()
                .expect("a lowercase word is a repository name")),
            (_, None) => Err(Error::usage(
                "a layout or archive has no repository, so the policy cannot say which rules hold",
            )
            .hint("add --repository NAME: where the bundle came from or is to go")),
        }
    }
}
