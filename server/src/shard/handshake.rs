//! TLS handshakes: whose turn it is, and how they end.
//!
//! A handshake costs as much as fifty deliveries, and a fleet may reconnect all at once. So only some steps are made in a turn of the loop, and only
//! so many handshakes are under way at once; whoever comes meanwhile waits, each network in turn. A client that keeps a place without going on loses
//! it soon, where others wait for it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::Shard;
use super::connection::{Connection, Stage, Up};
use super::notices::Notice;
use crate::close::CloseReason;
use crate::fair_queue::FairQueue;
use crate::tls;

/// How many steps of handshakes a turn makes, a beginning or what comes after it: at 50 to 250 µs each, or 300 with a client's certificate,
/// deliveries wait three milliseconds at most.
const STEPS_PER_TURN: usize = 12;

/// How many of them are kept for beginnings, where somebody waits and there is a place.
const KEPT: usize = STEPS_PER_TURN / 2;

/// How long a handshake keeps its place while others wait for one: a few round trips around the world.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many that are over are kept without looking for them.
const FEW: usize = 64;

/// A connection, and what tells it from others that had its slot.
type Key = (usize, u32);

/// The handshakes of a shard.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// How many may be under way; 0 where there is no TLS.
    most: usize,
    pub(super) under_way: usize,
    /// How many steps may still be made in this turn.
    budget: usize,
    /// The connection that has been given its step, until it has taken it.
    granted: Option<usize>,
    /// Connections that have a place and something to read, and wait for the next turn. Some of them may have gone.
    going_on: FairQueue<Key>,
    /// Connections that have something to read, and wait for a place. Some of them may have gone.
    line: FairQueue<Key>,
    /// How many of them have not.
    waiting: usize,
    /// Those that have begun, in order, and when; some of them are over.
    begun: VecDeque<(Key, u64)>,
}

impl Handshakes {
    pub(super) fn new(most: Option<NonZeroUsize>) -> Self {
        let most = most.map_or(0, NonZeroUsize::get);
        Self {
            most,
            under_way: 0,
            budget: 0,
            granted: None,
            going_on: FairQueue::default(),
            line: FairQueue::default(),
            waiting: 0,
            begun: VecDeque::new(),
        }
    }

    /// How many wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether the next turn can make a step.
    pub(super) fn have_more(&self) -> bool {
        self.going_on.len() > 0 || self.waiting > 0 && self.have_place()
    }

    fn have_place(&self) -> bool {
        self.under_way < self.most
    }

    /// When one that keeps others waiting is to lose its place.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let (_, since) = self.begun.front().filter(|_| self.waiting > 0)?;
        Some(since + PATIENCE.as_millis() as u64)
    }
}

impl Shard {
    /// Whether the connection's handshake may go on. If it may not, it has been put in line.
    pub(super) fn may_handshake(&mut self, key: usize) -> bool {
        let Shard { connections, handshakes, .. } = self;
        let connection = &mut connections[key];
        if connection.up.stage != Stage::Handshake || handshakes.granted.take() == Some(key) {
            return true;
        }
        // A connection that says nothing, or has gone, needs no place, and takes no step.
        if connection.up.input.held() == 0 {
            match connection.transport.peek() {
                Ok(0) => {
                    self.close(key, CloseReason::PeerClosed);
                    return false;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.close(key, CloseReason::ConnectionLost);
                    return false;
                }
            }
        }
        if connection.up.in_line {
            return false;
        }
        let (id, address) = ((key, connection.up.generation), connection.up.peer.ip());
        // Nobody gets ahead of those who wait by being heard of while there is room.
        if connection.up.handshaking {
            if handshakes.budget > 0 && handshakes.going_on.len() == 0 {
                handshakes.budget -= 1;
                return true;
            }
            connection.up.in_line = true;
            handshakes.going_on.push(address, id);
        } else {
            if handshakes.budget > 0 && handshakes.waiting == 0 && handshakes.have_place() {
                return self.begin_handshake(key);
            }
            connection.up.in_line = true;
            handshakes.waiting += 1;
            handshakes.line.push(address, id);
        }
        false
    }

    /// Gives the connection a place, and takes the first step. Answers whether it has begun.
    fn begin_handshake(&mut self, key: usize) -> bool {
        let Shard { shared, connections, handshakes, now, .. } = self;
        let (connection, Some(acceptor)) = (&mut connections[key], &shared.tls) else { return false };
        handshakes.budget -= 1;
        handshakes.under_way += 1;
        handshakes.begun.push_back(((key, connection.up.generation), *now));
        connection.up.handshaking = true;
        // The time in line was not its own.
        connection.up.received = *now;
        connection.up.arrival.tls();
        if let Err(error) = connection.transport.start_tls(acceptor.config()) {
            tracing::error!(%error, "TLS cannot be begun");
            self.close(key, CloseReason::TlsFailed);
            return false;
        }
        true
    }

