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
    under_way: u32,
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

/// Whether a key may have to share a bucket, where there are more than [`MAX_KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// With all others that came too late.
    WithOthers,
    /// Never. So many of these there may be has to be bounded elsewhere.
    Never,
}

/// In this time a key's failures are forgotten.
pub const REFILL: Duration = Duration::from_secs(60);

/// Keys remembered at once: 65,536 × 48 bytes = 3 MiB. When more have failed within a minute, the newcomers all share one bucket.
pub const MAX_KEYS: usize = 65_536;

/// How often, at most, keys are looked through for those that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl<K: Eq + Hash> FailureLimiter<K> {
    /// Allows each key `limit` failures at once; 0: any number. So many attempts of a key may be `under_way` before it is known of the first whether it
    /// has failed.
    #[must_use]
    pub fn new(limit: u32, under_way: u32) -> Self {
        let known = Known { full_at: HashMap::new(), others: None, swept: None };
        Self { limit, under_way, known: Mutex::new(known) }
    }

    /// How long this key has to wait before it may try again, if it has.
    #[must_use]
    pub fn wait(&self, key: &K, sharing: Sharing, now: Instant) -> Option<Duration> {
        if self.limit == 0 {
            return None;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let others = known.others.filter(|_| sharing == Sharing::WithOthers);
        let full_at = known.full_at.get(key).copied().or(others)?;
        // The bucket is empty while it takes longer than REFILL less one failure's worth to be full.
        let earliest = (full_at + REFILL / self.limit).checked_sub(REFILL)?;
        earliest.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Takes note of a failure.
    pub fn failed(&self, key: K, sharing: Sharing, now: Instant) {
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
        let has_room = full_at.len() < MAX_KEYS || sharing == Sharing::Never;
        let full_at = if has_room || full_at.contains_key(&key) {
            full_at.entry(key).or_insert(now)
        } else {
            others.get_or_insert(now)
        };
        // What was under way at once may fail at once, and is waited for afterwards, so that nothing is gained by it.
        let most = REFILL + REFILL / self.limit * self.under_way;
        *full_at = ((*full_at).max(now) + REFILL / self.limit).min(now + most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_used_its_failures_up_waits_and_no_other_does() {
        let limiter = FailureLimiter::new(3, 0);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.wait(&"bad", Sharing::WithOthers, start), None);
            limiter.failed("bad", Sharing::WithOthers, start);
        }
        assert_eq!(limiter.wait(&"bad", Sharing::WithOthers, start), Some(REFILL / 3));
        assert_eq!(limiter.wait(&"good", Sharing::WithOthers, start), None);
        let later = start + REFILL / 3;
        assert_eq!(
            limiter.wait(&"bad", Sharing::WithOthers, later),
            None,
            "one failure is forgiven after a third of the time"
        );
    }

    #[test]
    fn what_fails_at_once_is_waited_for_afterwards() {
        let limiter = FailureLimiter::new(10, 5);
        let start = Instant::now();
        // Ten may fail, and five more that had been begun.
        for _ in 0..15 {
            limiter.failed("bad", Sharing::WithOthers, start);
        }
        assert_eq!(limiter.wait(&"bad", Sharing::WithOthers, start), Some(REFILL / 10 * 6));
        // No more than may be under way can have been.
        limiter.failed("bad", Sharing::WithOthers, start);
        assert_eq!(limiter.wait(&"bad", Sharing::WithOthers, start), Some(REFILL / 10 * 6));
    }

    #[test]
    fn keys_without_end_take_bounded_memory_and_do_not_escape_the_limit() {
        let limiter = FailureLimiter::new(1, 0);
        let now = Instant::now();
        for n in 0..200_000_u32 {
            limiter.failed(n, Sharing::WithOthers, now);
        }
        assert_eq!(limiter.known.lock().unwrap().full_at.len(), MAX_KEYS);
        assert!(limiter.wait(&u32::MAX, Sharing::WithOthers, now).is_some());
        assert!(limiter.wait(&u32::MAX, Sharing::Never, now).is_none());
        // Who shares with nobody has a bucket nevertheless.
        limiter.failed(u32::MAX, Sharing::Never, now);
        assert!(limiter.wait(&u32::MAX, Sharing::Never, now).is_some());
        // Once they are forgotten, there is room again.
        let later = now + 2 * REFILL;
        limiter.failed(u32::MAX, Sharing::WithOthers, later);
        assert!(limiter.wait(&u32::MAX, Sharing::WithOthers, later).is_some());
        assert_eq!(limiter.known.lock().unwrap().full_at.len(), 1);
    }
}
