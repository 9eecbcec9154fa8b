//! Accounts and API tokens: made, changed, removed, and the first administrator.
//!
//! Owns: the rules of administration. Does not own: the API's JSON, the audit line (the caller
//! writes it from what is returned).
//! Invariants: a secret is returned once, by the call that made it, and kept as a hash; the first
//! administrator is made only in an empty directory, or by who holds the store's files; nobody removes,
//! disables or demotes themself, and who asks is looked up again in the step that changes something, so one administrator
//! remains; a token is made for oneself, with one's own secret, so that no token makes one that is wider or lasts longer
//! than itself.

use super::account::{Account, AccountKind, AccountName};
use super::authorize::Administrator;
use super::directory::{
    AccountChange, Asker, Directory, DirectoryError, NewToken, NotKept, Unchanged, Wish,
};
use super::grant::Maintenance;
use super::password::{Busy, MAX_SECRET_LEN, Passwords};
use super::principal::{Identity, Principal, Restriction};
use super::secret::Secret;
use super::token::{ApiToken, TokenId, TokenSecret};
use jiff::Timestamp;
use std::time::Duration;

/// The name of the first administrator.
pub const FIRST_ADMINISTRATOR: &str = "admin";
/// Shortest secret that somebody may choose, in bytes.
pub const MIN_SECRET_LEN: usize = 12;
/// Longest name of a token, in characters.
pub const MAX_TOKEN_NAME_LEN: usize = 128;
/// Most scopes of a token, and most patterns of a scope.
pub const MAX_TOKEN_SCOPES: usize = 64;
/// Longest scopes of a token, in bytes as they are kept.
pub const MAX_TOKEN_SCOPES_LEN: usize = 8 * 1024;
/// Most tokens of an account, those apart that have expired. What they take of the disk no quota counts, and whoever has an
/// account can make them.
pub const MAX_TOKENS: usize = 100;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// The name is taken.
    #[error("account \"{0}\" exists already: choose another name")]
    AccountExists(AccountName),
    /// No such account.
    #[error("account \"{0}\" does not exist")]
    NoAccount(AccountName),
    /// No such token, or somebody else's.
    #[error("token \"{0}\" does not exist")]
    NoToken(TokenId),
    /// A chosen secret of the wrong length.
    #[error(
        "the secret has {0} bytes: choose {MIN_SECRET_LEN} to {MAX_SECRET_LEN}, or leave it out to get a random one"
    )]
    SecretLength(usize),
    /// A chosen secret that cannot be sent, or that would be taken for a token.
    #[error(
        "the secret starts with \"sst_\" or has control characters: choose another, or leave it out to get a random one"
    )]
    SecretForm,
    /// The name of a token is empty, too long or not printable.
    #[error("the token's name has to be 1 to {MAX_TOKEN_NAME_LEN} printable characters")]
    TokenName,
    /// No scopes, or too many.
    #[error(
        "a token needs 1 to {MAX_TOKEN_SCOPES} scopes, each with repositories and verbs: use [{{\"repositories\": [\"**\"], \"verbs\": [\"pull\"]}}] to read everything that you may read"
    )]
    TokenScopes,
    /// Scopes that are too long altogether.
    #[error(
        "the token's scopes have {0} bytes, and at most {MAX_TOKEN_SCOPES_LEN} are kept: use patterns, or several tokens"
    )]
    TokenScopesLength(usize),
    /// The account has as many tokens as it may.
    #[error(
        "the account has {MAX_TOKENS} tokens, which is as many as it may have: remove one that is not used"
    )]
    TooManyTokens,
    /// It would be expired from the start, or the time is out of range.
    #[error("the expiry has to lie in the future, within 10 years")]
    Expiry,
    /// Somebody wanted to shut out themself.
    #[error(
        "you cannot remove, disable or demote your own account: let another administrator do it"
    )]
    Oneself,
    /// Whoever asked may not any more, by the time that it was to be done.
    #[error("{0} was removed, shut out or made anew while this was under way: nothing was changed")]
    Gone(Identity),
    /// Tokens are made by accounts with their own secret.
    #[error(
        "{0} cannot make or remove tokens with these credentials: log in with the account's own secret"
    )]
    LimitedCredentials(Identity),
    /// Too many logins at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The store does not answer.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// What an administrator asks for.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its name.
    pub name: AccountName,
    /// Person or machine.
    pub kind: AccountKind,
    /// Whether it administers.
    pub admin: bool,
    /// Its secret: chosen, or from [`Secret::generate`].
    pub secret: Secret,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Makes the administrator `admin` with the secret `fresh` if there is no account at all. Returns the
/// secret, for boot to show once; `None` if there are accounts, and `fresh` is worth nothing. When two servers start at the same
/// moment on one store, one makes it and the other gets `None`.
///
/// # Errors
/// When the store does not answer.
pub async fn bootstrap(
    directory: &dyn Directory,
    passwords: &Passwords,
    fresh: Secret,
    now: Timestamp,
) -> Result<Option<Secret>, AdministrationError> {
    if !directory.accounts(None, 1).await?.is_empty() {
        return Ok(None);
    }
    let account = first_administrator(passwords, &fresh, now).await?;
    let made = directory.insert_account(account, None).await?;
    Ok(made.is_ok().then_some(fresh))
}

