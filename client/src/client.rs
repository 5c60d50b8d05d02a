//! What a subscription needs to know: where, as whom, and what.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tickwire_proto::message::{Mode, Resume, Subscribe};

use crate::link::ConnectOptions;
use crate::subscription::Subscription;
use crate::tls::Tls;

/// A username and its password. The password is in no debug output.
#[derive(Clone)]
pub struct Credentials {
    /// At most 255 bytes.
    pub username: String,
    /// At most 1,024 bytes.
    pub password: String,
}

impl Credentials {
    /// These.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What to subscribe to, and from where on.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub(crate) mode: Mode,
    pub(crate) symbols: Vec<String>,
    pub(crate) resume: Option<Resume>,
}

impl Request {
    /// All symbols of a mode, from what comes next on.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, symbols: Vec::new(), resume: None }
    }

    /// Only these symbols; none means all.
    #[must_use]
    pub fn symbols<S: Into<String>>(mut self, symbols: impl IntoIterator<Item = S>) -> Self {
        self.symbols = symbols.into_iter().map(Into::into).collect();
        self
    }

    /// Everything after this position, which an earlier subscription reached. An epoch of 0 means the server's current one.
    #[must_use]
    pub fn resume(mut self, epoch: u64, after_sequence: u64) -> Self {
        self.resume = Some(Resume { epoch, after_sequence });
        self
    }

    /// The message that asks for it, from `resume` on.
    pub(crate) fn message(&self, resume: Option<Resume>) -> Subscribe {
        Subscribe { mode: self.mode.into(), resume, symbols: self.symbols.clone() }
    }
}

/// Where servers are, and how patiently they are talked to. All servers must belong to one fleet: the same sequence must mean the same tick.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) addresses: Vec<String>,
    pub(crate) credentials: Credentials,
    pub(crate) source: Option<IpAddr>,
    pub(crate) tls: Option<Tls>,
    pub(crate) timing: Timing,
}

/// How patiently servers are talked to.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long connecting, and each answer, may take; a TLS handshake twice that, as a server may have it wait for its turn. 10 s by default.
    pub answer: Duration,
    /// How often a HEARTBEAT is sent. 10 s by default; it must be less than the server's HEARTBEAT_TIMEOUT.
    pub heartbeat: Duration,
    /// A connection on which nothing comes for so long is given up. 45 s by default; it must be more than the server's
    /// HEARTBEAT_INTERVAL.
    pub silence: Duration,
    /// The bound of the first wait after a lost connection; it doubles with each failure, up to `max_backoff`. 1 s by default.
    pub min_backoff: Duration,
    /// 30 s by default.
    pub max_backoff: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
        }
    }
}

impl Client {
    /// A client of the servers at these addresses (`host:port`), the first of which is tried first.
    ///
    /// # Panics
    ///
    /// Where there is no address.
    pub fn new<S: Into<String>>(addresses: impl IntoIterator<Item = S>, credentials: Credentials) -> Self {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        assert!(!addresses.is_empty(), "a client needs an address");
        Self { addresses, credentials, source: None, tls: None, timing: Timing::default() }
    }

    /// The same, with another timing.
    #[must_use]
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// The same, connecting from this address of the machine.
    #[must_use]
    pub fn source(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same, speaking TLS. All of its connections share what makes the next handshake cheap.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// How each of the addresses is connected to.
    pub(crate) fn connect_options(&self) -> ConnectOptions {
        let Self { addresses: _, credentials, source, tls, timing } = self.clone();
        ConnectOptions { credentials, source, tls, answer: timing.answer }
    }

    /// Subscribes, in a task of the current tokio runtime that ends when the subscription is dropped.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn subscribe(&self, request: Request) -> Subscription {
        Subscription::start(self.clone(), request)
    }
}
