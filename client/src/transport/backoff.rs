//! When to try again, and after how long.
//!
//! Owns the waiting times. Does not decide what may be sent twice: callers know which of their steps
//! are idempotent. Invariant: waits grow, are jittered so that many clients do not come back in step,
//! and have an upper bound.

use std::time::Duration;

/// How patiently a step is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts in a row without any progress, the first included.
    pub attempts: u32,
    /// Wait before the second attempt, before jitter.
    pub first_wait: Duration,
    /// Longest wait, also when the registry asks for a longer one.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            attempts: 6,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The wait after failed attempt number `attempt` (from 1), or `None` if that was the last.
    ///
    /// `asked` is what the registry's Retry-After said. `jitter` is a number from 0 to 1.
    pub fn wait_after(
        &self,
        attempt: u32,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self
            .first_wait
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let jittered = doubled.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        Some(
            jittered
                .max(asked.unwrap_or_default())
                .min(self.longest_wait),
        )
    }

    /// Sleeps as [`Patience::wait_after`] says; false if there is no further attempt.
    pub(crate) async fn pause(&self, attempt: u32, asked: Option<Duration>) -> bool {
        match self.wait_after(attempt, asked, rand::random::<f64>()) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            None => false,
        }
    }
}

/// Reads Retry-After: seconds. Its other form, a date, is left to the ordinary wait, because it
/// would need a clock that agrees with the registry's.
pub(crate) fn retry_after(value: Option<&str>) -> Option<Duration> {
    value?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let patience = Patience::default();
        let waits: Vec<_> = (1..10)
            .map_while(|n| patience.wait_after(n, None, 1.0))
            .collect();
        assert_eq!(waits.len(), 5);
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
        assert!(patience.wait_after(1, None, 0.0) < patience.wait_after(1, None, 1.0));
    }

    #[test]
    fn a_registry_may_ask_for_more_but_not_without_bound() {
        let patience = Patience::default();
        let second = Duration::from_secs(1);
        assert_eq!(
            patience.wait_after(1, Some(second * 7), 0.5),
            Some(second * 7)
        );
        assert_eq!(
            patience.wait_after(1, Some(second * 7000), 0.5),
            Some(second * 30)
        );
        assert_eq!(patience.wait_after(6, Some(second), 0.5), None);
    }

    #[test]
    fn retry_after_reads_seconds_only() {
        assert_eq!(retry_after(Some(" 3 ")), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(retry_after(None), None);
    }
}
