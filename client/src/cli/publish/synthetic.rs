//! Made-up trades, for trying things, and for load.

use std::str::FromStr;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tickwire_proto::trade::{MAX_SYMBOL_LEN, Message, Trade};

use super::source::wall_now;
use super::subject;

/// The most symbols, as a feed may have them.
const MAX_SYMBOLS: usize = 10_000;

/// How many trades there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Trades(u64),
    Forever,
}

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        text.parse().map(Self::Trades).map_err(|_| "must be a number of trades, or forever")
    }
}

/// The symbols, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names(Vec<Arc<str>>);

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<Arc<str>> = match text.parse::<usize>() {
            Ok(count @ 1..=MAX_SYMBOLS) => (1..=count).map(|n| format!("SYM{n:04}").into()).collect(),
            Ok(_) => return Err(format!("must be 1 to {MAX_SYMBOLS} symbols")),
            Err(_) => text.split(',').map(|name| name.trim().into()).collect(),
        };
        if names.len() > MAX_SYMBOLS {
            return Err(format!("must be 1 to {MAX_SYMBOLS} symbols"));
        }
        for name in &names {
            if !(1..=MAX_SYMBOL_LEN).contains(&name.len()) {
                return Err(format!("names are 1 to {MAX_SYMBOL_LEN} bytes, separated by commas"));
            }
            subject::check(name).map_err(|problem| format!("{name:?} is {problem}"))?;
        }
        Ok(Self(names))
    }
}

/// A market whose prices go up and down by chance.
#[derive(Debug)]
pub(super) struct Synthetic {
    left: Count,
    /// Symbols, and their last prices in 1e-9 units.
    prices: Vec<(Arc<str>, i64)>,
    chance: SmallRng,
}

/// The first prices, in 1e-9 units: from 1 to 50,000.
const FIRST: std::ops::Range<i64> = 1_000_000_000..50_000_000_000_000;

/// Prices move by at most one part in so many, and never below the first's range.
const STEP: i64 = 10_000;

/// Sizes, in 1e-9 units: from 0.001 to 2.
const SIZES: std::ops::Range<u64> = 1_000_000..2_000_000_000;

impl Synthetic {
    pub(super) fn new(count: Count, Names(names): Names) -> Self {
        let mut chance = SmallRng::from_rng(&mut rand::rng());
        let prices = names.into_iter().map(|name| (name, chance.random_range(FIRST))).collect();
        Self { left: count, prices, chance }
    }

    pub(super) fn is_endless(&self) -> bool {
        self.left == Count::Forever
    }
}

impl Iterator for Synthetic {
    type Item = Message<'static>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.left {
            Count::Forever => {}
            Count::Trades(left) => *left = left.checked_sub(1)?,
        }
        let which = self.chance.random_range(0..self.prices.len());
        let (symbol, price) = &mut self.prices[which];
        let step = *price / STEP;
        *price = (*price + self.chance.random_range(-step..=step)).clamp(FIRST.start, FIRST.end);
        let size = self.chance.random_range(SIZES);
        let symbol = symbol.to_string().into();
        Some(Message::Trade(Trade { symbol, time: wall_now(), price: *price, size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_trades_of_all_symbols_are_made_up_and_each_can_be_sent() {
        let market = Synthetic::new("500".parse().unwrap(), "3".parse().unwrap());
        let trades: Vec<_> = market.collect();
        assert_eq!(trades.len(), 500);
        let mut seen = std::collections::BTreeSet::new();
        for message in trades {
            message.check().unwrap();
            let Message::Trade(trade) = message else { panic!("a trade") };
            assert!(trade.price > 0 && trade.size > 0);
            seen.insert(trade.symbol);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["SYM0001", "SYM0002", "SYM0003"]);
    }

    #[test]
    fn symbols_that_cannot_be_are_refused_by_name() {
        assert_eq!("A, B".parse::<Names>().unwrap().0.len(), 2);
        for (text, said) in [("0", "1 to 10000"), ("A,", "1 to 32 bytes"), ("A*", "\"A*\"")] {
            let error = text.parse::<Names>().unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
