//! From the `Authorization` header to a [`Principal`].
//!
//! Owns: which credentials prove what. Does not own: what the principal may do (`authorize`).
//! Invariants:
//! - credentials that prove nothing are an error, never the anonymous principal;
//! - a wrong name, a wrong secret, a disabled and an expired account answer the same, after the same
//!   work; the reason is logged, not sent;
//! - the account is looked up for every request, sessions included, so that removing or disabling it
//!   takes effect at once.

use super::Clock;
use super::account::{Account, AccountName};
use super::attempts::{Attempts, Try};
use super::authorization::{Credentials, MalformedAuthorization};
use super::directory::{Directory, DirectoryError};
use super::htpasswd::Htpasswd;
use super::jwt::{JwtError, SessionClaims, Sessions};
use super::password::{Busy, Passwords};
use super::principal::{Identity, Principal, Session};
use super::secret::Secret;
use super::token::{ApiToken, TokenHash, TokenId, TokenSecret};
use jiff::Timestamp;
use rand::CryptoRng;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why nobody was recognised. All but the last three are a 401 with a challenge.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The header cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedAuthorization),
    /// Unknown, wrong, disabled or expired: deliberately one answer.
    #[error("unknown account or wrong secret, or the account or token is disabled or expired")]
    InvalidCredentials,
    /// A session that does not hold (any more). The challenge says `error="invalid_token"`, on which
    /// clients fetch another.
    #[error("the bearer token is not valid or has expired: ask for another")]
    InvalidToken,
    /// Too many wrong secrets for this name: 429 with `Retry-After`.
    #[error("too many failed logins: try again in {} seconds", retry_after.as_secs())]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many logins at once: 503 with `Retry-After`.
    #[error("too many logins at once: try again in {} seconds", retry_after.as_secs())]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The store does not answer: 503.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl From<Busy> for AuthError {
    fn from(_: Busy) -> AuthError {
        AuthError::Busy {
            retry_after: Duration::from_secs(5),
        }
    }
}

/// Recognises who sends a request.
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    sessions: Arc<Sessions>,
    htpasswd: Htpasswd,
    passwords: Passwords,
    attempts: Attempts,
    clock: Clock,
}

impl Authenticator {
    /// Asks `directory` first, then `htpasswd`, of which the directory has been told
    /// ([`Directory::note_file`]). **Blocking** for one slow hash: call it from boot.
    pub fn new<R: CryptoRng + ?Sized>(
        directory: Arc<dyn Directory>,
        sessions: Arc<Sessions>,
        htpasswd: Htpasswd,
        clock: Clock,
        rng: &mut R,
    ) -> Authenticator {
        Authenticator {
            passwords: Passwords::new(&htpasswd.hashes(), Arc::clone(&clock), rng),
            attempts: Attempts::new(rng),
            directory,
            sessions,
            htpasswd,
            clock,
        }
    }

