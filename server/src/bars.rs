//! Bars out of trades, by the trades' own times: the same trades make the same bars on every server.
//!
//! A bar's sequence is `interval × symbols + symbol + 1`, where the interval is counted since 1970: so bars are numbered without counting
//! them. A symbol that did not trade in an interval has no bar, but its number is covered all the same.
//!
//! A bar ends once the watermark is past its interval. Where a feed waits for trades that come out of order, several intervals are open at
//! once: as many as fit between the watermark and the latest trade.

use std::collections::VecDeque;

use crate::feed::{Entry, Identity, SymbolId, Trade};
use crate::run::{Row, Run};

/// The trades of one symbol in an interval that is open.
#[derive(Clone, Copy, Debug)]
struct Bar {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: u64,
    trades: u64,
}

impl Bar {
    fn of(trade: &Trade) -> Self {
        let Trade { price, size, .. } = *trade;
        Self { open: price, high: price, low: price, close: price, volume: size, trades: 1 }
    }

    fn add(&mut self, trade: &Trade) {
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.close = trade.price;
        self.volume = self.volume.saturating_add(trade.size);
        self.trades += 1;
    }
}

/// An interval that is open.
#[derive(Debug, Default)]
struct Interval {
    /// By symbol; empty before the first trade.
    bars: Vec<Option<Bar>>,
    /// Which symbols have traded in it, unordered.
    traded: Vec<SymbolId>,
}

/// What became of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It is in its interval's bar.
    InBar,
    /// It is late: its interval had ended, and its bar has been handed on without it.
    Late,
    /// It is from before the first bar.
    Before,
}

/// Gathers trades into bars of one length.
#[derive(Debug)]
pub struct Bars {
    /// The bars' length, in nanoseconds.
    length: u64,
    symbols: usize,
    /// The first interval that has bars, counted since 1970.
    start: u64,
    /// The first interval that is open.
    interval: u64,
    /// The intervals from that on, as far as there are trades; at most the feed's lateness over the length, and two.
    open: VecDeque<Interval>,
    /// Intervals that were open, empty again, kept for their memory.
    spare: Vec<Interval>,
    /// The sequence after those that runs have covered so far.
    first_uncovered: u64,
}

impl Bars {
    /// Bars of `length` nanoseconds for a feed.
    #[must_use]
    pub fn new(length: u64, feed: &Identity) -> Self {
        let symbols = feed.symbols.len();
        let start = feed.start / length;
        let first_uncovered = start * symbols as u64 + 1;
        let (open, spare) = (VecDeque::new(), Vec::new());
        Self { length, symbols, start, interval: start, open, spare, first_uncovered }
    }

    /// The sequence with which the next run will start.
    #[must_use]
    pub fn first_uncovered(&self) -> u64 {
        self.first_uncovered
    }

    /// Takes a trade, and hands on the intervals that end as time comes so far with it.
    pub fn add(&mut self, entry: &Entry, closed: &mut Vec<Run>) -> Counted {
        self.advance(entry.watermark, closed);
        let trade = &entry.trade;
        let interval = trade.time / self.length;
        let Some(ahead) = interval.checked_sub(self.interval) else {
            return if interval < self.start { Counted::Before } else { Counted::Late };
        };
        let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
        while self.open.len() <= ahead {
            self.open.push_back(self.spare.pop().unwrap_or_default());
        }
        let Interval { bars, traded } = &mut self.open[ahead];
        if bars.is_empty() {
            bars.resize(self.symbols, None);
        }
        match &mut bars[trade.symbol as usize] {
            Some(bar) => bar.add(trade),
            none => {
                *none = Some(Bar::of(trade));
                traded.push(trade.symbol);
            }
        }
        Counted::InBar
    }

    /// Time has come so far: hands on what ended before. [`u64::MAX`]: the feed has ended, and with it what is open.
    pub fn advance(&mut self, watermark: u64, closed: &mut Vec<Run>) {
        let next = match watermark {
            u64::MAX => self.interval + (self.open.len() as u64).max(1),
            watermark => watermark / self.length,
        };
        while self.interval < next {
            self.close_first(next, closed);
        }
    }

    /// Ends the first open interval with trades that is before `next`; those without around it share its run.
    fn close_first(&mut self, next: u64, closed: &mut Vec<Run>) {
        let mut rows = Vec::new();
        while self.interval < next
            && let Some(mut interval) = self.open.pop_front()
        {
            if rows.is_empty() {
                rows = self.rows(&mut interval);
            } else if !interval.traded.is_empty() {
                self.open.push_front(interval);
                break;
            }
            self.spare.push(interval);
            self.interval += 1;
        }
        if self.open.is_empty() {
            self.interval = next;
        }
        let last = self.interval * self.symbols as u64;
        closed.push(Run { first: self.first_uncovered, last, rows });
        self.first_uncovered = last + 1;
    }

