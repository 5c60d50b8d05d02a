//! Sizes as Kubernetes writes them: `64Ki`, `4Mi`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written as a Kubernetes quantity with a binary suffix or without one: `64Ki`, `4Mi`, `1Gi`, `65536`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// A text is not a [`Size`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write it like 64Ki, 4Mi or 65536")]
pub struct SizeError(String);

/// The form that the schema admits. Nine digits of Gi are below 2⁶⁰ bytes.
const PATTERN: &str = "^[0-9]{1,9}(Ki|Mi|Gi)?$";

/// The suffixes, the largest first, with what they multiply by.
const SUFFIXES: [(&str, u64); 4] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SUFFIXES.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (suffix, factor) = whole.unwrap_or(&("", 1));
        write!(formatter, "{}{suffix}", self.0 / factor)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let (_, factor) = SUFFIXES.iter().find(|(known, _)| *known == suffix).ok_or_else(error)?;
        if !(1..=9).contains(&digits) {
            return Err(error());
        }
        Ok(Self(number.parse::<u64>().map_err(|_| error())? * factor))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 11 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for (text, bytes, canonical) in [
            ("64Ki", 65_536, "64Ki"),
            ("65536", 65_536, "64Ki"),
            ("1500", 1_500, "1500"),
            ("2Gi", 2 << 30, "2Gi"),
            ("0", 0, "0"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), canonical);
        }
    }

    #[test]
    fn what_the_schema_does_not_admit_is_refused_here_too() {
        for text in ["", "Ki", "64K", "64KB", "1.5Mi", "-1", "1234567890", "64 Ki"] {
            assert!(text.parse::<Size>().unwrap_err().to_string().contains("64Ki"), "{text}");
        }
    }
}
