//! A connection: a socket, how far its client has come, and a position in a log.
//!
//! An idle one holds no buffer. Bytes are read into one that the shard lends; only a frame that has come in part is kept. What it
//! sends is the log's own memory; only frames that are its alone (errors, heartbeats, an opening) wait in an outbox, and there is one only
//! while something does.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::{Buf as _, Bytes};

use super::input::Input;
use super::session::Session;
use super::transport::Transport;
use crate::close::CloseReason;
use crate::log::Log;
use crate::traces::Arrival;

/// The most frames handed to the kernel in one call. 64 × 16 bytes of pointers on the stack.
const GATHER: usize = 64;

/// The most bytes written to a connection at a time, so that one that catches up does not keep the others waiting.
const WRITE_BUDGET: usize = 256 * 1024;

/// The most bytes of ERRORs and HEARTBEATs that may wait in an outbox. They answer the client's own frames; one that has thousands
/// answered without reading is a slow consumer. A batch may wait there besides: the opening, a cut one, or the rest of one.
const OUTBOX_LIMIT: usize = 256 * 1024;

/// What a delivery touches stands together, about a cache line of it: a walk over thousands of connections is as fast as memory lets it
/// be. The rest is in [`Up`].
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) transport: Transport,
    outbox: Option<Box<Outbox>>,
    /// Whether more waits in the outbox than may; acted upon when it is next written to.
    pub(super) overflowed: bool,
    /// Whether the shard is to write on in its next turn.
    pub(super) write_pending: bool,
    pub(super) subscription: Option<Subscription>,
    /// When something was last written, in milliseconds of the shard's clock; as all times here.
    pub(super) sent: u64,
    /// Since when the socket has been full, without taking a byte; `None`: it is not.
    pub(super) blocked: Option<u64>,
    pub(super) up: Up,
}

/// What matters when something comes from the client, or is due.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) peer: SocketAddr,
    /// Tells this connection from others that had its slot.
    pub(super) generation: u32,
    pub(super) stage: Stage,
    /// The spans of its way in.
    pub(super) arrival: Arrival,
    pub(super) input: Input,
    /// Whether whole frames may be left in `input`, to be taken before more is read.
    pub(super) unparsed: bool,
    /// When the last whole frame came, or the connection.
    pub(super) received: u64,
    /// When it is closed as the server drains.
    pub(super) drain_at: Option<u64>,
    /// Why and until when it is only waited for what is left to be written, and for the client to close.
    pub(super) lingering: Option<(CloseReason, u64)>,
    /// Whether its side has been shut down.
    pub(super) finished: bool,
    /// Whether the shard is to read on in its next turn.
    pub(super) read_pending: bool,
    /// The tick of its entry in the timer wheel; `u64::MAX`: none.
    pub(super) armed: u64,
    /// Whether it takes one of the places that MAX_CONNECTIONS bounds.
    pub(super) counted: bool,
    /// Whether it takes one of its address's places.
    pub(super) address_counted: bool,
    /// Whether it takes one of the places of those that are told of a limit.
    pub(super) refused: bool,
    /// Whether its handshake takes one of the shard's places.
    pub(super) handshaking: bool,
    /// Whether its handshake waits: for a place, or where it has one, for its next step.
    pub(super) in_line: bool,
}

/// What the bytes are that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A load balancer's PROXY header.
    ProxyHeader,
    /// A TLS handshake.
    Handshake,
    /// Frames, in TLS or not.
    Open,
}

/// A position in a topic's log.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The topic's key in the shard.
    pub(super) topic: usize,
    /// Its place among the topic's subscribers.
    pub(super) place: usize,
    /// The index of the entry that is sent next. What is left of the one before, where a socket took a part of it, is in the outbox.
    pub(super) next: u64,
    /// Whether it started in the past and has not been at the log's end yet: the write queue's limit does not hold for it.
    pub(super) catching_up: bool,
    /// Until the log has come so far, nothing is sent: what is up to this sequence the client has already.
    pub(super) skip: Option<Box<Skip>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Skip {
    pub(super) after: u64,
    /// When it is given up.
    pub(super) until: u64,
}

/// Frames of the connection's own, sent before the log goes on.
#[derive(Debug, Default)]
struct Outbox {
    frames: VecDeque<(Bytes, Kind)>,
    /// Of kind [`Kind::Control`].
    control_bytes: usize,
}

