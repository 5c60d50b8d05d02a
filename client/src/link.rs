//! One connection: authenticated once it is there, then subscribed as often as one likes. It knows nothing of retrying; most users
//! want a [`Subscription`](crate::Subscription).

mod transport;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tickwire_proto::codec::{CodecError, FrameCodec, OwnedFrame};
use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{self, Auth, ErrorCode, Heartbeat, Subscribe};
use tickwire_proto::{FrameType, ParseError};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use crate::batch::Batch;
use crate::client::{Credentials, Timing};
use crate::error::{LinkError, ServerError};
use crate::tls::Tls;
use transport::Transport;

/// What the buffers start with, in bytes; they grow to the largest frame that comes. Thousands of links in one process stay cheap.
const BUFFER: usize = 1024;

/// The first byte of a TLS alert: what a server that speaks TLS says to an AUTH. Source: RFC 8446, section 5.1.
const TLS_ALERT: u8 = 0x15;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Who asks.
    pub credentials: Credentials,
    /// Which address of the machine to connect from; `None`: as the system likes.
    pub source: Option<IpAddr>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
    /// How long connecting and each answer, then and later, may take; a TLS handshake twice that.
    pub answer: Duration,
}

impl ConnectOptions {
    /// From any address, without TLS, as patiently as [`Timing`] is by default.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, source: None, tls: None, answer: Timing::default().answer }
    }
}

/// A connection whose AUTH was accepted.
#[derive(Debug)]
pub struct Link {
    frames: Framed<Transport, FrameCodec>,
    address: String,
    tls: Option<Tls>,
    answer: Duration,
    /// The server said that it is about to leave before it was asked for anything.
    draining: Option<ServerError>,
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A DATA_BATCH.
    Batch(Batch),
    /// A HEARTBEAT.
    Heartbeat,
    /// An ERROR that does not end the connection.
    Notice(ServerError),
}

/// How many times as long as an answer a TLS handshake may take: a server that many connect to has them wait for their turn first, and each
/// handshake have its time afterwards.
const HANDSHAKE_FACTOR: u32 = 2;

/// The answer to a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The numbering.
    pub epoch: u64,
    /// What follows starts here.
    pub first: u64,
    /// Why it does not start where it was asked to, where it does not.
    pub unavailable: Option<ServerError>,
    /// The server has said that it is about to leave.
    pub draining: Option<ServerError>,
}

