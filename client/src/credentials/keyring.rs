//! Where credentials are looked up, in order, and where `login` keeps them.
//!
//! 1. `SEALSTONE_USERNAME` and `SEALSTONE_PASSWORD`, for unattended jobs; with `SEALSTONE_REGISTRY`,
//!    for that registry only, written as anywhere else: `https://h.example/` is `h.example`.
//! 2. docker's `config.json`: the registry's helper, the general helper, then `auths`.
//! 3. `auth.json` of podman, skopeo and buildah, which is only read.
//!
//! Invariant: a lookup that fails is an error, not "no credential": going on as nobody would
//! otherwise end in a confusing refusal.

use super::config::{ConfigFile, host_of};
use super::{Credential, CredentialSource, Secret, helper};
use crate::error::{Error, Result};
use futures_util::future::BoxFuture;
use sealstone_spec::name::RepoName;
use std::path::{Path, PathBuf};

/// The places with credentials on this machine.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    environment: Option<Credential>,
    environment_registry: Option<String>,
    problem: Option<String>,
    docker: Option<PathBuf>,
    containers: Vec<PathBuf>,
}

/// Where `login` kept a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a file, only base64-encoded.
    File(PathBuf),
    /// With a helper of this name.
    Helper(String),
}

impl Keyring {
    /// The places that the process's environment names.
    pub fn from_environment() -> Keyring {
        Keyring::new(|name| std::env::var(name).ok())
    }

    /// The places that `variable` names, which looks up an environment variable.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Keyring {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let (environment, problem) = match (
            variable("SEALSTONE_USERNAME"),
            variable("SEALSTONE_PASSWORD"),
        ) {
            (Some(username), Some(secret)) => (Some(Credential::basic(username, secret)), None),
            (None, None) => (None, None),
            (Some(_), None) => (
                None,
                Some("SEALSTONE_USERNAME is set without SEALSTONE_PASSWORD"),
            ),
            (None, Some(_)) => (
                None,
                Some("SEALSTONE_PASSWORD is set without SEALSTONE_USERNAME"),
            ),
        };
        let docker = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|directory| directory.join("config.json"));
        let containers = match variable("REGISTRY_AUTH_FILE") {
            Some(file) => vec![PathBuf::from(file)],
            None => variable("XDG_RUNTIME_DIR")
                .map(|directory| Path::new(&directory).join("containers/auth.json"))
                .into_iter()
                .chain(home.map(|home| home.join(".config/containers/auth.json")))
                .collect(),
        };
        Keyring {
            environment,
            environment_registry: variable("SEALSTONE_REGISTRY")
                .map(|registry| host_of(&registry).to_owned()),
            problem: problem.map(str::to_owned),
            docker,
            containers,
        }
    }

    /// Whether one credential from the environment would go to every registry that is spoken to:
    /// commands that speak to two must not do so.
    pub fn is_unbound(&self) -> bool {
        self.environment.is_some() && self.environment_registry.is_none()
    }

    /// The same without a credential that would go to every registry: for one that a stranger chose.
    #[must_use]
    pub fn without_unbound(mut self) -> Keyring {
        if self.is_unbound() {
            self.environment = None;
        }
        self
    }

    async fn lookup(
        &self,
        registry: &str,
        repository: Option<&RepoName>,
    ) -> Result<Option<Credential>> {
        if let Some(problem) = &self.problem {
            return Err(Error::usage(problem.clone()).hint("set both or none"));
        }
        let registry = host_of(registry);
        if let Some(credential) = &self.environment
            && self
                .environment_registry
                .as_deref()
                .is_none_or(|bound| bound == registry)
        {
            return Ok(Some(credential.clone()));
        }
        let repository = repository.map(RepoName::as_str);
        if let Some(path) = &self.docker {
            let file = ConfigFile::read(path)?;
            if let Some(name) = file.helper(registry)
                && let Some(found) = helper::get(&name, &server_url(registry)).await?
            {
                return Ok(Some(found));
            }
            if let Some(found) = file.find(registry, repository) {
                return Ok(Some(found));
            }
        }
        for path in &self.containers {
            if let Some(found) = ConfigFile::read(path)?.find(registry, repository) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps a credential for a registry: with its helper if one is configured, else in docker's
    /// `config.json`.
    ///
    /// # Errors
    /// If there is no home directory, the helper fails or the file cannot be written.
    pub async fn keep(&self, registry: &str, username: &str, secret: &Secret) -> Result<Kept> {
        let path = self.docker_path()?;
        let registry = host_of(registry);
        let mut file = ConfigFile::read(path)?;
        if let Some(name) = file.helper(registry) {
            helper::store(&name, &server_url(registry), username, secret).await?;
            return Ok(Kept::Helper(name));
        }
        file.remove(registry);
        file.set(&server_url(registry), username, secret.reveal());
        file.write()?;
        Ok(Kept::File(path.to_owned()))
    }

    /// Forgets a registry's credential; false if none was kept where this client writes.
    ///
    /// # Errors
    /// As [`Keyring::keep`].
    pub async fn forget(&self, registry: &str) -> Result<bool> {
        let path = self.docker_path()?;
        let registry = host_of(registry);
        let mut file = ConfigFile::read(path)?;
        let mut found = false;
        if let Some(name) = file.helper(registry) {
            found = helper::get(&name, &server_url(registry)).await?.is_some();
            helper::erase(&name, &server_url(registry)).await?;
        }
        if file.remove(registry) {
            file.write()?;
            found = true;
        }
        Ok(found)
    }

    fn docker_path(&self) -> Result<&Path> {
        self.docker.as_deref().ok_or_else(|| {
            Error::other("there is no home directory to keep credentials in")
                .hint("set HOME or DOCKER_CONFIG, or use SEALSTONE_USERNAME and SEALSTONE_PASSWORD")
        })
    }
}

/// The key under which docker keeps a registry; only Docker Hub's is not its host.
fn server_url(registry: &str) -> String {
    if registry == "docker.io" {
        "https://index.docker.io/v1/".to_owned()
    } else {
        registry.to_owned()
    }
}

impl CredentialSource for Keyring {
    fn find<'a>(
        &'a self,
        registry: &'a str,
        repository: Option<&'a RepoName>,
    ) -> BoxFuture<'a, Result<Option<Credential>>> {
        Box::pin(self.lookup(registry, repository))
    }
}

#[cfg(test)]
#[path = "keyring/tests.rs"]
mod tests;
