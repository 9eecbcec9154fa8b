//! Who is asking, and what they may do.
//!
//! Owns: principals, passwords, API tokens, the Docker token flow, access rules and the proof of a
//! permission, [`Grant`]. Does not own: accounts at rest (asked through [`Directory`], which the
//! metadata store implements), HTTP (the `api` parses requests and renders refusals), the release
//! policy (in `spec`: permission to try is not permission to release).
//!
//! Invariants:
//! - A [`Grant`] is made by [`Authorizer::grant`] only, a [`Principal`] by [`Authenticator`] only
//!   (the anonymous one apart). Neither can be deserialised, defaulted or written as a literal.
//! - What cannot be decided is refused: a directory that does not answer is an error, never "anonymous".
//! - A token only ever narrows what its owner may do at this moment. Rights come from the rules, at
//!   the time of the request; a removed account takes its tokens and sessions with it.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`verb`], [`grant`], [`authorize`] | verbs, the proof of one, its only maker |
//! | [`rules`], [`repositories`] | the `[[access]]` rules of the configuration, patterns over names |
//! | [`principal`], [`account`] | who is asking, who exists |
//! | [`secret`], [`password`], [`htpasswd`], [`attempts`] | secrets, slow hashes, the limit on guesses |
//! | [`token`], [`jwt`], [`scope`], [`challenge`] | API tokens and the Docker token flow |
//! | [`authorization`], [`authenticate`] | the `Authorization` header, and whom it proves |
//! | [`directory`], [`administration`] | what is asked of the store; accounts and tokens made and removed |

pub mod account;
pub mod administration;
pub mod attempts;
pub mod authenticate;
pub mod authorization;
pub mod authorize;
pub mod challenge;
pub mod directory;
pub mod grant;
pub mod htpasswd;
pub mod jwt;
pub mod password;
pub mod principal;
pub mod repositories;
pub mod rules;
pub mod scope;
pub mod secret;
pub mod token;
pub mod verb;

#[cfg(test)]
pub(crate) mod testing;

pub use account::{Account, AccountKind, AccountName};
pub use authenticate::{AuthError, Authenticator};
pub use authorize::{Administrator, Authorizer, Refusal};
pub use directory::{Directory, DirectoryError};
pub use grant::{
    Action, Admin, Approve, Delete, Grant, Maintain, Maintenance, Pull, Push, Sign, Tag,
};
pub use principal::{Identity, Principal};
pub use rules::AccessRules;
pub use verb::{Verb, VerbSet};

use std::sync::Arc;

/// Where the time comes from. A parameter everywhere, so that expiry can be tested.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;
