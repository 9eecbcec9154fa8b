//! The decision: rules and the administrator's flag, within what the credentials are limited to.
//!
//! Owns: the only way to a [`Grant`] for a request, and to [`Administrator`].
//! Does not own: the answer on the wire.
//! Invariant: effective rights = (rules, or everything for an administrator) ∩ API token's scopes
//! ∩ session's scopes. Nothing in this file can add to the first term.

use super::directory::Asker;
use super::grant::{Action, Grant};
use super::principal::{Identity, Principal};
use super::rules::AccessRules;
use super::scope::{Access, Scope};
use super::verb::{Verb, VerbSet};
use jiff::Timestamp;
use sealstone_spec::name::RepoName;

/// Why there is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credentials were given and strangers may not do this: 401 with a challenge.
    #[error("{verb} in {repository} needs an account: log in")]
    Unauthenticated {
        /// What was wanted.
        verb: Verb,
        /// Where.
        repository: RepoName,
    },
    /// A session that was asked for less than its owner may do: 401 with a challenge that names the
    /// scope and `error="insufficient_scope"`, on which clients fetch another.
    #[error(
        "the bearer token does not cover {verb} in {repository}: ask for a token with that scope"
    )]
    InsufficientScope {
        /// What was wanted.
        verb: Verb,
        /// Where.
        repository: RepoName,
    },
    /// This account, or this API token, may not: 403.
    #[error(
        "{identity} may not {verb} in {repository}: ask whoever administers this registry for an access rule"
    )]
    Forbidden {
        /// Who asked.
        identity: Identity,
        /// What was wanted.
        verb: Verb,
        /// Where.
        repository: RepoName,
    },
}

impl Refusal {
    /// Of two ways to the same, the refusal that another session would lift; else this one. Clients try again on a
    /// challenge and give up on anything else.
    #[must_use]
    pub fn or(self, other: Refusal) -> Refusal {
        let is_lifted = |refusal: &Refusal| matches!(refusal, Refusal::InsufficientScope { .. });
        if is_lifted(&other) && !is_lifted(&self) {
            other
        } else {
            self
        }
    }

    /// The scope to name in a challenge, so that the next token covers the request.
    pub fn scope(&self) -> Scope {
        let (Refusal::Unauthenticated { verb, repository }
        | Refusal::InsufficientScope { verb, repository }
        | Refusal::Forbidden {
            verb, repository, ..
        }) = self;
        Scope::for_verb(*verb, repository)
    }
}

/// Why somebody is not treated as an administrator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdministratorRefusal {
    /// No credentials: 401.
    #[error("this needs an administrator's account: log in")]
    Unauthenticated,
    /// Not an administrator, or by credentials that are limited: 403.
    #[error(
        "{0} is no administrator here, or used a limited token: log in with an administrator's secret"
    )]
    Forbidden(Identity),
}

/// Proof that somebody administers the registry: accounts, tokens of others, jobs.
///
/// ```compile_fail,E0423
/// use sealstone_registry::auth::{Administrator, Identity};
/// let me = Administrator(Identity::Anonymous, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator(Identity, Option<Timestamp>);

impl Administrator {
    /// Who, for audit lines.
    pub fn identity(&self) -> &Identity {
        &self.0
    }

    /// Who, for the store, which looks again when it does what they asked for.
    pub(super) fn asker(&self) -> Option<Asker> {
        let name = self.0.name()?.clone();
        self.1.map(|since| Asker { name, since })
    }
}

/// Decides by the rules of the configuration.
#[derive(Clone, Debug)]
pub struct Authorizer {
    rules: AccessRules,
}

impl Authorizer {
    /// Decides by these rules.
    pub fn new(rules: AccessRules) -> Authorizer {
        Authorizer { rules }
    }

    /// What the account holds in `repository` within its API token, whatever the session covers.
    fn held(&self, principal: &Principal, repository: &RepoName) -> VerbSet {
        let given = if principal.administrator {
            VerbSet::ALL
        } else {
            self.rules.verbs(&principal.identity, repository)
        };
        match &principal.restriction {
            Some(restriction) => given.intersection(restriction.verbs(repository)),
            None => given,
        }
    }

    /// What this request may do in `repository`.
    pub fn verbs(&self, principal: &Principal, repository: &RepoName) -> VerbSet {
        let held = self.held(principal, repository);
        match &principal.session {
            Some(session) => held.intersection(session.verbs(repository)),
            None => held,
        }
    }

    /// The proof that `principal` may do `A` in `repository`.
    ///
    /// # Errors
    /// Says whether to log in, to fetch another token, or to give up.
    pub fn grant<A: Action>(
        &self,
        principal: &Principal,
        repository: &RepoName,
    ) -> Result<Grant<A>, Refusal> {
        let (verb, repository) = (A::VERB, repository.clone());
        let held = self.held(principal, &repository);
        if self.verbs(principal, &repository).contains(verb) {
            return Ok(Grant::new(principal.identity.clone(), repository, held));
        }
        if held.contains(verb) {
            return Err(Refusal::InsufficientScope { verb, repository });
        }
        if principal.is_anonymous() {
            return Err(Refusal::Unauthenticated { verb, repository });
        }
        Err(Refusal::Forbidden {
            identity: principal.identity.clone(),
            verb,
            repository,
        })
    }

    /// The proof that `principal` administers the registry. A session is never enough: it was made
    /// for the transfer of content. An API token is, if its scopes leave nothing out.
    ///
    /// # Errors
    /// Says whether logging in could help.
    pub fn administrator(
        &self,
        principal: &Principal,
    ) -> Result<Administrator, AdministratorRefusal> {
        if principal.is_anonymous() {
            return Err(AdministratorRefusal::Unauthenticated);
        }
        let unlimited = principal
            .restriction
            .as_ref()
            .is_none_or(|restriction| restriction.is_unlimited());
        if principal.administrator && unlimited && principal.session.is_none() {
            Ok(Administrator(principal.identity.clone(), principal.since))
        } else {
            Err(AdministratorRefusal::Forbidden(principal.identity.clone()))
        }
    }

    /// Whether `principal` may ask for the list of repositories at all; what it shows is filtered
    /// by [`Authorizer::may_see`]. `false`: 401 with the challenge for [`Scope::Catalog`].
    pub fn may_list_catalog(&self, principal: &Principal) -> bool {
        match &principal.session {
            Some(session) => session.lists_catalog(),
            None => !principal.is_anonymous() || self.rules.know_anonymous(),
        }
    }

    /// Whether the catalog may name `repository`. The scope of a session does not matter here: a token
    /// for the catalog names no repository. Whatever says more than that a repository is there asks for
    /// [`Authorizer::verbs`].
    pub fn may_see(&self, principal: &Principal, repository: &RepoName) -> bool {
        !self.held(principal, repository).is_empty()
    }

    /// What of the wanted scopes a session for `principal` gets: the intersection, silently.
    /// Clients ask for `pull,push` whatever they are about to do.
    pub fn narrow(&self, principal: &Principal, wanted: &[Scope]) -> Vec<Access> {
        wanted
            .iter()
            .filter_map(|scope| match scope {
                Scope::Repository { name, verbs } => {
                    let verbs = self.verbs(principal, name).intersection(*verbs);
                    (!verbs.is_empty()).then(|| Access::repository(name.clone(), verbs))
                }
                Scope::Catalog => self.may_list_catalog(principal).then(Access::catalog),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
