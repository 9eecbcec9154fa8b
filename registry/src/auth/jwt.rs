//! Sessions of the Docker token flow: JSON web tokens signed with Ed25519.
//!
//! Owns: issuing and verifying them. Does not own: the key at rest (boot), the `/token` endpoint,
//! and whether the owner still exists and has the same secret (`authenticate` asks the directory for each request).
//! Invariants: there is one algorithm, EdDSA. The header of a token is compared as bytes with those
//! that this registry writes, not interpreted, so neither `alg`, `jwk` nor `crit` can be played
//! with. The signature is verified before the payload is parsed. Unknown claims are refused: a
//! newer server may use one to narrow a token.
//!
//! Done here in a page rather than by a JWT library: those read the header's `alg` first and the
//! system clock last.

use super::account::AccountName;
use super::principal::{Identity, Principal};
use super::scope::Access;
use super::token::TokenId;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use jiff::Timestamp;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::time::Duration;

/// How long a session lasts unless configured otherwise.
pub const LIFETIME: Duration = Duration::from_secs(300);
/// How far the clocks of two replicas may be apart, in seconds.
pub const LEEWAY_SECONDS: i64 = 30;
/// Longest token that is looked at, in bytes.
pub const MAX_LEN: usize = 64 * 1024;

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not one of ours: another form, another key, a wrong signature, unknown claims.
    #[error("the bearer token was not issued by this registry")]
    NotOurs,
    /// For another service or from another issuer.
    #[error("the bearer token is for another service")]
    OtherService,
    /// Too late.
    #[error("the bearer token has expired: ask for another")]
    Expired,
    /// Too early.
    #[error("the bearer token is not valid yet: compare the clocks")]
    NotYet,
}

/// Which kind of principal a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Anonymous,
    User,
    Robot,
}

/// The claims. Seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    kind: Kind,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    access: Vec<Access>,
    /// The API token that the session was made from; its scopes are looked up with each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<TokenId>,
    /// The mark of the account and of the secret that the session was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
}

/// A token as the `/token` endpoint answers it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// How long it lasts, in seconds.
    pub expires_in: u64,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// What a verified token says. The owner has still to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// Whose session it is.
    pub identity: Identity,
    /// What it is for.
    pub access: Vec<Access>,
    /// Through which API token.
    pub via: Option<TokenId>,
    /// Of which account, with which secret: its [mark](super::account::Account::mark).
    pub mark: Option<String>,
    /// When it was made, to the second.
    pub issued_at: Timestamp,
}

/// A key and the first part of every token that it signs.
struct Known {
    key: VerifyingKey,
    header: String,
}

impl Known {
    fn new(key: VerifyingKey) -> Known {
        let kid = HEXLOWER.encode(&Sha256::digest(key.as_bytes())[..8]);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWT"}}"#);
        Known {
            key,
            header: BASE64URL_NOPAD.encode(header.as_bytes()),
        }
    }
}

/// Issues and verifies the sessions of one service.
pub struct Sessions {
    signing: SigningKey,
    /// The first is the signing key's.
    known: Vec<Known>,
    issuer: String,
    service: String,
    lifetime: Duration,
}

impl Sessions {
    /// Sessions signed by `signing`, for `service` (what clients send as `service=`), by `issuer`.
    pub fn new(
        signing: SigningKey,
        issuer: impl Into<String>,
        service: impl Into<String>,
        lifetime: Duration,
    ) -> Sessions {
        Sessions {
            known: vec![Known::new(signing.verifying_key())],
            signing,
            issuer: issuer.into(),
            service: service.into(),
            lifetime,
        }
    }

    /// Accepts tokens of an earlier key too, while it is being replaced.
    #[must_use]
    pub fn also_accept(mut self, key: VerifyingKey) -> Sessions {
        self.known.push(Known::new(key));
        self
    }

    /// The service's name, for challenges.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// A token for `principal` that covers `access`. Narrow `access` first with
    /// [`Authorizer::narrow`](super::Authorizer::narrow); what it lists beyond that gives nothing,
    /// since rights are looked up again when the token is used.
    pub fn issue<R: CryptoRng + ?Sized>(
        &self,
        principal: &Principal,
        access: Vec<Access>,
        now: Timestamp,
        rng: &mut R,
    ) -> Issued {
        let (kind, sub) = match &principal.identity {
            Identity::User(name) => (Kind::User, name.to_string()),
            Identity::Robot(name) => (Kind::Robot, name.to_string()),
            Identity::Anonymous | Identity::System => (Kind::Anonymous, String::new()),
        };
        let mut jti = [0; 16];
        rng.fill_bytes(&mut jti);
        let issued_at = now.as_second();
        let lifetime = self.lifetime.as_secs();
        self.sign(
            &Claims {
                iss: self.issuer.clone(),
                aud: self.service.clone(),
                sub,
                kind,
                exp: issued_at.saturating_add_unsigned(lifetime),
                nbf: issued_at,
                iat: issued_at,
                jti: HEXLOWER.encode(&jti),
                access,
                via: principal.token.clone(),
                mark: principal.mark.clone(),
            },
            now,
        )
    }

    fn sign(&self, claims: &Claims, now: Timestamp) -> Issued {
        let payload = serde_json::to_vec(claims).expect("claims are strings and numbers");
        let mut token = format!(
            "{}.{}",
            self.known[0].header,
            BASE64URL_NOPAD.encode(&payload)
        );
        let signature = self.signing.sign(token.as_bytes());
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&signature.to_bytes()));
        Issued {
            token,
            expires_in: self.lifetime.as_secs(),
            issued_at: now,
        }
    }

    /// Checks a token: form, key, signature, issuer, audience, time, in this order.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<SessionClaims, JwtError> {
        if token.len() > MAX_LEN {
            return Err(JwtError::NotOurs);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::NotOurs)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::NotOurs)?;
        let known = self
            .known
            .iter()
            .find(|known| known.header == header)
            .ok_or(JwtError::NotOurs)?;
        let signature = decode(signature)?;
        let signature = Signature::from_slice(&signature).map_err(|_| JwtError::NotOurs)?;
        known
            .key
            .verify_strict(signed.as_bytes(), &signature)
            .map_err(|_| JwtError::NotOurs)?;
        let claims: Claims =
            serde_json::from_slice(&decode(payload)?).map_err(|_| JwtError::NotOurs)?;
        self.check(claims, now.as_second())
    }

    fn check(&self, claims: Claims, now: i64) -> Result<SessionClaims, JwtError> {
        if claims.iss != self.issuer || claims.aud != self.service {
            return Err(JwtError::OtherService);
        }
        if now >= claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(JwtError::Expired);
        }
        let ahead = now.saturating_add(LEEWAY_SECONDS);
        if ahead < claims.nbf || ahead < claims.iat {
            return Err(JwtError::NotYet);
        }
        let name = |sub: String| AccountName::try_from(sub).map_err(|_| JwtError::NotOurs);
        let identity = match claims.kind {
            Kind::User => Identity::User(name(claims.sub)?),
            Kind::Robot => Identity::Robot(name(claims.sub)?),
            Kind::Anonymous if claims.sub.is_empty() && claims.via.is_none() => Identity::Anonymous,
            Kind::Anonymous => return Err(JwtError::NotOurs),
        };
        Ok(SessionClaims {
            identity,
            access: claims.access,
            via: claims.via,
            mark: claims.mark,
            issued_at: Timestamp::from_second(claims.iat).map_err(|_| JwtError::NotOurs)?,
        })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    BASE64URL_NOPAD
        .decode(part.as_bytes())
        .map_err(|_| JwtError::NotOurs)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("issuer", &self.issuer)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
