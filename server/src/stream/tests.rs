use super::*;
use crate::batch::Encoder;
use crate::feed::{SymbolId, Symbols};
use crate::run::{Row, Run};
use tickwire_proto::message::DataBatch;
use tickwire_proto::{Parsed, parse};

const EPOCH: u64 = 77;
const SECOND: u64 = 1_000_000_000;

fn symbols() -> Symbols {
    Symbols::new(["A", "B", "C"].map(Arc::from).into())
}

fn stream(complete: bool) -> Stream {
    let bounds = RingBounds { size: 1 << 20, retention: Duration::from_secs(60) };
    Stream::new(EPOCH, 0, complete, bounds, 2)
}

/// Appends a batch of one row per symbol given; rows' sequences follow those before.
fn append(stream: &Stream, ids: &[SymbolId], due: u64) {
    let first = stream.depth().head + 1;
    let rows = (first..).zip(ids).map(|(sequence, &symbol)| Row {
        sequence,
        symbol,
        time: due,
        open: sequence as i64,
        high: 0,
        low: 0,
        close: 0,
        volume: 0,
        trades: 1,
    });
    let run = Run { first, last: first + ids.len() as u64 - 1, rows: rows.collect() };
    Encoder::new(EPOCH, symbols(), 65_536).encode(&run, |batch| stream.append(batch, due));
}

fn decode(frame: &[u8]) -> (u64, u64, Vec<i64>) {
    let Ok(Parsed::Frame { frame, .. }) = parse(frame, 65_536) else { panic!("not a frame") };
    let batch: DataBatch = frame.decode().unwrap();
    assert_eq!(batch.epoch, EPOCH);
    (batch.first_sequence, batch.last_sequence, batch.ticks.iter().map(|tick| tick.open).collect())
}

/// Everything that a subscriber through `filter` gets that has all up to `after`.
fn read(stream: &Stream, filter: &Filter, after: u64) -> Result<Vec<(u64, u64, Vec<i64>)>, Unavailable> {
    let mut copy = stream.retain(filter).unwrap();
    let result = stream.open_after(filter, EPOCH, after).map(|opening| {
        assert_eq!(opening.first, after + 1);
        stream.follow(filter, &mut copy, opening.index);
        let mut position = after;
        let mut got = Vec::new();
        for entry in copy.from(opening.index).filter(|entry| entry.last > after) {
            let frame = if entry.first > position + 1 {
                panic!("a gap before {}", entry.first)
            } else if entry.first <= position {
                assert!(opening.skip);
                stream.cut(filter, position, entry.last).unwrap()
            } else {
                entry.frame.clone()
            };
            got.push(decode(&frame));
            position = entry.last;
        }
        got
    });
    stream.release(filter);
    result
}

#[test]
fn a_subscriber_continues_in_the_middle_of_a_batch_through_any_filter() {
    let stream = stream(false);
    append(&stream, &[0, 1, 2], 1);
    append(&stream, &[0, 0, 1, 2], 2);
    append(&stream, &[1, 1], 3);
    for filter in [Filter::All, Filter::Only([0, 2].into()), Filter::Only([1].into())] {
        for after in 0..=9 {
            let got = read(&stream, &filter, after).unwrap();
            let rows: Vec<_> = got.iter().flat_map(|(.., rows)| rows.clone()).collect();
            let ids = [0, 1, 2, 0, 0, 1, 2, 1, 1];
            let expected: Vec<_> =
                (after + 1..=9).filter(|n| filter.wants(ids[*n as usize - 1])).map(|n| n as i64).collect();
            assert_eq!(rows, expected, "{filter:?} after {after}");
        }
    }
}

#[test]
fn ranges_that_a_filter_leaves_empty_share_a_batch_and_are_said_after_a_second() {
    let stream = stream(false);
    let filter = Filter::Only([2].into());
    let mut copy = stream.retain(&filter).unwrap();
    let from = copy.base();
    for n in 0..10 {
        append(&stream, &[0, 1], n * SECOND / 10);
    }
    append(&stream, &[2], SECOND * 9 / 10);
    for n in 10..=20 {
        append(&stream, &[0], n * SECOND / 10);
    }
    stream.follow(&filter, &mut copy, from);
    let got: Vec<_> = copy.from(from).map(|entry| decode(&entry.frame)).collect();
    assert_eq!(got, [(1, 21, vec![21]), (22, 32, vec![])]);
}

