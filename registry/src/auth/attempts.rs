//! The limit on guesses: how often a name may be tried with a wrong secret.
//!
//! Owns: the tries that are left, and at which addresses a name's secret was right of late. Does not own: what counts as
//! wrong (`authenticate`).
//! Invariants:
//! - a try is paid for *before* anything is compared with what was sent, the memory of `password` included, and given back
//!   only if that was right. So tries at the same moment cannot overdraw, whoever goes away while a hash waits for its turn
//!   has paid, and a secret that is remembered cannot be found by sending many until one is let in;
//! - nothing is forgotten to make room: tries are counted in tables of fixed size, and names that fall into one place, under
//!   a key that only this process knows, share it;
//! - names that do not exist are counted too, or the limit would tell which do;
//! - an address at which the secret was right within [`HOME_FOR`] has tries of its own for that name. So a stranger who
//!   guesses cannot lock out a push that runs somewhere else. Whoever guesses from the same address can: API tokens
//!   and sessions are not counted.

use super::account::AccountName;
use super::password::SecretHash;
use jiff::{SignedDuration, Timestamp};
use rand::CryptoRng;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wrong tries in a row before waiting begins.
pub const BURST: u32 = 10;
/// Time after which one more try is allowed.
pub const REFILL: Duration = Duration::from_millis(REFILL_MILLIS as u64);
/// How long an address at which a secret was right has tries of its own.
pub const HOME_FOR: SignedDuration = SignedDuration::from_secs(86_400);

const REFILL_MILLIS: i64 = 6_000;
/// In which no try is left.
const EMPTY_MILLIS: i64 = REFILL_MILLIS * BURST as i64;
/// Places for tries from anywhere (1.5 MiB). To keep all of them empty takes 10,000 tries a second.
const PLACES: usize = 1 << 16;
/// Places for tries from addresses at which the secret was right; strangers pay for none of these.
const HOME_PLACES: usize = 1 << 13;
/// How many such addresses are remembered, over all names; those used longest ago are forgotten.
const HOMES: u64 = 16_384;

/// Counts tries per name.
pub struct Attempts {
    key: [u8; 32],
    anywhere: Table,
    at_home: Table,
    /// Name, stored hash and address, to when the secret was right there.
    homes: moka::sync::Cache<[u8; 32], Timestamp>,
}

impl Attempts {
    /// Nobody has tried anything yet.
    pub fn new<R: CryptoRng + ?Sized>(rng: &mut R) -> Attempts {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let life = Duration::from_secs(2 * HOME_FOR.as_secs().unsigned_abs());
        Attempts {
            key,
            anywhere: Table::new(PLACES),
            at_home: Table::new(HOME_PLACES),
            homes: moka::sync::Cache::builder()
                .max_capacity(HOMES)
                // The default policy may turn away a new entry.
                .eviction_policy(moka::policy::EvictionPolicy::lru())
                .time_to_live(life)
                .build(),
        }
    }

    /// The tries of whoever calls themselves `name` at the address `from`; `hash` is the account's, if there is one.
    pub fn of(
        &self,
        name: &AccountName,
        hash: Option<&SecretHash>,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Tries<'_> {
        let home = hash
            .zip(from)
            .map(|(hash, from)| self.home(name, hash, from))
            .filter(|home| self.is_home(home, now));
        match home {
            Some(home) => self.at_home.tries(&home),
            None => self.anywhere.tries(&self.mark(&[name.as_str().as_bytes()])),
        }
    }

    /// Remembers that the secret of which `hash` is the hash was right at the address `from`.
    pub fn was_right(
        &self,
        name: &AccountName,
        hash: &SecretHash,
        from: Option<IpAddr>,
        now: Timestamp,
    ) {
        if let Some(from) = from {
            self.homes.insert(self.home(name, hash, from), now);
        }
    }

    fn is_home(&self, home: &[u8; 32], now: Timestamp) -> bool {
        self.homes.get(home).is_some_and(|at| {
            let age = now.duration_since(at);
            !age.is_negative() && age < HOME_FOR
        })
    }

    /// An address of the new protocol changes within its network, which is one customer's.
    fn home(&self, name: &AccountName, hash: &SecretHash, from: IpAddr) -> [u8; 32] {
        let (name, hash) = (name.as_str().as_bytes(), hash.as_str().as_bytes());
        match from.to_canonical() {
            IpAddr::V4(from) => self.mark(&[name, hash, &from.octets()]),
            IpAddr::V6(from) => self.mark(&[name, hash, &from.octets()[..8]]),
        }
    }