    /// The first open interval's rows, which are taken out of it.
    fn rows(&self, Interval { bars, traded }: &mut Interval) -> Vec<Row> {
        let base = self.interval * self.symbols as u64 + 1;
        let time = (self.interval + 1) * self.length;
        traded.sort_unstable();
        let mut rows = Vec::with_capacity(traded.len());
        for symbol in traded.drain(..) {
            if let Some(bar) = bars[symbol as usize].take() {
                let Bar { open, high, low, close, volume, trades } = bar;
                let sequence = base + u64::from(symbol);
                rows.push(Row { sequence, symbol, time, open, high, low, close, volume, trades });
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Symbols;
    use proptest::prelude::*;
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    fn identity() -> Identity {
        let symbols = Symbols::new(["A", "B", "C"].map(Arc::from).into());
        Identity { epoch: 1, symbols, first_sequence: 1, start: 100 * SECOND + 5, complete: true }
    }

    fn bars() -> Bars {
        Bars::new(SECOND, &identity())
    }

    /// Time comes as far as the trade.
    fn trade(symbol: SymbolId, time: u64, price: i64, size: u64) -> Entry {
        late(symbol, time, time, price, size)
    }

    /// Time has come further, or not yet as far.
    fn late(symbol: SymbolId, time: u64, watermark: u64, price: i64, size: u64) -> Entry {
        Entry { sequence: 1, watermark, trade: Trade { symbol, time, price, size } }
    }

    #[test]
    fn a_bar_sums_up_its_interval_and_ends_when_the_time_does() {
        let (mut bars, mut closed) = (bars(), Vec::new());
        for trade in [
            trade(2, 100 * SECOND + 5, 50, 1),
            trade(0, 100 * SECOND + 6, 10, 2),
            trade(2, 100 * SECOND + 7, 70, 3),
            trade(2, 101 * SECOND - 1, 40, 4),
        ] {
            bars.add(&trade, &mut closed);
        }
        bars.advance(101 * SECOND - 1, &mut closed);
        assert!(closed.is_empty());
        bars.advance(101 * SECOND, &mut closed);
        let time = 101 * SECOND;
        assert_eq!(
            closed,
            [Run {
                first: 301,
                last: 303,
                rows: vec![
                    Row {
                        sequence: 301,
                        symbol: 0,
                        time,
                        open: 10,
                        high: 10,
                        low: 10,
                        close: 10,
                        volume: 2,
                        trades: 1
                    },
                    Row {
                        sequence: 303,
                        symbol: 2,
                        time,
                        open: 50,
                        high: 70,
                        low: 40,
                        close: 40,
                        volume: 8,
                        trades: 3
                    },
                ],
            }]
        );
    }

    #[test]
    fn intervals_without_trades_are_covered_and_the_end_of_the_feed_ends_the_last() {
        let (mut bars, mut closed) = (bars(), Vec::new());
        bars.advance(104 * SECOND, &mut closed);
        bars.add(&trade(1, 110 * SECOND, 7, 1), &mut closed);
        bars.advance(u64::MAX, &mut closed);
        let ranges: Vec<_> = closed.iter().map(|run| (run.first, run.last, run.rows.len())).collect();
        assert_eq!(ranges, [(301, 312, 0), (313, 330, 0), (331, 333, 1)]);
        assert_eq!(closed[2].rows[0].time, 111 * SECOND);
    }

    #[test]
    fn sums_beyond_the_wires_range_stay_at_its_maximum() {
        let (mut bars, mut closed) = (bars(), Vec::new());
        bars.add(&trade(0, 100 * SECOND + 5, 1, u64::MAX - 1), &mut closed);
        bars.add(&trade(0, 100 * SECOND + 5, 1, 5), &mut closed);
        bars.advance(u64::MAX, &mut closed);
        assert_eq!(closed[0].rows[0].volume, u64::MAX);
    }

    #[test]
    fn several_intervals_are_open_while_time_has_not_come_so_far() {
        let (mut bars, mut closed) = (bars(), Vec::new());
        let second = |n: u64| n * SECOND;
        // Each is behind the latest by less than two seconds.
        for (time, watermark) in [(1000, 980), (1018, 998), (1001, 998), (1021, 1001), (1011, 1001)] {
            let entry = late(0, time * SECOND / 10, watermark * SECOND / 10, time as i64, 1);
            assert_eq!(bars.add(&entry, &mut closed), Counted::InBar);
        }
        assert!(closed.is_empty(), "second 100 ends with 101");
        bars.advance(second(102), &mut closed);
        let rows: Vec<_> = closed
            .iter()
            .map(|run| {
                (run.first, run.last, run.rows.iter().map(|row| (row.open, row.close, row.trades)).collect())
            })
            .collect();
        let expected: [(u64, u64, Vec<_>); 2] =
            [(301, 303, vec![(1000, 1001, 2)]), (304, 306, vec![(1018, 1011, 2)])];
        assert_eq!(rows, expected);
        bars.advance(u64::MAX, &mut closed);
        assert_eq!((closed[2].rows[0].open, closed[2].last), (1021, 309));
        assert!(bars.open.is_empty() && bars.spare.len() == 3);
    }

    #[test]
    fn a_trade_whose_interval_has_ended_is_late_and_in_no_bar() {
        let (mut bars, mut closed) = (bars(), Vec::new());
        bars.add(&trade(0, 101 * SECOND, 5, 1), &mut closed);
        let last = late(0, 101 * SECOND - 1, 101 * SECOND, 9, 1);
        assert_eq!(bars.add(&last, &mut closed), Counted::Late);
        let before = late(0, 100 * SECOND - 1, 101 * SECOND, 9, 1);
        assert_eq!(
            bars.add(&before, &mut closed),
            Counted::Before,
            "a bar that it is missing in has never been"
        );
        bars.advance(u64::MAX, &mut closed);
        assert_eq!(closed.iter().flat_map(|run| &run.rows).map(|row| row.high).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn of_a_feed_from_its_very_beginning_everything_before_the_first_trade_is_covered() {
        let symbols = Symbols::new(["A", "B"].map(Arc::from).into());
        let feed = Identity { epoch: 1, symbols, first_sequence: 1, start: 0, complete: true };
        let (mut bars, mut closed) = (Bars::new(SECOND, &feed), Vec::new());
        bars.add(&late(1, 1_000 * SECOND, 998 * SECOND, 5, 1), &mut closed);
        bars.advance(u64::MAX, &mut closed);
        let ranges: Vec<_> = closed.iter().map(|run| (run.first, run.last, run.rows.len())).collect();
        assert_eq!(ranges, [(1, 2 * 998, 0), (2 * 998 + 1, 2 * 1001, 1)]);
        assert!(bars.spare.len() <= 3, "what is open is bounded by how far time is behind");
    }

    proptest! {
        /// Only what is fed counts: not how it comes in chunks, each of which tells the time once more.
        #[test]
        fn the_same_trades_in_any_chunks_make_the_same_rows(
            steps in prop::collection::vec((0..3_u32, 0..4_000_u64, -900_i64..3_000, any::<bool>()), 1..200),
            lateness in 0..3_000_u64, length in prop::sample::select(vec![SECOND, 3 * SECOND])
        ) {
            let millisecond = SECOND / 1000;
            let (mut latest, mut watermark) = (100_000_u64, 0);
            let entries: Vec<_> = steps.iter().map(|(symbol, back, on, ends)| {
                let time = (latest - back).saturating_add_signed(*on);
                latest = latest.max(time);
                watermark = watermark.max(latest.saturating_sub(lateness));
                (late(*symbol, time * millisecond, watermark * millisecond, time as i64, 1), *ends)
            }).collect();
            let feed = Identity { start: 102 * SECOND, ..identity() };
            let (mut whole, mut cut) = (Bars::new(length, &feed), Bars::new(length, &feed));
            let (mut from_whole, mut from_cut) = (Vec::new(), Vec::new());
            for (entry, ends) in &entries {
                let counted = whole.add(entry, &mut from_whole);
                prop_assert_eq!(cut.add(entry, &mut from_cut), counted);
                let ended = entry.trade.time / length < (entry.watermark / length).max(whole.start);
                prop_assert_eq!(counted == Counted::InBar, !ended);
                if *ends {
                    cut.advance(entry.watermark, &mut from_cut);
                }
            }
            whole.advance(u64::MAX, &mut from_whole);
            cut.advance(u64::MAX, &mut from_cut);
            prop_assert_eq!(&from_whole, &from_cut);
            // Contiguous, in order, and every trade that is not late once.
            let mut next = Bars::new(length, &feed).first_uncovered();
            for run in &from_whole {
                prop_assert_eq!(run.first, next);
                next = run.last + 1;
                let inside = run.rows.iter().all(|row| (run.first..=run.last).contains(&row.sequence));
                prop_assert!(inside && run.rows.is_sorted_by_key(|row| row.sequence));
            }
            let in_bars: u64 = from_whole.iter().flat_map(|run| &run.rows).map(|row| row.trades).sum();
            let expected = entries.iter().filter(|(entry, _)| entry.trade.time / length >= (entry.watermark / length).max(whole.start));
            prop_assert_eq!(in_bars, expected.count() as u64);
            prop_assert!(whole.spare.len() as u64 <= lateness * millisecond / length + 2);
        }
    }
}
