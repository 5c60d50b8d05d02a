//! What the server can be told, by environment variables and flags of the same names, and what is checked before it starts.
//!
//! [`Args`] is what a person writes; [`Config`] is what the server works with: checked, and free of strings. The tables in
//! docs/CONFIGURATION.md are generated from [`Args`].

mod args;
mod error;
mod nats;
mod size;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;

pub use args::{Args, FeedKind};
pub use error::ConfigError;
pub use nats::{MAX_LATENESS, NatsConfig, NatsLogin, NatsTls, Secret};
pub use size::ByteSize;

use crate::auth::Credentials;
use crate::feed::clock::Speed;
use crate::logs::{LogFilter, LogFormat};

/// Everything that `Server::start` needs, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect. Port 0 takes a free one; `Server::local_addr` says which.
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    pub admin: SocketAddr,
    /// How many event loops, each with a thread, a listener and its share of the connections.
    pub shards: NonZeroUsize,
    /// Who may connect.
    pub auth: AuthConfig,
    /// What connections are encrypted with; `None`: they are not.
    pub tls: Option<TlsConfig>,
    /// The networks whose connections begin with a PROXY protocol header.
    pub proxies: Arc<[IpNet]>,
    /// Times and sizes that a client notices.
    pub protocol: Protocol,
    /// What one client, or all, may take.
    pub limits: Limits,
    /// How much of the past is kept.
    pub ring: RingBounds,
    /// How clients are sent away at the end.
    pub drain: Drain,
    /// What the kernel is told about the sockets.
    pub socket: SocketOptions,
    /// Where ticks come from.
    pub feed: FeedConfig,
    /// What is logged, and how.
    pub log: (LogFilter, LogFormat),
}

/// Who may connect.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The user of STREAM_USER and STREAM_PASS, if there is one.
    pub credentials: Option<Credentials>,
    /// Where further users are read from.
    pub users_file: Option<PathBuf>,
    /// What the names in a client's certificate are for.
    pub identity: ClientIdentity,
    /// Failed AUTHs that an address may make at once, and again within each minute; 0: no limit.
    pub address_failures: u32,
    /// Failed AUTHs in one user's name, from addresses where that user has not been; 0: no limit.
    pub user_failures: u32,
    /// How many passwords are checked at once.
    pub threads: NonZeroUsize,
}

/// What the names in a client's certificate are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ClientIdentity {
    /// Nothing: a certificate opens the door, and AUTH says who comes in.
    #[default]
    Ignored,
    /// AUTH's username must be among them, and the password right.
    Required,
    /// AUTH's username must be among them, and the password is not looked at.
    Sufficient,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// Those that have one may.
    Optional,
    /// All do.
    #[default]
    Required,
}

/// What connections are encrypted with.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The server's certificate and those between it and a root, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// The authorities of clients' certificates; `None`: clients show none.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients must show one.
    pub client_auth: ClientAuth,
    /// How long a new connection has for its handshake.
    pub handshake_deadline: Duration,
    /// Handshakes under way at once, per shard; more wait.
    pub handshakes: NonZeroUsize,
}

/// Times and sizes that a client notices. Source: docs/PROTOCOL.md.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The server sends a HEARTBEAT on a connection that carried nothing else for so long.
    pub heartbeat_interval: Duration,
    /// A client sends something at least this often; [`HEARTBEAT_GRACE`] comes on top.
    pub heartbeat_timeout: Duration,
    /// How long a new connection has for its AUTH.
    pub auth_deadline: Duration,
    /// Ticks that come within so long of each other share a batch.
    pub batch_window: Duration,
    /// The largest payload of a frame, both ways.
    pub max_msg_size: usize,
}

/// What is added to HEARTBEAT_TIMEOUT before a silent client is closed: a lost segment is sent again by then.
pub const HEARTBEAT_GRACE: Duration = Duration::from_secs(5);

/// What one client, or all, may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A client that takes nothing for so long, while something waits for it, is closed.
    pub write_deadline: Duration,
    /// A client that has caught up once and then lags by more bytes is closed.
    pub write_queue: u64,
    /// Connections at once, over all shards.
    pub max_connections: usize,
    /// Different symbol filters at once, per stream.
    pub max_filters: usize,
    /// Connections at once from one address; 0: no limit.
    pub max_connections_per_address: usize,
}

/// How much of the past each stream keeps. Whichever bound is met first counts.
#[derive(Clone, Copy, Debug)]
pub struct RingBounds {
    /// Bytes of frames and their index.
    pub size: u64,
    /// Age.
    pub retention: Duration,
}

/// How clients are sent away when the server is told to stop.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How long the listener stays open after readiness turned false: load balancers need a moment to notice.
    pub delay: Duration,
    /// Over how long the clients' departures are spread.
    pub window: Duration,
    /// When the rest is closed, counted from the listener's closing.
    pub timeout: Duration,
    /// How many clients at most leave in a second; `None`: as many as `window` makes.
    pub rate: Option<NonZeroU32>,
}

impl Drain {
    /// Over how long so many clients leave: `window`, or longer where `rate` asks for that, but never longer than `timeout`.
    #[must_use]
    pub fn window_of(&self, clients: usize) -> Duration {
        let at_rate = self.rate.map_or(Duration::ZERO, |rate| {
            let clients = u32::try_from(clients).unwrap_or(u32::MAX);
            Duration::from_secs(clients.into()) / rate.get()
        });
        self.window.max(at_rate.min(self.timeout))
    }
}

/// What the kernel is told about the sockets.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Connections that wait to be accepted, per shard.
    pub backlog: i32,
    /// Idle time after which the kernel probes a peer, and the interval of its probes.
    pub keepalive: Duration,
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
    pub user_timeout: Duration,
}

/// Where ticks come from.
#[derive(Clone, Debug)]
pub enum FeedConfig {
    /// Made up, as a pure function of seed, symbol and time.
    Synthetic {
        /// Another seed is another epoch.
        seed: u64,
        /// The symbols' names.
        symbols: Arc<[Arc<str>]>,
        /// Trades per second, over all symbols, in the feed's own time.
        rate: u32,
        /// How fast the feed's time runs.
        speed: Speed,
    },
    /// From a CSV of trades.
    Replay {
        /// The file.
        file: PathBuf,
        /// How fast the feed's time runs.
        speed: Speed,
        /// Whether it begins anew at its end.
        repeat: bool,
    },
    /// From a stream of NATS JetStream.
    Nats(NatsConfig),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lengthens_the_window_up_to_the_timeout_and_never_shortens_it() {
        let seconds = Duration::from_secs;
        let drain = |rate| Drain {
            delay: seconds(0),
            window: seconds(20),
            timeout: seconds(100),
            rate: NonZeroU32::new(rate),
        };
        assert_eq!(drain(0).window_of(1_000_000), seconds(20), "without a rate");
        assert_eq!(drain(100).window_of(1_000), seconds(20), "the window alone is slow enough");
        assert_eq!(drain(100).window_of(5_000), seconds(50));
        assert_eq!(drain(100).window_of(1_000_000), seconds(100));
    }
}
