//! What is remembered for a short while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Remembers values for a short while, and no more than so many.
#[derive(Debug)]
pub struct Brief<K, V> {
    lifetime: Duration,
    capacity: usize,
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Brief<K, V> {
    /// Remembers each value for `lifetime`, and `capacity` of them.
    #[must_use]
    pub fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { lifetime, capacity, entries: Mutex::default() }
    }

    /// What was put there within the lifetime.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries();
        entries.get(key).filter(|(since, _)| since.elapsed() < self.lifetime).map(|(_, value)| value.clone())
    }

    /// Remembers a value from now on.
    pub fn put(&self, key: K, value: V) {
        put(&mut self.entries(), self.lifetime, self.capacity, key, value);
    }

    /// What was put there within the lifetime, else what is made now. Of several that ask at once, one makes it.
    pub fn get_or_put(&self, key: K, make: impl FnOnce() -> V) -> V {
        let mut entries = self.entries();
        if let Some((since, value)) = entries.get(&key)
            && since.elapsed() < self.lifetime
        {
            return value.clone();
        }
        let value = make();
        put(&mut entries, self.lifetime, self.capacity, key, value.clone());
        value
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<K: Eq + Hash, V>(
    entries: &mut HashMap<K, (Instant, V)>,
    lifetime: Duration,
    capacity: usize,
    key: K,
    value: V,
) {
    if entries.len() >= capacity && !entries.contains_key(&key) {
        entries.retain(|_, (since, _)| since.elapsed() < lifetime);
        // What is forgotten too soon is found out again.
        if entries.len() >= capacity {
            entries.clear();
        }
    }
    entries.insert(key, (Instant::now(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_forgotten_when_its_time_is_over() {
        let brief = Brief::new(Duration::from_secs(10), 4);
        brief.put("a", 1);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(brief.get(&"a"), Some(1));
        assert_eq!(brief.get_or_put("a", || 2), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(brief.get(&"a"), None);
        assert_eq!(brief.get_or_put("a", || 2), 2);
        assert_eq!(brief.get(&"a"), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_remembered_than_there_is_room_for() {
        let brief = Brief::new(Duration::from_secs(10), 4);
        for key in 0..100 {
            brief.put(key, key);
            assert!(brief.entries().len() <= 4);
            assert_eq!(brief.get(&key), Some(key));
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        brief.put(100, 100);
        assert!(brief.get(&100).is_some());
    }
}
