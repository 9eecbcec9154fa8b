//! Secrets of accounts: hashed slowly, verified sparingly.
//!
//! Owns: hashing (argon2id), verifying (argon2id, and bcrypt for htpasswd files), how many run at
//! once, and a short memory of what was verified. Does not own: who may try how often (`attempts`).
//! Invariants:
//! - at most [`PARALLEL`] hashes run at once, so that logins cannot exhaust memory (19 MiB each);
//!   who waits longer than [`PATIENCE`] is turned away;
//! - an unknown name costs the same work as a known one;
//! - the memory keeps no secret: its key is a keyed hash under a key of this process, over name,
//!   *stored hash* and secret, so a changed secret is forgotten at once.

use super::Clock;
use super::account::AccountName;
use super::secret::Secret;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many hashes run at once.
pub const PARALLEL: usize = 2;
/// How long a login waits for its turn.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a verified secret is remembered.
pub const MEMORY: SignedDuration = SignedDuration::from_secs(60);
/// How many verified secrets are remembered.
const REMEMBERED: u64 = 4096;
/// Longest secret that is looked at, in bytes.
pub const MAX_SECRET_LEN: usize = 1024;
/// Memory that our own hashes take, in KiB.
const MEMORY_KIB: u32 = 12_288;
/// Most memory that a stored argon2 hash may ask for, in KiB.
const MAX_MEMORY_KIB: u32 = 65_536;
/// Highest bcrypt cost that is accepted: about a second. 31 would be a day.
pub(super) const MAX_BCRYPT_COST: u32 = 15;

/// A text that is no hash of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretHashError {
    /// Neither `$argon2id$` nor `$2a$`, `$2b$`, `$2y$`.
    #[error("the stored secret is no argon2id or bcrypt hash: set the account's secret again")]
    Kind,
    /// Of a known kind, but it cannot be read.
    #[error("the stored hash is malformed: set the account's secret again")]
    Malformed,
    /// It would take too long or too much memory to verify.
    #[error(
        "the stored hash costs too much to verify (bcrypt up to {MAX_BCRYPT_COST}, argon2 up to {MAX_MEMORY_KIB} KiB and 10 passes): set the account's secret again"
    )]
    Cost,
}

/// The hash of a secret: an argon2id PHC string, or bcrypt from an htpasswd file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash(String);

impl SecretHash {
    /// Hashes `secret` with argon2id (12 MiB, 3 passes, 1 lane: of OWASP's equal choices the one that
    /// takes little memory).
    /// **Blocking**: tens of milliseconds; from async code use [`Passwords::hash`].
    pub fn of<R: CryptoRng + ?Sized>(secret: &Secret, rng: &mut R) -> SecretHash {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let hash = hasher()
            .hash_password_with_salt(secret.expose().as_bytes(), &salt)
            .expect("the parameters and the salt's length are constants that argon2 accepts");
        SecretHash(hash.to_string())
    }

    /// Whether `secret` is the one that was hashed.
    /// **Blocking**: tens of milliseconds, up to a second for bcrypt; from async code use
    /// [`Passwords::verify`].
    pub fn verify(&self, secret: &Secret) -> bool {
        let secret = secret.expose().as_bytes();
        if secret.len() > MAX_SECRET_LEN {
            return false;
        }
        if is_bcrypt(&self.0) {
            return bcrypt::verify(secret, &self.0).unwrap_or(false);
        }
        PasswordHash::new(&self.0).is_ok_and(|hash| hasher().verify_password(secret, &hash).is_ok())
    }

    /// The text, for the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What tells this secret from any other that the account has had or will have, also from the same words set anew: the
    /// hash of the hash, which proves nothing to whoever reads it.
    pub fn mark(&self) -> String {
        let hash: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        HEXLOWER.encode(&hash)
    }
}

fn hasher() -> Argon2<'static> {
    Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(MEMORY_KIB, 3, 1, None).expect("constants that argon2 accepts"),
    )
}

