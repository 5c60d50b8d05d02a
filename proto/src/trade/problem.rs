//! What can be wrong with a trade's value.

use super::MAX_SYMBOL_LEN;
use crate::decimal::DecimalError;

/// What is wrong with a value, and what would be right. It goes on from "… is".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A symbol that is empty or too long.
    #[error("not a symbol; it must have 1 to {MAX_SYMBOL_LEN} bytes")]
    SymbolLength,
    /// A symbol of other letters.
    #[error("not a symbol; it must be of printable ASCII, without spaces and commas")]
    SymbolLetters,
    /// A text that is not a time.
    #[error("not a time of RFC 3339 from 1970 to 2200; write it like 2021-01-08T00:00:00.278Z")]
    Time,
    /// A number that is not a time.
    #[error("not a time; as a number it is nanoseconds since 1970, up to the year 2200")]
    Nanoseconds,
    /// A text that is not a number.
    #[error(transparent)]
    Decimal(#[from] DecimalError),
    /// A size below zero.
    #[error("negative; a size must be 0 or more")]
    NegativeSize,
    /// A size that a decimal number cannot say.
    #[error("too large; a size is at most 9223372036854775807, in 1e-9 units")]
    TooLarge,
    /// Something else than a text, in JSON.
    #[error("not a text; write it in quotes, like \"39432.48\", so that no digit is lost")]
    NotText,
    /// A price or a size where nothing was traded.
    #[error("a value without a symbol; a message without a symbol has only a time")]
    WithoutSymbol,
}
