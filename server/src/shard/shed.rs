//! Sends some of the clients elsewhere while the server goes on: the shard's part of what [`crate::shed`] asks for.
//!
//! Each client is told when its own turn has come, not all at the beginning as in a drain: so what is left can be called off.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Error, ErrorCode};

use super::connection::Kind;
use super::{DELIVERIES_PER_TURN, Phase, Shard};
use crate::shed::Order;

/// What a client that is shed is told to wait: it may connect again at once, and 0 would say that retrying makes no sense.
const RETRY_AFTER_MS: u32 = 1;

/// How long the old connection of a client that is shed is kept, so that it can open the new one first. Nobody is in a hurry here: it is longer than in a
/// drain, for clients that connect while all others do, too.
const HANDOVER: Duration = Duration::from_secs(10);

const MS_PER_SECOND: u64 = 1000;

/// The shard's part of an order.
#[derive(Debug, Default)]
pub(super) struct Shed {
    /// The number of the last order that was taken up.
    number: u64,
    /// Who may be told yet, by key and generation, in no order that means anything.
    candidates: Vec<(usize, u32)>,
    pace: Pace,
    /// When it began, in milliseconds of the shard's clock.
    since: u64,
    /// How many have been told.
    told: u64,
}

/// The shard's part of the pace: of `total` connections `own` are this shard's.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    per_second: u64,
    own: u64,
    total: u64,
}

impl Pace {
    /// How many should have been told after so many milliseconds.
    fn due(self, elapsed: u64) -> u64 {
        let Self { per_second, own, total } = self;
        let due = u128::from(elapsed) * u128::from(per_second) * u128::from(own)
            / u128::from(MS_PER_SECOND * total.max(1));
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// After how many milliseconds so many should have been told; at least 1, as pauses are counted in.
    fn after(self, count: u64) -> u64 {
        let Self { per_second, own, total } = self;
        let after = (u128::from(count) * u128::from(MS_PER_SECOND * total))
            .div_ceil(u128::from(per_second * own).max(1));
        u64::try_from(after).unwrap_or(u64::MAX).max(1)
    }
}

impl Shed {
    /// When the next is to be told, in milliseconds of the shard's clock; `None`: nobody is.
    pub(super) fn next_ms(&self) -> Option<u64> {
        (!self.candidates.is_empty()).then(|| self.since.saturating_add(self.pace.after(self.told + 1)))
    }
}

impl Shard {
    /// Takes a new order up, and tells those whose turn has come.
    pub(super) fn shed_some(&mut self) {
        if self.phase != Phase::Serving {
            // All have been told, or will be.
            self.shed.candidates = Vec::new();
            return;
        }
        if let Some((number, order)) = self.shared.shedding.newer_than(self.shed.number) {
            self.take_up_order(number, order);
        }
        for _ in 0..DELIVERIES_PER_TURN {
            let shed = &mut self.shed;
            if shed.candidates.is_empty() || shed.told >= shed.pace.due(self.now - shed.since) {
                return;
            }
            while let Some((key, generation)) = shed.candidates.pop() {
                let may_go = self.connections.get(key).is_some_and(|connection| {
                    let up = &connection.up;
                    up.generation == generation && up.lingering.is_none() && up.drain_at.is_none()
                });
                if !may_go {
                    continue;
                }
                if !self.shared.shedding.take(shed.number) {
                    shed.candidates = Vec::new();
                    return;
                }
                shed.told += 1;
                self.send_elsewhere(key);
                break;
            }
        }
    }

    fn take_up_order(&mut self, number: u64, order: Order) {
        let clients = self.connections.iter().filter(|(_, connection)| connection.is_authenticated());
        let mut candidates: Vec<_> =
            clients.map(|(key, connection)| (key, connection.up.generation)).collect();
        let own = candidates.len() as u64;
        // Whoever has just come is not to be more, or less, likely to go than others.
        candidates.sort_by_cached_key(|(key, _)| self.dice(*key));
        if order.connections == 0 {
            candidates = Vec::new();
        }
        let total = (self.shared.open.load(Ordering::Relaxed) as u64).max(own);
        let pace = Pace { per_second: order.per_second.get().into(), own, total };
        self.shed = Shed { number, candidates, pace, since: self.now, told: 0 };
    }

    fn send_elsewhere(&mut self, key: usize) {
        let error = Error {
            code: ErrorCode::Draining.into(),
            message: "the server has more than its share of the clients; connect again".into(),
            retry_after_ms: RETRY_AFTER_MS,
        };
        let retry_after = Duration::from_millis(RETRY_AFTER_MS.into());
        self.connections[key].up.drain_at = Some(self.now + (retry_after + HANDOVER).as_millis() as u64);
        self.metrics.shed();
        self.enqueue(key, error.to_frame(), Kind::Control);
        self.write(key);
        self.arm(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shards_pace_is_its_part_of_the_whole_and_the_next_is_due_when_it_is_said_to_be() {
        let pace = Pace { per_second: 100, own: 30, total: 90 };
        assert_eq!(pace.due(3_000), 100, "a third of 100 a second, for three seconds");
        for count in 1..200 {
            let after = pace.after(count);
            assert!(pace.due(after) >= count, "{count} are due after {after} ms");
            assert!(pace.due(after - 1) < count, "and not before");
        }
        assert_eq!(Pace::default().due(1_000), 0);
    }
}
