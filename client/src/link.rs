//! One connection: authenticated once it is there, then subscribed as often as one likes. It knows nothing of retrying; most users
//! want a [`Subscription`](crate::Subscription).

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tickwire_proto::FrameType;
use tickwire_proto::codec::{CodecError, FrameCodec, OwnedFrame};
use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{self, Auth, ErrorCode, Heartbeat, Subscribe};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use crate::batch::Batch;
use crate::client::Credentials;
use crate::error::{LinkError, ServerError};

/// What the buffers start with, in bytes; they grow to the largest frame that comes. Thousands of links in one process stay cheap.
const BUFFER: usize = 1024;

/// A connection whose AUTH was accepted.
#[derive(Debug)]
pub struct Link {
    frames: Framed<TcpStream, FrameCodec>,
    address: String,
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
    /// Connects to `address` (`host:port`), from `source` if that matters, and authenticates. `answer` bounds each answer's time, here
    /// and later.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn connect(
        address: &str,
        source: Option<IpAddr>,
        credentials: &Credentials,
        answer: Duration,
    ) -> Result<Self, LinkError> {
        let failed = |source| LinkError::Connect { address: address.to_owned(), source };
        let socket =
            within("connection", address, answer, connect(address, source)).await?.map_err(failed)?;
        Self::authenticate(socket, address, credentials, answer).await
    }

    async fn authenticate(
        socket: TcpStream,
        address: &str,
        credentials: &Credentials,
        answer: Duration,
    ) -> Result<Self, LinkError> {
        socket.set_nodelay(true).map_err(CodecError::Io)?;
        let frames = Framed::with_capacity(socket, FrameCodec::default(), BUFFER);
        let mut link = Self { frames, address: address.to_owned(), answer, draining: None };
        let Credentials { username, password } = credentials.clone();
        link.send(&Auth { username, password }).await?;
        within("answer to AUTH", address, answer, link.answer_to_auth()).await??;
        Ok(link)
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

    /// The socket beneath.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.frames.get_ref()
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
    /// [`LinkError::Codec`] where the connection failed.
    pub async fn heartbeat(&mut self) -> Result<(), LinkError> {
        self.send(&Heartbeat {}).await
    }

    async fn send(&mut self, message: &impl FrameMessage) -> Result<(), LinkError> {
        Ok(self.frames.send(message.to_frame()).await?)
    }

    /// Waits for what comes next.
    ///
    /// Cancel-safe: what has come in part is kept.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; the connection has then ended.
    pub async fn next(&mut self) -> Result<Incoming, LinkError> {
        let frame: OwnedFrame = self.frames.next().await.ok_or(LinkError::Closed)??;
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
