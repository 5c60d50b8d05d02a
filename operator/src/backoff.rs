//! How long to wait before something that has failed is tried again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::core::ObjectMeta;
use rand::RngExt as _;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(120);

/// Counts failures in a row, per object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Another failure: how long to wait now. Twice as long each time, from a second to two minutes, less up to a quarter by chance.
    #[must_use]
    pub fn next(&self, object: &ObjectMeta) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.uid.clone().unwrap_or_default()).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
        *count = count.saturating_add(1);
        wait.mul_f64(rand::rng().random_range(0.75..=1.0))
    }

    /// How many failures in a row there have been.
    #[must_use]
    pub fn failures(&self, object: &ObjectMeta) -> u32 {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(object.uid.as_deref().unwrap_or_default()).copied().unwrap_or_default()
    }

    /// It has worked, or the object is gone.
    pub fn forget(&self, object: &ObjectMeta) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(object.uid.as_deref().unwrap_or_default());
    }

    /// Forgets all objects but those with these UIDs.
    pub fn retain(&self, living: &std::collections::HashSet<String>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|uid, _| living.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_after_success() {
        let object = ObjectMeta { uid: Some("a".into()), ..ObjectMeta::default() };
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.next(&object)).collect();
        for (index, wait) in waits.iter().enumerate() {
            let full = FIRST.saturating_mul(1 << index).min(LONGEST);
            assert!((full.mul_f64(0.75)..=full).contains(wait), "{index}: {wait:?}");
        }
        backoff.forget(&object);
        assert!(backoff.next(&object) <= FIRST);
    }

    #[test]
    fn objects_wait_for_themselves_and_those_that_are_gone_are_forgotten() {
        let object = |uid: &str| ObjectMeta { uid: Some(uid.into()), ..ObjectMeta::default() };
        let backoff = Backoff::default();
        let _first = backoff.next(&object("a"));
        assert!(backoff.next(&object("b")) <= FIRST);
        backoff.retain(&["b".to_owned()].into());
        assert!(backoff.next(&object("a")) <= FIRST);
    }
}
