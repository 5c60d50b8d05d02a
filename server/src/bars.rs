//! Bars out of trades, by the trades' own times: the same trades make the same bars on every server.
//!
//! A bar's sequence is `interval × symbols + symbol + 1`, where the interval is counted since 1970: so bars are numbered without counting
//! them. A symbol that did not trade in an interval has no bar, but its number is covered all the same.

use crate::feed::{Identity, SymbolId, Trade};
use crate::run::{Row, Run};

/// The trades of one symbol in the interval that is open.
#[derive(Clone, Copy, Debug)]
struct Bar {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: u64,
    trades: u64,
}

/// Gathers trades into bars of one length.
#[derive(Debug)]
pub struct Bars {
    /// The bars' length, in nanoseconds.
    length: u64,
    /// The interval that is open, counted since 1970.
    interval: u64,
    /// By symbol.
    bars: Vec<Option<Bar>>,
    /// Which symbols have traded in the interval, unordered.
    traded: Vec<SymbolId>,
    /// The sequence after those that runs have covered so far.
    first_uncovered: u64,
}

impl Bars {
    /// Bars of `length` nanoseconds for a feed.
    #[must_use]
    pub fn new(length: u64, feed: &Identity) -> Self {
        let symbols = feed.symbols.len();
        let interval = feed.start / length;
        let first_uncovered = interval * symbols as u64 + 1;
        Self { length, interval, bars: vec![None; symbols], traded: Vec::new(), first_uncovered }
    }

    /// The sequence with which the next run will start.
    #[must_use]
    pub fn first_uncovered(&self) -> u64 {
        self.first_uncovered
    }

    /// Takes a trade, no earlier than any before, and hands on the interval that it ends, if it ends one.
    pub fn add(&mut self, trade: &Trade, closed: &mut Vec<Run>) {
        let interval = trade.time / self.length;
        if interval > self.interval {
            self.close(interval, closed);
        }
        let fresh = Bar {
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume: 0,
            trades: 0,
        };
        let slot = &mut self.bars[trade.symbol as usize];
        if slot.is_none() {
            self.traded.push(trade.symbol);
        }
        let bar = slot.get_or_insert(fresh);
        bar.high = bar.high.max(trade.price);
        bar.low = bar.low.min(trade.price);
        bar.close = trade.price;
        bar.volume = bar.volume.saturating_add(trade.size);
        bar.trades += 1;
    }

    /// Time has come so far: hands on what ended before. [`u64::MAX`]: the feed has ended, and with it the interval that is open.
    pub fn advance(&mut self, watermark: u64, closed: &mut Vec<Run>) {
        let interval = if watermark == u64::MAX { self.interval + 1 } else { watermark / self.length };
        if interval > self.interval {
            self.close(interval, closed);
        }
    }

    /// Ends the open interval; those between it and `next`, which opens, had no trades and share its run.
    fn close(&mut self, next: u64, closed: &mut Vec<Run>) {
        let symbols = self.bars.len() as u64;
        let base = self.interval * symbols + 1;
        let end = (self.interval + 1) * self.length;
        self.traded.sort_unstable();
        let mut rows = Vec::with_capacity(self.traded.len());
        for symbol in self.traded.drain(..) {
            if let Some(bar) = self.bars[symbol as usize].take() {
                let Bar { open, high, low, close, volume, trades } = bar;
                let sequence = base + u64::from(symbol);
                rows.push(Row { sequence, symbol, time: end, open, high, low, close, volume, trades });
            }
        }
        let last = next * symbols;
        closed.push(Run { first: self.first_uncovered, last, rows });
        self.first_uncovered = last + 1;
        self.interval = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Symbols;
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    fn bars() -> Bars {
        let symbols = Symbols::new(["A", "B", "C"].map(Arc::from).into());
        let feed = Identity { epoch: 1, symbols, first_sequence: 1, start: 100 * SECOND + 5, complete: true };
        Bars::new(SECOND, &feed)
    }

    fn trade(symbol: SymbolId, time: u64, price: i64, size: u64) -> Trade {
        Trade { symbol, time, price, size }
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
}
