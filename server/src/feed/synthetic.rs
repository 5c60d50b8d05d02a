//! A made-up market: every trade is a pure function of the seed, its sequence and so its time. Any server with the same
//! settings has the same trades under the same sequences, and can compute any of the past again.
//!
//! Trade *k* (sequence *k* + 1) falls into the *k*-th slot since 1970 of 1/rate seconds, at a place in it, for a symbol and of a size
//! that are hashes of *k*. Its price is the symbol's base price times a smooth walk through time. All of it is integer arithmetic:
//! floating point would differ in a last bit between machines.

use std::sync::Arc;

use super::clock::{FeedClock, Speed, wall_now};
use super::{
    Chunk, Feed, FeedError, Identity, MAX_CHUNK, NANOS_PER_MINUTE, NANOS_PER_SECOND, SymbolId, Symbols,
    Trade, end_of_second, epoch, mix,
};

const NANOS_PER_DAY: u64 = 24 * 60 * NANOS_PER_MINUTE;

/// The most trades that are made up to fill the rings at the start: half a second's work.
const MAX_REFILL: u64 = 2_000_000;

/// The market, without a clock.
#[derive(Clone, Debug)]
struct Market {
    seed: u64,
    symbols: u64,
    /// Trades per second.
    rate: u64,
}

/// How the price moves: a walk between random points this many seconds apart, by at most so many millionths of the price.
const WAVES: [(u64, i64); 4] = [(3600, 20_000), (300, 5_000), (20, 1_000), (2, 200)];

/// Prices are multiples of this: 0.01.
const PRICE_STEP: i64 = 10_000_000;

/// Sizes are multiples of this: 0.0001.
const SIZE_STEP: u64 = 100_000;

impl Market {
    /// The trade with the number `k`, sequence `k` + 1.
    fn trade(&self, k: u64) -> Trade {
        let dice = self.hash(0, k, 0);
        #[expect(clippy::cast_possible_truncation, reason = "there are at most MAX_SYMBOLS")]
        let symbol = (dice % self.symbols) as SymbolId;
        let time = self.time(k);
        let dice = mix(dice);
        // Many small trades, few large ones: 1 to 1,000 steps, times 1, 2, 4 or 8.
        let size = (dice % 1000 + 1) << (dice >> 32).trailing_zeros().min(3);
        Trade { symbol, time, price: self.price(symbol, time), size: size * SIZE_STEP }
    }

    /// When the trade with the number `k` falls.
    fn time(&self, k: u64) -> u64 {
        let slot = u128::from(k) * 1024 + u128::from(self.hash(1, k, 0) % 1024);
        u64::try_from(slot * u128::from(NANOS_PER_SECOND) / (1024 * u128::from(self.rate)))
            .unwrap_or(u64::MAX)
    }

