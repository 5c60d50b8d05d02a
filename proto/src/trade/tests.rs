use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::message;

fn trade(symbol: &str, time: u64, price: i64, size: u64) -> Message<'_> {
    Message::Trade(Trade { symbol: symbol.into(), time, price, size })
}

fn said(bytes: &[u8]) -> String {
    let error = parse(bytes).unwrap_err();
    assert!(TradeError::LABELS.contains(&error.label()));
    error.to_string()
}

#[test]
fn json_is_read_with_a_time_in_either_form() {
    let expected = trade("BTCUSDT", 1_767_323_045_678_000_000, 39_432_480_000_000, 1_000_000);
    for time in [r#""2026-01-02T03:04:05.678Z""#, "1767323045678000000"] {
        let text = format!(
            r#"{{"venue":["X",{{}}],"symbol":"BTCUSDT","time":{time},"price":"39432.48","size":"0.001"}}"#
        );
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
    }
    let escaped = br#"{"symbol":"\u0041","time":1,"price":"-1","size":"0"}"#;
    assert_eq!(parse(escaped).unwrap(), trade("A", 1, -1_000_000_000, 0));
}

#[test]
fn a_message_without_a_symbol_is_a_watermark_in_both_encodings() {
    for text in [r#"{"time":7}"#, r#"{"symbol":"","time":7}"#, r#"{"symbol":null,"time":7,"price":null}"#] {
        assert_eq!(parse(text.as_bytes()).unwrap(), Message::Watermark(7));
    }
    assert_eq!(parse(&[0x10, 7]).unwrap(), Message::Watermark(7));
    assert_eq!(Message::Watermark(7).to_protobuf(), [0x10, 7]);
    assert_eq!(Message::Watermark(1_000_000_000).to_json(), r#"{"time":"1970-01-01T00:00:01Z"}"#);
}

#[test]
fn what_is_wrong_is_told_with_the_field_the_value_and_what_would_be_right() {
    for (text, expected) in [
        (
            r#"{"symbol":"A","time":"noon","price":"1","size":"1"}"#,
            r#"time: "noon" is not a time of RFC 3339 from 1970 to 2200; write it like 2021-01-08T00:00:00.278Z"#,
        ),
        (
            r#"{"symbol":"A","time":1.5,"price":"1","size":"1"}"#,
            r#"time: "1.5" is not a time; as a number it is nanoseconds since 1970, up to the year 2200"#,
        ),
        (r#"{"symbol":"A","price":"1","size":"1"}"#, "no time; every message has one, after 1970"),
        (
            r#"{"symbol":"A B","time":1,"price":"1","size":"1"}"#,
            r#"symbol: "A B" is not a symbol; it must be of printable ASCII, without spaces and commas"#,
        ),
        (
            r#"{"symbol":"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG","time":1,"price":"1","size":"1"}"#,
            r#"symbol: "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG" is not a symbol; it must have 1 to 32 bytes"#,
        ),
        (
            r#"{"symbol":"A","time":1,"price":39432.48,"size":"1"}"#,
            r#"price: "39432.48" is not a text; write it in quotes, like "39432.48", so that no digit is lost"#,
        ),
        (r#"{"symbol":"A","time":1,"price":"1"}"#, "no size; a trade has a price and a size"),
        (
            r#"{"symbol":"A","time":1,"price":"1","size":"-1"}"#,
            r#"size: "-1" is negative; a size must be 0 or more"#,
        ),
        (
            r#"{"time":1,"price":"1"}"#,
            r#"price: "1" is a value without a symbol; a message without a symbol has only a time"#,
        ),
        (r#"{"symbol":"A","time":1,"#, "not a trade in JSON"),
    ] {
        assert_eq!(said(text.as_bytes()), expected);
    }
    assert_eq!(said(b""), "a message of 0 bytes; a trade has 1 to 4096");
    assert_eq!(said(&[b'{'; MAX_MESSAGE_LEN + 1]), "a message of 4097 bytes; a trade has 1 to 4096");
    let neither = r#"not a tickwire.v1.Trade in Protobuf, nor JSON, which begins with "{""#;
    assert_eq!(said(b"[1]"), neither);
    assert_eq!(said(b"\x0a\x05AB"), neither);
    assert_eq!(said(b"\x0a\x01A"), "no time; every message has one, after 1970");
}

#[test]
fn a_symbol_is_borrowed_from_the_message() {
    let json = trade("BTCUSDT", 1, 1, 1).to_json();
    for bytes in [json.as_bytes(), &trade("BTCUSDT", 1, 1, 1).to_protobuf()] {
        let Ok(Message::Trade(trade)) = parse(bytes) else { panic!("a trade") };
        assert!(matches!(trade.symbol, Cow::Borrowed("BTCUSDT")));
    }
}

proptest! {
    #[test]
    fn every_trade_reads_back_from_both_encodings_and_is_what_prost_writes(
        symbol in "[!-+\\--~]{1,32}", time in 1..=MAX_TIME, price in any::<i64>(), size in 0..=MAX_SIZE,
    ) {
        let message = trade(&symbol, time, price, size);
        prop_assert!(message.check().is_ok());
        let protobuf = message.to_protobuf();
        prop_assert_ne!(protobuf[0], b'{');
        prop_assert_eq!(parse(&protobuf).unwrap(), message.clone());
        let json = message.to_json();
        prop_assert_eq!(parse(json.as_bytes()).unwrap(), message);
        let generated = message::Trade { symbol, time_unix_nano: time, price, size };
        prop_assert_eq!(generated.encode_to_vec(), protobuf);
    }

    #[test]
    fn whatever_is_read_is_what_prost_reads(mut bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
        // Keys of fields that there are, more often than chance has them.
        bytes[0] = [0x0a, 0x10, 0x18, 0x20][usize::from(bytes[0] % 4)];
        if let Ok(message) = parse(&bytes) {
            let generated = message::Trade::decode(&*bytes).unwrap();
            prop_assert_eq!(generated.time_unix_nano, message.time());
            prop_assert_eq!(generated.symbol.is_empty(), matches!(message, Message::Watermark(_)));
        }
    }
}
