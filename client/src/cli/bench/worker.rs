//! One thread's clients.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use hdrhistogram::Histogram;
use tickwire_client::{Client, Error, Event, Mode, Request, Subscription};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// What a thread is to do.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) mode: Mode,
    pub(super) symbols: Vec<String>,
    pub(super) clients: usize,
    pub(super) stalled: usize,
    /// Between two connects.
    pub(super) interval: Duration,
    pub(super) sources: Vec<IpAddr>,
    pub(super) tally: Arc<Tally>,
}

/// What all threads count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Clients whose first connection has been made.
    pub(super) connected: AtomicU64,
    /// Clients that the server has refused for good.
    pub(super) refused: AtomicU64,
    reconnects: AtomicU64,
    lost: AtomicU64,
    discontinuities: AtomicU64,
    batches: AtomicU64,
    ticks: AtomicU64,
    /// Whether latencies are recorded.
    pub(super) measuring: AtomicBool,
    /// The first reasons for lost connections and other trouble; at most [`MAX_REASONS`].
    reasons: Mutex<Vec<String>>,
    pub(super) stop: CancellationToken,
}

const MAX_REASONS: usize = 10;

/// The counters at some moment, or between two.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Counts {
    pub(super) connected: u64,
    pub(super) refused: u64,
    pub(super) reconnects: u64,
    pub(super) lost: u64,
    pub(super) discontinuities: u64,
    pub(super) batches: u64,
    pub(super) ticks: u64,
}

impl Counts {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            connected: self.connected,
            refused: self.refused,
            reconnects: self.reconnects - before.reconnects,
            lost: self.lost - before.lost,
            discontinuities: self.discontinuities - before.discontinuities,
            batches: self.batches - before.batches,
            ticks: self.ticks - before.ticks,
        }
    }
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connected: read(&self.connected),
            refused: read(&self.refused),
            reconnects: read(&self.reconnects),
            lost: read(&self.lost),
            discontinuities: read(&self.discontinuities),
            batches: read(&self.batches),
            ticks: read(&self.ticks),
        }
    }

    /// The first reasons for lost connections and other trouble.
    pub(super) fn reasons(&self) -> Vec<String> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reason(&self, text: String) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < MAX_REASONS && !reasons.contains(&text) {
            reasons.push(text);
        }
    }
}

/// The longest latency that is told apart, in microseconds: an hour. A longer one means that the clocks, or the feed's speed, differ.
const MAX_LATENCY: u64 = 3_600_000_000;

/// Microseconds, to three digits.
pub(super) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, MAX_LATENCY, 3)?)
}

/// Runs the clients until the tally says stop. Answers their latencies, in microseconds.
pub(super) fn run(plan: Plan) -> Result<Histogram<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let latencies = Rc::new(RefCell::new(histogram()?));
        let mut clients = Vec::new();
        let mut pace = interval(plan.interval);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for n in 0..plan.clients + plan.stalled {
            tokio::select! {
                _ = pace.tick() => {}
                () = plan.tally.stop.cancelled() => break,
            }
            let mut client = plan.client.clone();
            if !plan.sources.is_empty() {
                client = client.source(plan.sources[n % plan.sources.len()]);
            }
            let subscription = client.subscribe(Request::new(plan.mode).symbols(plan.symbols.clone()));
            let (tally, latencies) = (plan.tally.clone(), latencies.clone());
            let stalls = n >= plan.clients;
            clients.push(spawn_local(async move { follow(subscription, stalls, &tally, &latencies).await }));
        }
        plan.tally.stop.cancelled().await;
        for client in clients {
            client.abort();
        }
        let recorded = latencies.borrow().clone();
        Ok(recorded)
    })
}

/// One client's life.
async fn follow(
    mut subscription: Subscription,
    stalls: bool,
    tally: &Tally,
    latencies: &RefCell<Histogram<u64>>,
) {
    let mut connected = false;
    loop {
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        match subscription.next().await {
            Ok(Event::Batch(batch)) => {
                add(&tally.batches, 1);
                add(&tally.ticks, batch.len as u64);
                if tally.measuring.load(Ordering::Relaxed)
                    && let Ok(Some(tick)) = batch.last_tick()
                {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                    let late = now.saturating_sub(tick.time_unix_nano.into()) / 1000;
                    latencies.borrow_mut().saturating_record(u64::try_from(late).unwrap_or(u64::MAX));
                }
            }
            Ok(Event::Connected { .. }) if connected => {
                add(&tally.reconnects, 1);
            }
            Ok(Event::Connected { .. }) => {
                connected = true;
                add(&tally.connected, 1);
                if stalls {
                    // Its task goes on reading until what it hands on fills up, and then reads no more.
                    return tally.stop.cancelled().await;
                }
            }
            Ok(Event::Disconnected { error, .. }) => {
                if connected {
                    add(&tally.lost, 1);
                }
                tally.reason(crate::cli::chain(&error));
            }
            Ok(Event::Draining { .. }) => {}
            Err(error) => {
                tally.reason(crate::cli::chain(&error));
                match error {
                    Error::Discontinuity(_) | Error::Lost { .. } => {
                        add(&tally.discontinuities, 1);
                    }
                    Error::Ended(_) | Error::Gone => {
                        add(&tally.refused, 1);
                        return;
                    }
                }
            }
        }
    }
}
