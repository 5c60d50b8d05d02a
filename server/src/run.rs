//! What a stream is made of before it is framed: rows, and the sequences that they cover.

use crate::feed::{SymbolId, Trade};

/// A trade or a bar, on its way to becoming a `Tick`. Units as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number in its stream.
    pub sequence: u64,
    /// What was traded.
    pub symbol: SymbolId,
    /// Nanoseconds since 1970 (UTC).
    pub time: u64,
    /// In 1e-9 units.
    pub open: i64,
    /// In 1e-9 units.
    pub high: i64,
    /// In 1e-9 units.
    pub low: i64,
    /// In 1e-9 units.
    pub close: i64,
    /// In 1e-9 units.
    pub volume: u64,
    /// How many.
    pub trades: u64,
}

impl Row {
    /// The row that stands for a single trade.
    #[must_use]
    pub fn of_trade(sequence: u64, trade: &Trade) -> Self {
        let Trade { symbol, time, price, size } = *trade;
        Self {
            sequence,
            symbol,
            time,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: size,
            trades: 1,
        }
    }
}

/// Consecutive rows, and the closed range of sequences that they cover. Never an empty range; possibly no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first sequence covered.
    pub first: u64,
    /// The last sequence covered.
    pub last: u64,
    /// In order of their sequences.
    pub rows: Vec<Row>,
}
