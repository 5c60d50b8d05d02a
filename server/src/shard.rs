//! A shard: one thread that owns a listener, its connections, their timers, and copies of the logs' ends that they read.
//!
//! Its loop waits for sockets, a new batch, the earliest deadline or another phase, and then takes a turn, which does a bounded amount of
//! everything that there is to do. Connections are not tasks: a shard stands on mio, the event loop beneath tokio, and pays for a connection
//! with a slot in a slab and nothing per delivery but the send. A task, a waker and a readiness record each would cost two to three times
//! the memory, and a wake-up per delivery (docs/PERFORMANCE.md).
//!
//! The files below are in the order in which a client meets them.

mod accept;
mod handshake;
mod transport;
mod receive;
pub mod input;
pub mod session;
mod authenticate;
mod subscribe;
mod topic;
mod connection;
mod deliver;
mod wheel;
mod timers;
mod notices;
mod farewell;
mod shed;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use tickwire_proto::message::Mode;

use crate::address::AddressLimit;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::feed::Symbols;
use crate::filter::Filter;
use crate::metrics::ShardMetrics;
use crate::shed::Shedding;
use crate::stream::Streams;
use crate::tls::TlsAcceptor;
use crate::verifier::{Inbox, Verdict};
use accept::Acceptor;
use connection::Connection;
use handshake::Handshakes;
use notices::Notices;
use shed::Shed;
use topic::Topic;
use wheel::{Timer, Wheel};

/// How many socket events a turn takes. What does not fit comes with the next.
const EVENTS_PER_TURN: usize = 1024;

/// How many deliveries a turn makes before it looks at the sockets again: at 5 µs each, a heartbeat or a new client waits about a
/// millisecond.
const DELIVERIES_PER_TURN: usize = 256;

/// How many connections that used their budget up go on in a turn.
const PENDING_PER_TURN: usize = 64;

/// The buffer that is lent to connections that have bytes.
const READ_BUFFER: usize = 64 * 1024;

/// The loop turns at least so often, so that liveness can be told from idleness.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// The listener's token; connections have their slab keys.
const LISTENER: Token = Token(usize::MAX - 1);

/// The waker's token. That it came is all it says.
const WAKER: Token = Token(usize::MAX - 2);

/// What all shards do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serve.
    Serving = 0,
    /// Accept nobody, and send the clients away over the drain window.
    Draining = 1,
    /// Close what is left, and end.
    Ending = 2,
}

/// The phase of a server, which its shards look up in every turn.
#[derive(Debug, Default)]
pub struct PhaseCell(AtomicU8);

impl PhaseCell {
    /// Changes the phase, forward only. The shards see it when they are woken ([`Streams::wake`]).
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// The phase.
    #[must_use]
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Ending,
        }
    }
}

/// What a shard shares with the rest of the server.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The settings.
    pub config: Arc<Config>,
    /// Where batches come from.
    pub streams: Arc<Streams>,
    /// What may be subscribed to.
    pub symbols: Symbols,
    /// What connections are encrypted with; `None`: they are not.
    pub tls: Option<Arc<TlsAcceptor>>,
    /// Who may come in.
    pub authenticator: Arc<Authenticator>,
    /// Connections by address.
    pub addresses: Arc<AddressLimit>,
    /// Connections open over all shards.
    pub open: Arc<AtomicUsize>,
    /// What is to be done.
    pub phase: Arc<PhaseCell>,
    /// Who is to go elsewhere, while it serves.
    pub shedding: Arc<Shedding>,
}

/// A pulse that need not beat any more: later than any other.
const ENDED: u64 = u64::MAX;

/// Tells when a shard's loop last turned.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    last: AtomicU64,
}

impl Pulse {
    /// A pulse that beats now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), last: AtomicU64::new(0) })
    }

    fn beat(&self, now: Instant) {
        self.last.store((now - self.start).as_millis() as u64, Ordering::Relaxed);
    }

    /// The loop has ended as it should.
    fn end(&self) {
        self.last.store(ENDED, Ordering::Relaxed);
    }

    /// How long ago the loop last turned; zero once it has ended as it should.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// One event loop and all that it owns.
#[derive(Debug)]
pub struct Shard {
    number: usize,
    shared: Shared,
    metrics: ShardMetrics,
    pulse: Arc<Pulse>,
    poll: Poll,
    acceptor: Acceptor,
    handshakes: Handshakes,
    notices: Notices,
    /// Where verdicts about passwords come to.
    inbox: Inbox,
    verdicts: mpsc::Receiver<Verdict>,
    connections: Slab<Connection>,
    /// How many connections there have ever been.
    generation: u32,
    topics: Slab<Topic>,
    /// The topics' keys.
    by_filter: HashMap<(Mode, Filter), usize>,
    /// Topics with a walk under way, in turn.
    walks: VecDeque<usize>,
    /// Connections to be read on, or written on, in the next turn.
    pending: VecDeque<usize>,
    wheel: Wheel,
    /// Timers that are due and have not been looked at.
    due: Vec<Timer>,
    /// The zero of the milliseconds that connections count in.
    start: Instant,
    /// Now, on that scale; looked up once per turn.
    now: u64,
    phase: Phase,
    /// Connections that have not been told yet that the server drains, and how many there were.
    to_drain: Vec<usize>,
    drain_total: usize,
    /// Over how many milliseconds they leave, since when.
    drain_window: u64,
    draining_since: u64,
    shed: Shed,
    buffer: Vec<u8>,
    /// The same for what has been decrypted.
    plain: Vec<u8>,
}