#[test]
fn a_position_that_cannot_be_had_is_refused_with_why() {
    let stream = stream(false);
    for n in 0..=100 {
        append(&stream, &[0], n * SECOND);
    }
    // A minute is kept: the batches of the seconds 40 to 100, sequences 41 to 101.
    let open = |epoch, after| stream.open_after(&Filter::All, epoch, after);
    assert_eq!(open(EPOCH + 1, 50), Err(Unavailable::Epoch { asked: EPOCH + 1, epoch: EPOCH }));
    assert_eq!(open(EPOCH, 39), Err(Unavailable::Past { first: 40, kept: 41 }));
    assert_eq!(open(EPOCH, 0), Err(Unavailable::Past { first: 1, kept: 41 }));
    assert_eq!(open(EPOCH, 500), Err(Unavailable::Future { after: 500, head: 101 }));
    assert!(open(EPOCH, 40).is_ok() && open(0, 101).is_ok());
    // A replica that is a little ahead: the position is waited for.
    let ahead = open(EPOCH, 105).unwrap();
    assert_eq!((ahead.first, ahead.skip), (106, true));
}

#[test]
fn the_very_beginning_can_be_asked_for_while_it_is_kept() {
    let stream =
        Stream::new(EPOCH, 300, true, RingBounds { size: 1 << 20, retention: Duration::from_secs(2) }, 2);
    append(&stream, &[0], 0);
    assert_eq!(stream.open_after(&Filter::All, 0, 0).map(|opening| opening.first), Ok(301));
    for n in 1..10 {
        append(&stream, &[0], n * SECOND);
    }
    assert!(stream.open_after(&Filter::All, 0, 0).is_err());
}

#[test]
fn filters_are_bounded_and_forgotten_when_nobody_reads_them() {
    let stream = stream(false);
    let filter = |id| Filter::Only([id].into());
    assert!(stream.retain(&filter(0)).is_ok());
    assert!(stream.retain(&filter(1)).is_ok());
    assert_eq!(stream.retain(&filter(2)).err(), Some(TooManyFilters));
    assert!(stream.retain(&filter(1)).is_ok(), "one in use may be shared");
    stream.release(&filter(0));
    assert!(stream.retain(&filter(2)).is_ok());
    assert_eq!(stream.depth().filters, 2);
}

#[test]
fn a_position_within_a_range_that_a_filter_has_left_unsaid_can_be_had_at_once() {
    // Once, the filter's log seemed to end before it, and the position to lie in the future.
    let stream = stream(false);
    let filter = Filter::Only([2].into());
    let _copy = stream.retain(&filter).unwrap();
    append(&stream, &[2, 0], 0);
    append(&stream, &[0, 1, 0], 1);
    for after in [3, 4, 5] {
        assert_eq!(stream.open_after(&filter, EPOCH, after).map(|opening| opening.first), Ok(after + 1));
    }
    assert_eq!(read(&stream, &filter, 5), Ok(vec![]));
    append(&stream, &[2], 2);
    assert_eq!(read(&stream, &filter, 5), Ok(vec![(6, 6, vec![6])]));
    assert!(matches!(stream.open_after(&filter, EPOCH, u64::MAX), Err(Unavailable::Future { .. })));
}

#[test]
fn shards_that_gather_the_same_filters_past_at_once_all_get_it() {
    // Once, the one that came second found the past it had gathered unfit, and told its client that it could not be had.
    let stream = stream(false);
    for n in 0..15 {
        append(&stream, &[0, 1, 2].repeat(300), n);
    }
    let filter = Filter::Only([1].into());
    for _ in 0..20 {
        std::thread::scope(|scope| {
            let _kept = stream.retain(&filter).unwrap();
            let readers: Vec<_> = (0..4)
                .map(|n| {
                    let (stream, filter) = (&stream, &filter);
                    scope.spawn(move || {
                        stream.open_after(filter, EPOCH, n * 3_000).map(|opening| opening.first)
                    })
                })
                .collect();
            for (n, reader) in readers.into_iter().enumerate() {
                assert_eq!(reader.join().unwrap(), Ok(n as u64 * 3_000 + 1));
            }
            stream.release(&filter);
        });
    }
}

#[test]
fn filters_share_a_bound_and_the_costliest_gives_way() {
    let bounds = RingBounds { size: 100_000, retention: Duration::from_secs(60) };
    let stream = Stream::new(EPOCH, 0, false, bounds, 2);
    let (busy, quiet) = (Filter::Only([0].into()), Filter::Only([1].into()));
    let (_busy, _quiet) = (stream.retain(&busy).unwrap(), stream.retain(&quiet).unwrap());
    append(&stream, &[1], 0);
    for n in 1..200 {
        append(&stream, &[0].repeat(20), n);
    }
    assert!(stream.depth().bytes <= 200_000 + 2_000, "{}", stream.depth().bytes);
    let mut copy = stream.retain(&quiet).unwrap();
    stream.follow(&quiet, &mut copy, 0);
    assert_eq!(copy.front().map(|entry| entry.first), Some(1), "the quiet one has lost nothing");
}
