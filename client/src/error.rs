//! What can go wrong, said so that a person knows what to do.

use std::io;
use std::time::Duration;

use tickwire_proto::codec::CodecError;
use tickwire_proto::message::{self, ErrorCode};

use crate::continuity::Discontinuity;
use crate::tls::TlsFailure;

/// An ERROR frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its number; see [`code`](Self::code).
    pub number: i32,
    /// The server's words.
    pub message: String,
    /// After how long to try again, where the server says so.
    pub retry_after: Option<Duration>,
}

impl From<message::Error> for ServerError {
    fn from(error: message::Error) -> Self {
        let message::Error { code, message, retry_after_ms } = error;
        let retry_after = (retry_after_ms > 0).then(|| Duration::from_millis(retry_after_ms.into()));
        Self { number: code, message, retry_after }
    }
}

impl ServerError {
    /// What it is, if this version knows it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        ErrorCode::try_from(self.number).ok()
    }

    /// Its name, or its number where this version does not know it.
    #[must_use]
    pub fn name(&self) -> String {
        self.code().map_or_else(|| format!("error {}", self.number), |code| code.name().to_owned())
    }

    /// Whether trying the same again is in vain. A code that this version does not know goes by its hundred.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self.code() {
            Some(ErrorCode::RateLimited | ErrorCode::AuthTimeout | ErrorCode::ResumeUnavailable) => false,
            _ => self.number < 300,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.code() {
            Some(ErrorCode::AuthFailed) => "check --user, and the password in STREAM_PASS",
            Some(ErrorCode::RateLimited) => "wait before the next attempt; if it goes on, check the password",
            Some(ErrorCode::AuthTimeout) => "the server did not get an AUTH in time; check the network",
            Some(ErrorCode::BadMode) => "use second, minute or tick",
            Some(ErrorCode::UnknownSymbol) => "check the spelling; without --symbols all are sent",
            Some(ErrorCode::ResumeUnavailable) => {
                "some ticks cannot be had any more; the stream goes on live"
            }
            Some(ErrorCode::SlowConsumer) => {
                "read faster, subscribe to fewer symbols, or raise WRITE_QUEUE_LIMIT at the server"
            }
            Some(ErrorCode::HeartbeatTimeout) => {
                "the server heard nothing; check the network, or send heartbeats more often"
            }
            Some(ErrorCode::Draining) => "the server leaves; another takes over",
            Some(ErrorCode::Overloaded) => "try again later, or subscribe to all symbols",
            Some(ErrorCode::ConnectionLimit) => {
                "try again later, close connections from this address, or have MAX_CONNECTIONS or the number of servers raised"
            }
            Some(ErrorCode::Internal) => "the server's fault; its logs say more",
            _ => "client and server do not agree on the protocol; compare their versions",
        }
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server says {}: {} ({})", self.name(), self.message, self.advice())
    }
}

impl std::error::Error for ServerError {}

/// Why a connection came to nothing, or to an end.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The address's host is nothing that a certificate could be for.
    #[error("{host:?} is no name that a certificate could be for; give the certificate's with --server-name")]
    ServerName {
        /// The host.
        host: String,
    },
    /// TLS was not agreed upon, or did not hold.
    #[error("TLS with {address} failed: {failure}{}", since(problem.as_deref()))]
    Tls {
        /// With whom.
        address: String,
        /// Why, and what can be done about it.
        failure: TlsFailure,
        /// Why our own files, which have changed since they were read, cannot be used, if they cannot; what they held before is in use.
        problem: Option<String>,
        /// The same, to the letter.
        source: Box<rustls::Error>,
    },
    /// The server speaks TLS, and was spoken to without.
    #[error("the server speaks TLS: use --tls")]
    TlsExpected,
    /// No answer.
    #[error("no {what} from {address} within {within:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// From whom.
        address: String,
        /// How long.
        within: Duration,
    },
    /// What came was no frame, or the connection failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// What came was no message.
    #[error("the server sent a frame whose payload does not parse")]
    Malformed(#[from] prost::DecodeError),
    /// A frame that a server may not send, or not now.
    #[error("the server sent {0}")]
    Unexpected(String),
    /// The server closed the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent an ERROR that ends the connection or refuses what was asked for.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// What is said of files that have changed, and cannot be used.
fn since(problem: Option<&str>) -> String {
    problem.map_or(String::new(), |problem| format!(" (what is in use was read before a change: {problem})"))
}

impl LinkError {
    /// Whether trying the same again is in vain. Where it [is of TLS](Self::is_of_tls), that holds for a first connection only: a
    /// [`Subscription`](crate::Subscription) that has been connected before, or has other addresses to try, goes on.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Server(error) => error.is_final(),
            Self::Tls { failure, .. } => failure.is_final(),
            Self::Connect { .. } | Self::Timeout { .. } | Self::Closed | Self::Codec(CodecError::Io(_)) => {
                false
            }
            Self::ServerName { .. }
            | Self::TlsExpected
            | Self::Codec(CodecError::Parse(_))
            | Self::Malformed(_)
            | Self::Unexpected(_) => true,
        }
    }

    /// Whether client and server do not agree on TLS, or on a certificate or its name. It may pass: a fleet renews its certificates, and
    /// servers differ while it does.
    #[must_use]
    pub fn is_of_tls(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::ServerName { .. } | Self::TlsExpected)
    }

    /// How long the server asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Server(error) = self { error.retry_after } else { None }
    }
}

/// What a subscription tells its caller besides batches and the state of its connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The subscription has ended: trying again would not help. Trouble with TLS and certificates ends only one that has never been connected, and
    /// has tried all of its addresses.
    #[error(transparent)]
    Ended(LinkError),
    /// Ticks have been missed: they cannot be had any more. The subscription goes on with what comes next.
    #[error("ticks after sequence {after_sequence} are lost: {reason}")]
    Lost {
        /// The last sequence that was received.
        after_sequence: u64,
        /// Why they cannot be had.
        reason: ServerError,
    },
    /// A server broke the numbering. The subscription resumes after the last good batch.
    #[error(transparent)]
    Discontinuity(#[from] Discontinuity),
    /// The subscription's task is gone, after an earlier [`Error::Ended`].
    #[error("the subscription has ended")]
    Gone,
}

impl Error {
    /// Whether the subscription has ended.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Gone)
    }
}