    /// The sessions that it accepts; the token endpoint issues from them.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The bounded hasher, for making accounts.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Who sends a request with this `Authorization` header from this address, where that is known. No header is the
    /// anonymous principal.
    ///
    /// - `Basic`: an account's name and secret, or any name and an API token;
    /// - `Bearer`: a session, or an API token.
    ///
    /// # Errors
    /// When the credentials prove nothing, or it cannot be told.
    pub async fn authenticate(
        &self,
        authorization: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Principal, AuthError> {
        let Some(header) = authorization else {
            return Ok(Principal::anonymous());
        };
        match Credentials::parse(header)? {
            Credentials::Bearer(token) => match TokenSecret::parse(token.expose()) {
                Some(token) => self.by_token(&token.hash()).await,
                None => self.by_session(token.expose()).await,
            },
            Credentials::Basic { name, secret } => match TokenSecret::parse(secret.expose()) {
                Some(token) => self.by_token(&token.hash()).await,
                None => self.by_secret(&name, &secret, from).await,
            },
        }
    }

    async fn account(&self, name: &AccountName) -> Result<Option<Account>, DirectoryError> {
        let kept = self.directory.account(name).await?;
        if kept.is_some() || !self.htpasswd.has(name) {
            return Ok(kept);
        }
        let since = self.directory.in_file_since(name).await?;
        Ok(since.and_then(|since| self.htpasswd.account(name, since)))
    }

    async fn by_secret(
        &self,
        name: &str,
        secret: &Secret,
        from: Option<IpAddr>,
    ) -> Result<Principal, AuthError> {
        // No account can have such a name, so nothing is given away by being quick.
        let name: AccountName = name.parse().map_err(|_| AuthError::InvalidCredentials)?;
        let account = self.account(&name).await?;
        let now = (self.clock)();
        let hash = account.as_ref().map(|account| &account.secret_hash);
        let tries = self.attempts.of(&name, hash, from, now);
        let is_remembered =
            || hash.is_some_and(|hash| self.passwords.remembers(&name, hash, secret));
        let address = || from.map(|from| from.to_string()).unwrap_or_default();
        let tried = tries.take(now, is_remembered).map_err(|retry_after| {
            tracing::info!(account.name = %name, client.address = address(), "login put off: too many wrong secrets");
            AuthError::TooManyAttempts { retry_after }
        })?;
        let is_right = match tried {
            Try::Right => true,
            // Whoever gives up or is turned away while it waits has paid: the memory was asked already.
            Try::Paid => self.passwords.verify(&name, hash, secret).await?,
        };
        match account.as_ref().filter(|_| is_right) {
            Some(account) => {
                if tried == Try::Paid {
                    tries.give_back();
                }
                self.attempts
                    .was_right(&name, &account.secret_hash, from, now);
                Ok(Principal {
                    mark: Some(account.mark()),
                    ..admit(account, now)?
                })
            }
            None => {
                tracing::info!(account.name = %name, client.address = address(), "login refused: unknown account or wrong secret");
                Err(AuthError::InvalidCredentials)
            }
        }
    }

    async fn by_token(&self, hash: &TokenHash) -> Result<Principal, AuthError> {
        let found = self.directory.token(&hash.id()).await?;
        let Some(token) = found.filter(|token| token.hash.is(hash)) else {
            tracing::info!(token.id = %hash.id(), "login refused: unknown api token");
            return Err(AuthError::InvalidCredentials);
        };
        self.owner_of(&token, (self.clock)()).await
    }

    /// The owner, narrowed to the token's scopes.
    async fn owner_of(&self, token: &ApiToken, now: Timestamp) -> Result<Principal, AuthError> {
        let owner = self.account(&token.owner).await?;
        let Some(owner) = owner.filter(|owner| owner.created_at <= token.created_at) else {
            tracing::info!(token.id = %token.id, "login refused: the token's owner is gone");
            return Err(AuthError::InvalidCredentials);
        };
        if !token.is_active(now) {
            tracing::info!(token.id = %token.id, "login refused: the api token has expired");
            return Err(AuthError::InvalidCredentials);
        }
        Ok(Principal {
            restriction: Some(token.scopes.clone()),
            token: Some(token.id.clone()),
            ..admit(&owner, now)?
        })
    }

    async fn by_session(&self, text: &str) -> Result<Principal, AuthError> {
        let now = (self.clock)();
        let claims = self.sessions.verify(text, now).map_err(|error: JwtError| {
            tracing::debug!(%error, "session refused");
            AuthError::InvalidToken
        })?;
        let principal = match (claims.identity.name(), &claims.via) {
            (None, _) => Principal::anonymous(),
            (Some(name), None) => self.owner_of_session(name, &claims, now).await?,
            (Some(_), Some(id)) => self.owner_via_token(id, now).await?,
        };
        if principal.identity != claims.identity {
            tracing::info!(session.subject = %claims.identity, "session refused: the account changed");
            return Err(AuthError::InvalidToken);
        }
        Ok(Principal {
            session: Some(Session {
                access: claims.access,
            }),
            ..principal
        })
    }

    async fn owner_of_session(
        &self,
        name: &AccountName,
        claims: &SessionClaims,
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        let Some(account) = self.account(name).await? else {
            return Err(AuthError::InvalidToken);
        };
        // Not by an order of times: the clock may have been ahead when the account was made.
        if claims.mark != Some(account.mark()) {
            tracing::info!(account.name = %name, "session refused: the account or its secret is another one since");
            return Err(AuthError::InvalidToken);
        }
        admit(&account, now).map_err(|_| AuthError::InvalidToken)
    }

    async fn owner_via_token(&self, id: &TokenId, now: Timestamp) -> Result<Principal, AuthError> {
        let Some(token) = self.directory.token(id).await? else {
            return Err(AuthError::InvalidToken);
        };
        match self.owner_of(&token, now).await {
            Err(AuthError::InvalidCredentials) => Err(AuthError::InvalidToken),
            answer => answer,
        }
    }
}

/// The principal of a proved account, if it is not shut out.
fn admit(account: &Account, now: Timestamp) -> Result<Principal, AuthError> {
    if !account.is_active(now) {
        tracing::info!(account.name = %account.name, "login refused: the account is disabled or expired");
        return Err(AuthError::InvalidCredentials);
    }
    Ok(Principal {
        identity: Identity::of(account.kind, account.name.clone()),
        administrator: account.admin,
        since: Some(account.created_at),
        restriction: None,
        token: None,
        mark: None,
        session: None,
    })
}

#[cfg(test)]
mod tests;
