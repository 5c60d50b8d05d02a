//! Times as Kubernetes writes them: `15s`, `500ms`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time in whole milliseconds, written in hours, minutes, seconds and milliseconds, each with at most nine digits: `15s`, `500ms`,
/// `1h30m`. Bounds are the field's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(time::Duration);

/// A text is not a [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write it like 15s, 500ms or 1h30m")]
pub struct DurationError(String);

/// The form that the schema admits. Each number has at most nine digits, so that no sum of four of them overflows.
const PATTERN: &str = "^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$";

/// The units, in the order in which they are written, with their milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(time::Duration::from_millis(milliseconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return formatter.write_str("0s");
        }
        for (unit, milliseconds) in UNITS {
            if rest >= milliseconds {
                write!(formatter, "{}{unit}", rest / milliseconds)?;
                rest %= milliseconds;
            }
        }
        Ok(())
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError(text.to_owned());
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut total = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let name = after.split(|letter: char| letter.is_ascii_digit()).next().unwrap_or_default();
            // Only what comes later in the list: each unit once, the larger first.
            let (_, milliseconds) = units.by_ref().find(|(unit, _)| *unit == name).ok_or_else(error)?;
            if digits > 9 {
                return Err(error());
            }
            total += number.parse::<u64>().map_err(|_| error())? * milliseconds;
            rest = after.get(name.len()..).unwrap_or_default();
        }
        if text.is_empty() { Err(error()) } else { Ok(Self::from_millis(total)) }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "minLength": 2, "maxLength": 24 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for (text, milliseconds, canonical) in [
            ("15s", 15_000, "15s"),
            ("500ms", 500, "500ms"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90s", 90_000, "1m30s"),
            ("0s", 0, "0s"),
            ("1m500ms", 60_500, "1m500ms"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration.to_string(), canonical);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn what_the_schema_does_not_admit_is_refused_here_too() {
        for text in ["", "15", "s", "1.5s", "-1s", "1s1m", "1s1s", "15 s", "1d", "9999999999s", "15sec"] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("15s"), "{text}: {error}");
        }
    }
}
