//! One timer wheel per shard: a hundred thousand connections each have a deadline or two, most of which are moved long before they
//! come. So a connection has one entry here, for the earliest thing that may be due; when it comes, the connection looks at what is
//! really due and enters itself again. Sending and receiving touch only its own fields, never the wheel.

/// The wheel's resolution, in milliseconds. Deadlines are met up to so much late, never early.
const TICK_MS: u64 = 16;

/// 1,024 × 16 ms: deadlines up to 16 s away are found at the first look, later ones are looked at once per round.
const SLOTS: u64 = 1024;

/// Which connection, and which of those that had its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) key: usize,
    pub(super) generation: u32,
    /// In ticks; tells an entry that is still meant from one that an earlier one has replaced.
    pub(super) due: u64,
}

#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<Timer>>,
    /// Every entry due before this tick has been handed out.
    next: u64,
    entries: usize,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next: 0, entries: 0 }
    }

    /// The tick at which something due at `ms` is handed out.
    pub(super) fn tick(ms: u64) -> u64 {
        ms.div_ceil(TICK_MS)
    }

    /// Enters a timer; one whose tick has passed is handed out next.
    pub(super) fn insert(&mut self, timer: Timer) {
        let tick = timer.due.max(self.next);
        self.slots[(tick % SLOTS) as usize].push(timer);
        self.entries += 1;
    }

    /// Hands out what is due at `now_ms`, in milliseconds on the scale of [`tick`](Self::tick).
    pub(super) fn expire(&mut self, now_ms: u64, due: &mut Vec<Timer>) {
        let now = now_ms / TICK_MS;
        if now < self.next {
            return;
        }
        let before = due.len();
        // After a long sleep one round sees every slot.
        for tick in self.next.max((now + 1).saturating_sub(SLOTS))..=now {
            self.slots[(tick % SLOTS) as usize].retain(|timer| {
                let later = timer.due > now;
                if !later {
                    due.push(*timer);
                }
                later
            });
        }
        self.entries -= due.len() - before;
        self.next = now + 1;
    }

    /// When to look again, in milliseconds: at the next slot that is not empty, though what is in it may be due a round later.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        let ahead =
            (0..SLOTS).find(|ahead| !self.slots[((self.next + ahead) % SLOTS) as usize].is_empty())?;
        Some((self.next + ahead) * TICK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timer(key: usize, ms: u64) -> Timer {
        Timer { key, generation: 0, due: Wheel::tick(ms) }
    }

    proptest! {
        #[test]
        fn every_timer_comes_once_never_early_and_at_most_a_tick_late(
            deadlines in prop::collection::vec(0..60_000_u64, 1..50), steps in prop::collection::vec(1..5_000_u64, 1..100)
        ) {
            let mut wheel = Wheel::new();
            for (key, ms) in deadlines.iter().enumerate() {
                wheel.insert(timer(key, *ms));
            }
            let (mut now, mut seen) = (0, vec![None; deadlines.len()]);
            for step in steps.iter().chain([&70_000]) {
                let before = now;
                now += step;
                let mut due = Vec::new();
                wheel.expire(now, &mut due);
                for Timer { key, .. } in due {
                    prop_assert!(seen[key].is_none());
                    prop_assert!(deadlines[key] <= now, "early");
                    prop_assert!(deadlines[key] + TICK_MS > before, "late");
                    seen[key] = Some(now);
                }
            }
            prop_assert!(seen.iter().all(Option::is_some));
            prop_assert_eq!(wheel.next_ms(), None);
        }
    }

    #[test]
    fn one_looks_again_no_later_than_the_earliest_is_due() {
        let mut wheel = Wheel::new();
        wheel.insert(timer(0, 500));
        wheel.insert(timer(1, 40_000));
        let next = wheel.next_ms().unwrap();
        assert!(next < 500 + TICK_MS, "{next}");
    }
}
