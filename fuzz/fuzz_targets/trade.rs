//! Trades on their way into a feed: what is read of a message is what Protobuf has there, is the same in both encodings, and is read again as it
//! was; and a CSV is read to its end or to what is wrong with it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use tickwire_proto::message;
use tickwire_proto::trade::csv::{CsvError, HEADER, Rows};
use tickwire_proto::trade::{MAX_MESSAGE_LEN, Message, Trade, parse};

fuzz_target!(|input: &[u8]| {
    check_message(input);
    check_csv(input);
});

fn check_message(bytes: &[u8]) {
    let read = parse(bytes);
    if let Ok(message) = &read {
        message.check().expect("what is read could be sent");
        check_again(message);
    }
    if bytes.first() != Some(&b'{') && (1..=MAX_MESSAGE_LEN).contains(&bytes.len()) {
        check_against_prost(bytes, read.ok());
    }
}

/// What is written of a message is read as the same.
fn check_again(message: &Message<'_>) {
    let (protobuf, json) = (message.to_protobuf(), message.to_json());
    assert_ne!(protobuf.first(), Some(&b'{'));
    assert_eq!(&parse(&protobuf).expect("it was written as Protobuf"), message);
    assert_eq!(&parse(json.as_bytes()).expect("it was written as JSON"), message);
}

/// What is read is what prost reads, where that is a trade at all.
fn check_against_prost(bytes: &[u8], read: Option<Message<'_>>) {
    let prost = message::Trade::decode(bytes).ok().and_then(|generated| {
        let message::Trade { symbol, time_unix_nano: time, price, size } = generated;
        let message = match (symbol.is_empty(), price, size) {
            (true, 0, 0) => Message::Watermark(time),
            (true, ..) => return None,
            (false, ..) => Message::Trade(Trade { symbol: symbol.into(), time, price, size }),
        };
        message.check().is_ok().then_some(message)
    });
    assert_eq!(read, prost);
}

fn check_csv(bytes: &[u8]) {
    let Ok(mut rows) = Rows::new(bytes) else { return };
    let header = HEADER.join(",").len();
    let mut lines = 0;
    loop {
        match rows.next_row() {
            Ok(Some(row)) => {
                let message = Message::Trade(row.trade);
                if message.check().is_ok() {
                    check_again(&message);
                }
            }
            Ok(None) => break,
            Err(CsvError::Read(_)) => panic!("bytes can be read"),
            // The next row is read all the same. Lines are those that a line feed ends; a row may also end with a carriage return alone.
            Err(CsvError::Row { line, .. } | CsvError::Shape { line, .. }) => {
                let feeds = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                assert!((1..=feeds + 1).contains(&line));
            }
        }
        lines += 1;
        assert!(lines <= bytes.len() - header, "there are no more rows than bytes");
    }
}
