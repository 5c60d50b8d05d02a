use super::*;
use crate::config::RingBounds;
use crate::feed::{Entry, Symbols, Trade};
use crate::filter::Filter;
use crate::metrics::Metrics;
use std::sync::Arc;
use tickwire_proto::message::DataBatch;
use tickwire_proto::{Parsed, parse};

/// Chunks that come so many milliseconds after the start.
struct Script {
    identity: Identity,
    chunks: std::collections::VecDeque<(u64, Chunk)>,
    start: Instant,
}

impl Feed for Script {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn next(&mut self) -> Result<Option<Chunk>, FeedError> {
        let Some((at, _)) = self.chunks.front() else { return Ok(None) };
        let due = self.start + Duration::from_millis(*at);
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let Some((_, chunk)) = self.chunks.pop_front() else { return Ok(None) };
        // A chunk that ends before it begins is the script's way of failing.
        if chunk.last_sequence + 1 < chunk.first_sequence { Err(FeedError::Reader) } else { Ok(Some(chunk)) }
    }
}

fn identity() -> Identity {
    let symbols = Symbols::new(["A".into(), "B".into()].into());
    Identity { epoch: 1, symbols, first_sequence: 1, start: 100 * SECOND, complete: true }
}

/// What each stream holds, as (first, last, ticks), after the chunks have been published with a window of 5 ms.
async fn publish(chunks: Vec<(u64, Vec<u64>)>) -> [Vec<(u64, u64, usize)>; 3] {
    let mut first_sequence = 1;
    let chunks = chunks.into_iter().map(|(at, times)| {
        let trades = times.iter().map(|time| Trade { symbol: 1, time: *time, price: 5, size: 1 });
        let chunk = Chunk::in_order(first_sequence, trades, *times.last().unwrap() + 1, 0, true);
        first_sequence = chunk.last_sequence + 1;
        (at, chunk)
    });
    let (streams, ended, _) = publish_chunks(chunks.collect()).await;
    ended.unwrap();
    streams
}

async fn publish_chunks(
    chunks: Vec<(u64, Chunk)>,
) -> ([Vec<(u64, u64, usize)>; 3], Result<(), FeedError>, Metrics) {
    let identity = identity();
    let feed = Script { identity: identity.clone(), chunks: chunks.into(), start: Instant::now() };
    let bounds = RingBounds { size: 1 << 20, retention: Duration::from_secs(60) };
    let streams = Arc::new(Streams::new(1, floors(&identity), true, bounds, 1, vec![]));
    let metrics = Metrics::new(0).unwrap();
    let publisher =
        Publisher::new(&identity, streams.clone(), Duration::from_millis(5), 65_536, metrics.feed());
    let ended = publisher.run(feed, watch::Sender::new(false)).await;
    let held = crate::stream::MODES.map(|mode| {
        let stream = streams.get(mode).unwrap();
        let mut copy = stream.retain(&Filter::All).unwrap();
        stream.follow(&Filter::All, &mut copy, 0);
        copy.from(0)
            .map(|entry| {
                let Ok(Parsed::Frame { frame, .. }) = parse(&entry.frame, 65_536) else {
                    panic!("not a frame")
                };
                (entry.first, entry.last, frame.decode::<DataBatch>().unwrap().ticks.len())
            })
            .collect()
    });
    (held, ended, metrics)
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_the_window_shares_a_batch_and_what_comes_later_does_not() {
    let t = 100 * SECOND;
    let [_, _, ticks] = publish(vec![
        (0, vec![t, t + 1]),
        (2, vec![t + 2]),
        (4, vec![t + 3]),
        (8, vec![t + 4]),
        (58, vec![t + 5]),
    ])
    .await;
    assert_eq!(ticks, [(1, 4, 4), (5, 5, 1), (6, 6, 1)]);
}

#[tokio::test(start_paused = true)]
async fn every_mode_has_a_stream_of_its_own() {
    let t = 100 * SECOND;
    let [seconds, minutes, ticks] =
        publish(vec![(0, vec![t]), (1000, vec![t + SECOND]), (61_000, vec![t + 61 * SECOND])]).await;
    assert_eq!(ticks, [(1, 1, 1), (2, 2, 1), (3, 3, 1)]);
    // Second 100 with its bar; 101 with its bar; 102 to 160 without. The last one is still open.
    assert_eq!(seconds, [(201, 202, 1), (203, 322, 1)]);
    assert_eq!(minutes, [(3, 4, 1)]);
}

/// A chunk of one trade, at this place.
fn one(sequence: u64, time: u64, watermark: u64) -> Entry {
    Entry { sequence, watermark, trade: Trade { symbol: 0, time, price: 5, size: 1 } }
}

#[tokio::test(start_paused = true)]
async fn sequences_without_a_trade_are_covered_and_a_late_trade_is_in_tick_alone() {
    let t = 100 * SECOND;
    let sparse = Chunk {
        first_sequence: 1,
        last_sequence: 9,
        trades: vec![one(3, t, t), one(5, t + SECOND, t + SECOND), one(7, t + 1, t + SECOND)],
        watermark: t + 2 * SECOND,
        due: 0,
        caught_up: true,
    };
    let nothing = Chunk { first_sequence: 10, last_sequence: 12, trades: vec![], ..sparse.clone() };
    let only_time =
        Chunk { first_sequence: 13, last_sequence: 12, watermark: t + 3 * SECOND, ..nothing.clone() };
    let ([seconds, _, ticks], ended, metrics) =
        publish_chunks(vec![(0, sparse), (50, nothing), (100, only_time)]).await;
    ended.unwrap();
    assert_eq!(ticks, [(1, 9, 3), (10, 12, 0)]);
    assert_eq!(seconds, [(201, 202, 1), (203, 204, 1), (205, 206, 0)]);
    assert_eq!(metrics.late_trades(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_has_published_everything_before() {
    let t = 100 * SECOND;
    let good = Chunk::in_order(1, [Trade { symbol: 1, time: t, price: 5, size: 1 }], t, 0, true);
    let failure = Chunk { first_sequence: 3, last_sequence: 1, ..Chunk::default() };
    let ([_, _, ticks], ended, _) = publish_chunks(vec![(0, good), (2, failure)]).await;
    assert_eq!(ticks, [(1, 1, 1)]);
    assert!(matches!(ended, Err(FeedError::Reader)));
}
