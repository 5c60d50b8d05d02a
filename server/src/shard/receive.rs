//! What clients send: bytes into frames, frames into requests, and AUTH.

use std::io::{self, Read as _};
use std::time::Instant;

use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Auth, ErrorCode, Heartbeat};
use tickwire_proto::{Parsed, parse};

use super::Shard;
use super::connection::Kind;
use super::session::{Refusal, Request, Session};
use crate::close::CloseReason;
use crate::metrics::AuthFailure;

/// How many buffers full a connection is read at a time: one that sends without end does not keep the others waiting.
const READS_PER_TURN: usize = 2;

/// Whether a connection is to be read on in the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Done,
    More,
}

/// What came of bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// All whole frames have been taken.
    All,
    /// Some are left for the next turn.
    Paused,
    /// The connection is closed, or lingers: it is not to be listened to any further.
    Ended,
}

impl Shard {
    /// Reads what has come, and answers it with one write. The connection may be gone afterwards.
    pub(super) fn read(&mut self, key: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read_into(key, &mut buffer);
        self.buffer = buffer;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if read == Read::More && !connection.up.read_pending {
            connection.up.read_pending = true;
            if !connection.write_pending {
                self.pending.push_back(key);
            }
        }
        let connection = &self.connections[key];
        if !connection.outbox_is_empty() && connection.blocked.is_none() || connection.overflowed {
            self.write(key);
        }
    }

    fn read_into(&mut self, key: usize, buffer: &mut [u8]) -> Read {
        for _ in 0..READS_PER_TURN {
            let connection = &mut self.connections[key];
            if connection.up.unparsed {
                // What has been read already comes first; more is not read before, so that little is held.
                match self.receive(key, &[]) {
                    Received::All => continue,
                    Received::Paused => return Read::More,
                    Received::Ended if self.connections.contains(key) => continue,
                    Received::Ended => return Read::Done,
                }
            }
            match connection.socket.read(buffer) {
                Ok(0) => {
                    self.close(key, CloseReason::PeerClosed);
                    return Read::Done;
                }
                // It is only waited for its end; what it still sends is of no interest.
                Ok(_) if connection.up.lingering.is_some() => {}
                Ok(len) => match self.receive(key, &buffer[..len]) {
                    Received::All => {}
                    Received::Paused => return Read::More,
                    Received::Ended if self.connections.contains(key) => {}
                    Received::Ended => return Read::Done,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(key, CloseReason::ConnectionLost);
                    return Read::Done;
                }
            }
        }
        Read::More
    }

    /// Takes bytes up: whole frames at once, straight from where they are; what is left is kept until the rest comes.
    fn receive(&mut self, key: usize, bytes: &[u8]) -> Received {
        let mut partial = std::mem::take(&mut self.connections[key].up.partial);
        if partial.is_empty() {
            let (received, taken) = self.take_frames(key, bytes);
            self.keep(key, received, bytes[taken..].to_vec());
            return received;
        }
        partial.extend_from_slice(bytes);
        let (received, taken) = self.take_frames(key, &partial);
        partial.drain(..taken);
        if partial.is_empty() {
            partial = Vec::new();
        }
        self.keep(key, received, partial);
        received
    }

    fn keep(&mut self, key: usize, received: Received, rest: Vec<u8>) {
        if received != Received::Ended {
            let connection = &mut self.connections[key];
            connection.up.partial = rest;
            connection.up.unparsed = received == Received::Paused;
        }
    }

    /// Answers how many of the bytes were taken.
    fn take_frames(&mut self, key: usize, bytes: &[u8]) -> (Received, usize) {
        let mut taken = 0;
        while taken < bytes.len() {
            let session = self.connections[key].up.session;
            let max_payload = session.max_payload(self.shared.config.protocol.max_msg_size);
            let request = match parse(&bytes[taken..], max_payload) {
                Ok(Parsed::Incomplete { .. }) => break,
                Ok(Parsed::Frame { frame, len }) => {
                    taken += len;
                    session.on_frame(&frame)
                }
                Err(error) => Err(error.into()),
            };
            let costly = matches!(request, Ok(Request::Subscribe(_)));
            match request {
                Ok(request) => self.on_request(key, request),
                Err(refusal) => self.refuse(key, refusal),
            }
            // A request may end the connection: a wrong password does.
            let Some(connection) = self.connections.get(key) else { return (Received::Ended, taken) };
            if connection.up.lingering.is_some() {
                return (Received::Ended, taken);
            }
            // One subscription a turn: looking up the past is the one thing a client can ask for that takes the shard's time.
            if (costly && taken < bytes.len()) || connection.overflowed {
                return (Received::Paused, taken);
            }
        }
        (Received::All, taken)
    }

    fn on_request(&mut self, key: usize, request: Request) {
        self.connections[key].up.received = self.now;
        match request {
            Request::Authenticate(auth) => self.authenticate(key, &auth),
            Request::Subscribe(subscribe) => self.subscribe(key, &subscribe),
            Request::Alive => {}
        }
    }

    fn authenticate(&mut self, key: usize, auth: &Auth) {
        let Shard { shared, connections, metrics, .. } = self;
        let connection = &mut connections[key];
        let (address, now) = (connection.up.peer.ip(), Instant::now());
        if let Some(wait) = shared.limiter.wait(address, now) {
            metrics.auth_failed(AuthFailure::RateLimited);
            tracing::debug!(peer = %connection.up.peer, ?wait, "AUTH refused: too many failures");
            let message = "too many failed AUTHs from this address";
            let refusal = Refusal::new(ErrorCode::RateLimited, message).retry_after(wait);
            return self.refuse(key, refusal);
        }
        if !shared.config.credentials.matches(&auth.username, &auth.password) {
            shared.limiter.failed(address, now);
            metrics.auth_failed(AuthFailure::Credentials);
            tracing::debug!(peer = %connection.up.peer, username = auth.username, "AUTH failed");
            return self.refuse(key, Refusal::new(ErrorCode::AuthFailed, "username or password is wrong"));
        }
        connection.up.session = Session::Authenticated;
        connection.enqueue(Heartbeat {}.to_frame(), Kind::Control);
        tracing::debug!(peer = %connection.up.peer, username = auth.username, "authenticated");
        self.arm(key);
    }
}
