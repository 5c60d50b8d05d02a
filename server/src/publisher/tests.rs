use super::*;
use crate::config::RingBounds;
use crate::feed::{Symbols, Trade};
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

    async fn next(&mut self) -> Option<Chunk> {
        let (at, _) = self.chunks.front()?;
        let due = self.start + Duration::from_millis(*at);
        if due > Instant::now() {
            sleep_until(due).await;
        }
        self.chunks.pop_front().map(|(_, chunk)| chunk)
    }
}

/// What each stream holds, as (first, last, ticks), after the chunks have been published with a window of 5 ms.
async fn publish(chunks: Vec<(u64, Vec<u64>)>) -> [Vec<(u64, u64, usize)>; 3] {
    let symbols = Symbols::new(["A".into(), "B".into()].into());
    let identity = Identity { epoch: 1, symbols, first_sequence: 1, start: 100 * SECOND, complete: true };
    let mut first_sequence = 1;
    let chunks = chunks.into_iter().map(|(at, times)| {
        let trades: Vec<_> =
            times.iter().map(|time| Trade { symbol: 1, time: *time, price: 5, size: 1 }).collect();
        let chunk =
            Chunk { first_sequence, watermark: *times.last().unwrap() + 1, due: 0, caught_up: true, trades };
        first_sequence += chunk.trades.len() as u64;
        (at, chunk)
    });
    let feed = Script { identity: identity.clone(), chunks: chunks.collect(), start: Instant::now() };
    let bounds = RingBounds { size: 1 << 20, retention: Duration::from_secs(60) };
    let streams = Arc::new(Streams::new(1, floors(&identity), true, bounds, 1, vec![]));
    let metrics = Metrics::new(0).unwrap();
    let publisher =
        Publisher::new(&identity, streams.clone(), Duration::from_millis(5), 65_536, metrics.feed());
    publisher.run(feed, watch::Sender::new(false)).await;
    crate::stream::MODES.map(|mode| {
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
    })
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