/// Makes the administrator `admin` anew with the secret `fresh`, for whoever holds the store's files and has lost every
/// administrator's secret. What there was under that name, tokens and sessions included, ends with it: it may have been
/// somebody who was no administrator.
///
/// # Errors
/// When the store does not answer.
pub async fn reset_first_administrator(
    directory: &dyn Directory,
    passwords: &Passwords,
    _right: &Maintenance,
    fresh: Secret,
    now: Timestamp,
) -> Result<Secret, AdministrationError> {
    let account = first_administrator(passwords, &fresh, now).await?;
    let made = if directory.account(&account.name).await?.is_some() {
        directory.replace_account(account).await?
    } else {
        directory.insert_account(account, None).await?.is_ok()
    };
    if made {
        Ok(fresh)
    } else {
        Err(AdministrationError::Directory(DirectoryError::new(
            "somebody else changed the account at the same moment: try again",
        )))
    }
}

async fn first_administrator(
    passwords: &Passwords,
    secret: &Secret,
    now: Timestamp,
) -> Result<Account, AdministrationError> {
    Ok(Account {
        name: FIRST_ADMINISTRATOR
            .parse()
            .expect("the constant is an account name"),
        kind: AccountKind::User,
        secret_hash: passwords.hash(secret).await?,
        admin: true,
        disabled: false,
        created_at: now,
        expires_at: None,
    })
}

/// Makes an account and returns it with its secret, which may be shown once.
///
/// # Errors
/// When the name is taken, the secret will not do, or whoever asks is shut out meanwhile; nothing is changed then.
pub async fn create_account(
    directory: &dyn Directory,
    passwords: &Passwords,
    by: &Administrator,
    wanted: NewAccount,
    now: Timestamp,
) -> Result<(Account, Secret), AdministrationError> {
    check_expiry(wanted.expires_at, now)?;
    let secret = checked(wanted.secret)?;
    if directory.account(&wanted.name).await?.is_some() {
        return Err(AdministrationError::AccountExists(wanted.name));
    }
    let account = Account {
        name: wanted.name,
        kind: wanted.kind,
        secret_hash: passwords.hash(&secret).await?,
        admin: wanted.admin,
        disabled: false,
        created_at: now,
        expires_at: wanted.expires_at,
    };
    let asker = Some(asker(by)?);
    match directory.insert_account(account.clone(), asker).await? {
        Ok(()) => Ok((account, secret)),
        Err(unchanged) => Err(not_changed(unchanged, by, &account.name)),
    }
}

/// Gives an account another secret and returns it. What the old one had proved is forgotten, and sessions that were made
/// with it end. API tokens stay: they are made to be used where the secret is not, and each is removed by itself.
///
/// # Errors
/// When there is no such account or the secret will not do.
pub async fn replace_secret(
    directory: &dyn Directory,
    passwords: &Passwords,
    by: &Administrator,
    name: &AccountName,
    secret: Secret,
    now: Timestamp,
) -> Result<Secret, AdministrationError> {
    let secret = checked(secret)?;
    // It takes its time, so it is made before the step that changes the account, and nothing else of that is kept from here.
    let wish = Wish::Secret(passwords.hash(&secret).await?);
    change(directory, by, name, wish, now).await?;
    Ok(secret)
}

/// Shuts an account out, or lets it in again.
///
/// # Errors
/// When there is no such account, or it is one's own.
pub async fn set_disabled(
    directory: &dyn Directory,
    by: &Administrator,
    name: &AccountName,
    disabled: bool,
    now: Timestamp,
) -> Result<Account, AdministrationError> {
    not_oneself(by, name)?;
    change(directory, by, name, Wish::Disabled(disabled), now).await
}

/// Removes an account; its tokens and sessions end with it.
///
/// # Errors
/// When there is no such account, or it is one's own.
pub async fn remove_account(
    directory: &dyn Directory,
    by: &Administrator,
    name: &AccountName,
    now: Timestamp,
) -> Result<(), AdministrationError> {
    not_oneself(by, name)?;
    change(directory, by, name, Wish::Removed, now)
        .await
        .map(drop)
}

async fn change(
    directory: &dyn Directory,
    by: &Administrator,
    name: &AccountName,
    wish: Wish,
    now: Timestamp,
) -> Result<Account, AdministrationError> {
    let change = AccountChange {
        name: name.clone(),
        wish,
        by: asker(by)?,
        now,
    };
    let changed = directory.change_account(change).await?;
    changed.map_err(|unchanged| not_changed(unchanged, by, name))
}

fn asker(by: &Administrator) -> Result<Asker, AdministrationError> {
    by.asker()
        .ok_or_else(|| AdministrationError::Gone(by.identity().clone()))
}

fn not_changed(
    unchanged: Unchanged,
    by: &Administrator,
    name: &AccountName,
) -> AdministrationError {
    match unchanged {
        Unchanged::NameTaken => AdministrationError::AccountExists(name.clone()),
        Unchanged::NoAccount => AdministrationError::NoAccount(name.clone()),
        Unchanged::AskerGone => AdministrationError::Gone(by.identity().clone()),
    }
}

