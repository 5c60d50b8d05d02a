//! What is between a connection and the network: a socket, and TLS where it is configured.
//!
//! rustls does no I/O here: the shard reads into the buffer that it lends, and what is encrypted goes to the socket at once. A TLS connection
//! holds bytes only of a record that has come in part, and of one that its socket took in part.

use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use socket2::SockRef;

/// The most plaintext that is encrypted at a time: one TLS record. Source: RFC 8446, section 5.1.
const RECORD: usize = 16 * 1024;

/// What a record's header, type and authentication tag take. Source: RFC 8446, section 5.2.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// The most bytes that are held of what has come in part: two records of the largest size. A client that sends a longer handshake message is
/// no client of ours.
const MAX_HELD: usize = 2 * (RECORD + 256 + 5);

#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    layer: Layer,
}

/// What the bytes are.
#[derive(Debug)]
enum Layer {
    /// Frames.
    Plain,
    /// TLS, from the first byte on that comes: until then, it costs nothing.
    Expected,
    /// TLS.
    Tls(Box<Tls>),
}

struct Tls {
    session: UnbufferedServerConnection,
    /// The beginning of a record.
    held: Vec<u8>,
    /// What the socket has not taken, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    established: bool,
    /// The peer did not keep to TLS: after the alert that says so, nothing is said or heard.
    failed: bool,
    /// The peer is being told that no more will be sent.
    closing: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("established", &self.established).finish_non_exhaustive()
    }
}

/// What came of bytes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// There is nothing more in them.
    All,
    /// The peer has said that it sends no more.
    End,
}

impl Transport {
    /// A connection without encryption.
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket, layer: Layer::Plain }
    }

    /// Has the connection begin with a handshake; nothing is sent before.
    pub(super) fn expect_tls(&mut self) {
        self.layer = Layer::Expected;
    }

    /// Begins the handshake.
    ///
    /// # Errors
    ///
    /// Where rustls finds its configuration wanting.
    pub(super) fn start_tls(&mut self, config: Arc<ServerConfig>) -> Result<(), rustls::Error> {
        let session = UnbufferedServerConnection::new(config)?;
        let tls = Tls {
            session,
            held: Vec::new(),
            pending: Vec::new(),
            sent: 0,
            established: false,
            failed: false,
            closing: false,
        };
        self.layer = Layer::Tls(Box::new(tls));
        Ok(())
    }

    /// Whether application data can be sent: always so without TLS.
    pub(super) fn is_established(&self) -> bool {
        match &self.layer {
            Layer::Plain => true,
            Layer::Expected => false,
            Layer::Tls(tls) => tls.established,
        }
    }

    /// Whether the bytes on the wire are TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        !matches!(self.layer, Layer::Plain)
    }

    fn tls(&self) -> Option<&Tls> {
        if let Layer::Tls(tls) = &self.layer { Some(tls) } else { None }
    }

    /// Whether the handshake took a ticket up, where there has been one.
    pub(super) fn is_resumed(&self) -> bool {
        let kind = self.tls().and_then(|tls| tls.session.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// The version of TLS that was agreed upon.
    pub(super) fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.tls()?.session.protocol_version()
    }

    /// The client's certificate, if it has shown one.
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = self.tls()?.session.peer_certificates()?;
        chain.first().map(|certificate| certificate.as_ref())
    }

    /// Reads bytes as they come from the network.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }

    /// Makes plaintext of bytes that were read, in `plain`; handshake messages are answered. Not for connections without TLS.
    ///
    /// # Errors
    ///
    /// Where the peer does not keep to TLS, or shows a bad certificate; the alert that says so has been sent as far as the socket takes it.
    pub(super) fn open(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<Opened, rustls::Error> {
        let Layer::Tls(tls) = &mut self.layer else { return Ok(Opened::All) };
        let result = tls.receive(bytes, plain);
        // Where the socket has failed, reading or writing says so.
        let _flushed = self.flush();
        result
    }

    /// Writes as much of the slices as the connection takes; with TLS, what it takes may be left to be [flushed](Self::flush).
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if matches!(self.layer, Layer::Plain) {
            return self.socket.write_vectored(slices);
        }
        let mut record = Vec::new();
        let (mut taken, mut slices) = (0, slices.iter());
        let mut rest: &[u8] = &[];
        loop {
            // As few records as can be: one that is larger is nearly as cheap.
            record.clear();
            while record.len() < RECORD {
                if rest.is_empty() {
                    match slices.next() {
                        Some(slice) => rest = slice,
                        None => break,
                    }
                }
                let (part, behind) = rest.split_at(rest.len().min(RECORD - record.len()));
                record.extend_from_slice(part);
                rest = behind;
            }
            if record.is_empty() {
                return Ok(taken);
            }
            match self.write(&record) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`write_vectored`](Self::write_vectored), of one slice.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if matches!(self.layer, Layer::Plain) {
            return self.socket.write(bytes);
        }
        let mut taken = 0;
        for part in bytes.chunks(RECORD) {
            // One record waits for the socket at most.
            match self.flush() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => return Ok(taken),
                Err(error) => return Err(error),
            }
            let Layer::Tls(tls) = &mut self.layer else { return Ok(taken) };
            tls.encrypt(part).map_err(io::Error::other)?;
            taken += part.len();
            match self.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(taken)
    }

    /// Whether something is left to be flushed.
    pub(super) fn is_pending(&self) -> bool {
        self.tls().is_some_and(|tls| tls.sent < tls.pending.len())
    }

    /// Writes what is encrypted already.
    ///
    /// # Errors
    ///
    /// Of kind `WouldBlock` where the socket does not take all of it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Layer::Tls(tls) = &mut self.layer else { return Ok(()) };
        while tls.sent < tls.pending.len() {
            match self.socket.write(&tls.pending[tls.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => tls.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (tls.pending, tls.sent) = (Vec::new(), 0);
        Ok(())
    }

    /// How many encrypted bytes the socket has taken of those that wait: tells whether it took any.
    pub(super) fn flushed(&self) -> usize {
        self.tls().map_or(0, |tls| tls.sent)
    }

    /// Says that no more will be sent.
    ///
    /// # Errors
    ///
    /// Of kind `WouldBlock` where the socket has no room to say it; to be tried again then.
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        if let Layer::Tls(tls) = &mut self.layer
            && tls.established
            && !std::mem::replace(&mut tls.closing, true)
        {
            // Where it fails, the session has failed before, and has said so.
            let _closed = tls.close();
        }
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }

    /// Whether something has come: how much of one byte. Leaves it there.
    pub(super) fn peek(&self) -> io::Result<usize> {
        self.socket.peek(&mut [0])
    }

    /// The socket's options.
    pub(super) fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.socket)
    }
}

