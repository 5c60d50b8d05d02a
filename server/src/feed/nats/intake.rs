//! From messages to chunks of trades. What becomes of a message follows from the messages before it and from nothing else.

use std::time::Duration;

use tickwire_proto::trade::{self, Message, TradeError};
use tokio::time::Instant;

use super::FUTURE_TOLERANCE;
use crate::error_chain::chain;
use crate::feed::clock::wall_now;
use crate::feed::{Chunk, Entry, Identity, MAX_CHUNK, Symbols, Trade};
use crate::metrics::FeedMetrics;

/// How often it is said in the log that messages are rejected: the metric counts them all.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The most sequences in a chunk, with or without trades: of a stream of which hardly anything is ours a chunk ends, too.
const MAX_COVERED: u64 = 4 * MAX_CHUNK as u64;

/// Why a message is no trade of this feed's.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It does not read as one.
    #[error(transparent)]
    Malformed(#[from] TradeError),
    /// It is dated long after it was stored.
    #[error(
        "dated more than {FUTURE_TOLERANCE:?} after it was stored: the clock of who sent it is wrong, or its unit is"
    )]
    Future,
    /// FEED_SYMBOLS does not name its symbol.
    #[error("of a symbol that FEED_SYMBOLS does not name")]
    UnknownSymbol,
}

impl Rejection {
    /// Every label.
    pub const LABELS: [&str; TradeError::LABELS.len() + 2] = {
        let mut labels = ["future", "unknown_symbol", "", "", "", "", ""];
        let mut at = 0;
        while at < TradeError::LABELS.len() {
            labels[at + 2] = TradeError::LABELS[at];
            at += 1;
        }
        labels
    };

    /// The stable label, for logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(error) => error.label(),
            Self::Future => "future",
            Self::UnknownSymbol => "unknown_symbol",
        }
    }
}

/// A message's place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Its sequence.
    pub(super) sequence: u64,
    /// When JetStream stored it, in nanoseconds since 1970 (UTC).
    pub(super) time: u64,
}

/// Reads a message, unless it is from the future.
pub(super) fn read(stored: Stored, payload: &[u8]) -> Result<Message<'_>, Rejection> {
    let message = trade::parse(payload)?;
    let latest = stored.time.saturating_add(FUTURE_TOLERANCE.as_nanos() as u64);
    if message.time() > latest { Err(Rejection::Future) } else { Ok(message) }
}

/// Takes messages in the stream's order.
#[derive(Debug)]
pub(super) struct Intake {
    symbols: Symbols,
    /// In nanoseconds.
    lateness: u64,
    /// The last message that was in the stream at the start: up to it, the rings are filled.
    refill_to: u64,
    metrics: FeedMetrics,
    last: Option<Stored>,
    /// What has not been cut yet; its last sequence is the last one taken.
    chunk: Chunk,
    /// Whether it has been told that the feed is up to date.
    told: bool,
    log: RejectionLog,
}

impl Intake {
    pub(super) fn new(identity: &Identity, lateness: Duration, refill_to: u64, metrics: FeedMetrics) -> Self {
        let first_sequence = identity.first_sequence;
        let last_sequence = first_sequence - 1;
        Self {
            symbols: identity.symbols.clone(),
            lateness: u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX),
            refill_to,
            metrics,
            last: None,
            chunk: Chunk { first_sequence, last_sequence, ..Chunk::default() },
            told: false,
            log: RejectionLog::default(),
        }
    }

    /// The sequence that comes next.
    pub(super) fn next(&self) -> u64 {
        self.chunk.last_sequence + 1
    }

    /// The last message that was taken.
    pub(super) fn last(&self) -> Option<Stored> {
        self.last
    }

    /// Whether nothing may be taken before the chunk is cut.
    pub(super) fn is_full(&self) -> bool {
        let covered = self.next() - self.chunk.first_sequence;
        self.chunk.trades.len() >= MAX_CHUNK || covered >= MAX_COVERED
    }

    /// There is a link, and perhaps nothing that it has yet to bring.
    pub(super) fn linked(&mut self, is_up_to_date: bool) {
        self.chunk.caught_up |= is_up_to_date || self.chunk.last_sequence >= self.refill_to;
    }

    /// Takes a message, after which so many are there yet. One that was taken before is left out; sequences that are passed over are covered.
    pub(super) fn take(&mut self, stored: Stored, pending: u64, payload: &[u8]) {
        self.linked(pending == 0);
        if stored.sequence < self.next() {
            return;
        }
        if self.chunk.last_sequence < self.chunk.first_sequence {
            self.chunk.due = stored.time;
        }
        self.chunk.last_sequence = stored.sequence;
        self.last = Some(stored);
        if let Err(rejection) = self.understand(stored, payload) {
            self.log.rejected(stored.sequence, &rejection);
            self.metrics.rejected(&rejection);
        }
        self.linked(false);
    }

    fn understand(&mut self, stored: Stored, payload: &[u8]) -> Result<(), Rejection> {
        match read(stored, payload)? {
            Message::Watermark(time) => {
                self.chunk.watermark = self.chunk.watermark.max(time);
                Ok(())
            }
            Message::Trade(trade::Trade { symbol, time, price, size }) => {
                // Also with a trade of another symbol: it says as well how far time has come.
                self.chunk.watermark = self.chunk.watermark.max(time.saturating_sub(self.lateness));
                let symbol = self.symbols.id(&symbol).ok_or(Rejection::UnknownSymbol)?;
                let trade = Trade { symbol, time, price, size };
                let entry = Entry { sequence: stored.sequence, watermark: self.chunk.watermark, trade };
                self.chunk.trades.push(entry);
                Ok(())
            }
        }
    }

    /// What was taken since the last cut; `None`: nothing, and nothing to tell.
    pub(super) fn cut(&mut self) -> Option<Chunk> {
        let news = self.chunk.caught_up && !self.told;
        if self.next() == self.chunk.first_sequence && !news {
            return None;
        }
        self.told = self.chunk.caught_up;
        let Chunk { last_sequence, watermark, caught_up, .. } = self.chunk;
        let following = Chunk {
            first_sequence: last_sequence + 1,
            last_sequence,
            trades: Vec::new(),
            watermark,
            due: 0,
            caught_up,
        };
        let mut chunk = std::mem::replace(&mut self.chunk, following);
        if chunk.last_sequence < chunk.first_sequence {
            chunk.due = wall_now();
        }
        Some(chunk)
    }
}

/// Says at most every [`LOG_INTERVAL`] that messages are rejected.
#[derive(Debug, Default)]
struct RejectionLog {
    said: Option<Instant>,
    unsaid: u64,
    /// Trades of other symbols are as they should be in a stream that others use too; so that is said once.
    said_unknown: bool,
}

impl RejectionLog {
    fn rejected(&mut self, sequence: u64, rejection: &Rejection) {
        if matches!(rejection, Rejection::UnknownSymbol) {
            if !self.said_unknown {
                tracing::info!(
                    sequence,
                    "the stream has trades of symbols that FEED_SYMBOLS does not name; they are left out"
                );
                self.said_unknown = true;
            }
            return;
        }
        if self.said.is_some_and(|said| said.elapsed() < LOG_INTERVAL) {
            self.unsaid += 1;
            return;
        }
        let problem = chain(rejection);
        let more = std::mem::take(&mut self.unsaid);
        tracing::warn!(sequence, problem, more_before = more, "a message of the feed is left out");
        self.said = Some(Instant::now());
    }
}

#[cfg(test)]
#[path = "intake/tests.rs"]
mod tests;