impl Link {
    /// Connects to `address` (`host:port`), and authenticates.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn connect(address: &str, options: &ConnectOptions) -> Result<Self, LinkError> {
        let ConnectOptions { credentials, source, tls, answer } = options;
        // A name that cannot be right is told before anybody is bothered.
        let name = tls.as_ref().map(|tls| tls.name(address)).transpose()?;
        let failed = |source| LinkError::Connect { address: address.to_owned(), source };
        let socket =
            within("connection", address, *answer, connect(address, *source)).await?.map_err(failed)?;
        socket.set_nodelay(true).map_err(CodecError::Io)?;
        let transport = match tls.as_ref().zip(name) {
            None => Transport::Plain(socket),
            Some((tls, name)) => {
                let handshake = tls.handshake(address, name, socket);
                Transport::Tls(Box::new(
                    within("TLS handshake", address, answer.saturating_mul(HANDSHAKE_FACTOR), handshake)
                        .await??,
                ))
            }
        };
        let mut link = Self {
            frames: Framed::with_capacity(transport, FrameCodec::default(), BUFFER),
            address: address.to_owned(),
            tls: tls.clone(),
            answer: *answer,
            draining: None,
        };
        link.authenticate(credentials).await?;
        Ok(link)
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), LinkError> {
        let Credentials { username, password } = credentials.clone();
        let (address, answer) = (self.address.clone(), self.answer);
        let sent = self.send(&Auth { username, password }).await;
        // Where the server has closed the connection already (in TLS 1.3, a client certificate is refused only now), its last words can
        // still be read, and say why.
        let answered = within("answer to AUTH", &address, answer, self.answer_to_auth()).await?;
        match (sent, answered) {
            (Err(unsent), Err(LinkError::Closed | LinkError::Codec(CodecError::Io(_)))) => Err(unsent),
            (_, Err(LinkError::Codec(CodecError::Parse(ParseError::BadMagic { found: TLS_ALERT }))))
                if self.tls.is_none() =>
            {
                Err(LinkError::TlsExpected)
            }
            (_, answered) => answered,
        }
    }

    async fn answer_to_auth(&mut self) -> Result<(), LinkError> {
        loop {
            match self.next().await? {
                Incoming::Heartbeat => return Ok(()),
                Incoming::Notice(notice) if notice.code() == Some(ErrorCode::Draining) => {
                    self.draining = Some(notice);
                }
                Incoming::Notice(error) => return Err(error.into()),
                Incoming::Batch(_) => {
                    return Err(LinkError::Unexpected("a DATA_BATCH before it answered AUTH".into()));
                }
            }
        }
    }

    /// Where the link leads.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The socket beneath, also beneath TLS.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.frames.get_ref().socket()
    }

    /// Subscribes, and waits for the answer; what is still under way of an earlier subscription is dropped.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; [`LinkError::Server`] where the server refuses, for which the connection may still be good.
    pub async fn subscribe(&mut self, request: &Subscribe) -> Result<Opening, LinkError> {
        self.send(request).await?;
        let (address, answer) = (self.address.clone(), self.answer);
        within("answer to SUBSCRIBE", &address, answer, self.opening()).await?
    }

    async fn opening(&mut self) -> Result<Opening, LinkError> {
        let (mut unavailable, mut draining) = (None, self.draining.take());
        loop {
            match self.next().await? {
                Incoming::Heartbeat => {}
                Incoming::Notice(error) if error.code() == Some(ErrorCode::ResumeUnavailable) => {
                    unavailable = Some(error);
                }
                Incoming::Notice(error) if error.code() == Some(ErrorCode::Draining) => {
                    draining = Some(error);
                }
                Incoming::Notice(error) => return Err(error.into()),
                Incoming::Batch(batch) => {
                    // Only an opening covers nothing.
                    if batch.first_sequence > 0 && batch.last_sequence == batch.first_sequence - 1 {
                        return Ok(Opening {
                            epoch: batch.epoch,
                            first: batch.first_sequence,
                            unavailable,
                            draining,
                        });
                    }
                }
            }
        }
    }

    /// Sends a HEARTBEAT.
    ///
    /// # Errors
    ///
    /// [`LinkError::Codec`] or [`LinkError::Tls`] where the connection failed.
    pub async fn heartbeat(&mut self) -> Result<(), LinkError> {
        self.send(&Heartbeat {}).await
    }

    async fn send(&mut self, message: &impl FrameMessage) -> Result<(), LinkError> {
        let sent = self.frames.send(message.to_frame()).await;
        sent.map_err(|error| self.failed(error))
    }

    /// Waits for what comes next.
    ///
    /// Cancel-safe: what has come in part is kept.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection has then ended.
    pub async fn next(&mut self) -> Result<Incoming, LinkError> {
        let frame = self.frames.next().await.ok_or(LinkError::Closed)?;
        let frame: OwnedFrame = frame.map_err(|error| self.failed(error))?;
        match frame.kind {
            FrameType::DataBatch => Ok(Incoming::Batch(Batch::parse(frame.payload)?)),
            FrameType::Heartbeat => Ok(Incoming::Heartbeat),
            FrameType::Error => {
                let error = ServerError::from(frame.decode::<message::Error>()?);
                // Codes of the future go by their hundred: those of the 200s leave the connection open.
                let closes = error.code().map_or(!(200..300).contains(&error.number), ErrorCode::closes);
                if closes { Err(error.into()) } else { Ok(Incoming::Notice(error)) }
            }
            kind => Err(LinkError::Unexpected(format!("{kind}, which only clients send"))),
        }
    }

    /// What it means that the frames have failed.
    fn failed(&self, error: CodecError) -> LinkError {
        match (error, &self.tls) {
            (CodecError::Io(error), Some(tls)) => tls.failed(&self.address, error),
            (error, _) => error.into(),
        }
    }
}

/// Tries each address that the name stands for.
async fn connect(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let mut last =
        io::Error::new(io::ErrorKind::NotFound, "the name stands for no address of the source's family");
    for target in lookup_host(address).await?.filter(|target| target.is_ipv4() == source.is_ipv4()) {
        let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(source, 0))?;
        match socket.connect(target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(
    what: &'static str,
    address: &str,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, LinkError> {
    let late = |_| LinkError::Timeout { what, address: address.to_owned(), within: limit };
    timeout(limit, future).await.map_err(late)
}