impl Tls {
    fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<Opened, rustls::Error> {
        if self.failed {
            return Ok(Opened::All);
        }
        if self.held.is_empty() {
            let (used, result) = self.process(bytes, plain);
            if result.is_ok() {
                self.held.extend_from_slice(&bytes[used..]);
            }
            return self.bounded(result);
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let (used, result) = self.process(&mut held, plain);
        if result.is_ok() {
            // Not the room that it took: what is left may be a byte.
            self.held = held.split_off(used);
        }
        self.bounded(result)
    }

    fn bounded(&mut self, result: Result<Opened, rustls::Error>) -> Result<Opened, rustls::Error> {
        let result = match result {
            Ok(_) if self.held.len() > MAX_HELD => {
                Err(rustls::Error::General("a message is longer than any that is accepted".into()))
            }
            result => result,
        };
        if result.is_err() {
            self.failed = true;
            self.held = Vec::new();
        }
        result
    }

    /// Does all that can be done with the bytes at hand. Answers how many of them are done with.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> (usize, Result<Opened, rustls::Error>) {
        let (mut used, mut opened) = (0, Opened::All);
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(&mut bytes[used..]);
            let mut done = false;
            match state {
                Err(error) => {
                    used += discard;
                    self.take_alert(&mut bytes[used..]);
                    return (used, Err(error));
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    append(data, &mut self.pending);
                }
                // It is in `pending`, in its order, and will be sent.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                plain.extend_from_slice(record.payload);
                                discard += record.discard;
                            }
                            Err(error) => return (used + discard, Err(error)),
                        }
                    }
                }
                Ok(ConnectionState::PeerClosed) => opened = Opened::End,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.established = true;
                    done = true;
                }
                // The peer has to go on; or it has gone. Early data is never offered.
                Ok(_) => done = true,
            }
            used += discard;
            if done {
                return (used, Ok(opened));
            }
        }
    }

    /// What the failed session still has to say; last of it, the alert that tells the peer what is wrong.
    fn take_alert(&mut self, bytes: &mut [u8]) {
        while self.session.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(data)) = self.session.process_tls_records(bytes).state
            else {
                return;
            };
            append(data, &mut self.pending);
        }
    }

    /// Puts a record into `pending`. `bytes` are at most [`RECORD`].
    fn encrypt(&mut self, bytes: &[u8]) -> Result<(), EncryptError> {
        self.write(|traffic, out| traffic.encrypt(bytes, out), bytes.len() + RECORD_OVERHEAD)
    }

    /// Puts close_notify into `pending`.
    fn close(&mut self) -> Result<(), EncryptError> {
        self.write(|traffic, out| traffic.queue_close_notify(out), 2 + RECORD_OVERHEAD)
    }

    fn write(
        &mut self,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
        expected: usize,
    ) -> Result<(), EncryptError> {
        if self.failed {
            return Err(EncryptError::EncryptExhausted);
        }
        loop {
            // What is held is a part of a record: it is looked at again, and nothing comes of it. A message of TLS's own may want to go first.
            match self.session.process_tls_records(&mut self.held).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let mut result = Ok(());
                    let start = self.pending.len();
                    let mut room = expected;
                    loop {
                        self.pending.resize(start + room, 0);
                        match write(&mut traffic, &mut self.pending[start..]) {
                            Ok(len) => self.pending.truncate(start + len),
                            Err(EncryptError::InsufficientSize(size)) => {
                                room = size.required_size;
                                continue;
                            }
                            Err(error) => {
                                self.pending.truncate(start);
                                result = Err(error);
                            }
                        }
                        return result;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    append(data, &mut self.pending);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return Err(EncryptError::EncryptExhausted),
            }
        }
    }
}

type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// Appends a message of TLS's own.
fn append(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    // Without room, it says how much it needs.
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        out.resize(start + size.required_size, 0);
        let written = data.encode(&mut out[start..]).unwrap_or_default();
        out.truncate(start + written);
    }
}