/// Makes an API token for oneself with the text `fresh` (from [`TokenSecret::generate`]), and returns
/// both; the text is shown once.
///
/// # Errors
/// When the credentials are limited themselves, or the wish will not do.
pub async fn create_token(
    directory: &dyn Directory,
    by: &Principal,
    name: &str,
    scopes: Restriction,
    lifetime: Option<Duration>,
    fresh: TokenSecret,
    now: Timestamp,
) -> Result<(ApiToken, TokenSecret), AdministrationError> {
    let owner = token_maker(by)?.clone();
    let printable = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if !printable || name.chars().count() > MAX_TOKEN_NAME_LEN {
        return Err(AdministrationError::TokenName);
    }
    let well_sized = |length: usize| (1..=MAX_TOKEN_SCOPES).contains(&length);
    let usable = scopes
        .0
        .iter()
        .all(|scope| well_sized(scope.repositories.len()) && well_sized(scope.verbs.len()));
    if !well_sized(scopes.0.len()) || !usable {
        return Err(AdministrationError::TokenScopes);
    }
    let length = serde_json::to_vec(&scopes)
        .expect("names and verbs are text")
        .len();
    if length > MAX_TOKEN_SCOPES_LEN {
        return Err(AdministrationError::TokenScopesLength(length));
    }
    let expires_at = lifetime
        .map(|lifetime| now.checked_add(lifetime))
        .transpose()
        .map_err(|_| AdministrationError::Expiry)?;
    check_expiry(expires_at, now)?;
    let gone = || AdministrationError::Gone(by.identity.clone());
    let owner_since = by.since.ok_or_else(gone)?;
    let hash = fresh.hash();
    let token = ApiToken {
        id: hash.id(),
        hash,
        name: name.to_owned(),
        owner,
        scopes,
        // Never before its owner's: a clock that was ahead when the account was made must not make it an earlier one's.
        created_at: now.max(owner_since),
        expires_at,
    };
    let new = NewToken {
        token: token.clone(),
        owner_since,
        now,
        most: MAX_TOKENS,
    };
    match directory.insert_token(new).await? {
        Ok(()) => Ok((token, fresh)),
        Err(NotKept::OwnerGone) => Err(gone()),
        Err(NotKept::TooMany) => Err(AdministrationError::TooManyTokens),
        Err(NotKept::IdTaken) => Err(AdministrationError::Directory(DirectoryError::new(
            "a fresh token's id is taken: try again",
        ))),
    }
}

/// Removes an API token: one's own, or anybody's for an administrator with full credentials.
///
/// # Errors
/// When there is no such token for this principal.
pub async fn remove_token(
    directory: &dyn Directory,
    by: &Principal,
    administrator: Option<&Administrator>,
    id: &TokenId,
) -> Result<(), AdministrationError> {
    let own = own_name(by)?;
    let none = || AdministrationError::NoToken(id.clone());
    let token = directory.token(id).await?.ok_or_else(none)?;
    if token.owner != *own && administrator.is_none() {
        return Err(none());
    }
    if directory.remove_token(id).await? {
        Ok(())
    } else {
        Err(none())
    }
}

/// Who may make tokens: whoever came with an account's own secret. A token that leaves nothing out makes none either: the
/// next one would outlive it.
///
/// # Errors
/// When they are limited, or a token.
pub fn token_maker(by: &Principal) -> Result<&AccountName, AdministrationError> {
    if by.token.is_some() {
        return Err(AdministrationError::LimitedCredentials(by.identity.clone()));
    }
    own_name(by)
}

/// The principal's name, if its credentials leave nothing out.
fn own_name(by: &Principal) -> Result<&AccountName, AdministrationError> {
    let unlimited = by.restriction().is_none_or(Restriction::is_unlimited);
    match by.identity.name() {
        Some(name) if unlimited && by.session.is_none() => Ok(name),
        _ => Err(AdministrationError::LimitedCredentials(by.identity.clone())),
    }
}

fn not_oneself(by: &Administrator, name: &AccountName) -> Result<(), AdministrationError> {
    if by.identity().name() == Some(name) {
        return Err(AdministrationError::Oneself);
    }
    Ok(())
}

fn checked(secret: Secret) -> Result<Secret, AdministrationError> {
    let text = secret.expose();
    if !(MIN_SECRET_LEN..=MAX_SECRET_LEN).contains(&text.len()) {
        return Err(AdministrationError::SecretLength(text.len()));
    }
    if text.starts_with(super::token::PREFIX) || text.chars().any(char::is_control) {
        return Err(AdministrationError::SecretForm);
    }
    Ok(secret)
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), AdministrationError> {
    let ten_years = Duration::from_secs(10 * 366 * 24 * 3600);
    let latest = now
        .checked_add(ten_years)
        .map_err(|_| AdministrationError::Expiry)?;
    match expires_at {
        Some(end) if end <= now || end > latest => Err(AdministrationError::Expiry),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
