//! When a trade is to be sent.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// What the pace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At the distances that the trades' times have.
    Recorded,
    /// So many a second.
    Rate(NonZeroU32),
}

/// The most trades a second that can be asked for.
const MAX_RATE: u32 = 10_000_000;

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "recorded" {
            return Ok(Self::Recorded);
        }
        let rate = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(&NonZeroU32::get(*rate)));
        rate.map(Self::Rate).ok_or_else(|| format!("must be recorded, or 1 to {MAX_RATE} trades a second"))
    }
}

/// How many times faster than recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speed(f64);

impl Speed {
    const MAX: f64 = 1_000_000.0;

    pub(super) fn is_real(self) -> bool {
        self.0 == 1.0
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let speed = text.parse().ok().filter(|speed| *speed > 0.0 && *speed <= Self::MAX);
        speed.map(Self).ok_or_else(|| format!("must be over 0 and at most {}, such as 10 or 0.5", Self::MAX))
    }
}

/// Says of one trade after the other when it is due. What falls due while NATS is away is due at once when it is back.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Option<Pace>,
    speed: Speed,
    /// How many trades there were.
    count: u64,
    /// The first trade's time.
    first: Option<u64>,
}

impl Pacer {
    /// `None`: as fast as it goes.
    pub(super) fn new(pace: Option<Pace>, speed: Speed) -> Self {
        Self { pace, speed, count: 0, first: None }
    }

    /// How long after the first trade the next one is due, whose time this is, in nanoseconds; `None`: at once.
    pub(super) fn due(&mut self, time: u64) -> Option<Duration> {
        let number = self.count;
        self.count += 1;
        let first = *self.first.get_or_insert(time);
        match self.pace? {
            // A number of nanoseconds that no run reaches.
            Pace::Rate(rate) => {
                let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate.get());
                Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
            Pace::Recorded => {
                let nanos = time.saturating_sub(first) as f64 / self.speed.0;
                Some(Duration::from_nanos(nanos as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(pace: Option<&str>, speed: &str, times: &[u64]) -> Vec<Option<u128>> {
        let mut pacer = Pacer::new(pace.map(|pace| pace.parse().unwrap()), speed.parse().unwrap());
        times.iter().map(|time| Some(pacer.due(time * 1_000_000)?.as_micros())).collect()
    }

    #[test]
    fn trades_are_due_at_their_recorded_distances_at_a_rate_or_at_once() {
        let times = [1000, 1010, 1005, 2000];
        assert_eq!(due(None, "1", &times), [None; 4]);
        assert_eq!(due(Some("recorded"), "1", &times), [0, 10_000, 5_000, 1_000_000].map(Some));
        assert_eq!(due(Some("recorded"), "10", &times), [0, 1_000, 500, 100_000].map(Some));
        assert_eq!(due(Some("3"), "1", &times), [0, 333_333, 666_666, 1_000_000].map(Some));
    }

    #[test]
    fn a_pace_that_cannot_be_is_refused() {
        for text in ["0", "-1", "1.5", "fast", "10000001"] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
