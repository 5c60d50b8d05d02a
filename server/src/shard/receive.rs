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

/// The connection is not to be read any further: it is closed, or lingers.
struct Ended;

impl Shard {
    /// Reads what has come, and answers it with one write.
    pub(super) fn read(&mut self, key: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.read_into(key, &mut buffer);
        self.buffer = buffer;
        if self.connections.get(key).is_some_and(|connection| !connection.outbox_is_empty()) {
            self.write(key);
        }
    }

    fn read_into(&mut self, key: usize, buffer: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            let connection = &mut self.connections[key];
            match connection.socket.read(buffer) {
                Ok(0) => return self.close(key, CloseReason::PeerClosed),
                // It is only waited for its end; what it still sends is of no interest.
                Ok(_) if connection.lingering.is_some() => {}
                Ok(len) => {
                    if self.receive(key, &buffer[..len]).is_err() && !self.connections.contains(key) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(key, CloseReason::ConnectionLost),
            }
        }
        let connection = &mut self.connections[key];
        if !connection.read_pending {
            connection.read_pending = true;
            if !connection.write_pending {
                self.pending.push(key);
            }
        }
    }

    /// Takes bytes up: whole frames at once, straight from where they are; what is left is kept until the rest comes.
    fn receive(&mut self, key: usize, bytes: &[u8]) -> Result<(), Ended> {
        let mut partial = std::mem::take(&mut self.connections[key].partial);
        let taken = if partial.is_empty() {
            self.take_frames(key, bytes)?
        } else {
            partial.extend_from_slice(bytes);
            self.take_frames(key, &partial)?
        };
        let rest = if partial.is_empty() { &bytes[taken..] } else { &partial[taken..] };
        if !rest.is_empty() {
            self.connections[key].partial = rest.to_vec();
        }
        Ok(())
    }

    /// Answers how many of the bytes were whole frames.
    fn take_frames(&mut self, key: usize, bytes: &[u8]) -> Result<usize, Ended> {
        let mut taken = 0;
        while taken < bytes.len() {
            let session = self.connections[key].session;
            let max_payload = session.max_payload(self.shared.config.protocol.max_msg_size);
            let request = match parse(&bytes[taken..], max_payload) {
                Ok(Parsed::Incomplete { .. }) => break,
                Ok(Parsed::Frame { frame, len }) => {
                    taken += len;
                    session.on_frame(&frame)
                }
                Err(error) => Err(error.into()),
            };
            match request {
                Ok(request) => self.on_request(key, request),
                Err(refusal) => self.refuse(key, refusal),
            }
            // A request may end the connection too: a wrong password, an outbox that is full.
            if self.connections.get(key).is_none_or(|connection| connection.lingering.is_some()) {
                return Err(Ended);
            }
        }
        Ok(taken)
    }

    fn on_request(&mut self, key: usize, request: Request) {
        self.connections[key].received = self.now;
        match request {
            Request::Authenticate(auth) => self.authenticate(key, &auth),
            Request::Subscribe(subscribe) => self.subscribe(key, &subscribe),
            Request::Alive => {}
        }
    }

    fn authenticate(&mut self, key: usize, auth: &Auth) {
        let Shard { shared, connections, metrics, .. } = self;
        let connection = &mut connections[key];
        let (address, now) = (connection.peer.ip().to_canonical(), Instant::now());
        if let Some(wait) = shared.limiter.wait(address, now) {
            metrics.auth_failed(AuthFailure::RateLimited);
            tracing::debug!(peer = %connection.peer, ?wait, "AUTH refused: too many failures");
            let message = "too many failed AUTHs from this address";
            let refusal = Refusal::new(ErrorCode::RateLimited, message).retry_after(wait);
            return self.refuse(key, refusal);
        }
        if !shared.config.credentials.matches(&auth.username, &auth.password) {
            shared.limiter.failed(address, now);
            metrics.auth_failed(AuthFailure::Credentials);
            tracing::debug!(peer = %connection.peer, username = auth.username, "AUTH failed");
            return self.refuse(key, Refusal::new(ErrorCode::AuthFailed, "username or password is wrong"));
        }
        connection.session = Session::Authenticated;
        connection.enqueue(Heartbeat {}.to_frame(), Kind::Control);
        tracing::debug!(peer = %connection.peer, username = auth.username, "authenticated");
        self.arm(key);
    }
}
