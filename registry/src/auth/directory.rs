//! What authentication asks of the store: accounts and API tokens by name.
//!
//! Owns: the questions, as a trait, because the stores lie above this module. Does not own: any
//! answer. The metadata store implements it; `administration` is the only caller of the writes.
//! Invariants that an implementation keeps: each operation is atomic and durable when it returns;
//! `insert_*` never replaces; listings are in the order of names; an account that cannot be read is
//! an error, not `None`.

use super::account::{Account, AccountName};
use super::token::{ApiToken, TokenId};
use std::future::Future;
use std::pin::Pin;

/// The store did not answer. Whoever asked to be let in is not let in.
#[derive(Debug, thiserror::Error)]
#[error("accounts cannot be looked up: {0}")]
pub struct DirectoryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl DirectoryError {
    /// Wraps the store's error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DirectoryError {
        DirectoryError(error.into())
    }
}

/// An answer to come. Boxed, so that the trait can be an object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DirectoryError>> + Send + 'a>>;

/// Accounts and API tokens at rest.
pub trait Directory: Send + Sync + 'static {
    /// The account of that name, disabled and expired ones included. Asked for every request that
    /// has credentials: keep it fast.
    fn account<'a>(&'a self, name: &'a AccountName) -> Answer<'a, Option<Account>>;

    /// Up to `limit` accounts with names after `after`, in order.
    fn accounts<'a>(
        &'a self,
        after: Option<&'a AccountName>,
        limit: usize,
    ) -> Answer<'a, Vec<Account>>;

    /// Adds an account. `false`, and nothing is changed, if the name is taken.
    fn insert_account(&self, account: Account) -> Answer<'_, bool>;

    /// Replaces the account of the same name. `false`, and nothing is changed, if there is none.
    fn replace_account(&self, account: Account) -> Answer<'_, bool>;

    /// Removes an account. `false` if there was none. Its API tokens may stay behind: they are
    /// refused without their owner, and an account made later under the same name does not revive them.
    fn remove_account<'a>(&'a self, name: &'a AccountName) -> Answer<'a, bool>;

    /// The token of that id, expired ones included. The caller compares the whole hash.
    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<ApiToken>>;

    /// Up to `limit` tokens with ids after `after`, in order, of one owner or of all.
    fn tokens<'a>(
        &'a self,
        owner: Option<&'a AccountName>,
        after: Option<&'a TokenId>,
        limit: usize,
    ) -> Answer<'a, Vec<ApiToken>>;

    /// Adds a token. `false`, and nothing is changed, if the id is taken.
    fn insert_token(&self, token: ApiToken) -> Answer<'_, bool>;

    /// Removes a token. `false` if there was none.
    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool>;
}
