//! Limits how often something may fail, by whoever tries: an address, or a username.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Remembers failures by key and says who has to wait.
///
/// Only failures count, so that many clients behind one address (a proxy, a node of the cluster) can all reconnect at once; and once a
/// key has used its failures up, it is refused before its password is looked at, so that trying on tells it nothing. Each
/// key has a bucket of `limit` failures that fills up again within [`REFILL`] (the generic cell rate algorithm, which needs
/// one instant per key).
#[derive(Debug)]
pub struct FailureLimiter<K> {
    limit: u32,
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    /// When each key's bucket is full again; in the past: forget it.
    full_at: HashMap<K, Instant>,
    /// The bucket that all keys beyond [`MAX_KEYS`] share.
    others: Option<Instant>,
    /// When the forgotten were last removed.
    swept: Option<Instant>,
}

/// In this time a key's failures are forgotten.
pub const REFILL: Duration = Duration::from_secs(60);

/// Keys remembered at once: 65,536 × 48 bytes = 3 MiB. When more have failed within a minute, the newcomers all share one bucket.
pub const MAX_KEYS: usize = 65_536;

/// How often, at most, keys are looked through for those that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl<K: Eq + Hash> FailureLimiter<K> {
    /// Allows each key `limit` failures at once; 0: any number.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let known = Known { full_at: HashMap::new(), others: None, swept: None };
        Self { limit, known: Mutex::new(known) }
    }

    /// How long this key has to wait before it may try again, if it has.
    #[must_use]
    pub fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        if self.limit == 0 {
            return None;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = known.full_at.get(key).copied().or(known.others)?;
        // The bucket is empty while it takes longer than REFILL less one failure's worth to be full.
        let earliest = (full_at + REFILL / self.limit).checked_sub(REFILL)?;
        earliest.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Takes note of a failure, or of an attempt that may become one.
    pub fn failed(&self, key: K, now: Instant) {
        if self.limit == 0 {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { full_at, others, swept } = &mut *known;
        // Sweeping walks all of them, so not for each newcomer.
        if full_at.len() >= MAX_KEYS && swept.is_none_or(|swept| now >= swept + SWEEP_INTERVAL) {
            full_at.retain(|_, full_at| *full_at > now);
            *swept = Some(now);
        }
        let full_at = if full_at.len() < MAX_KEYS || full_at.contains_key(&key) {
            full_at.entry(key).or_insert(now)
        } else {
            others.get_or_insert(now)
        };
        // What was under way at once may fail at once; nobody waits for longer than one failure's worth for that.
        *full_at = ((*full_at).max(now) + REFILL / self.limit).min(now + REFILL);
    }

    /// Takes a failure back: the attempt has become a success.
    pub fn forgive(&self, key: &K) {
        if self.limit == 0 {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { full_at, others, .. } = &mut *known;
        if let Some(full_at) = full_at.get_mut(key).or(others.as_mut())
            && let Some(earlier) = full_at.checked_sub(REFILL / self.limit)
        {
            *full_at = earlier;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_used_its_failures_up_waits_and_no_other_does() {
        let limiter = FailureLimiter::new(3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.wait(&"bad", start), None);
            limiter.failed("bad", start);
        }
        assert_eq!(limiter.wait(&"bad", start), Some(REFILL / 3));
        assert_eq!(limiter.wait(&"good", start), None);
        let later = start + REFILL / 3;
        assert_eq!(limiter.wait(&"bad", later), None, "one failure is forgiven after a third of the time");
    }

    #[test]
    fn an_attempt_that_succeeds_costs_nothing() {
        let limiter = FailureLimiter::new(1);
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(limiter.wait(&"good", now), None);
            limiter.failed("good", now);
            assert!(limiter.wait(&"good", now).is_some(), "while it is under way, another has to wait");
            limiter.forgive(&"good");
        }
    }

    #[test]
    fn keys_without_end_take_bounded_memory_and_do_not_escape_the_limit() {
        let limiter = FailureLimiter::new(1);
        let now = Instant::now();
        for n in 0..200_000_u32 {
            limiter.failed(n, now);
        }
        assert_eq!(limiter.known.lock().unwrap().full_at.len(), MAX_KEYS);
        assert!(limiter.wait(&u32::MAX, now).is_some());
        // Once they are forgotten, there is room again.
        let later = now + 2 * REFILL;
        limiter.failed(u32::MAX, later);
        assert!(limiter.wait(&u32::MAX, later).is_some());
        assert_eq!(limiter.known.lock().unwrap().full_at.len(), 1);
    }
}