/// Where a shard's events come from: made before the shard, as the streams need its waker.
#[derive(Debug)]
pub struct EventSource {
    poll: Poll,
    waker: Arc<Waker>,
}

impl EventSource {
    /// # Errors
    ///
    /// Where the kernel gives no epoll instance or eventfd.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self { poll, waker })
    }

    /// Ends the shard's waiting, from any thread.
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }
}

impl Shard {
    /// A shard that will accept from `listener`, which must not block.
    ///
    /// # Errors
    ///
    /// Where the listener cannot be watched.
    pub fn new(
        number: usize,
        events: EventSource,
        listener: std::net::TcpListener,
        shared: Shared,
        metrics: ShardMetrics,
        pulse: Arc<Pulse>,
    ) -> io::Result<Self> {
        let (verdicts, receiver) = mpsc::channel();
        let inbox = Inbox { verdicts, waker: events.waker() };
        let mut listener = TcpListener::from_std(listener);
        events.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let tls = shared.config.tls.as_ref();
        let handshakes = Handshakes::new(tls.map(|tls| tls.handshakes));
        Ok(Self {
            number,
            shared,
            metrics,
            pulse,
            poll: events.poll,
            acceptor: Acceptor::new(listener),
            notices: Notices::default(),
            handshakes,
            inbox,
            verdicts: receiver,
            connections: Slab::new(),
            generation: 0,
            topics: Slab::new(),
            by_filter: HashMap::new(),
            walks: VecDeque::new(),
            pending: VecDeque::new(),
            wheel: Wheel::new(),
            due: Vec::new(),
            start: Instant::now(),
            now: 0,
            phase: Phase::Serving,
            to_drain: Vec::new(),
            drain_total: 0,
            drain_window: 0,
            draining_since: 0,
            shed: Shed::default(),
            buffer: vec![0; READ_BUFFER],
            plain: Vec::new(),
        })
    }

    /// Serves on this thread until the phase is [`Phase::Ending`], or it is [`Phase::Draining`] and the last client has left.
    ///
    /// # Errors
    ///
    /// Where epoll fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut more = true;
        loop {
            let wait = if more { Duration::ZERO } else { self.idle_time() };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let began = Instant::now();
            self.now = (began - self.start).as_millis() as u64;
            more = self.turn(&events);
            self.metrics.flush(began.elapsed());
            self.pulse.beat(began);
            if self.phase != Phase::Serving && self.connections.is_empty() {
                self.pulse.end();
                return Ok(());
            }
        }
    }

    /// Does a bounded amount of everything. Answers whether there is more to be done at once.
    fn turn(&mut self, events: &Events) -> bool {
        self.enter(self.shared.phase.get());
        self.take_up_handshakes();
        let verdicts = self.take_up_verdicts();
        self.take_up_pending();
        let mut taken = 0;
        for event in events {
            taken += 1;
            match event.token() {
                LISTENER => self.acceptor.ready = self.acceptor.listener.is_some(),
                WAKER => {}
                Token(key) => self.on_socket(key, event),
            }
        }
        // After the events: a slot that was freed above is not filled while an event for its former owner may come.
        self.accept();
        self.take_up_new_batches();
        self.deliver();
        self.drain_some();
        self.shed_some();
        self.expire_timers();
        taken == EVENTS_PER_TURN
            || verdicts
            || self.handshakes.have_more()
            || self.acceptor.ready
            || !self.pending.is_empty()
            || !self.walks.is_empty()
            || !self.due.is_empty()
            || !self.to_drain.is_empty()
    }

    fn on_socket(&mut self, key: usize, event: &mio::event::Event) {
        if !self.connections.contains(key) {
            return;
        }
        if event.is_writable() && self.connections[key].blocked.is_some() {
            self.write(key);
        }
        if (event.is_readable() || event.is_read_closed() || event.is_error())
            && self.connections.contains(key)
        {
            self.read(key);
        }
    }

    /// Goes on with what used its budget up in the turn before.
    fn take_up_pending(&mut self) {
        for _ in 0..self.pending.len().min(PENDING_PER_TURN) {
            let Some(key) = self.pending.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let (read, write) = (connection.up.read_pending, connection.write_pending);
            (connection.up.read_pending, connection.write_pending) = (false, false);
            if write {
                self.write(key);
            }
            if read && self.connections.contains(key) {
                self.read(key);
            }
        }
    }

    /// How long to wait for an event, at most.
    fn idle_time(&self) -> Duration {
        let idle = self.now + MAX_IDLE.as_millis() as u64;
        let timer = self.wheel.next_ms().unwrap_or(idle);
        let others = [self.acceptor.paused_until, self.handshakes.next_ms(), self.shed.next_ms()];
        let until = Duration::from_millis(others.into_iter().flatten().fold(timer.min(idle), u64::min));
        until.saturating_sub(self.start.elapsed())
    }
}
