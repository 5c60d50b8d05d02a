//! Trades on their way into a feed: what a publisher sends, and a server reads.
//!
//! ```text
//! CSV → csv::Rows → Trade → Message::to_protobuf or to_json → NATS → parse → Trade
//! ```
//!
//! A message is a `tickwire.v1.Trade` in Protobuf, or the same in JSON, and its first byte tells which: `{` is 0x7B, which in Protobuf would be
//! the key of field 15 as the beginning of a group. Groups are not in proto3, and field 15 of `Trade` is reserved, so that no trade begins so.

pub mod csv;
mod json;
mod problem;
mod protobuf;

pub use problem::Problem;

use std::borrow::Cow;

/// The longest symbol, in bytes. Source: docs/PROTOCOL.md, "Tick".
pub const MAX_SYMBOL_LEN: usize = 32;

/// The longest message, in bytes. A trade takes at most 32 + 2 + 3 × 11 = 67 in Protobuf and some 200 in JSON; the rest is for fields to come.
pub const MAX_MESSAGE_LEN: usize = 4096;

/// The latest time, in nanoseconds since 1970 (UTC): the beginning of the year 2200.
pub const MAX_TIME: u64 = 7_258_118_400_000_000_000;

/// The largest size, in 1e-9 units: what a decimal number can say, so that each encoding can say what the others can.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// One trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade<'a> {
    /// What was traded: 1 to [`MAX_SYMBOL_LEN`] bytes.
    pub symbol: Cow<'a, str>,
    /// When, in nanoseconds since 1970 (UTC): 1 to [`MAX_TIME`].
    pub time: u64,
    /// In 1e-9 units.
    pub price: i64,
    /// In 1e-9 units, at most [`MAX_SIZE`].
    pub size: u64,
}

/// What a message of a feed says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Something was traded.
    Trade(Trade<'a>),
    /// Time has come so far, in nanoseconds since 1970 (UTC): what follows is not earlier. It ends bars though nobody trades.
    Watermark(u64),
}

/// Why a message is not one of a feed.
#[derive(Debug, thiserror::Error)]
pub enum TradeError {
    /// It is empty, or longer than any trade.
    #[error("a message of {len} bytes; a trade has 1 to {MAX_MESSAGE_LEN}")]
    Length {
        /// What it has, in bytes.
        len: usize,
    },
    /// It does not begin as JSON does, and is not Protobuf.
    #[error("not a tickwire.v1.Trade in Protobuf, nor JSON, which begins with \"{{\"")]
    Protobuf(#[from] prost::DecodeError),
    /// It begins as JSON does, and is none.
    #[error("not a trade in JSON")]
    Json(#[from] serde_json::Error),
    /// A field is not there, and is needed.
    #[error("no {field}; {needed}")]
    Missing {
        /// Its name.
        field: &'static str,
        /// What it would be.
        needed: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: {value:?} is {problem}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What stands there, or how it begins.
        value: String,
        /// What is wrong with it, and what would be right.
        problem: Problem,
    },
}

impl TradeError {
    /// Every label.
    pub const LABELS: [&'static str; 5] = ["length", "protobuf", "json", "missing", "field"];

    /// The stable label, for logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Length { .. } => "length",
            Self::Protobuf(_) => "protobuf",
            Self::Json(_) => "json",
            Self::Missing { .. } => "missing",
            Self::Field { .. } => "field",
        }
    }

    /// So many characters of a wrong value are told.
    const SHOWN: usize = 48;

    fn field(field: &'static str, value: impl AsRef<str>, problem: impl Into<Problem>) -> Self {
        let value = value.as_ref().chars().take(Self::SHOWN).collect();
        Self::Field { field, value, problem: problem.into() }
    }
}

/// Reads a message, in whichever of the two encodings it is. The symbol is borrowed, unless JSON has it with escapes.
///
/// ```
/// use tickwire_proto::trade::{Message, parse};
///
/// let json = br#"{"symbol":"BTCUSDT","time":"2026-01-02T03:04:05.678Z","price":"39432.48","size":"0.001"}"#;
/// let Ok(Message::Trade(trade)) = parse(json) else { unreachable!() };
/// assert_eq!((&*trade.symbol, trade.price), ("BTCUSDT", 39_432_480_000_000));
/// ```
///
/// # Errors
///
/// [`TradeError`], for the first thing that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, TradeError> {
    match bytes {
        [] => Err(TradeError::Length { len: 0 }),
        _ if bytes.len() > MAX_MESSAGE_LEN => Err(TradeError::Length { len: bytes.len() }),
        [b'{', ..] => json::parse(bytes),
        _ => protobuf::parse(bytes),
    }
}

impl Message<'_> {
    /// The message as a `tickwire.v1.Trade`. What [`check`](Self::check) accepts reads back as the same.
    #[must_use]
    pub fn to_protobuf(&self) -> Vec<u8> {
        protobuf::write(self)
    }

    /// The message in JSON, on one line. What [`check`](Self::check) accepts reads back as the same.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// When, in nanoseconds since 1970 (UTC).
    #[must_use]
    pub fn time(&self) -> u64 {
        match self {
            Self::Trade(trade) => trade.time,
            Self::Watermark(time) => *time,
        }
    }

    /// Whether [`parse`] would accept it.
    ///
    /// # Errors
    ///
    /// [`TradeError::Field`] or [`TradeError::Missing`], as [`parse`] answers them.
    pub fn check(&self) -> Result<(), TradeError> {
        match self.time() {
            0 => {
                return Err(TradeError::Missing {
                    field: "time",
                    needed: "every message has one, after 1970",
                });
            }
            time if time > MAX_TIME => {
                return Err(TradeError::field("time", time.to_string(), Problem::Nanoseconds));
            }
            _ => {}
        }
        let Self::Trade(Trade { symbol, size, .. }) = self else { return Ok(()) };
        if !(1..=MAX_SYMBOL_LEN).contains(&symbol.len()) {
            return Err(TradeError::field("symbol", symbol, Problem::SymbolLength));
        }
        if !symbol.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err(TradeError::field("symbol", symbol, Problem::SymbolLetters));
        }
        if *size > MAX_SIZE {
            return Err(TradeError::field("size", size.to_string(), Problem::TooLarge));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "trade/tests.rs"]
mod tests;
