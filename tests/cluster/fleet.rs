//! Many clients of one StreamServer, each of which counts what it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tickwire_client::{Client, Event, Mode, Request};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cluster::{PATIENCE, eventually};
use crate::digest::digest;

/// Without anything for so long, a client has been forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// How often a client to which nothing comes looks whether it is to end.
const GLANCE: Duration = Duration::from_secs(1);

/// How many clients come at once; between two such groups there is a pause, so that they come some hundreds a second, as people do.
const GROUP: usize = 50;

/// How fast clients come where a test does not say.
const COMING: usize = 500;

/// What a fleet may live through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Losses {
    /// Whichever loses a connection, or is refused one, panics.
    Forbidden,
    /// Connections may be lost, ticks may not.
    Expected,
}

/// Clients that follow the TICK stream without a break. Whichever misses a tick, or gets one twice, panics.
pub(crate) struct Fleet {
    runtime: Runtime,
    client: Client,
    losses: Losses,
    /// Whether clients begin with the stream's very first tick, and look at what is in the ticks.
    whole: bool,
    members: Vec<Member>,
    shared: Arc<Shared>,
    start: Instant,
}

struct Member {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

#[derive(Default)]
struct Shared {
    /// Whoever has been connected once.
    begun: AtomicUsize,
    /// Whoever is.
    connected: AtomicUsize,
    ended: AtomicUsize,
    /// How often one has gone over to another connection.
    moves: AtomicUsize,
    /// How often one has been without.
    losses: AtomicUsize,
    /// All end once they have come so far; 0: not yet.
    until: AtomicU64,
}

/// What one client has seen.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// When it had gone over to another connection, since the fleet's start.
    pub(crate) moves: Vec<Duration>,
    /// How many ticks have come: one for each sequence from the first to the last.
    pub(crate) ticks: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The sum of all ticks' digests, where contents are looked at.
    pub(crate) digest: u64,
}

impl Fleet {
    /// Has so many clients connect, and waits until all are. None may lose its connection.
    pub(crate) fn follow(client: &Client, count: usize) -> Self {
        let mut fleet = Self::new(client, Losses::Forbidden, false);
        fleet.grow(count, COMING);
        fleet.until_connected();
        fleet
    }

    /// The same, but the clients begin with the stream's very first tick, look at what is in the ticks, and may lose connections.
    pub(crate) fn follow_whole(client: &Client, count: usize) -> Self {
        let mut fleet = Self::new(client, Losses::Expected, true);
        fleet.grow(count, COMING);
        fleet.until_connected();
        fleet
    }

    /// Without clients yet.
    pub(crate) fn new(client: &Client, losses: Losses, whole: bool) -> Self {
        let _limit = tickwire_server::file_limit::raise();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let shared = Arc::new(Shared::default());
        Self {
            runtime,
            client: client.clone(),
            losses,
            whole,
            members: Vec::new(),
            shared,
            start: Instant::now(),
        }
    }

    /// Has so many more clients connect, so many a second.
    pub(crate) fn grow(&mut self, count: usize, per_second: usize) {
        for index in 1..=count {
            let stop = Arc::new(AtomicBool::new(false));
            let follower = Follower {
                shared: Arc::clone(&self.shared),
                stop: Arc::clone(&stop),
                losses: self.losses,
                whole: self.whole,
                start: self.start,
            };
            let task = self.runtime.spawn(follower.follow(self.client.clone()));
            self.members.push(Member { stop, task });
            if index % GROUP == 0 {
                std::thread::park_timeout(Duration::from_secs(1) * GROUP as u32 / per_second as u32);
            }
        }
    }

    /// Has so many clients leave, as soon as they have seen something. Answers what they have seen.
    pub(crate) fn shrink(&mut self, count: usize) -> Vec<Seen> {
        let kept = self.members.len() - count;
        self.end(kept)
    }

    /// Waits until every client is connected.
    pub(crate) fn until_connected(&self) {
        let count = self.members.len();
        eventually(&format!("{count} clients are connected"), || {
            self.is_well();
            (self.connected() >= count).then_some(())
        });
    }

    /// How many clients there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many are connected.
    pub(crate) fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// How often clients have gone over to another connection so far.
    pub(crate) fn moves(&self) -> usize {
        self.shared.moves.load(Ordering::Relaxed)
    }

    /// How often clients have been without a connection so far.
    pub(crate) fn losses(&self) -> usize {
        self.shared.losses.load(Ordering::Relaxed)
    }