/// What a frame in the outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ERROR or HEARTBEAT.
    Control,
    /// A batch of the current subscription: one that replaces it drops it.
    Batch,
    /// The rest of a frame that has been begun: it may not be dropped, and nothing may come before it.
    Begun,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything there is has been written.
    Done,
    /// There is more; the budget is used up.
    More,
    /// There is more; the socket is full.
    Blocked,
    /// There may be more; it has to wait for the end of the handshake.
    Waiting,
    /// The connection is no more.
    Lost,
    /// What was to be sent next has left the log.
    Fell,
}

/// What was written, for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) batches: u64,
}

impl Connection {
    pub(super) fn new(transport: Transport, peer: SocketAddr, generation: u32, now: u64) -> Self {
        let up = Up {
            peer,
            generation,
            stage: Stage::Open,
            arrival: Arrival::accept(peer),
            input: Input::default(),
            unparsed: false,
            received: now,
            drain_at: None,
            lingering: None,
            finished: false,
            read_pending: false,
            armed: u64::MAX,
            counted: true,
            address_counted: false,
            refused: false,
            handshaking: false,
            in_line: false,
        };
        Self {
            transport,
            outbox: None,
            overflowed: false,
            write_pending: false,
            subscription: None,
            sent: now,
            blocked: None,
            up,
        }
    }

    /// Has a frame sent before the log goes on, after what has been begun.
    pub(super) fn enqueue(&mut self, frame: Bytes, kind: Kind) {
        let outbox = self.outbox.get_or_insert_default();
        if kind == Kind::Control {
            outbox.control_bytes += frame.len();
        }
        outbox.frames.push_back((frame, kind));
        self.overflowed |= outbox.control_bytes > OUTBOX_LIMIT;
    }

    /// Drops the batches of the subscription that have not been begun.
    pub(super) fn drop_batches(&mut self) {
        if let Some(outbox) = &mut self.outbox {
            outbox.frames.retain(|(_, kind)| *kind != Kind::Batch);
            if outbox.frames.is_empty() {
                self.outbox = None;
            }
        }
    }

    /// Drops all that waits, begun or not: it cannot be sent any more.
    pub(super) fn drop_outbox(&mut self) {
        self.outbox = None;
    }

    /// Whether it has been let in.
    pub(super) fn is_authenticated(&self) -> bool {
        self.up.input.session() == Session::Authenticated
    }

    /// Whether nothing of its own waits.
    pub(super) fn outbox_is_empty(&self) -> bool {
        self.outbox.is_none()
    }

    /// By how many bytes it lags behind the end of its log.
    pub(super) fn lag(&self, log: &Log) -> u64 {
        let at =
            |subscription: &Subscription| log.get(subscription.next).map_or(log.end(), |entry| entry.start);
        self.subscription.as_ref().map_or(0, |subscription| log.end() - at(subscription))
    }