    fn mark(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// Places for tries.
struct Table(Box<[Mutex<Spent>]>);

/// What was spent of a place's tries.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    /// Milliseconds after which none was, as it was at `at`.
    missing: i64,
    /// When that was, in milliseconds since 1970.
    at: i64,
}

impl Spent {
    /// Goes on to `now`. If the clock was set back, no time has passed: nothing that was spent comes back, and nothing is
    /// taken from those who spent nothing.
    fn advance(&mut self, now: i64) {
        let passed = now.saturating_sub(self.at).max(0);
        self.missing = self.missing.saturating_sub(passed).max(0);
        self.at = now;
    }
}

impl Table {
    fn new(places: usize) -> Table {
        Table((0..places).map(|_| Mutex::default()).collect())
    }

    fn tries(&self, mark: &[u8; 32]) -> Tries<'_> {
        let pick = u64::from_le_bytes(mark[..8].try_into().expect("eight bytes are a u64"));
        let index = pick % self.0.len() as u64;
        Tries(&self.0[usize::try_from(index).expect("an index of a list fits a usize")])
    }
}

/// What a try was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// Known to be right, so it costs nothing.
    Right,
    /// Not judged yet, and paid.
    Paid,
}

/// The tries that somebody has.
#[derive(Debug)]
pub struct Tries<'a>(&'a Mutex<Spent>);