    /// Reads of a connection whose step it is.
    fn read_step(&mut self, key: usize) {
        self.handshakes.granted = Some(key);
        self.read(key);
        self.handshakes.granted = None;
    }

    /// The connection's handshake is over, one way or another, or will not begin.
    pub(super) fn end_handshake(handshakes: &mut Handshakes, connection: &mut Connection) {
        let in_line = std::mem::take(&mut connection.up.in_line);
        if std::mem::take(&mut connection.up.handshaking) {
            handshakes.under_way -= 1;
        } else if in_line {
            handshakes.waiting -= 1;
        }
    }

    /// Goes on with those that have been begun, and gives places to those who wait; networks in turn, and within one in the order in which they came.
    pub(super) fn take_up_handshakes(&mut self) {
        self.handshakes.budget = STEPS_PER_TURN;
        self.forget();
        self.free_places();
        // Those who have begun do not keep all others from it, however small the pieces are in which they go on.
        let kept = if self.handshakes.waiting > 0 && self.handshakes.have_place() { KEPT } else { 0 };
        while self.handshakes.budget > kept {
            let Some((key, generation)) = self.handshakes.going_on.pop() else { break };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.up.generation == generation && std::mem::take(&mut connection.up.in_line) {
                self.handshakes.budget -= 1;
                self.read_step(key);
            }
        }
        while self.handshakes.budget > 0 && self.handshakes.have_place() {
            let Some((key, generation)) = self.handshakes.line.pop() else { break };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.up.generation == generation && std::mem::take(&mut connection.up.in_line) {
                self.handshakes.waiting -= 1;
                if self.begin_handshake(key) {
                    self.read_step(key);
                }
            }
        }
        let Shard { handshakes, metrics, .. } = self;
        metrics.handshakes_under_way(handshakes.under_way, handshakes.waiting());
    }

    /// Forgets those that are over, or have gone, once they are the most.
    fn forget(&mut self) {
        let Shard {
            handshakes: Handshakes { under_way, waiting, going_on, line, begun, .. },
            connections,
            ..
        } = self;
        let is = |(key, generation): Key, state: fn(&Up) -> bool| {
            connections
                .get(key)
                .is_some_and(|connection| connection.up.generation == generation && state(&connection.up))
        };
        if begun.len() > 2 * *under_way + FEW {
            begun.retain(|(id, _)| is(*id, |up| up.handshaking));
        }
        if going_on.len() > 2 * *under_way + FEW {
            going_on.retain(|id| is(*id, |up| up.in_line));
        }
        if line.len() > 2 * *waiting + FEW {
            line.retain(|id| is(*id, |up| up.in_line));
        }
    }

    /// Forgets those that are over, and ends those that keep others waiting.
    fn free_places(&mut self) {
        while let Some(&((key, generation), since)) = self.handshakes.begun.front() {
            let connection = self.connections.get(key);
            let goes_on = connection.is_some_and(|connection| {
                connection.up.generation == generation && connection.up.handshaking
            });
            if goes_on {
                let full = self.handshakes.under_way >= self.handshakes.most;
                let patient = self.now < since + PATIENCE.as_millis() as u64;
                if patient || !full || self.handshakes.waiting == 0 {
                    return;
                }
                self.close(key, CloseReason::TlsTimeout);
            }
            self.handshakes.begun.pop_front();
        }
    }

    /// The handshake has succeeded.
    pub(super) fn established(&mut self, key: usize) {
        let Shard { connections, handshakes, metrics, now, .. } = self;
        let connection = &mut connections[key];
        Self::end_handshake(handshakes, connection);
        connection.up.stage = Stage::Open;
        // What follows has a deadline of its own.
        connection.up.received = *now;
        let resumed = connection.transport.is_resumed();
        connection.up.arrival.established(connection.transport.protocol_version(), resumed);
        tracing::debug!(peer = %connection.up.peer, resumed, "TLS handshake over");
        // A ticket outlives the certificate that was found good for it.
        let expired = connection.transport.peer_certificate().filter(|_| resumed).map(tls::names);
        if let Some(Err(error)) = expired {
            // Not by an ERROR: to a client that would be final, and a certificate is renewed.
            self.fail_tls(key, &error);
        } else {
            metrics.handshake(resumed);
            self.arm(key);
        }
    }

    /// Closes a connection whose peer does not keep to TLS. Where rustls has an alert that says why, it has been sent.
    pub(super) fn fail_tls(&mut self, key: usize, error: &dyn std::error::Error) {
        let Shard { connections, handshakes, .. } = self;
        let connection = &mut connections[key];
        Self::end_handshake(handshakes, connection);
        connection.up.stage = Stage::Open;
        // Nothing else can be said to it any more.
        connection.drop_outbox();
        self.notice(key, Notice::Tls, &error);
        self.finish(key, CloseReason::TlsFailed);
        self.hang_up(key);
    }
}
