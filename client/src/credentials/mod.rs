//! Who this client is to each registry.
//!
//! Owns where credentials are found and kept: the environment, docker's `config.json` with its
//! helpers, and, for reading, the `auth.json` of podman and skopeo. Does not send them anywhere.
//! Invariant: a secret never appears in `Debug` output, in an error or on a command line.

mod config;
mod helper;
mod keyring;

pub use keyring::{Kept, Keyring};

use crate::error::Result;
use futures_util::future::BoxFuture;
use sealstone_spec::name::RepoName;
use std::fmt;
use zeroize::Zeroizing;

/// A text that is not shown by accident and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text, for sending it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What proves to a registry who this is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// A user name with its password or API token.
    Basic {
        /// The user or robot account.
        username: String,
        /// Its password or token.
        secret: Secret,
    },
    /// An OAuth2 refresh token, which a token service turns into an access token.
    Identity(Secret),
    /// An access token that is sent as it is.
    Registry(Secret),
}

impl Credential {
    /// A user name with its secret.
    pub fn basic(username: impl Into<String>, secret: impl Into<String>) -> Credential {
        Credential::Basic {
            username: username.into(),
            secret: Secret::new(secret),
        }
    }
}

/// A place where credentials are looked up.
pub trait CredentialSource: Send + Sync + fmt::Debug {
    /// The credential for a registry, and for a repository in it where some are kept per repository.
    fn find<'a>(
        &'a self,
        registry: &'a str,
        repository: Option<&'a RepoName>,
    ) -> BoxFuture<'a, Result<Option<Credential>>>;
}

/// One credential for whatever is asked, or none: for `login`, which tries before it keeps.
#[derive(Clone, Debug, Default)]
pub struct Fixed(pub Option<Credential>);

impl CredentialSource for Fixed {
    fn find<'a>(
        &'a self,
        _registry: &'a str,
        _repository: Option<&'a RepoName>,
    ) -> BoxFuture<'a, Result<Option<Credential>>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}