impl Tries<'_> {
    /// Takes one, unless `is_right` says that what was sent is known to be right. It is asked only where there is a try left,
    /// and by one at a time.
    ///
    /// # Errors
    /// How long to wait until there is one, in whole seconds, at least one.
    pub fn take(&self, now: Timestamp, is_right: impl FnOnce() -> bool) -> Result<Try, Duration> {
        let mut spent = self.lock();
        spent.advance(now.as_millisecond());
        let wait = spent.missing + REFILL_MILLIS - EMPTY_MILLIS;
        if let Ok(wait @ 1..) = u64::try_from(wait) {
            return Err(Duration::from_secs(wait.div_ceil(1000)));
        }
        if is_right() {
            return Ok(Try::Right);
        }
        spent.missing += REFILL_MILLIS;
        Ok(Try::Paid)
    }

    /// Gives one back: it was right.
    pub fn give_back(&self) {
        let mut spent = self.lock();
        spent.missing = spent.missing.saturating_sub(REFILL_MILLIS).max(0);
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::secret::Secret;
    use proptest::prelude::*;

    fn attempts() -> Attempts {
        Attempts::new(&mut rand::rng())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn stranger<'a>(attempts: &'a Attempts, name: &str, now: i64) -> Tries<'a> {
        attempts.of(&name.parse().unwrap(), None, None, at(now))
    }

    /// One wrong try from anywhere.
    fn guess(attempts: &Attempts, name: &str, now: i64) -> Result<(), Duration> {
        let tried = stranger(attempts, name, now).take(at(now), || false);
        tried.map(|tried| assert_eq!(tried, Try::Paid))
    }

    #[test]
    fn ten_tries_then_one_every_six_seconds() {
        let attempts = attempts();
        for _ in 0..BURST {
            assert_eq!(guess(&attempts, "alice", 0), Ok(()));
        }
        assert_eq!(guess(&attempts, "alice", 0), Err(Duration::from_secs(6)));
        assert_eq!(guess(&attempts, "alice", 4), Err(Duration::from_secs(2)));
        assert_eq!(
            guess(&attempts, "bob", 4),
            Ok(()),
            "other names are not concerned"
        );
        assert_eq!(guess(&attempts, "alice", 6), Ok(()));
        assert_eq!(guess(&attempts, "alice", 6), Err(Duration::from_secs(6)));
        for _ in 0..BURST {
            assert_eq!(guess(&attempts, "alice", 600), Ok(()));
        }
        assert!(guess(&attempts, "alice", 600).is_err());
        // The clock is set back: as long a wait as ever, not until the old time comes again.
        assert_eq!(guess(&attempts, "alice", 0), Err(Duration::from_secs(6)));
        assert_eq!(guess(&attempts, "alice", 6), Ok(()));
        // Whoever spent nothing has all tries before and after that.
        let tries = stranger(&attempts, "carol", 900);
        assert_eq!(tries.take(at(900), || true), Ok(Try::Right));
        for _ in 0..BURST {
            assert_eq!(guess(&attempts, "carol", 100), Ok(()));
        }
        assert!(guess(&attempts, "carol", 100).is_err());
    }

    #[test]
    fn a_right_secret_costs_nothing() {
        let attempts = attempts();
        for _ in 0..100 {
            guess(&attempts, "alice", 0).unwrap();
            stranger(&attempts, "alice", 0).give_back();
            let known = stranger(&attempts, "alice", 0).take(at(0), || true);
            assert_eq!(known, Ok(Try::Right));
        }
    }

    #[test]
    fn what_is_remembered_is_asked_only_while_there_are_tries() {
        let attempts = attempts();
        let mut asked = 0;
        for _ in 0..3 * BURST {
            let tries = stranger(&attempts, "alice", 0);
            let _ = tries.take(at(0), || {
                asked += 1;
                false
            });
        }
        assert_eq!(asked, BURST, "or it could be searched for the secret");
    }

    #[test]
    fn tries_at_the_same_moment_cannot_overdraw() {
        let attempts = attempts();
        let passed: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10)
                            .filter(|_| guess(&attempts, "alice", 0).is_ok())
                            .count()
                    })
                })
                .collect();
            tries.into_iter().map(|tries| tries.join().unwrap()).sum()
        });
        assert_eq!(passed, BURST as usize);
    }

    #[test]
    fn a_name_is_counted_however_many_others_were_tried() {
        let attempts = attempts();
        for _ in 0..BURST {
            guess(&attempts, "alice", 0).unwrap();
        }
        for other in 0..50_000 {
            let _ = guess(&attempts, &format!("n{other}"), 0);
        }
        assert!(guess(&attempts, "alice", 0).is_err());
    }

    #[test]
    fn where_the_secret_was_right_there_are_tries_that_no_stranger_takes() {
        let attempts = attempts();
        let alice: AccountName = "alice".parse().unwrap();
        let hash = |secret: &str| SecretHash::of(&Secret::new(secret), &mut rand::rng());
        let (own, changed) = (hash("s"), hash("t"));
        for home in ["192.0.2.1", "2001:db8:1:2::1"] {
            attempts.was_right(&alice, &own, Some(home.parse().unwrap()), at(0));
        }
        for (from, hash, second, is_home) in [
            ("192.0.2.1", &own, -1, false),
            ("192.0.2.1", &own, 0, true),
            ("::ffff:192.0.2.1", &own, 0, true),
            ("192.0.2.2", &own, 0, false),
            ("192.0.2.1", &changed, 0, false),
            ("2001:db8:1:2:ffff::9", &own, 0, true),
            ("2001:db8:1:3::1", &own, 0, false),
            ("192.0.2.1", &own, 86_399, true),
            ("192.0.2.1", &own, 86_400, false),
        ] {
            while guess(&attempts, "alice", second).is_ok() {}
            let tries = attempts.of(&alice, Some(hash), Some(from.parse().unwrap()), at(second));
            let tried = tries.take(at(second), || false);
            assert_eq!(tried.is_ok(), is_home, "{from} at {second}");
        }
        // These are limited too; one was taken above.
        let (home, now) = ("192.0.2.1".parse().unwrap(), at(86_399));
        let tries = attempts.of(&alice, Some(&own), Some(home), now);
        let passed = (0..3 * BURST).filter(|_| tries.take(now, || false).is_ok());
        assert_eq!(passed.count(), BURST as usize - 1);
    }

    proptest! {
        #[test]
        fn over_any_time_there_are_no_more_tries_than_allowed(steps in prop::collection::vec(-20i64..40, 1..200)) {
            let place = Mutex::default();
            let tries = Tries(&place);
            let (mut now, mut forward, mut passed) = (0, 0u64, 0u64);
            for step in steps {
                now += step;
                forward += u64::try_from(step).unwrap_or(0);
                match tries.take(at(now), || false) {
                    Ok(_) => passed += 1,
                    Err(wait) => prop_assert!(wait >= Duration::from_secs(1) && wait <= REFILL),
                }
            }
            prop_assert!(passed <= u64::from(BURST) + forward / REFILL.as_secs());
        }
    }
}
