use super::*;
use crate::feed::NANOS_PER_SECOND;
use crate::metrics::Metrics;
use std::borrow::Cow;

const STORED: u64 = 1_700_000_000 * NANOS_PER_SECOND;
const LATENESS: Duration = Duration::from_millis(250);

fn intake(first_sequence: u64, refill_to: u64) -> (Intake, Metrics) {
    let symbols = Symbols::new(["A".into(), "B".into()].into());
    let identity = Identity { epoch: 1, symbols, first_sequence, start: 0, complete: false };
    let metrics = Metrics::new(1).unwrap();
    (Intake::new(&identity, LATENESS, refill_to, metrics.feed()), metrics)
}

fn trade(symbol: &str, time: u64) -> Vec<u8> {
    Message::Trade(trade::Trade { symbol: Cow::Borrowed(symbol), time, price: 5, size: 1 }).to_protobuf()
}

fn at(sequence: u64) -> Stored {
    Stored { sequence, time: STORED }
}

#[test]
fn a_chunk_covers_what_was_passed_over_and_what_is_no_trade_of_ours() {
    let (mut intake, metrics) = intake(10, 19);
    intake.take(at(12), 9, &trade("A", STORED));
    intake.take(at(13), 9, &trade("GOLD", STORED + 1));
    intake.take(at(14), 9, b"{");
    intake.take(at(15), 9, &trade("B", STORED + 61 * NANOS_PER_SECOND));
    intake.take(at(16), 9, &trade("B", STORED + 2));
    intake.take(at(18), 9, b"");
    let chunk = intake.cut().unwrap();
    assert_eq!((chunk.first_sequence, chunk.last_sequence, chunk.due), (10, 18, STORED));
    let held: Vec<_> = chunk.trades.iter().map(|entry| (entry.sequence, entry.trade.symbol)).collect();
    assert_eq!(held, [(12, 0), (16, 1)]);
    assert!(!chunk.caught_up);
    for (reason, count) in [("unknown_symbol", 1), ("json", 1), ("future", 1), ("length", 1), ("field", 0)] {
        assert_eq!(metrics.rejected(reason), count, "{reason}");
    }
    assert_eq!(intake.cut(), None);
}

#[test]
fn time_comes_with_each_message_and_never_goes_back() {
    let (mut intake, _metrics) = intake(1, 0);
    let lateness = LATENESS.as_nanos() as u64;
    let ahead = STORED + 10 * NANOS_PER_SECOND;
    intake.take(at(1), 9, &trade("A", STORED));
    // Of another symbol, and yet it is so late.
    intake.take(at(2), 9, &trade("GOLD", STORED + 5));
    intake.take(at(3), 9, &trade("A", STORED - 7));
    intake.take(at(4), 9, &Message::Watermark(ahead).to_protobuf());
    intake.take(at(5), 9, &trade("A", STORED + 9));
    intake.take(at(6), 9, &Message::Watermark(STORED).to_protobuf());
    // An hour ahead is nobody's time.
    intake.take(at(7), 9, Message::Watermark(STORED + 3_600 * NANOS_PER_SECOND).to_json().as_bytes());
    let chunk = intake.cut().unwrap();
    let watermarks: Vec<_> = chunk.trades.iter().map(|entry| entry.watermark).collect();
    assert_eq!(watermarks, [STORED - lateness, STORED + 5 - lateness, ahead]);
    assert_eq!(chunk.watermark, ahead);
    intake.take(at(8), 9, &trade("A", STORED + 20 * NANOS_PER_SECOND));
    assert_eq!(
        intake.cut().unwrap().watermark,
        STORED + 20 * NANOS_PER_SECOND - lateness,
        "over chunks, too"
    );
}

#[test]
fn it_is_up_to_date_once_what_was_there_at_the_start_has_come() {
    let (mut two, _metrics) = intake(1, 2);
    two.linked(false);
    assert_eq!(two.cut(), None, "nothing has come, and there is something to come");
    two.take(at(1), 5, &trade("A", STORED));
    assert!(!two.cut().unwrap().caught_up);
    two.take(at(2), 4, &trade("A", STORED));
    assert!(two.cut().unwrap().caught_up, "what came meanwhile does not count");
    // Nothing there at all, or its end was removed.
    for (mut intake, pending) in [(intake(1, 0).0, None), (intake(7, 9).0, Some(0))] {
        match pending {
            None => intake.linked(true),
            Some(pending) => intake.take(at(7), pending, &trade("A", STORED)),
        }
        assert!(intake.cut().unwrap().caught_up);
        assert_eq!(intake.cut(), None, "that is told once");
    }
}

#[test]
fn what_comes_twice_is_taken_once_and_a_full_chunk_has_to_be_cut() {
    let (mut intake, _metrics) = intake(1, 0);
    for sequence in [1, 2, 2, 1, 3] {
        intake.take(at(sequence), 0, &trade("A", STORED));
    }
    assert_eq!((intake.next(), intake.last()), (4, Some(at(3))));
    for sequence in 4..=MAX_CHUNK as u64 {
        assert!(!intake.is_full());
        intake.take(at(sequence), 0, &trade("A", STORED));
    }
    assert!(intake.is_full());
    assert_eq!(intake.cut().unwrap().trades.len(), MAX_CHUNK);
    assert!(!intake.is_full());
    for sequence in 0..MAX_COVERED {
        intake.take(at(100_000 + sequence), 0, b"{");
    }
    assert!(intake.is_full(), "also of nothing");
}

#[test]
fn every_reason_has_a_label_that_is_among_all() {
    let malformed = read(at(1), b"{").unwrap_err();
    for rejection in [malformed, Rejection::Future, Rejection::UnknownSymbol] {
        assert!(Rejection::LABELS.contains(&rejection.label()));
    }
    assert!(Rejection::LABELS.iter().all(|label| !label.is_empty()));
}
