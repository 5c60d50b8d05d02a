//! What a server is asked to shed: so many of its clients, at a pace, while it goes on serving. Whoever balances a fleet asks for it, as long-lived
//! connections do not move by themselves to servers that have come later.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Some clients are to go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// How many; 0 calls off what is left of an earlier order.
    pub connections: u32,
    /// How many a second, over all shards.
    pub per_second: NonZeroU32,
}

/// The order that is being carried out, which the shards look up in every turn. A later one replaces it.
#[derive(Debug, Default)]
pub struct Shedding {
    /// How many orders there have been: a shard that has seen as many has seen them all, and takes no lock.
    count: AtomicU64,
    /// The last order. Its connections are those that no shard has taken yet.
    order: Mutex<Option<Order>>,
}

impl Shedding {
    /// Replaces what is left of the order before. The shards see it when they are woken ([`crate::stream::Streams::wake`]).
    pub fn ask(&self, order: Order) {
        let mut current = self.current();
        *current = Some(order);
        // Under the lock: whoever sees the new count finds the new order.
        self.count.fetch_add(1, Ordering::Release);
    }

    /// The number of the last order, and it, if it is another than the one of this number.
    #[must_use]
    pub fn newer_than(&self, number: u64) -> Option<(u64, Order)> {
        if self.count.load(Ordering::Acquire) == number {
            return None;
        }
        let current = self.current();
        current.map(|order| (self.count.load(Ordering::Acquire), order))
    }

    /// Takes one client of the order of this number on: `false` where all have been taken, or there is another order by now.
    #[must_use]
    pub fn take(&self, number: u64) -> bool {
        let mut current = self.current();
        match &mut *current {
            Some(order) if self.count.load(Ordering::Acquire) == number && order.connections > 0 => {
                order.connections -= 1;
                true
            }
            _ => false,
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Order>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(connections: u32) -> Order {
        Order { connections, per_second: NonZeroU32::new(100).unwrap() }
    }

    #[test]
    fn an_order_is_seen_once_and_its_clients_are_taken_once() {
        let shedding = Shedding::default();
        assert_eq!(shedding.newer_than(0), None);
        shedding.ask(order(2));
        let (number, seen) = shedding.newer_than(0).unwrap();
        assert_eq!(seen, order(2));
        assert_eq!(shedding.newer_than(number), None);
        assert_eq!([1, 2, 3].map(|_| shedding.take(number)), [true, true, false]);
    }

    #[test]
    fn a_later_order_replaces_what_is_left_and_none_calls_it_off() {
        let shedding = Shedding::default();
        shedding.ask(order(10));
        let (first, _) = shedding.newer_than(0).unwrap();
        assert!(shedding.take(first));
        shedding.ask(order(1));
        assert!(!shedding.take(first), "it is of an order that was replaced");
        let (second, _) = shedding.newer_than(first).unwrap();
        assert!(shedding.take(second));
        shedding.ask(order(0));
        let (third, _) = shedding.newer_than(second).unwrap();
        assert!(!shedding.take(third));
    }
}
