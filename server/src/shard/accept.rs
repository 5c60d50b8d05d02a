//! New connections.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::Interest;
use mio::net::{TcpListener, TcpStream};
use tickwire_proto::message::ErrorCode;

use super::connection::{Connection, Stage};
use super::notices::Notice;
use super::session::Refusal;
use super::transport::Transport;
use super::{Shard, Token};
use crate::close::CloseReason;

/// How many connections a turn accepts: a storm of them does not keep the connected waiting.
const ACCEPTS_PER_TURN: usize = 64;

/// The most connections that are still accepted at once when the server drains: as many as a backlog holds. Others may come as fast as they are accepted.
const LAST_ACCEPTS: usize = 16 * 1024;

/// How long nothing is accepted after an accept failed for want of something (files, memory) that only time brings back.
const PAUSE: Duration = Duration::from_millis(200);

/// Connections over the limit that are told so at once, per shard. Further ones are closed without a word.
const MAX_REFUSED: usize = 1024;

#[derive(Debug)]
pub(super) struct Acceptor {
    /// `None`: closed, as the server drains.
    pub(super) listener: Option<TcpListener>,
    /// Whether somebody may be waiting.
    pub(super) ready: bool,
    /// Until when nothing is accepted, in milliseconds of the shard's clock.
    pub(super) paused_until: Option<u64>,
    /// Connections over the limit that are being told so.
    pub(super) refused: usize,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener: Some(listener), ready: true, paused_until: None, refused: 0 }
    }

    /// Accepts nobody any more.
    pub(super) fn close(&mut self) {
        (self.listener, self.ready, self.paused_until) = (None, false, None);
    }
}

impl Shard {
    /// Accepts those who have connected already, and nobody after them.
    pub(super) fn accept_the_last(&mut self) {
        self.acceptor.ready = true;
        self.acceptor.paused_until = None;
        for _ in 0..LAST_ACCEPTS.div_ceil(ACCEPTS_PER_TURN) {
            if !self.acceptor.ready {
                break;
            }
            self.accept();
        }
        self.acceptor.close();
    }

    pub(super) fn accept(&mut self) {
        if self.acceptor.paused_until.is_some_and(|until| self.now >= until) {
            self.acceptor.paused_until = None;
            self.acceptor.ready = true;
        }
        if self.acceptor.paused_until.is_some() {
            self.acceptor.ready = false;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.acceptor.listener.as_ref().filter(|_| self.acceptor.ready) else {
                break;
            };
            match listener.accept() {
                Ok((socket, peer)) => self.open(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.acceptor.ready = false,
                // That one client has gone already, or a signal came.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    tracing::warn!(
                        shard = self.number,
                        %error,
                        pause = ?PAUSE,
                        "cannot accept connections; if the file table is full, raise the limit of open files or lower MAX_CONNECTIONS"
                    );
                    self.acceptor.ready = false;
                    self.acceptor.paused_until = Some(self.now + PAUSE.as_millis() as u64);
                }
            }
        }
    }

    fn open(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let peer = canonical(peer);
        let others = self.shared.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.opened();
        self.generation = self.generation.wrapping_add(1);
        let slot = self.connections.vacant_entry();
        let key = slot.key();
        let registered =
            self.poll.registry().register(&mut socket, Token(key), Interest::READABLE | Interest::WRITABLE);
        slot.insert(Connection::new(Transport::plain(socket), peer, self.generation, self.now));
        if let Err(error) = registered {
            tracing::warn!(shard = self.number, %error, "cannot watch a new connection");
            self.close(key, CloseReason::ConnectionLost);
            return;
        }
        tracing::debug!(shard = self.number, %peer, key, "connected");
        if self.shared.tls.is_some() {
            // From the start: nothing may be said before, whoever has to be told something.
            self.connections[key].transport.expect_tls();
        }
        let full = others >= self.shared.config.limits.max_connections;
        if full {
            // It is only told so: the place that it takes meanwhile is none of those that are bounded.
            self.connections[key].up.counted = false;
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
            if !self.may_be_refused(key, CloseReason::Refused(ErrorCode::ConnectionLimit)) {
                return;
            }
        }
        if self.shared.config.proxies.iter().any(|network| network.contains(&peer.ip())) {
            self.connections[key].up.stage = Stage::ProxyHeader;
            self.arm(key);
        } else {
            self.admit(key);
        }
    }

    /// Lets a client begin whose address is known by now, or tells it that there is no place.
    pub(super) fn admit(&mut self, key: usize) {
        self.begin(key);
        let connection = &mut self.connections[key];
        if !connection.up.counted {
            let limit = self.shared.config.limits.max_connections;
            let message =
                format!("the server holds {limit} connections, as many as it may; try another, or later");
            self.notice(key, Notice::ConnectionLimit, &message);
            self.refuse(key, Refusal::new(ErrorCode::ConnectionLimit, message));
        } else if self.shared.addresses.enter(connection.up.peer.ip()) {
            connection.up.address_counted = true;
            self.arm(key);
        } else if self.may_be_refused(key, CloseReason::AddressLimit) {
            let limit = self.shared.addresses.most();
            let message =
                format!("your address has {limit} connections, as many as one may; close some, or try later");
            self.notice(key, Notice::ConnectionLimit, &message);
            self.refuse_as(key, Refusal::new(ErrorCode::ConnectionLimit, message), CloseReason::AddressLimit);
        }
    }

    /// The next bytes are the client's own.
    fn begin(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        connection.up.stage = Stage::Open;
        if self.shared.tls.is_some() {
            connection.up.stage = Stage::Handshake;
        }
    }

    /// Whether the connection can be told that it is over a limit. If too many are being told so, it is closed without a word.
    fn may_be_refused(&mut self, key: usize, reason: CloseReason) -> bool {
        let free = self.acceptor.refused < MAX_REFUSED;
        if free {
            self.acceptor.refused += 1;
            self.connections[key].up.refused = true;
        } else {
            self.notice(key, Notice::ConnectionLimit, &reason.label());
            self.close(key, reason);
        }
        free
    }
}

/// An IPv4 address in IPv6's clothes, as a listener for both sees it, is an IPv4 address.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