    /// The number of the first slot that begins at or after `time`.
    fn slot_at(&self, time: u64) -> u64 {
        let slots = (u128::from(time) * u128::from(self.rate)).div_ceil(u128::from(NANOS_PER_SECOND));
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    fn price(&self, symbol: SymbolId, time: u64) -> i64 {
        let millionths: i64 =
            WAVES.iter().map(|(period, height)| self.wave(symbol, time, *period, *height)).sum();
        // Base prices from 1 to about 65,000, spread over the orders of magnitude.
        let dice = self.hash(2, symbol.into(), 0);
        let base = ((1 << (dice % 16)) * 1000 + i64::from((dice >> 48) as u16 % 1000)) * 1_000_000;
        (base / 1_000_000 * (1_000_000 + millionths) / PRICE_STEP).max(1) * PRICE_STEP
    }

    /// Where a walk between random points `period` seconds apart is at `time`, from `-height` to `height`.
    fn wave(&self, symbol: SymbolId, time: u64, period: u64, height: i64) -> i64 {
        let period = period * NANOS_PER_SECOND;
        let (point, past) = (time / period, time % period);
        let value =
            |point| (self.hash(period, symbol.into(), point) >> 33) as i64 % (2 * height + 1) - height;
        let (from, to) = (value(point), value(point + 1));
        // Millisecond steps keep the product within 64 bits: 2 × 20,000 × 3,600,000.
        from + (to - from) * (past / 1_000_000) as i64 / (period / 1_000_000) as i64
    }

    fn hash(&self, what: u64, a: u64, b: u64) -> u64 {
        let mut hash = mix(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        for part in [what, a, b] {
            hash = mix(hash ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        }
        hash
    }
}

/// The market as time passes.
#[derive(Debug)]
pub struct Synthetic {
    market: Market,
    clock: FeedClock,
    identity: Identity,
    /// The number of the next trade.
    next: u64,
    /// Up to where the time has been told.
    told: u64,
}

impl Synthetic {
    /// Begins so far in the past that `retention` (of the wall's time) can be kept, as far as [`MAX_REFILL`] allows.
    ///
    /// At another speed than 1 the feed's time agrees with the wall's at the midnight (UTC) before the start; so servers that start on the
    /// same day have the same ticks at the same time, and the day is part of the epoch.
    #[must_use]
    pub fn new(
        seed: u64,
        names: Arc<[Arc<str>]>,
        rate: u32,
        speed: Speed,
        retention: std::time::Duration,
    ) -> Self {
        Self::at(wall_now(), seed, names, rate, speed, retention)
    }

    fn at(
        now: u64,
        seed: u64,
        names: Arc<[Arc<str>]>,
        rate: u32,
        speed: Speed,
        retention: std::time::Duration,
    ) -> Self {
        let origin = if speed == Speed::REAL { 0 } else { now - now % NANOS_PER_DAY };
        let clock = FeedClock::new(origin, origin, speed);
        let symbols = Symbols::new(names);
        let market = Market { seed, symbols: symbols.len() as u64, rate: rate.into() };

        let retention = u64::try_from(retention.as_nanos()).unwrap_or(u64::MAX);
        let refill = speed.feed_nanos(retention).min(MAX_REFILL * NANOS_PER_SECOND / u64::from(rate));
        let start = clock.feed_time(now).saturating_sub(refill);
        // Bars must be whole from the first one on.
        let start = start - start % NANOS_PER_MINUTE;
        let first = market.slot_at(start);

        let joined = symbols.names().collect::<Vec<_>>().join(",");
        let epoch = epoch(&[
            b"synthetic 1",
            &seed.to_le_bytes(),
            joined.as_bytes(),
            &rate.to_le_bytes(),
            &speed.thousandths().to_le_bytes(),
            &origin.to_le_bytes(),
        ]);
        let identity = Identity { epoch, symbols, first_sequence: first + 1, start, complete: false };
        Self { market, clock, identity, next: first, told: start }
    }

    /// What has become due by `now`, by the clock on the wall; `None`: nothing.
    fn due(&mut self, now: u64) -> Option<Chunk> {
        let until = self.clock.feed_time(now);
        let first_sequence = self.next + 1;
        let mut trades = Vec::new();
        let caught_up = loop {
            if self.market.time(self.next) >= until {
                break true;
            }
            if trades.len() == MAX_CHUNK {
                break false;
            }
            trades.push(self.market.trade(self.next));
            self.next += 1;
        };
        // While there is more, time is told up to the next trade: none before it is left.
        let watermark = if caught_up { until } else { self.market.time(self.next) };
        if trades.is_empty() && watermark < end_of_second(self.told) {
            return None;
        }
        self.told = watermark;
        let due = self.clock.wall_time(watermark).min(now);
        Some(Chunk::in_order(first_sequence, trades, watermark, due, caught_up))
    }
}

impl Feed for Synthetic {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn next(&mut self) -> Result<Option<Chunk>, FeedError> {
        loop {
            if let Some(chunk) = self.due(wall_now()) {
                return Ok(Some(chunk));
            }
            // Past it, not at it.
            self.clock.wait_until(self.market.time(self.next).min(end_of_second(self.told)) + 1).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000 * NANOS_PER_SECOND + 123_456_789;

    fn feed(seed: u64, now: u64, speed: Speed) -> Synthetic {
        let names = ["AAA", "BBB", "CCC"].map(Arc::from).into();
        Synthetic::at(now, seed, names, 1000, speed, Duration::from_secs(90))
    }

    fn drain(feed: &mut Synthetic, now: u64) -> Vec<(u64, Trade)> {
        let mut all = Vec::new();
        while let Some(chunk) = feed.due(now) {
            assert!(chunk.trades.len() <= MAX_CHUNK);
            assert!(chunk.trades.iter().all(|entry| entry.trade.time < chunk.watermark));
            all.extend(chunk.trades.iter().map(|entry| (entry.sequence, entry.trade)));
            if chunk.caught_up {
                break;
            }
        }
        all
    }

    #[test]
    fn servers_that_start_at_different_times_hold_the_same_trades_under_the_same_sequences() {
        let mut early = feed(1, NOW, Speed::REAL);
        let mut late = feed(1, NOW + 47 * NANOS_PER_SECOND, Speed::REAL);
        assert_eq!(early.identity.epoch, late.identity.epoch);
        let end = NOW + 60 * NANOS_PER_SECOND;
        // The early one has its trades in many small steps, the late one at once.
        let mut from_early = Vec::new();
        for step in 0..=6000 {
            from_early.extend(drain(&mut early, NOW + step * 10_000_000));
        }
        let from_late = drain(&mut late, end);
        let shared = from_late[0].0;
        assert_eq!(
            from_early.iter().filter(|(sequence, _)| *sequence >= shared).copied().collect::<Vec<_>>(),
            from_late
        );
        assert!(from_late.len() > 60_000);
    }

    #[test]
    fn sequences_have_no_gap_and_times_never_go_back() {
        let trades = drain(&mut feed(7, NOW, Speed::REAL), NOW);
        for pair in trades.windows(2) {
            assert_eq!(pair[0].0 + 1, pair[1].0);
            assert!(pair[0].1.time <= pair[1].1.time);
        }
        assert!(trades.iter().all(|(_, trade)| trade.price > 0 && trade.size > 0));
        for symbol in 0..3 {
            assert!(trades.iter().any(|(_, trade)| trade.symbol == symbol));
        }
    }

    #[test]
    fn another_seed_is_another_epoch_and_other_trades() {
        let (mut one, mut two) = (feed(1, NOW, Speed::REAL), feed(2, NOW, Speed::REAL));
        assert_ne!(one.identity.epoch, two.identity.epoch);
        assert_ne!(drain(&mut one, NOW), drain(&mut two, NOW));
    }

    #[test]
    fn the_first_trades_of_a_seed_are_these() {
        // They may never change: a fleet in the middle of an upgrade would disagree on them.
        let market = Market { seed: 1, symbols: 3, rate: 100 };
        let shown: Vec<_> = (180_000_000_000..180_000_000_003).map(|k| market.trade(k)).collect();
        let expected = include_str!("synthetic/first_trades.txt");
        assert_eq!(shown.iter().map(|trade| format!("{trade:?}\n")).collect::<String>(), expected);
    }

    #[test]
    fn at_sixty_times_the_speed_a_second_holds_a_minute() {
        let mut fast = feed(1, NOW, "60".parse().unwrap());
        drain(&mut fast, NOW);
        let minute = drain(&mut fast, NOW + NANOS_PER_SECOND);
        assert!((59_900..=60_100).contains(&minute.len()), "{}", minute.len());
    }
}
