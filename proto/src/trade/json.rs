//! A message as JSON, for publishers that have no Protobuf. Prices and sizes are texts, as a JSON number is a float to most who read one.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Message, Problem, Trade, TradeError, csv};
use crate::decimal::{self, Decimal};

/// A message's fields, of whatever type. Others are skipped, as in Protobuf.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    symbol: Value<'a>,
    #[serde(borrow)]
    time: Value<'a>,
    #[serde(borrow)]
    price: Value<'a>,
    #[serde(borrow)]
    size: Value<'a>,
}

/// What stands in a field. A value of a wrong type is read as well, so that the error can be about it.
#[derive(Default)]
enum Value<'a> {
    #[default]
    Missing,
    Text(Cow<'a, str>),
    Natural(u64),
    /// Something else, as a reader of the error knows it.
    Other(String),
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Natural(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other(number.to_string()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other(value.to_string()))
    }

    /// null is what other languages write for what is not there.
    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("[…]".into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("{…}".into()))
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Message<'_>, TradeError> {
    let Fields { symbol, time, price, size } = serde_json::from_slice(bytes)?;
    let time = match time {
        Value::Missing => 0,
        Value::Natural(nanos) => nanos,
        Value::Text(text) => csv::time(&text).map_err(|problem| TradeError::field("time", &text, problem))?,
        Value::Other(value) => return Err(TradeError::field("time", value, Problem::Nanoseconds)),
    };
    let symbol = match symbol {
        Value::Missing => Cow::Borrowed(""),
        Value::Text(text) => text,
        Value::Natural(number) => {
            return Err(TradeError::field("symbol", number.to_string(), Problem::NotText));
        }
        Value::Other(value) => return Err(TradeError::field("symbol", value, Problem::NotText)),
    };
    let message = if symbol.is_empty() {
        for (field, value) in [("price", price), ("size", size)] {
            match value {
                Value::Missing => {}
                Value::Text(value) => return Err(TradeError::field(field, value, Problem::WithoutSymbol)),
                Value::Natural(number) => {
                    return Err(TradeError::field(field, number.to_string(), Problem::WithoutSymbol));
                }
                Value::Other(value) => return Err(TradeError::field(field, value, Problem::WithoutSymbol)),
            }
        }
        Message::Watermark(time)
    } else {
        let price = number("price", &price)?;
        let units = number("size", &size)?;
        let size = u64::try_from(units)
            .map_err(|_| TradeError::field("size", Decimal(units).to_string(), Problem::NegativeSize))?;
        Message::Trade(Trade { symbol, time, price, size })
    };
    message.check()?;
    Ok(message)
}

/// A decimal number in quotes, in 1e-9 units.
fn number(field: &'static str, value: &Value<'_>) -> Result<i64, TradeError> {
    match value {
        Value::Missing => Err(TradeError::Missing { field, needed: "a trade has a price and a size" }),
        Value::Text(text) => decimal::parse(text).map_err(|problem| TradeError::field(field, text, problem)),
        Value::Natural(number) => Err(TradeError::field(field, number.to_string(), Problem::NotText)),
        Value::Other(value) => Err(TradeError::field(field, value, Problem::NotText)),
    }
}

pub(super) fn write(message: &Message<'_>) -> String {
    let nanos = message.time();
    // What is beyond a timestamp's range is beyond a trade's, and as a number it is refused as such.
    let time = Timestamp::from_nanosecond(nanos.into())
        .map_or_else(|_| nanos.to_string(), |time| format!("\"{time}\""));
    match message {
        Message::Watermark(_) => format!("{{\"time\":{time}}}"),
        Message::Trade(Trade { symbol, price, size, .. }) => {
            let symbol = serde_json::Value::from(&**symbol);
            let (price, size) = (Decimal(*price), Decimal(i64::try_from(*size).unwrap_or(i64::MAX)));
            format!("{{\"symbol\":{symbol},\"time\":{time},\"price\":\"{price}\",\"size\":\"{size}\"}}")
        }
    }
}
