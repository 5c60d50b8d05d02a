//! A message as Protobuf. Read and written by hand, as prost's type would copy the symbol; that it is the same is shown by the tests.

use std::borrow::Cow;

use bytes::Buf as _;
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_key, encode_varint,
    skip_field,
};

use super::{MAX_SYMBOL_LEN, Message, Problem, Trade, TradeError};

/// Fields' numbers in feed.proto.
const SYMBOL: u32 = 1;
const TIME: u32 = 2;
const PRICE: u32 = 3;
const SIZE: u32 = 4;

/// The longest encoding of a trade: the symbol, its key and length, and three numbers with their keys.
const MAX_LEN: usize = 2 + MAX_SYMBOL_LEN + 3 * 11;

pub(super) fn parse(bytes: &[u8]) -> Result<Message<'_>, TradeError> {
    let (mut symbol, mut time, mut price, mut size) = ("", 0, 0_u64, 0);
    let mut rest = bytes;
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        let number = |rest: &mut &[u8]| {
            check_wire_type(WireType::Varint, wire_type)?;
            decode_varint(rest)
        };
        match tag {
            SYMBOL => {
                check_wire_type(WireType::LengthDelimited, wire_type)?;
                let before = rest;
                let len = decode_varint(&mut rest)?;
                let field = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
                let Some((field, behind)) = field else {
                    // Says that it is cut off.
                    rest = before;
                    skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
                    continue;
                };
                symbol = std::str::from_utf8(field).map_err(|_| {
                    TradeError::field("symbol", String::from_utf8_lossy(field), Problem::SymbolLetters)
                })?;
                rest = behind;
            }
            TIME => time = number(&mut rest)?,
            PRICE => price = number(&mut rest)?,
            SIZE => size = number(&mut rest)?,
            _ => skip_field(wire_type, tag, &mut rest, DecodeContext::default())?,
        }
    }
    let price = price.cast_signed();
    let message = if symbol.is_empty() {
        for (field, value) in [("price", price.to_string()), ("size", size.to_string())] {
            if value != "0" {
                return Err(TradeError::field(field, value, Problem::WithoutSymbol));
            }
        }
        Message::Watermark(time)
    } else {
        Message::Trade(Trade { symbol: Cow::Borrowed(symbol), time, price, size })
    };
    message.check()?;
    Ok(message)
}

pub(super) fn write(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAX_LEN);
    let (time, price, size) = match message {
        Message::Watermark(time) => (*time, 0, 0),
        Message::Trade(Trade { symbol, time, price, size }) => {
            encode_key(SYMBOL, WireType::LengthDelimited, &mut bytes);
            encode_varint(symbol.len() as u64, &mut bytes);
            bytes.extend_from_slice(symbol.as_bytes());
            (*time, *price, *size)
        }
    };
    for (tag, value) in [(TIME, time), (PRICE, price.cast_unsigned()), (SIZE, size)] {
        // As proto3 has it: what is the default is not there.
        if value != 0 {
            encode_key(tag, WireType::Varint, &mut bytes);
            encode_varint(value, &mut bytes);
        }
    }
    bytes
}
