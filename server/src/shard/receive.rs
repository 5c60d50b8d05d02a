//! What clients send: bytes as they come from the network, into requests.

use std::io;

use super::Shard;
use super::accept::canonical;
use super::connection::Stage;
use super::input::Proxied;
use super::notices::Notice;
use super::session::{Request, Session};
use super::transport::Opened;
use crate::close::CloseReason;

/// How many buffers full a connection is read at a time: one that sends without end does not keep the others waiting.
const READS_PER_TURN: usize = 2;

/// How many bytes of a stranger are read at a time, and so may have to be held: twice what an AUTH may have.
const STRANGERS_READ: usize = 8 * 1024;

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
            if !self.may_handshake(key) {
                // It is read when its turn has come.
                return Read::Done;
            }
            let connection = &mut self.connections[key];
            if connection.up.stage == Stage::Handshake && connection.up.input.held() > 0 {
                // What came behind a PROXY header.
                let mut bytes = connection.up.input.release();
                match self.take_in(key, &mut bytes) {
                    Received::Ended if !self.connections.contains(key) => return Read::Done,
                    _ => continue,
                }
            }
            if connection.up.input.session() == Session::Checking && connection.up.lingering.is_none() {
                // It is read on when the verdict has come.
                return Read::Done;
            }
            if connection.up.unparsed {
                // What has been read already comes first; more is not read before, so that little is held.
                match self.receive(key, &[]) {
                    Received::All => continue,
                    Received::Paused => return Read::More,
                    Received::Ended if self.connections.contains(key) => continue,
                    Received::Ended => return Read::Done,
                }
            }
            let room = if connection.is_authenticated() { buffer.len() } else { STRANGERS_READ };
            match connection.transport.read(&mut buffer[..room]) {
                Ok(0) => {
                    self.close(key, CloseReason::PeerClosed);
                    return Read::Done;
                }
                // It is only waited for its end; what it still sends is of no interest. But it may have to hear why, after its handshake.
                Ok(_) if connection.up.lingering.is_some() && connection.up.stage != Stage::Handshake => {}
                Ok(_) if connection.up.finished => {}
                Ok(len) => match self.take_in(key, &mut buffer[..len]) {
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

    /// Takes up bytes as they come from the network: a load balancer's header, then TLS, then frames.
    fn take_in(&mut self, key: usize, bytes: &mut [u8]) -> Received {
        let connection = &self.connections[key];
        match connection.up.stage {
            Stage::ProxyHeader => self.take_proxy_header(key, bytes),
            Stage::Handshake | Stage::Open if connection.transport.is_encrypted() => {
                self.take_tls(key, bytes)
            }
            Stage::Handshake | Stage::Open => self.receive(key, bytes),
        }
    }

    fn take_proxy_header(&mut self, key: usize, bytes: &[u8]) -> Received {
        let connection = &mut self.connections[key];
        let proxy = connection.up.peer;
        match connection.up.input.proxy_header(bytes) {
            Ok(None) => Received::All,
            Ok(Some(Proxied { client, rest })) => {
                if let Some(client) = client {
                    tracing::debug!(shard = self.number, %proxy, %client, "the proxy names its client");
                    connection.up.peer = canonical(client);
                    connection.up.arrival.client(connection.up.peer);
                }
                connection.up.received = self.now;
                self.admit(key);
                let Some(connection) = self.connections.get_mut(key) else { return Received::Ended };
                // One that is refused is told so after its handshake.
                let goes_on = connection.up.lingering.is_none() || connection.up.stage == Stage::Handshake;
                if !rest.is_empty() && goes_on {
                    connection.up.unparsed = connection.up.stage == Stage::Open;
                    connection.up.input.hold(&rest);
                }
                Received::All
            }
            Err(error) => {
                self.notice(key, Notice::ProxyHeader, &error);
                self.close(key, CloseReason::ProxyHeader);
                Received::Ended
            }
        }
    }

    fn take_tls(&mut self, key: usize, bytes: &mut [u8]) -> Received {
        let mut plain = std::mem::take(&mut self.plain);
        let connection = &mut self.connections[key];
        let opened = connection.transport.open(bytes, &mut plain);
        if connection.up.stage == Stage::Handshake && connection.transport.is_established() {
            self.established(key);
        }
        // Not before the handshake was seen to be over, whatever comes with its end.
        let ended = self.connections.get(key).is_none_or(|connection| {
            connection.up.lingering.is_some() || connection.up.stage == Stage::Handshake
        });
        let mut received = if plain.is_empty() || ended { Received::All } else { self.receive(key, &plain) };
        plain.clear();
        self.plain = plain;
        let Some(connection) = self.connections.get(key) else { return Received::Ended };
        let pending = connection.transport.is_pending();
        match opened {
            Err(error) if !connection.up.finished => {
                self.fail_tls(key, &error);
                received = Received::Ended;
            }
            Ok(Opened::End) => {
                self.close(key, CloseReason::PeerClosed);
                received = Received::Ended;
            }
            _ if pending || ended => self.write(key),
            _ => {}
        }
        if self.connections.contains(key) { received } else { Received::Ended }
    }

    /// Takes frames up, straight from where they are; what is left is kept until the rest comes.
    fn receive(&mut self, key: usize, mut bytes: &[u8]) -> Received {
        let max_msg_size = self.shared.config.protocol.max_msg_size;
        loop {
            let connection = &mut self.connections[key];
            connection.up.unparsed = false;
            let Some(request) = connection.up.input.next(&mut bytes, max_msg_size) else {
                return Received::All;
            };
            let costly = matches!(request, Ok(Request::Subscribe(_)));
            match request {
                Ok(request) => self.on_request(key, request),
                Err(refusal) => self.refuse(key, refusal),
            }
            // A request may end the connection: a wrong password does.
            let Some(connection) = self.connections.get_mut(key) else { return Received::Ended };
            if connection.up.lingering.is_some() {
                return Received::Ended;
            }
            // One subscription a turn: looking up the past is the one thing a client can ask for that takes the shard's time.
            if costly || connection.overflowed {
                connection.up.input.hold(bytes);
                connection.up.unparsed = connection.up.input.held() > 0;
                return if connection.up.unparsed { Received::Paused } else { Received::All };
            }
        }
    }

    fn on_request(&mut self, key: usize, request: Request) {
        self.connections[key].up.received = self.now;
        match request {
            Request::Authenticate(auth) => self.authenticate(key, &auth),
            Request::Subscribe(subscribe) => self.subscribe(key, &subscribe),
            Request::Alive => {}
        }
    }
}
