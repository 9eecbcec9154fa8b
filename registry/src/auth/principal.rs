//! Who is asking: an identity, and what its credentials narrow it to.
//!
//! Owns: [`Principal`] and the two ways of narrowing. Does not own: how it was proved
//! (`authenticate`) and what it may do (`authorize`).
//! Invariant: a principal other than the anonymous one is made in this folder only, after its
//! credentials were checked; it cannot be deserialised.

use super::account::{AccountKind, AccountName};
use super::repositories::RepositoryPattern;
use super::scope::Access;
use super::verb::{Verb, VerbSet};
use jiff::Timestamp;
use sealstone_spec::name::RepoName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who somebody is. Written `user:alice`, `robot:ci`, `anonymous` or `system`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// A person.
    User(AccountName),
    /// A machine.
    Robot(AccountName),
    /// The server's own jobs. No request has it.
    System,
}

impl Identity {
    pub(super) fn of(kind: AccountKind, name: AccountName) -> Identity {
        match kind {
            AccountKind::User => Identity::User(name),
            AccountKind::Robot => Identity::Robot(name),
        }
    }

    /// The account's name, where there is an account.
    pub fn name(&self) -> Option<&AccountName> {
        match self {
            Identity::User(name) | Identity::Robot(name) => Some(name),
            Identity::Anonymous | Identity::System => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Anonymous => f.write_str("anonymous"),
            Identity::User(name) => write!(f, "user:{name}"),
            Identity::Robot(name) => write!(f, "robot:{name}"),
            Identity::System => f.write_str("system"),
        }
    }
}

/// What an API token is for: these verbs in these repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenScope {
    /// Which repositories.
    pub repositories: Vec<RepositoryPattern>,
    /// Which verbs; what they imply is meant too.
    pub verbs: Vec<Verb>,
}

/// The scopes of an API token. It narrows; no scope means no right at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Restriction(pub Vec<TokenScope>);

impl Restriction {
    /// What is left in `repository`.
    pub fn verbs(&self, repository: &RepoName) -> VerbSet {
        self.0
            .iter()
            .filter(|scope| {
                scope
                    .repositories
                    .iter()
                    .any(|pattern| pattern.matches(repository))
            })
            .fold(VerbSet::NONE, |verbs, scope| {
                verbs.union(scope.verbs.iter().copied().collect())
            })
            .closed()
    }

    /// Whether nothing is taken away: one scope gives `admin` on `**`.
    pub fn is_unlimited(&self) -> bool {
        self.0.iter().any(|scope| {
            scope.verbs.contains(&Verb::Admin)
                && scope
                    .repositories
                    .iter()
                    .any(RepositoryPattern::is_everything)
        })
    }
}

/// What a session (a JWT of the Docker token flow) was asked for and got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) access: Vec<Access>,
}

impl Session {
    pub(super) fn verbs(&self, repository: &RepoName) -> VerbSet {
        self.access.iter().fold(VerbSet::NONE, |verbs, access| {
            verbs.union(access.verbs(repository))
        })
    }

    pub(super) fn lists_catalog(&self) -> bool {
        self.access.iter().any(Access::is_catalog)
    }
}

/// Whoever a request was proved to come from.
///
/// ```compile_fail,E0451
/// use sealstone_registry::auth::{Identity, Principal};
/// let principal = Principal { identity: Identity::Anonymous, administrator: true, since: None, restriction: None, token: None, mark: None, session: None };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub(super) identity: Identity,
    /// Holds every verb everywhere, within the restriction.
    pub(super) administrator: bool,
    /// When the account was made, where there is one: what it asks for is done for that one, and not for another one that
    /// has its name by then.
    pub(super) since: Option<Timestamp>,
    /// Set by an API token.
    pub(super) restriction: Option<Restriction>,
    /// The API token that proved it, so that a session made from it dies with it.
    pub(super) token: Option<super::token::TokenId>,
    /// The mark of the account and its secret, if that proved it, so that a session made with it dies with either.
    pub(super) mark: Option<String>,
    /// Set by a session.
    pub(super) session: Option<Session>,
}

impl Principal {
    /// Nobody in particular: a request without credentials.
    pub fn anonymous() -> Principal {
        Principal {
            identity: Identity::Anonymous,
            administrator: false,
            since: None,
            restriction: None,
            token: None,
            mark: None,
            session: None,
        }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether there were no credentials.
    pub fn is_anonymous(&self) -> bool {
        self.identity == Identity::Anonymous
    }

    /// Whether the account is an administrator's, whatever the credentials narrow it to.
    /// To act as one takes [`Authorizer::administrator`](super::Authorizer::administrator).
    pub fn is_administrator_account(&self) -> bool {
        self.administrator
    }

    /// Whether it came with a session, which may cover less than the account may do.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// The scopes of the API token that was used, if one was.
    pub fn restriction(&self) -> Option<&Restriction> {
        self.restriction.as_ref()
    }
}
