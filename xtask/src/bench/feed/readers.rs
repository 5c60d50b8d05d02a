//! The clients of the measurement: each proves its ranges, and counts its rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use tickwire_client::{Client, Credentials, Event, Mode, Request, Subscription};
use tickwire_tests::eventually;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::process::PASSWORD;

/// The longest latency that is told apart, in microseconds: ten minutes.
const MAX_LATENCY: u64 = 600_000_000;

/// One batch of so many is decoded, for its ticks' latencies; of the others the ranges and the numbers of ticks are enough.
const SAMPLE: u64 = 64;

/// Between two connects: a thousand take two seconds.
const CONNECT_INTERVAL: Duration = Duration::from_millis(2);

/// How long the last ticks may take, once everything is stored.
const CATCH_UP: Duration = Duration::from_secs(120);

/// The first of what goes wrong with a client; more does not tell more.
const MAX_FAULTS: usize = 3;

/// What a client has got.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) client: usize,
    /// `None`: all.
    pub(super) symbol: Option<String>,
    /// The first sequence that was promised.
    pub(super) first: Option<u64>,
    /// The end of the last range.
    pub(super) last: u64,
    pub(super) rows: u64,
    pub(super) reconnects: u64,
    /// Ranges that did not continue the one before, and other trouble.
    pub(super) faults: Vec<String>,
    batches: u64,
    /// In microseconds, of all ticks of one batch in [`SAMPLE`].
    pub(super) latencies: Histogram<u64>,
}

/// Microseconds, to two digits: there is one for each client.
pub(super) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, MAX_LATENCY, 2)?)
}

/// The clients, on a thread of theirs.
pub(super) struct Readers {
    thread: JoinHandle<Result<Vec<Reading>>>,
    /// For each, the sequence after which there is nothing more to come.
    ends: Vec<(Option<String>, watch::Sender<Option<u64>>)>,
}

impl Readers {
    /// Connects so many clients to the servers in turn, each for one of the symbols in turn; none: for all of them.
    pub(super) fn start(addresses: Vec<String>, symbols: Vec<String>, clients: usize) -> Result<Self> {
        let mut ends = Vec::new();
        let mut all = Vec::new();
        for client in 0..clients {
            let address = addresses[client % addresses.len()].clone();
            // Neighbours have the same symbol on different servers.
            let symbol = symbols.get(client / addresses.len() % symbols.len().max(1)).cloned();
            let (end, told) = watch::channel(None);
            ends.push((symbol.clone(), end));
            all.push((client, address, symbol, told));
        }
        let connected = Arc::new(AtomicUsize::new(0));
        let count = connected.clone();
        let thread = thread::Builder::new().name("readers".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut tasks = Vec::new();
                for (client, address, symbol, told) in all {
                    tasks.push(tokio::spawn(read(client, address, symbol, told, count.clone())));
                    sleep(CONNECT_INTERVAL).await;
                }
                let mut readings = Vec::new();
                for task in tasks {
                    readings.push(task.await??);
                }
                Ok(readings)
            })
        })?;
        eventually("all clients are connected", || connected.load(Ordering::Relaxed) == clients);
        Ok(Self { thread, ends })
    }

    /// Waits until each has got everything up to the sequence that `last` has for its symbol, or has given up.
    pub(super) fn finish(self, last: impl Fn(Option<&str>) -> u64) -> Result<Vec<Reading>> {
        for (symbol, end) in &self.ends {
            // One that has ended says why in its reading.
            let _told = end.send(Some(last(symbol.as_deref())));
        }
        self.thread.join().map_err(|_| anyhow!("the clients' thread has panicked"))?
    }
}

async fn read(
    client: usize,
    address: String,
    symbol: Option<String>,
    mut end: watch::Receiver<Option<u64>>,
    connected: Arc<AtomicUsize>,
) -> Result<Reading> {
    let credentials = Credentials::new("tickwire", PASSWORD);
    let request = Request::new(Mode::Tick).symbols(symbol.clone());
    let mut subscription = Client::new([address], credentials).subscribe(request);
    let mut reading = Reading {
        client,
        symbol,
        first: None,
        last: 0,
        rows: 0,
        batches: 0,
        reconnects: 0,
        faults: Vec::new(),
        latencies: histogram()?,
    };
    while end.borrow().is_none_or(|end| reading.last < end) {
        tokio::select! {
            // Cancel-safe.
            going_on = reading.take(&mut subscription, &connected) => if !going_on { return Ok(reading) },
            _ = end.changed() => break,
        }
    }
    let Some(end) = *end.borrow() else { return Ok(reading) };
    let rest = async { while reading.last < end && reading.take(&mut subscription, &connected).await {} };
    if timeout(CATCH_UP, rest).await.is_err() {
        reading.faults.push(format!("nothing more came for {CATCH_UP:?}"));
    }
    Ok(reading)
}

impl Reading {
    /// Takes what comes next. Answers whether more may come.
    async fn take(&mut self, subscription: &mut Subscription, connected: &AtomicUsize) -> bool {
        match subscription.next().await {
            Ok(Event::Batch(batch)) => {
                self.rows += batch.len as u64;
                self.last = batch.last_sequence;
                self.batches += 1;
                if self.batches.is_multiple_of(SAMPLE) {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                    match batch.ticks() {
                        Ok(ticks) => ticks.iter().for_each(|tick| {
                            let late = now.saturating_sub(tick.time_unix_nano.into()) / 1000;
                            self.latencies.saturating_record(u64::try_from(late).unwrap_or(u64::MAX));
                        }),
                        Err(error) => self.fault(error.to_string()),
                    }
                }
            }
            Ok(Event::Connected { first, .. }) => {
                if self.first.is_none() {
                    self.first = Some(first);
                    connected.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.reconnects += 1;
                }
            }
            // What follows continues what came before, or is an error.
            Ok(Event::Disconnected { .. } | Event::Draining { .. }) => {}
            Err(error) => {
                let last = error.is_final();
                self.fault(error.to_string());
                return !last;
            }
        }
        true
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }
}
