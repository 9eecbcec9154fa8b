//! What authentication asks of the store: accounts and API tokens by name.
//!
//! Owns: the questions, as a trait, because the stores lie above this module, and what is compared in the same step as a
//! change is made, so that every store compares the same. Does not own: any
//! answer. The metadata store implements it; `administration` is the only caller of the writes, boot of
//! [`Directory::note_file`].
//! Invariants that an implementation keeps: each operation is atomic and durable when it returns;
//! `insert_*` never replaces; listings are in the order of names; an account that cannot be read is
//! an error, not `None`; tokens end in the same step as the account whose they were, whoever has its name next.

use super::account::{Account, AccountName};
use super::password::SecretHash;
use super::token::{ApiToken, TokenId};
use jiff::Timestamp;
use std::collections::BTreeMap;
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

/// The administrator who asks for a change, as the store has to find them when it makes it. A body comes as slowly as its
/// sender likes, and a slow hash waits for its turn: whoever was shut out meanwhile changes nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The account's name.
    pub name: AccountName,
    /// When it was made; another one of its name did not ask.
    pub since: Timestamp,
}

impl Asker {
    /// Whether `found`, the account of that name now, may still have its way.
    pub fn administers(&self, found: Option<&Account>, now: Timestamp) -> bool {
        found.is_some_and(|account| {
            account.admin && account.is_active(now) && account.created_at == self.since
        })
    }
}

/// What an account is to become. The rest of it stays as the store finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Its secret has this hash.
    Secret(SecretHash),
    /// It is shut out, or let in again.
    Disabled(bool),
    /// It is gone.
    Removed,
}

/// A change of one account.
#[derive(Clone, Debug)]
pub struct AccountChange {
    /// Whose account.
    pub name: AccountName,
    /// What becomes of it.
    pub wish: Wish,
    /// Who asks.
    pub by: Asker,
    /// When.
    pub now: Timestamp,
}

impl AccountChange {
    /// The account as it is to be, or as it was if it is to go, from what the store finds under its name and the asker's.
    ///
    /// # Errors
    /// Says why nothing is to be changed.
    pub fn apply(
        &self,
        found: Option<Account>,
        asker: Option<&Account>,
    ) -> Result<Account, Unchanged> {
        if !self.by.administers(asker, self.now) {
            return Err(Unchanged::AskerGone);
        }
        let account = found.ok_or(Unchanged::NoAccount)?;
        Ok(match &self.wish {
            Wish::Secret(hash) => Account {
                secret_hash: hash.clone(),
                ..account
            },
            Wish::Disabled(disabled) => Account {
                disabled: *disabled,
                ..account
            },
            Wish::Removed => account,
        })
    }
}

/// Why no account was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// The name is taken.
    NameTaken,
    /// There is none.
    NoAccount,
    /// Who asked was removed, shut out or demoted since.
    AskerGone,
}

/// A token to be kept.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The token.
    pub token: ApiToken,
    /// When the account was made that asked for it; one that has its name since then did not ask.
    pub owner_since: Timestamp,
    /// The time, which is not always that of the token: an account may have been made under a clock that was ahead.
    pub now: Timestamp,
    /// So many of one owner are kept, those apart that have expired.
    pub most: usize,
}

/// Why a token was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// Its id is taken.
    IdTaken,
    /// Its owner was removed, shut out or made anew since.
    OwnerGone,
    /// Its owner has as many as are kept.
    TooMany,
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

    /// Adds an account, for an administrator or, without one, for the server itself. Tokens of an earlier account of its
    /// name end.
    fn insert_account(
        &self,
        account: Account,
        by: Option<Asker>,
    ) -> Answer<'_, Result<(), Unchanged>>;

    /// Replaces the account of the same name by another one; what tokens it had end. `false`, and nothing is changed, if
    /// there is none.
    fn replace_account(&self, account: Account) -> Answer<'_, bool>;

    /// Changes an account by [`AccountChange::apply`], on what is there in this very step, and returns what that returned.
    /// The tokens of one that goes end with it, and so do the sessions: an account of the
    /// file that has the same name is another one from then on.
    fn change_account(&self, change: AccountChange) -> Answer<'_, Result<Account, Unchanged>>;

    /// Says which accounts there are in the file besides, each with a mark of its secret. An entry that was not there
    /// before, or had another mark, is another account from `now` on, and the tokens of the one before it
    /// end. So do those that have expired, and those of whoever is neither in the directory nor in the file.
    fn note_file(&self, file: BTreeMap<AccountName, String>, now: Timestamp) -> Answer<'_, ()>;

    /// Since when the account of that name in the file is what it is; `None` if none was noted. Asked for every request of
    /// such an account.
    fn in_file_since<'a>(&'a self, name: &'a AccountName) -> Answer<'a, Option<Timestamp>>;

    /// The token of that id, expired ones included. The caller compares the whole hash.
    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<ApiToken>>;

    /// Up to `limit` tokens with ids after `after`, in order, of one owner or of all.
    fn tokens<'a>(
        &'a self,
        owner: Option<&'a AccountName>,
        after: Option<&'a TokenId>,
        limit: usize,
    ) -> Answer<'a, Vec<ApiToken>>;

    /// Adds a token, counted in this very step; its owner's that have expired when it is made go.
    fn insert_token(&self, new: NewToken) -> Answer<'_, Result<(), NotKept>>;

    /// Removes a token. `false` if there was none.
    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool>;
}
