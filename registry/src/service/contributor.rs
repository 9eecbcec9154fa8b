//! Whoever may add content to a repository: a pusher, or a signer who adds evidence.

use crate::auth::{Grant, Identity, Maintain, Push, Sign};
use sealstone_spec::name::RepoName;

/// Made from a grant to push or a grant to sign, or from that of the server's own jobs.
///
/// ```compile_fail
/// use sealstone_registry::auth::{Grant, Pull};
/// fn reader_pushes(grant: Grant<Pull>) -> sealstone_registry::service::Contributor {
///     grant.into()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Contributor {
    who: Identity,
    repository: RepoName,
    may_push: bool,
    is_registry: bool,
}

impl Contributor {
    /// Where.
    pub fn repository(&self) -> &RepoName {
        &self.repository
    }

    /// Who, as text for rows and logs.
    pub fn name(&self) -> String {
        self.who.to_string()
    }

    /// Whether anything may be pushed, or only manifests that speak of others.
    pub fn may_push(&self) -> bool {
        self.may_push
    }

    /// Whether it is the registry itself, which has to speak also where a quota leaves no room for others.
    pub(super) fn is_registry(&self) -> bool {
        self.is_registry
    }
}

impl From<Grant<Push>> for Contributor {
    fn from(grant: Grant<Push>) -> Self {
        Contributor {
            who: grant.principal().clone(),
            repository: grant.repository().clone(),
            may_push: true,
            is_registry: false,
        }
    }
}

impl From<Grant<Sign>> for Contributor {
    fn from(grant: Grant<Sign>) -> Self {
        Contributor {
            who: grant.principal().clone(),
            repository: grant.repository().clone(),
            may_push: false,
            is_registry: false,
        }
    }
}

/// The registry attaches statements of its own, and nothing else.
impl From<Grant<Maintain>> for Contributor {
    fn from(grant: Grant<Maintain>) -> Self {
        Contributor {
            who: grant.principal().clone(),
            repository: grant.repository().clone(),
            may_push: false,
            is_registry: true,
        }
    }
}
