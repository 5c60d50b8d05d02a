//! Where ticks come from. A feed has one job: to yield trades, in order, with their sequences.
//!
//! Sequences come from what is fed, never from a counter of the process: that is what lets a client continue on another
//! server. Bars are made from trades by [`crate::bars`], the same way for every feed.

pub mod clock;
pub mod health;
pub mod nats;
pub mod replay;
pub mod synthetic;

use std::sync::Arc;

/// The longest symbol, in bytes. Source: docs/PROTOCOL.md, "Tick".
pub const MAX_SYMBOL_LEN: usize = 32;

/// The most symbols a feed may have. It bounds what a SUBSCRIBE may name and the rows of a bar's interval.
pub const MAX_SYMBOLS: usize = 10_000;

/// A symbol's place in [`Symbols`].
pub type SymbolId = u32;

/// The names of a feed's symbols. Their order is part of the feed: bars are numbered by it.
#[derive(Clone, Debug)]
pub struct Symbols {
    names: Arc<[Arc<str>]>,
    ids: Arc<std::collections::HashMap<Arc<str>, SymbolId>>,
}

impl Symbols {
    /// The names, each once, at most [`MAX_SYMBOLS`].
    #[must_use]
    pub fn new(names: Arc<[Arc<str>]>) -> Self {
        let ids = names.iter().cloned().zip(0..).collect();
        Self { names, ids: Arc::new(ids) }
    }

    /// The name of a symbol of this feed.
    ///
    /// # Panics
    ///
    /// Where `id` is of another feed.
    #[must_use]
    pub fn name(&self, id: SymbolId) -> &str {
        &self.names[id as usize]
    }

    /// The symbol of this name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<SymbolId> {
        self.ids.get(name).copied()
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a feed without symbols cannot be configured")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

/// What a feed is, whichever server runs it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Names the numbering: equal on two servers only where equal sequences mean equal ticks. Never 0.
    pub epoch: u64,
    /// Its symbols.
    pub symbols: Symbols,
    /// The sequence of the first trade that this process will yield.
    pub first_sequence: u64,
    /// From when on there are bars, by the feed's time, in nanoseconds since 1970 (UTC). Earlier trades count for none, as others of their
    /// intervals may have been before `first_sequence`.
    pub start: u64,
    /// Whether nothing ever was before `first_sequence`.
    pub complete: bool,
}

/// One trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// What was traded.
    pub symbol: SymbolId,
    /// When, in nanoseconds since 1970 (UTC), by the feed's time.
    pub time: u64,
    /// In 1e-9 units.
    pub price: i64,
    /// In 1e-9 units.
    pub size: u64,
}

/// A trade where it stands in its feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence.
    pub sequence: u64,
    /// Up to here time has come with it, nanoseconds since 1970 (UTC): bars that end by then have ended. At most the trade's own time, unless
    /// the trade is late; never less than that of the entry before. It follows from what is fed up to this trade, and from nothing else: not
    /// from where chunks begin and end, which differs from server to server.
    pub watermark: u64,
    /// What was traded.
    pub trade: Trade,
}

/// A range of sequences with the trades in it, or only the news that time has passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The first sequence covered: the one after the chunk's before.
    pub first_sequence: u64,
    /// The last sequence covered; `first_sequence - 1`: none.
    pub last_sequence: u64,
    /// In order of their sequences, which are within the range and may leave some out. At most [`MAX_CHUNK`].
    pub trades: Vec<Entry>,
    /// Up to here time has come, this chunk included; nanoseconds since 1970 (UTC). [`u64::MAX`]: nothing will follow.
    pub watermark: u64,
    /// When, by the clock on the wall, this was due; nanoseconds since 1970 (UTC). In the past while a ring is being filled.
    pub due: u64,
    /// Whether the feed is now up to date: what comes next comes in its own time.
    pub caught_up: bool,
}

impl Chunk {
    /// A chunk of trades in order of time, whose sequences have no gap, with each of which time comes as far as the trade's.
    #[must_use]
    pub fn in_order(
        first_sequence: u64,
        trades: impl IntoIterator<Item = Trade>,
        watermark: u64,
        due: u64,
        caught_up: bool,
    ) -> Self {
        let entry = |(sequence, trade): (u64, Trade)| Entry { sequence, watermark: trade.time, trade };
        let trades: Vec<_> = (first_sequence..).zip(trades).map(entry).collect();
        let last_sequence = first_sequence + trades.len() as u64 - 1;
        Self { first_sequence, last_sequence, trades, watermark, due, caught_up }
    }
}

/// The most trades in a chunk.
pub const MAX_CHUNK: usize = 8192;

/// Nanoseconds in a second, the shortest bar.
pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds in a minute, the longest bar.
pub(crate) const NANOS_PER_MINUTE: u64 = 60 * NANOS_PER_SECOND;

/// The end of the second that `time` is in: time is told at least then, so that bars end though nobody trades.
pub(crate) fn end_of_second(time: u64) -> u64 {
    time - time % NANOS_PER_SECOND + NANOS_PER_SECOND
}

/// A source of trades.
pub trait Feed {
    /// What this feed is.
    fn identity(&self) -> &Identity;

    /// Waits for what comes next; `None`: the feed has ended.
    ///
    /// Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`FeedError`], where nothing of this identity can follow any more.
    fn next(&mut self) -> impl Future<Output = Result<Option<Chunk>, FeedError>>;
}

/// Why a feed has failed for good: a server that starts anew may do better.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The stream is another one.
    #[error("what the NATS stream's sequences mean has changed")]
    Epoch(#[from] nats::EpochOver),
    /// A mistake of ours.
    #[error("the feed's reader has ended before its time")]
    Reader,
}

/// An epoch from whatever distinguishes a feed: 64 bits of FNV-1a with a final mix, the same on every machine, and never 0.
#[must_use]
pub fn epoch(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // The length in front keeps ["ab", "c"] and ["a", "bc"] apart.
        for byte in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mix(hash).max(1)
}

/// Spreads every bit of `x` over the whole word (the finaliser of SplitMix64).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