/// Whether the text says that it is a bcrypt hash of a kind that is well defined. `$2x$` is the
/// output of a buggy implementation and not accepted.
pub(super) fn is_bcrypt(text: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

impl TryFrom<String> for SecretHash {
    type Error = SecretHashError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_bcrypt(&text) {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| SecretHashError::Malformed)?;
            if !(4..=MAX_BCRYPT_COST).contains(&parts.get_cost()) {
                return Err(SecretHashError::Cost);
            }
        } else if text.starts_with("$argon2id$") {
            let hash = PasswordHash::new(&text).map_err(|_| SecretHashError::Malformed)?;
            let params = Params::try_from(&hash).map_err(|_| SecretHashError::Malformed)?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err(SecretHashError::Malformed);
            }
            if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > 10 {
                return Err(SecretHashError::Cost);
            }
        } else {
            return Err(SecretHashError::Kind);
        }
        Ok(SecretHash(text))
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> String {
        hash.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// Too many logins at once: try again after a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins at once: try again in a few seconds")]
pub struct Busy;

/// Verifies secrets off the async threads, a bounded number at once.
pub struct Passwords {
    turns: Arc<Semaphore>,
    patience: Duration,
    /// Keyed hash of name, stored hash and secret, to when it was verified.
    verified: moka::sync::Cache<[u8; 32], Timestamp>,
    key: [u8; 32],
    /// What a name that does not exist is verified against. More than one when there are bcrypt
    /// accounts: otherwise the time taken would tell those from names that do not exist.
    decoys: Vec<SecretHash>,
    clock: Clock,
}

impl Passwords {
    /// `sample` holds hashes of other kinds than ours that accounts have (those of the htpasswd
    /// file). **Blocking** for one hash.
    pub fn new<R: CryptoRng + ?Sized>(
        sample: &[SecretHash],
        clock: Clock,
        rng: &mut R,
    ) -> Passwords {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let mut decoys = vec![SecretHash::of(&Secret::generate(rng), rng)];
        decoys.extend(sample.iter().filter(|hash| is_bcrypt(&hash.0)).cloned());
        Passwords {
            turns: Arc::new(Semaphore::new(PARALLEL)),
            patience: PATIENCE,
            verified: moka::sync::Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(Duration::from_secs(2 * MEMORY.as_secs().unsigned_abs()))
                .build(),
            key,
            decoys,
            clock,
        }
    }

    fn memory_key(&self, name: &AccountName, hash: &SecretHash, secret: &Secret) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [name.as_str(), hash.as_str(), secret.expose()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().into()
    }

    /// Whether exactly this was verified less than [`MEMORY`] ago. Costs a microsecond, so that
    /// Basic credentials on each of a thousand requests cost one slow hash.
    pub fn remembers(&self, name: &AccountName, hash: &SecretHash, secret: &Secret) -> bool {
        let now = (self.clock)();
        self.verified
            .get(&self.memory_key(name, hash, secret))
            .is_some_and(|at| {
                let age = now.duration_since(at);
                !age.is_negative() && age < MEMORY
            })
    }

    /// Verifies `secret` for `name`, whose hash is `hash`; `None` for a name that does not exist,
    /// which takes the same work and is then refused.
    ///
    /// # Errors
    /// When it was not this login's turn within [`PATIENCE`].
    pub async fn verify(
        &self,
        name: &AccountName,
        hash: Option<&SecretHash>,
        secret: &Secret,
    ) -> Result<bool, Busy> {
        let judged = hash.unwrap_or_else(|| self.decoy(name)).clone();
        let given = secret.clone();
        let matches = self.in_turn(move || judged.verify(&given)).await?;
        let Some(hash) = hash.filter(|_| matches) else {
            return Ok(false);
        };
        self.verified
            .insert(self.memory_key(name, hash, secret), (self.clock)());
        Ok(true)
    }

    /// Hashes `secret` off the async threads.
    ///
    /// # Errors
    /// When it was not this caller's turn within [`PATIENCE`].
    pub async fn hash(&self, secret: &Secret) -> Result<SecretHash, Busy> {
        let secret = secret.clone();
        self.in_turn(move || SecretHash::of(&secret, &mut rand::rng()))
            .await
    }

    /// The same decoy for the same name, or the time taken would vary from try to try.
    fn decoy(&self, name: &AccountName) -> &SecretHash {
        let hash = blake3::keyed_hash(&self.key, name.as_str().as_bytes());
        let pick = u64::from_le_bytes(
            hash.as_bytes()[..8]
                .try_into()
                .expect("eight bytes are a u64"),
        );
        let index = pick % self.decoys.len() as u64;
        &self.decoys[usize::try_from(index).expect("an index of a list fits a usize")]
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.map_err(|_| Busy)?.map_err(|_| Busy)?;
        // The turn moves along: a request that is dropped meanwhile does not free it early.
        let work = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        work.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests;
