//! Decimal numbers, read and written exactly.

use std::fmt;

/// Digits behind the point that the wire can hold: 1 unit is 1e-9.
const DECIMALS: usize = 9;

/// Units in 1.
const UNITS: u64 = 1_000_000_000;

/// Why a text is not a number that the wire can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Something other than digits, one point and a leading minus.
    #[error("not a decimal number; write it like 39432.48")]
    NotDecimal,
    /// More than nine decimals that matter.
    #[error("more than 9 decimals; the wire's unit is 1e-9")]
    TooFine,
    /// Outside the wire's range.
    #[error("out of range; the wire holds up to 9223372036.854775807")]
    OutOfRange,
}

/// Reads a decimal number such as `-39432.48` into 1e-9 units, without rounding.
///
/// # Errors
///
/// [`DecimalError`].
pub fn parse(text: &str) -> Result<i64, DecimalError> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || (digits.contains('.') && fraction.is_empty()) {
        return Err(DecimalError::NotDecimal);
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotDecimal);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > DECIMALS {
        return Err(DecimalError::TooFine);
    }
    let mut units: i64 = 0;
    let padding = std::iter::repeat_n(b'0', DECIMALS - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        let digit = i64::from(digit - b'0');
        // Built up below zero, where there is room for one more.
        units = units
            .checked_mul(10)
            .and_then(|units| units.checked_sub(digit))
            .ok_or(DecimalError::OutOfRange)?;
    }
    if negative { Ok(units) } else { units.checked_neg().ok_or(DecimalError::OutOfRange) }
}

/// A number of 1e-9 units as [`parse`] reads it, without zeros that do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal(pub i64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, mut fraction, mut width) = (magnitude / UNITS, magnitude % UNITS, DECIMALS);
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}")?;
        if fraction == 0 {
            return Ok(());
        }
        while fraction % 10 == 0 {
            (fraction, width) = (fraction / 10, width - 1);
        }
        write!(f, ".{fraction:0width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(parse("39432.48"), Ok(39_432_480_000_000));
        assert_eq!(parse("0.000000001"), Ok(1));
        assert_eq!(parse("-1.5000000000000"), Ok(-1_500_000_000));
        assert_eq!(parse("9223372036.854775807"), Ok(i64::MAX));
        assert_eq!(parse("-9223372036.854775808"), Ok(i64::MIN));
        assert_eq!(parse("9223372036.854775808"), Err(DecimalError::OutOfRange));
        assert_eq!(parse("0.0000000001"), Err(DecimalError::TooFine));
        for text in ["", "-", ".5", "5.", "1e5", "+1", "1,5", "1.2.3", " 1", "NaN"] {
            assert_eq!(parse(text), Err(DecimalError::NotDecimal), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_short_as_they_can_be() {
        for (units, text) in [(0, "0"), (-1, "-0.000000001"), (39_432_480_000_000, "39432.48")] {
            assert_eq!(Decimal(units).to_string(), text);
        }
        assert_eq!(Decimal(i64::MIN).to_string(), "-9223372036.854775808");
    }

    proptest! {
        #[test]
        fn every_value_reads_back_from_its_digits(units in any::<i64>()) {
            let magnitude = units.unsigned_abs();
            let sign = if units < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:09}", magnitude / 1_000_000_000, magnitude % 1_000_000_000);
            prop_assert_eq!(parse(&text), Ok(units));
            prop_assert_eq!(parse(&Decimal(units).to_string()), Ok(units));
        }
    }
}
