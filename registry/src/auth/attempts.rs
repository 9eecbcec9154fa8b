//! The limit on guesses: how often a name may be tried with a wrong secret.
//!
//! Owns: one token bucket per name. Does not own: what counts as wrong (`authenticate`).
//! Invariants: a try is paid for *before* the secret is looked at, so tries at the same moment
//! cannot overdraw; memory is bounded by [`NAMES`]. Names that do not exist are counted too, or the
//! limit would tell which do. Who has verified a moment ago is not counted (`password` remembers
//! them), so a stranger who guesses cannot lock out a running push.

use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Wrong tries in a row before waiting begins.
pub const BURST: u32 = 10;
/// Time after which one more try is allowed.
pub const REFILL: Duration = Duration::from_secs(6);
/// How many names are counted at once; those tried longest ago are forgotten.
/// To push one out takes as many slow hashes, which lasts longer than its bucket takes to fill.
pub const NAMES: u64 = 10_000;

#[derive(Debug)]
struct Bucket {
    tries_left: u32,
    /// When the last try was given back.
    refilled_at: Timestamp,
}

/// Counts tries per name.
#[derive(Debug)]
pub struct Attempts {
    buckets: moka::sync::Cache<String, Arc<Mutex<Bucket>>>,
}

impl Default for Attempts {
    fn default() -> Attempts {
        let full_again = REFILL * BURST;
        Attempts {
            buckets: moka::sync::Cache::builder()
                .max_capacity(NAMES)
                // The default policy may turn away a new name, which then would not be counted.
                .eviction_policy(moka::policy::EvictionPolicy::lru())
                .time_to_idle(full_again * 2)
                .build(),
        }
    }
}

impl Attempts {
    fn bucket(&self, name: &str, now: Timestamp) -> Arc<Mutex<Bucket>> {
        self.buckets.get_with_by_ref(name, || {
            Arc::new(Mutex::new(Bucket {
                tries_left: BURST,
                refilled_at: now,
            }))
        })
    }

    /// Pays for one try.
    ///
    /// # Errors
    /// How long to wait until there is one, in whole seconds, at least one.
    pub fn pay(&self, name: &str, now: Timestamp) -> Result<(), Duration> {
        let bucket = self.bucket(name, now);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.duration_since(bucket.refilled_at);
        if elapsed.is_negative() {
            // The clock was set back: count from here, nobody waits for the old future.
            bucket.refilled_at = now;
        }
        let elapsed = Duration::try_from(elapsed).unwrap_or_default();
        let refills = u32::try_from(elapsed.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        let tries = bucket.tries_left.saturating_add(refills);
        if tries >= BURST {
            bucket.tries_left = BURST;
            bucket.refilled_at = now;
        } else {
            bucket.tries_left = tries;
            bucket.refilled_at = bucket
                .refilled_at
                .saturating_add(REFILL * refills)
                .unwrap_or(now);
        }
        if bucket.tries_left == 0 {
            let waited =
                Duration::try_from(now.duration_since(bucket.refilled_at)).unwrap_or_default();
            let wait = REFILL
                .saturating_sub(waited)
                .as_millis()
                .div_ceil(1000)
                .max(1);
            return Err(Duration::from_secs(u64::try_from(wait).unwrap_or(u64::MAX)));
        }
        bucket.tries_left -= 1;
        Ok(())
    }

    /// Gives a try back: it was right, or it was never judged.
    pub fn refund(&self, name: &str, now: Timestamp) {
        let bucket = self.bucket(name, now);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tries_left = (bucket.tries_left + 1).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn ten_tries_then_one_every_six_seconds() {
        let attempts = Attempts::default();
        for _ in 0..BURST {
            assert_eq!(attempts.pay("alice", at(0)), Ok(()));
        }
        assert_eq!(attempts.pay("alice", at(0)), Err(Duration::from_secs(6)));
        assert_eq!(attempts.pay("alice", at(4)), Err(Duration::from_secs(2)));
        assert_eq!(
            attempts.pay("bob", at(4)),
            Ok(()),
            "other names are not concerned"
        );
        assert_eq!(attempts.pay("alice", at(6)), Ok(()));
        assert_eq!(attempts.pay("alice", at(6)), Err(Duration::from_secs(6)));
        for _ in 0..BURST {
            assert_eq!(attempts.pay("alice", at(600)), Ok(()));
        }
        assert!(attempts.pay("alice", at(600)).is_err());
    }

    #[test]
    fn a_right_secret_costs_nothing() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.pay("alice", at(0)).unwrap();
            attempts.refund("alice", at(0));
        }
    }

    #[test]
    fn tries_at_the_same_moment_cannot_overdraw() {
        let attempts = Attempts::default();
        let passed: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10)
                            .filter(|_| attempts.pay("alice", at(0)).is_ok())
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
        let attempts = Attempts::default();
        for _ in 0..BURST {
            for other in 0..NAMES {
                attempts.pay(&format!("n{other}"), at(0)).unwrap();
            }
        }
        let passed = (0..2 * BURST).filter(|_| {
            attempts.buckets.run_pending_tasks();
            attempts.pay("alice", at(0)).is_ok()
        });
        assert_eq!(passed.count(), BURST as usize);
    }

    proptest! {
        #[test]
        fn over_any_time_there_are_no_more_tries_than_allowed(steps in prop::collection::vec(-20i64..40, 1..200)) {
            let attempts = Attempts::default();
            let (mut now, mut forward, mut passed) = (0, 0u64, 0u64);
            for step in steps {
                now += step;
                forward += u64::try_from(step).unwrap_or(0);
                match attempts.pay("alice", at(now)) {
                    Ok(()) => passed += 1,
                    Err(wait) => prop_assert!(wait >= Duration::from_secs(1) && wait <= REFILL),
                }
            }
            prop_assert!(passed <= u64::from(BURST) + forward / REFILL.as_secs());
        }
    }
}
