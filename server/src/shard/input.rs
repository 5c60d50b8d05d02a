//! What a client has sent: bytes in whatever segments, made into requests. Without sockets, clocks or streams, so that it can be tested, and
//! fuzzed, by itself.

use std::net::SocketAddr;

use tickwire_proto::{Parsed, parse};

use super::session::{Refusal, Request, Session};
use crate::proxy;

/// A client's side of the conversation: how far it has come, and the bytes that are not taken up yet.
#[derive(Debug, Default)]
pub struct Input {
    session: Session,
    /// A frame that has come in part; or, after [`hold`](Self::hold), what came behind it too. Nothing is allocated while it is empty.
    held: Vec<u8>,
    /// How many of them have been taken already.
    taken: usize,
}

/// A connection whose PROXY header has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client; `None`: the proxy names nobody.
    pub client: Option<SocketAddr>,
    /// What came behind the header.
    pub rest: Vec<u8>,
}

impl Input {
    /// How far the client has come.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session
    }

    /// The client has come so far.
    pub fn enter(&mut self, session: Session) {
        self.session = session;
    }

    /// How many bytes are held. Of a frame in part at most its own length, which [`Session::max_payload`] bounds; besides, what
    /// [`hold`](Self::hold) was given.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len() - self.taken
    }

    /// Takes the next frame, of what is held and then of `bytes`, which are advanced. `None`: there is no whole one, or it is not its
    /// turn while a password is checked, and all of `bytes` is held.
    /// A frame that came whole is read where it is, and never copied.
    ///
    /// # Errors
    ///
    /// `Some(Err(_))`: the connection is to be ended. Nothing that follows has a meaning.
    pub fn next(&mut self, bytes: &mut &[u8], max_msg_size: usize) -> Option<Result<Request, Refusal>> {
        if self.session == Session::Checking {
            self.hold(std::mem::take(bytes));
            return None;
        }
        let limit = self.session.max_payload(max_msg_size);
        loop {
            let from_held = !self.held.is_empty();
            let source = if from_held { &self.held[self.taken..] } else { *bytes };
            match parse(source, limit) {
                Err(error) => return Some(Err(error.into())),
                Ok(Parsed::Frame { frame, len }) => {
                    let request = self.session.on_frame(&frame);
                    if from_held {
                        self.taken += len;
                    } else {
                        *bytes = &bytes[len..];
                    }
                    if self.held() == 0 {
                        self.close();
                    }
                    return Some(request);
                }
                Ok(Parsed::Incomplete { .. }) if bytes.is_empty() => return None,
                // Only what the frame lacks: what is behind it is read where it is.
                Ok(Parsed::Incomplete { missing }) => {
                    let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                    self.hold(part);
                    *bytes = rest;
                }
            }
        }
    }

    /// Keeps what is left of bytes whose taking up has to wait.
    pub fn hold(&mut self, bytes: &[u8]) {
        // Once for all frames that were taken, not for each.
        self.held.drain(..std::mem::take(&mut self.taken));
        self.held.extend_from_slice(bytes);
    }

    /// Takes the PROXY header that a load balancer's connection begins with, before anything else is taken: `None`: it has not come whole.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn proxy_header(&mut self, bytes: &[u8]) -> Result<Option<Proxied>, proxy::NoHeader> {
        self.held.extend_from_slice(bytes);
        match proxy::parse(&self.held)? {
            proxy::Parsed::Incomplete => Ok(None),
            proxy::Parsed::Header { client, len } => {
                let rest = self.held.split_off(len);
                self.close();
                Ok(Some(Proxied { client, rest }))
            }
        }
    }

    /// Takes back what was [held](Self::hold).
    pub fn release(&mut self) -> Vec<u8> {
        self.held.split_off(std::mem::take(&mut self.taken))
    }

    /// Forgets all bytes: nothing more is wanted of the client.
    pub fn close(&mut self) {
        (self.held, self.taken) = (Vec::new(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickwire_proto::encode::FrameMessage as _;
    use tickwire_proto::message::{Auth, Heartbeat, Mode, Subscribe};

    const MAX: usize = 65_536;

    fn conversation() -> Vec<u8> {
        let auth = Auth { username: "u".into(), password: "p".into() }.to_frame();
        let subscribe = Subscribe { mode: Mode::Tick.into(), resume: None, symbols: vec![] }.to_frame();
        [&auth[..], &subscribe, &Heartbeat {}.to_frame(), &Heartbeat {}.to_frame()].concat()
    }

    /// The names of what was asked for, with the bytes in segments of `size`.
    fn requests(bytes: &[u8], size: usize) -> Vec<&'static str> {
        let mut input = Input::default();
        let mut names = Vec::new();
        for mut segment in bytes.chunks(size) {
            while let Some(request) = input.next(&mut segment, MAX) {
                names.push(match request.unwrap() {
                    Request::Authenticate(_) => "auth",
                    Request::Subscribe(_) => "subscribe",
                    Request::Alive => "alive",
                });
                input.enter(Session::Authenticated);
            }
            assert!(segment.is_empty());
        }
        assert_eq!(input.held(), 0);
        names
    }

    #[test]
    fn segments_make_no_difference() {
        let bytes = conversation();
        for size in 1..=bytes.len() {
            assert_eq!(requests(&bytes, size), ["auth", "subscribe", "alive", "alive"], "segments of {size}");
        }
    }

    #[test]
    fn nothing_is_taken_up_while_a_password_is_checked() {
        let (bytes, mut input) = (conversation(), Input::default());
        let mut rest = &bytes[..];
        assert!(matches!(input.next(&mut rest, MAX), Some(Ok(Request::Authenticate(_)))));
        input.enter(Session::Checking);
        assert_eq!(input.next(&mut rest, MAX), None);
        assert!(rest.is_empty());
        input.enter(Session::Authenticated);
        assert!(matches!(input.next(&mut rest, MAX), Some(Ok(Request::Subscribe(_)))));
    }

    #[test]
    fn what_waits_is_taken_up_in_order() {
        let (bytes, mut input) = (conversation(), Input::default());
        let mut rest = &bytes[..];
        assert!(matches!(input.next(&mut rest, MAX), Some(Ok(Request::Authenticate(_)))));
        input.hold(rest);
        input.enter(Session::Authenticated);
        let mut nothing = &[][..];
        assert!(matches!(input.next(&mut nothing, MAX), Some(Ok(Request::Subscribe(_)))));
        let mut more = &conversation()[..3];
        assert_eq!(input.next(&mut more, MAX), Some(Ok(Request::Alive)));
        assert_eq!(input.next(&mut more, MAX), Some(Ok(Request::Alive)));
        assert_eq!(input.next(&mut more, MAX), None);
        assert_eq!(input.held(), 3);
    }
}
