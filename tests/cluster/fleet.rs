//! Many clients of one StreamServer, each of which counts what it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tickwire_client::{Client, Event, Mode, Request};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cluster::{PATIENCE, eventually};

/// Without anything for so long, a client has been forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// Clients that follow the TICK stream without a break. Whichever loses a connection, is refused one, misses a tick or gets one twice, panics.
pub(crate) struct Fleet {
    runtime: Runtime,
    clients: JoinSet<Seen>,
    shared: Arc<Shared>,
    start: Instant,
}

#[derive(Default)]
struct Shared {
    connected: AtomicUsize,
    ended: AtomicUsize,
    done: AtomicBool,
}

/// What one client has seen.
pub(crate) struct Seen {
    /// When it had gone over to another connection, since the fleet's start.
    pub(crate) moves: Vec<Duration>,
    /// How many ticks have come: one for each sequence from the first to the last.
    pub(crate) ticks: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Fleet {
    /// Has so many clients connect, and waits until all are.
    pub(crate) fn follow(client: &Client, count: usize) -> Self {
        let _limit = tickwire_server::file_limit::raise();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (shared, start) = (Arc::new(Shared::default()), Instant::now());
        let mut clients = JoinSet::new();
        for index in 0..count {
            clients.spawn_on(follow(client.clone(), Arc::clone(&shared), start), runtime.handle());
            // Some hundreds a second, as people come.
            if index % 50 == 49 {
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
        let fleet = Self { runtime, clients, shared, start };
        eventually(&format!("{count} clients are connected"), || {
            fleet.is_well();
            (fleet.shared.connected.load(Ordering::Relaxed) >= count).then_some(())
        });
        fleet
    }

    /// How long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// None has ended before its time; the first that has says why, in the test's output.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.shared.ended.load(Ordering::Relaxed), 0, "a client has failed; its panic is above");
    }

    /// Waits for one more batch for each, and answers what they have seen.
    pub(crate) fn finish(mut self) -> Vec<Seen> {
        self.shared.done.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut self.clients);
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, clients.join_all()).await })
            .expect("all end")
    }
}

/// Counts a client that ends, however it does.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.0.done.load(Ordering::Relaxed) {
            self.0.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn follow(client: Client, shared: Arc<Shared>, start: Instant) -> Seen {
    let _ending = Ending(Arc::clone(&shared));
    let mut subscription = client.subscribe(Request::new(Mode::Tick));
    let (mut begun, mut next) = (None, 0);
    let mut seen = Seen { moves: Vec::new(), ticks: 0, first: 0, last: 0 };
    loop {
        let event = tokio::time::timeout(SILENCE, subscription.next()).await.expect("something comes");
        match event.expect("no gap, no repeat, nothing lost") {
            Event::Connected { first, .. } if begun.is_none() => {
                (begun, next) = (Some(first), first);
                seen.first = first;
                shared.connected.fetch_add(1, Ordering::Relaxed);
            }
            Event::Connected { first, .. } => {
                assert_eq!(first, next, "it goes on right after what had come");
                seen.moves.push(start.elapsed());
            }
            Event::Batch(batch) => {
                assert_eq!(batch.first_sequence, next);
                next = batch.last_sequence + 1;
                seen.ticks += batch.len as u64;
                seen.last = batch.last_sequence;
                if shared.done.load(Ordering::Relaxed) {
                    return seen;
                }
            }
            Event::Draining { .. } => {}
            Event::Disconnected { address, error, .. } => {
                panic!(
                    "the connection to {address} was lost, or refused, at {:?}: {error}: {error:?}",
                    start.elapsed()
                )
            }
        }
    }
}

/// Every tick came once: TICK has one for every sequence.
pub(crate) fn assert_whole(seen: &[Seen]) {
    for Seen { ticks, first, last, .. } in seen {
        assert!(*ticks > 0, "something came");
        assert_eq!(*ticks, last - first + 1);
    }
}
