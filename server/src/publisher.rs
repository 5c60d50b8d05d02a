//! From the feed to the streams: gathers what comes within the batch window, makes bars, has everything encoded once, appends it, and
//! wakes the shards.

use std::sync::Arc;
use std::time::Duration;

use tickwire_proto::message::Mode;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::bars::{Bars, Counted};
use crate::batch::Encoder;
use crate::feed::clock::wall_now;
use crate::feed::{Chunk, Feed, FeedError, Identity, NANOS_PER_MINUTE, NANOS_PER_SECOND};
use crate::metrics::FeedMetrics;
use crate::run::{Row, Run};
use crate::stream::Streams;
use crate::traces::Publishing;

/// The length of a bar of mode SECOND, in nanoseconds.
pub const SECOND: u64 = NANOS_PER_SECOND;
/// The length of a bar of mode MINUTE, in nanoseconds.
pub const MINUTE: u64 = NANOS_PER_MINUTE;

/// The most rows that wait for the end of a window; more end it. 65,536 × 80 bytes = 5 MiB.
const MAX_WAITING_ROWS: usize = 65_536;

/// The sequences after which a feed's streams start, in the order of [`MODES`](crate::stream::MODES).
#[must_use]
pub fn floors(feed: &Identity) -> [u64; 3] {
    let bars = |length| Bars::new(length, feed).first_uncovered() - 1;
    [bars(SECOND), bars(MINUTE), feed.first_sequence - 1]
}

/// Everything between a feed and its streams.
#[derive(Debug)]
pub struct Publisher {
    streams: Arc<Streams>,
    encoder: Encoder,
    window: Duration,
    seconds: Bars,
    minutes: Bars,
    metrics: FeedMetrics,
}

/// What waits for the end of the window.
#[derive(Debug, Default)]
struct Waiting {
    trades: Option<Run>,
    seconds: Vec<Run>,
    minutes: Vec<Run>,
    late: u64,
    due: Option<u64>,
    caught_up: bool,
}

impl Waiting {
    fn len(&self) -> usize {
        self.trades.as_ref().map_or(0, |run| run.rows.len())
    }
}

impl Publisher {
    /// A publisher for a feed of this identity.
    #[must_use]
    pub fn new(
        feed: &Identity,
        streams: Arc<Streams>,
        window: Duration,
        max_msg_size: usize,
        metrics: FeedMetrics,
    ) -> Self {
        Self {
            streams,
            encoder: Encoder::new(feed.epoch, feed.symbols.clone(), max_msg_size),
            window,
            seconds: Bars::new(SECOND, feed),
            minutes: Bars::new(MINUTE, feed),
            metrics,
        }
    }

    /// Publishes until the feed ends. `filled` turns true once the past that the feed begins with is in the streams.
    ///
    /// Cancel-safe: what has been appended stays, what waits for its window is lost.
    ///
    /// # Errors
    ///
    /// The feed's; everything before has been published.
    pub async fn run(mut self, mut feed: impl Feed, filled: watch::Sender<bool>) -> Result<(), FeedError> {
        let mut failed = None;
        while failed.is_none()
            && let Some(chunk) = feed.next().await?
        {
            let window_end = Instant::now() + self.window;
            let mut waiting = Waiting::default();
            self.gather(chunk, &mut waiting);
            // While the past is filled in there is nothing to wait for. Otherwise one sleep for the whole window, and then all that has come
            // meanwhile: a wake-up per trade would take more of a core than the trade.
            if waiting.caught_up {
                sleep_until(window_end).await;
            }
            while waiting.caught_up && waiting.len() < MAX_WAITING_ROWS {
                // What is there already, and no more: dropping next() loses nothing.
                tokio::select! {
                    biased;
                    next = feed.next() => match next {
                        Ok(Some(chunk)) => self.gather(chunk, &mut waiting),
                        Ok(None) => break,
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    },
                    () = std::future::ready(()) => break,
                }
            }
            let caught_up = waiting.caught_up;
            self.publish(waiting);
            if caught_up && !*filled.borrow() {
                filled.send_replace(true);
            }
            // Thousands of chunks may be ready at once, while the past is filled in: let the runtime see a shutdown.
            tokio::task::yield_now().await;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        filled.send_replace(true);
        tracing::info!("the feed has ended; the server keeps its clients and what the rings hold");
        Ok(())
    }

    fn gather(&mut self, chunk: Chunk, waiting: &mut Waiting) {
        let Chunk { first_sequence, last_sequence, trades, watermark, due, caught_up } = chunk;
        for entry in &trades {
            // Whoever is late for a minute is late for a second of it.
            waiting.late += u64::from(self.seconds.add(entry, &mut waiting.seconds) == Counted::Late);
            self.minutes.add(entry, &mut waiting.minutes);
        }
        self.seconds.advance(watermark, &mut waiting.seconds);
        self.minutes.advance(watermark, &mut waiting.minutes);
        if last_sequence >= first_sequence {
            let new = || Run { first: first_sequence, last: first_sequence - 1, rows: Vec::new() };
            let run = waiting.trades.get_or_insert_with(new);
            debug_assert_eq!(first_sequence, run.last + 1, "chunks are contiguous");
            run.last = last_sequence;
            run.rows.extend(trades.iter().map(|entry| Row::of_trade(entry.sequence, &entry.trade)));
        }
        // A batch is as late as the first that it holds.
        waiting.due.get_or_insert(due);
        waiting.caught_up = caught_up;
    }

    fn publish(&mut self, waiting: Waiting) {
        let rows = waiting.len();
        let due = waiting.due.unwrap_or_else(wall_now);
        let Waiting { trades, seconds, minutes, late, caught_up, .. } = waiting;
        // Not for the past, whose thousands of windows come at once.
        let publishing = caught_up.then(|| Publishing::begin(rows));
        let runs =
            [(Mode::Second, &seconds[..]), (Mode::Minute, &minutes[..]), (Mode::Tick, trades.as_slice())];
        let mut batches = 0;
        for (mode, runs) in runs {
            let Some(stream) = self.streams.get(mode) else { continue };
            for run in runs {
                self.encoder.encode(run, |batch| {
                    stream.append(batch, due);
                    batches += 1;
                });
            }
        }
        if batches > 0 {
            self.streams.wake();
        }
        if let Some(publishing) = publishing {
            publishing.end(batches);
        }
        self.metrics.published(rows, late, due, wall_now(), caught_up);
        if let Some(run) = trades {
            self.metrics.reached(run.last);
        }
    }
}

#[cfg(test)]
#[path = "publisher/tests.rs"]
mod tests;