    /// Writes its outbox, then the log from its position on, as far as the socket and the budget allow.
    pub(super) fn flush(&mut self, log: Option<&Log>, now: u64, written: &mut Written) -> Flush {
        let before = self.transport.flushed();
        if !self.transport.is_established() {
            return self.flush_transport(before, now, Flush::Waiting);
        }
        let mut budget = WRITE_BUDGET;
        loop {
            let result = if self.outbox.is_some() {
                self.write_outbox()
            } else {
                // A subscription that waits for its start, and a connection that has none, has nothing else.
                match (&self.subscription, log) {
                    (Some(Subscription { skip: None, .. }), Some(log)) => self.write_log(log, written),
                    _ => Ok(Wrote::Nothing),
                }
            };
            match result {
                Ok(Wrote::Nothing) => return self.flush_transport(before, now, Flush::Done),
                Ok(Wrote::Fell) => return Flush::Fell,
                Ok(Wrote::All(bytes)) => {
                    (self.sent, self.blocked) = (now, None);
                    written.bytes += bytes as u64;
                    budget = budget.saturating_sub(bytes);
                    if budget == 0 {
                        return Flush::More;
                    }
                }
                Ok(Wrote::Some(bytes)) => {
                    (self.sent, self.blocked) = (now, Some(now));
                    written.bytes += bytes as u64;
                    return Flush::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.block(before, now);
                    return Flush::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Lost,
            }
        }
    }

    /// Writes what TLS has encrypted and the socket has not taken; then `done`.
    fn flush_transport(&mut self, before: usize, now: u64, done: Flush) -> Flush {
        match self.transport.flush() {
            Ok(()) => {
                self.blocked = None;
                done
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.block(before, now);
                Flush::Blocked
            }
            Err(_) => Flush::Lost,
        }
    }

    /// The socket is full. Where it has taken something of what was encrypted `before`, that counts as taking.
    fn block(&mut self, before: usize, now: u64) {
        if self.transport.flushed() == before {
            self.blocked.get_or_insert(now);
        } else {
            self.blocked = Some(now);
        }
    }

    fn write_outbox(&mut self) -> io::Result<Wrote> {
        let Some(outbox) = &mut self.outbox else { return Ok(Wrote::Nothing) };
        let mut slices = [IoSlice::new(&[]); GATHER];
        let mut count = 0;
        for (slice, (frame, _)) in slices.iter_mut().zip(&outbox.frames) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        let slices = &slices[..count];
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        let bytes = self.transport.write_vectored(slices)?;
        let mut left = bytes;
        while left > 0
            && let Some((frame, kind)) = outbox.frames.front_mut()
        {
            if *kind == Kind::Control {
                outbox.control_bytes -= frame.len();
            }
            if left < frame.len() {
                frame.advance(left);
                *kind = Kind::Begun;
                break;
            }
            left -= frame.len();
            outbox.frames.pop_front();
        }
        if outbox.frames.is_empty() {
            self.outbox = None;
        }
        Ok(Wrote::of(bytes, wanted))
    }

    fn write_log(&mut self, log: &Log, written: &mut Written) -> io::Result<Wrote> {
        let Some(Subscription { next, .. }) = &mut self.subscription else { return Ok(Wrote::Nothing) };
        if *next < log.base() {
            return Ok(Wrote::Fell);
        }
        let Some(first) = log.get(*next) else { return Ok(Wrote::Nothing) };
        // Nearly always there is one frame, and a plain send is the cheapest call there is.
        let (bytes, wanted) = if *next + 1 == log.next_index() {
            (self.transport.write(&first.frame)?, first.frame.len())
        } else {
            let mut slices = [IoSlice::new(&[]); GATHER];
            let (mut count, mut wanted) = (0, 0);
            for (slice, entry) in slices.iter_mut().zip(log.from(*next)) {
                *slice = IoSlice::new(&entry.frame);
                count += 1;
                wanted += entry.frame.len();
                if wanted >= WRITE_BUDGET {
                    break;
                }
            }
            (self.transport.write_vectored(&slices[..count])?, wanted)
        };
        let mut left = bytes;
        while left > 0
            && let Some(entry) = log.get(*next)
        {
            *next += 1;
            written.batches += 1;
            if left < entry.frame.len() {
                // The rest outlives its entry: whatever comes next, it comes after a whole frame.
                let rest = entry.frame.slice(left..);
                self.outbox.get_or_insert_default().frames.push_front((rest, Kind::Begun));
                break;
            }
            left -= entry.frame.len();
        }
        Ok(Wrote::of(bytes, wanted))
    }

    /// Tells the kernel to take whatever its memory holds, not only what it may soon send: for the last words to a client that lags.
    pub(super) fn lift_send_limit(&self) {
        // Where it fails, less is told to a client that does not listen.
        let _unlimited = self.transport.options().set_tcp_notsent_lowat(u32::MAX);
    }

    /// Says that no more will be sent, after what has been.
    pub(super) fn hang_up(&mut self, now: u64) {
        if self.up.finished {
            return;
        }
        match self.transport.shutdown() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked.get_or_insert(now);
            }
            // Where it fails otherwise, the connection is gone, and reading says so.
            _ => self.up.finished = true,
        }
    }

    /// Has the kernel drop what it still holds, and reset the connection, when the socket is closed.
    pub(super) fn reset_on_close(&self) {
        // Where it fails, the kernel keeps the rest for TCP_USER_TIMEOUT.
        let _reset = self.transport.options().set_linger(Some(std::time::Duration::ZERO));
    }
}

/// What one call wrote.
enum Wrote {
    /// There was nothing to write.
    Nothing,
    /// The position is no longer in the log.
    Fell,
    /// All that was handed over.
    All(usize),
    /// A part: the socket is full.
    Some(usize),
}

impl Wrote {
    fn of(bytes: usize, wanted: usize) -> Self {
        if bytes == wanted { Self::All(bytes) } else { Self::Some(bytes) }
    }
}