    /// How long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// None has ended before its time; the first that has says why, in the test's output.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.shared.ended.load(Ordering::Relaxed), 0, "a client has failed; its panic is above");
    }

    /// Waits until each has seen something, and answers what.
    pub(crate) fn finish(mut self) -> Vec<Seen> {
        self.end(0)
    }

    /// Waits until each has come so far, and answers what they have seen.
    pub(crate) fn finish_at(mut self, sequence: u64) -> Vec<Seen> {
        self.shared.until.store(sequence, Ordering::Relaxed);
        eventually(&format!("all clients have come to {sequence}"), || {
            self.is_well();
            self.members.iter().all(|member| member.task.is_finished()).then_some(())
        });
        self.end(0)
    }

    fn end(&mut self, kept: usize) -> Vec<Seen> {
        let leaving = self.members.split_off(kept);
        leaving.iter().for_each(|member| member.stop.store(true, Ordering::Relaxed));
        self.runtime.block_on(async {
            let mut seen = Vec::with_capacity(leaving.len());
            for Member { task, .. } in leaving {
                let one = tokio::time::timeout(PATIENCE, task).await.expect("it ends");
                seen.push(one.expect("a client has failed; its panic is above"));
            }
            seen
        })
    }
}

/// Counts a client that ends before it was to.
struct Ending {
    shared: Arc<Shared>,
    is_over: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Follower {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    losses: Losses,
    whole: bool,
    start: Instant,
}

impl Follower {
    async fn follow(self, client: Client) -> Seen {
        let Self { shared, stop, losses, whole, start } = self;
        let mut ending = Ending { shared: Arc::clone(&shared), is_over: false };
        let request = Request::new(Mode::Tick);
        let request = if whole { request.resume(0, 0) } else { request };
        let mut subscription = client.subscribe(request);
        let mut next = None;
        let mut connected = false;
        let mut heard = Instant::now();
        let mut seen = Seen::default();
        loop {
            let until = shared.until.load(Ordering::Relaxed);
            if (stop.load(Ordering::Relaxed) && seen.ticks > 0) || (until > 0 && seen.last >= until) {
                ending.is_over = true;
                shared.connected.fetch_sub(1, Ordering::Relaxed);
                return seen;
            }
            let Ok(event) = tokio::time::timeout(GLANCE, subscription.next()).await else {
                assert!(heard.elapsed() < SILENCE, "something comes");
                continue;
            };
            heard = Instant::now();
            match event.expect("no gap, no repeat, nothing lost") {
                Event::Connected { first, .. } => {
                    if let Some(next) = next {
                        assert_eq!(first, next, "it goes on right after what had come");
                        seen.moves.push(start.elapsed());
                        shared.moves.fetch_add(1, Ordering::Relaxed);
                    } else {
                        seen.first = first;
                        shared.begun.fetch_add(1, Ordering::Relaxed);
                    }
                    next.get_or_insert(first);
                    if !std::mem::replace(&mut connected, true) {
                        shared.connected.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Event::Batch(batch) => {
                    assert_eq!(Some(batch.first_sequence), next);
                    next = Some(batch.last_sequence + 1);
                    seen.ticks += batch.len as u64;
                    seen.last = batch.last_sequence;
                    if whole {
                        let ticks = batch.ticks().expect("ticks");
                        for (sequence, tick) in (batch.first_sequence..).zip(ticks) {
                            let one =
                                digest(sequence, &tick.symbol, tick.time_unix_nano, tick.close, tick.volume);
                            seen.digest = seen.digest.wrapping_add(one);
                        }
                    }
                }
                Event::Draining { .. } => {}
                Event::Disconnected { address, error, .. } => {
                    assert!(
                        losses == Losses::Expected,
                        "the connection to {address} was lost, or refused, at {:?}: {error}: {error:?}",
                        start.elapsed()
                    );
                    shared.losses.fetch_add(1, Ordering::Relaxed);
                    if std::mem::replace(&mut connected, false) {
                        shared.connected.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// The most moves that came within one second of the clock.
pub(crate) fn busiest_second(seen: &[Seen]) -> usize {
    let mut seconds = std::collections::HashMap::<u64, usize>::new();
    for moved in seen.iter().flat_map(|seen| &seen.moves) {
        *seconds.entry(moved.as_secs()).or_default() += 1;
    }
    seconds.into_values().max().unwrap_or_default()
}

/// Every tick came once: TICK has one for every sequence.
pub(crate) fn assert_whole(seen: &[Seen]) {
    for Seen { ticks, first, last, .. } in seen {
        assert!(*ticks > 0, "something came");
        assert_eq!(*ticks, last - first + 1);
    }
}
