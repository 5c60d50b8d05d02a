//! A client that speaks raw bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use prost::Message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};
use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{Auth, DataBatch, Error, ErrorCode, Mode, Resume, Subscribe};
use tickwire_proto::{FrameType, Parsed, parse};

use crate::{PASSWORD, PATIENCE, USER};

/// The AUTH frame that every test server accepts.
#[must_use]
pub fn auth() -> Vec<u8> {
    Auth { username: USER.into(), password: PASSWORD.into() }.to_frame().to_vec()
}

/// A SUBSCRIBE frame for all symbols.
#[must_use]
pub fn subscribe(mode: Mode, resume: Option<Resume>) -> Vec<u8> {
    Subscribe { mode: mode.into(), resume, symbols: vec![] }.to_frame().to_vec()
}

/// A blocking connection: a socket, or TLS over one.
#[derive(Debug)]
pub struct Raw<S = TcpStream> {
    /// The socket.
    pub stream: S,
    buffer: Vec<u8>,
}

/// TLS over a socket.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Raw<TlsStream> {
    /// Connects by TLS, to a server whose certificate names localhost. The handshake takes place with what is sent or read first.
    ///
    /// # Panics
    ///
    /// Where there is no connection.
    #[must_use]
    pub fn tls(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::tls_over(Raw::connect(addr), config)
    }

    /// The same, over a connection that has been made.
    ///
    /// # Panics
    ///
    /// Never, where the configuration is [`trust`](crate::trust::trust)'s.
    #[must_use]
    pub fn tls_over(raw: Raw, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(config.clone(), name).expect("a configuration that fits");
        Self { stream: StreamOwned::new(session, raw.stream), buffer: Vec::new() }
    }

    /// Does the handshake, up to the client's last word.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn handshake(&mut self) -> std::io::Result<()> {
        while self.stream.conn.is_handshaking() {
            self.stream.conn.complete_io(&mut self.stream.sock)?;
        }
        Ok(())
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    ///
    /// Where that fails.
    #[must_use]
    pub fn connect(addr: SocketAddr) -> Self {
        Self::prepared(TcpStream::connect(addr).expect("the server accepts"))
    }

    /// Connects from another of this machine's addresses, such as 127.0.0.2.
    ///
    /// # Panics
    ///
    /// Where that fails.
    #[must_use]
    pub fn connect_from(source: Ipv4Addr, addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine's");
        socket.connect(&addr.into()).expect("the server accepts");
        Self::prepared(socket.into())
    }

    fn prepared(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("nodelay can be set");
        Self::over(stream)
    }

    /// Over a socket of the test's own.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Connects, and is let in.
    #[must_use]
    pub fn authenticated(addr: SocketAddr) -> Self {
        let mut raw = Self::connect(addr);
        raw.authenticate();
        raw
    }

    /// Connects, is let in, and subscribed to all symbols; with the opening's first sequence.
    #[must_use]
    pub fn subscribed(addr: SocketAddr, mode: Mode) -> (Self, u64) {
        let mut raw = Self::authenticated(addr);
        let first = raw.subscribe(mode);
        (raw, first)
    }

    /// Says that no more will be sent.
    pub fn finish(&mut self) {
        let _shut = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Raw<S> {
    /// Is let in.
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub fn authenticate(&mut self) {
        self.send(&auth());
        let answer = self.frame().map(|(kind, _)| kind);
        assert_eq!(answer, Some(FrameType::Heartbeat), "AUTH is answered by a HEARTBEAT");
    }

    /// Subscribes to all symbols. Answers the opening's first sequence.
    ///
    /// # Panics
    ///
    /// Where something else comes.
    pub fn subscribe(&mut self, mode: Mode) -> u64 {
        self.send(&subscribe(mode, None));
        let opening = self.batch();
        let after = opening.last_sequence + 1;
        assert_eq!(after, opening.first_sequence, "a subscription opens with an empty range");
        opening.first_sequence
    }

    /// Sends bytes.
    ///
    /// # Panics
    ///
    /// Where the server has closed.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes to a server that may have closed.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _sent = self.stream.write_all(bytes);
    }

    /// The next frame; `None`: the server has closed.
    ///
    /// # Panics
    ///
    /// Where nothing comes within [`PATIENCE`], or something that is no frame.
    pub fn frame(&mut self) -> Option<(FrameType, Vec<u8>)> {
        loop {
            match parse(&self.buffer, usize::MAX >> 1).expect("the server sends frames") {
                Parsed::Frame { frame, len } => {
                    let frame = (frame.kind, frame.payload.to_vec());
                    self.buffer.drain(..len);
                    return Some(frame);
                }
                Parsed::Incomplete { .. } => {}
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the server closed in the middle of a frame");
                    return None;
                }
                Ok(len) => self.buffer.extend(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // As a machine that was halted for a moment says to whoever waits with a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no frame: {error}"),
            }
        }
    }

    /// The next DATA_BATCH; others are passed over.
    ///
    /// # Panics
    ///
    /// Where the server closes, or sends an ERROR.
    pub fn batch(&mut self) -> DataBatch {
        loop {
            match self.frame().expect("the server goes on") {
                (FrameType::DataBatch, payload) => {
                    return DataBatch::decode(&*payload).expect("a DATA_BATCH");
                }
                (FrameType::Heartbeat, _) => {}
                (kind, payload) => panic!("{kind} instead of a batch: {:?}", Error::decode(&*payload)),
            }
        }
    }

    /// The next ERROR; others are passed over.
    ///
    /// # Panics
    ///
    /// Where the server closes before.
    pub fn error(&mut self) -> (ErrorCode, Error) {
        loop {
            let (kind, payload) = self.frame().expect("an ERROR comes before the close");
            if kind == FrameType::Error {
                let error = Error::decode(&*payload).expect("an ERROR");
                return (error.code(), error);
            }
        }
    }

    /// Asserts that this ERROR comes, and then the end.
    ///
    /// # Panics
    ///
    /// Where something else does.
    pub fn expect_refusal(&mut self, code: ErrorCode) -> Error {
        let (got, error) = self.error();
        assert_eq!(got, code, "{error:?}");
        assert_eq!(self.frame(), None, "the connection ends after {}", code.name());
        error
    }
}
