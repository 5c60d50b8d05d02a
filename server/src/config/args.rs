//! The settings as a person writes them.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use tickwire_proto::MAX_PAYLOAD_LEN;

use super::nats::nats;
use super::{
    AuthConfig, ByteSize, ClientAuth, ClientIdentity, Config, ConfigError, Drain, FeedConfig, Limits,
    Protocol, RingBounds, SocketOptions, TlsConfig,
};
use crate::auth::Credentials;
use crate::feed::clock::Speed;
use crate::feed::{MAX_SYMBOL_LEN, MAX_SYMBOLS};
use crate::logs::{LogFilter, LogFormat};

/// Pushes ticks over TCP to long-lived clients.
///
/// Every flag is also an environment variable; a flag wins, and the last of several. Durations are written like 15s or 500ms, sizes like 64KB (KB and
/// KiB are both 1024 bytes). SIGTERM and SIGINT drain and end with status 0; a second one ends at once. A setting that
/// cannot be right ends the start with status 64 and one line that says why.
#[derive(Debug, Parser)]
#[command(name = "tickwire-server", version, max_term_width = 110, args_override_self = true)]
pub struct Args {
    /// Where clients connect.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:21591", help_heading = "Addresses")]
    pub listen_addr: SocketAddr,
    /// Where /healthz, /readyz, /metrics, /log and /shed are served.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:21592", help_heading = "Addresses")]
    pub admin_addr: SocketAddr,

    /// The user that clients authenticate as.
    #[arg(long, env, value_name = "NAME", default_value = "tickwire", help_heading = "Clients")]
    pub stream_user: String,
    /// That user's password. There is no default: set it. As a flag it can be seen in the process list.
    #[arg(long, env, value_name = "SECRET", hide_env_values = true, help_heading = "Clients")]
    pub stream_pass: Option<String>,
    /// Further users: a file of lines name:hash, as `tickwire hash-password` makes them. Read again when it changes.
    #[arg(long, env, value_name = "PATH", help_heading = "Clients")]
    pub users_file: Option<PathBuf>,
    /// How many passwords are checked against hashes at once: threads beside the shards, each with the memory that the hash asks for.
    #[arg(long, env, value_name = "COUNT", default_value = "1", value_parser = positive, help_heading = "Clients")]
    pub auth_threads: NonZeroUsize,
    /// Failed AUTHs that an address (of IPv6: a /64) may make at once, and again within each minute, before it gets RATE_LIMITED; 0: no limit.
    #[arg(long, env, value_name = "COUNT", default_value_t = 10, help_heading = "Clients")]
    pub auth_failure_limit: u32,
    /// The same in one user's name, from all addresses from which that user has not been let in before; 0: no limit.
    #[arg(long, env, value_name = "COUNT", default_value_t = 100, help_heading = "Clients")]
    pub auth_user_failure_limit: u32,
    /// How long a new connection has for its AUTH.
    #[arg(long, env, value_name = "DURATION", default_value = "5s", value_parser = duration, help_heading = "Clients")]
    pub auth_deadline: Duration,
    /// Connections at once, over all shards; more get CONNECTION_LIMIT.
    #[arg(long, env, value_name = "COUNT", default_value_t = 100_000, help_heading = "Clients")]
    pub max_connections: usize,
    /// Connections at once from one address (of IPv6: a /64); more get CONNECTION_LIMIT. 0: no limit, for clients that come through load
    /// balancers which do not tell their addresses.
    #[arg(long, env, value_name = "COUNT", default_value_t = 0, help_heading = "Clients")]
    pub max_connections_per_address: usize,
    /// Networks, separated by commas, whose connections begin with a PROXY protocol header (version 1 or 2) that says who the client is:
    /// load balancers. Without one they are closed; from elsewhere one is not accepted.
    #[arg(long, env, value_name = "CIDR", value_parser = network, value_delimiter = ',', help_heading = "Clients")]
    pub proxy_protocol_from: Vec<IpNet>,

    /// The server's certificate and its chain, in PEM: with it, clients connect by TLS 1.3. Read again when it changes.
    #[arg(long, env, value_name = "PATH", help_heading = "TLS")]
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM.
    #[arg(long, env, value_name = "PATH", help_heading = "TLS")]
    pub tls_key_file: Option<PathBuf>,
    /// The authorities, in PEM, of the certificates that clients show: mutual TLS.
    #[arg(long, env, value_name = "PATH", help_heading = "TLS")]
    pub tls_client_ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate, where TLS_CLIENT_CA_FILE is set. Default: required.
    #[arg(long, env, value_enum, value_name = "KIND", help_heading = "TLS")]
    pub tls_client_auth: Option<ClientAuth>,
    /// What the names in a client's certificate (subject alternative names, else the common name) are for. Default: ignored.
    #[arg(long, env, value_enum, value_name = "KIND", help_heading = "TLS")]
    pub tls_client_identity: Option<ClientIdentity>,
    /// How long a new connection has for its TLS handshake.
    #[arg(long, env, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "TLS")]
    pub tls_handshake_deadline: Duration,
    /// TLS handshakes under way at once, per shard; more wait for their turn.
    #[arg(long, env, value_name = "COUNT", default_value = "512", value_parser = positive, help_heading = "TLS")]
    pub tls_handshakes: NonZeroUsize,

    /// A HEARTBEAT is sent on a connection that carried nothing else for so long.
    #[arg(long, env, value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = "Protocol")]
    pub heartbeat_interval: Duration,
    /// A client that sends nothing for so long (and 5s of grace) gets HEARTBEAT_TIMEOUT.
    #[arg(long, env, value_name = "DURATION", default_value = "20s", value_parser = duration, help_heading = "Protocol")]
    pub heartbeat_timeout: Duration,
    /// Ticks that come within so many milliseconds of each other share a batch; 0 to 1000.
    #[arg(long, env, value_name = "MILLISECONDS", default_value_t = 5, help_heading = "Protocol")]
    pub batch_window_ms: u64,
    /// The largest payload of a frame, both ways; 4KB to 16MB.
    #[arg(long, env, value_name = "SIZE", default_value = "64KB", help_heading = "Protocol")]
    pub max_msg_size: ByteSize,
    /// A client that takes nothing for so many milliseconds, while something waits for it, gets SLOW_CONSUMER.
    #[arg(long, env, value_name = "MILLISECONDS", default_value_t = 5000, help_heading = "Protocol")]
    pub write_deadline_ms: u64,
    /// A client that has caught up and then lags by more gets SLOW_CONSUMER; at least MAX_MSG_SIZE, at most RING_SIZE.
    #[arg(long, env, value_name = "SIZE", default_value = "4MB", help_heading = "Protocol")]
    pub write_queue_limit: ByteSize,
    /// Different symbol filters at once, per stream; more get OVERLOADED.
    #[arg(long, env, value_name = "COUNT", default_value_t = 256, help_heading = "Protocol")]
    pub max_filters: usize,

    /// How many bytes of its past each stream keeps, so that clients can resume.
    #[arg(long, env, value_name = "SIZE", default_value = "64MB", help_heading = "Streams")]
    pub ring_size: ByteSize,
    /// How long each stream keeps its past, RING_SIZE permitting. The feeds synthetic and nats fill it at the start.
    #[arg(long, env, value_name = "DURATION", default_value = "10m", value_parser = duration, help_heading = "Streams")]
    pub ring_retention: Duration,
    /// Where ticks come from.
    #[arg(long, env, value_enum, value_name = "KIND", default_value = "synthetic", help_heading = "Streams")]
    pub feed: FeedKind,
    /// synthetic: which ticks. The same seed, symbols and rate are the same ticks on every server.
    #[arg(long, env, value_name = "NUMBER", default_value_t = 1, help_heading = "Streams")]
    pub feed_seed: u64,
    /// synthetic: the symbols, separated by commas, or how many (SYM0001, SYM0002, …); default: BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT,XRPUSDT,ADAUSDT,DOGEUSDT,LTCUSDT.
    /// nats: those to take from the stream, by name; their order numbers the bars, so it must be the same on every server. There is no default.
    #[arg(long, env, value_name = "NAMES|COUNT", help_heading = "Streams")]
    pub feed_symbols: Option<String>,
    /// synthetic: trades per second of the feed's time, over all symbols; 1 to 1000000.
    #[arg(long, env, value_name = "COUNT", default_value_t = 100, help_heading = "Streams")]
    pub feed_rate: u32,
    /// synthetic, replay: how many times faster than the clock on the wall the feed's time runs, such as 1, 60 or 0.5; 0.001 to 10000.
    #[arg(long, env, value_name = "FACTOR", default_value = "1", help_heading = "Streams")]
    pub feed_speed: Speed,
    /// replay: a CSV with the header time,symbol,price,size.
    #[arg(long, env, value_name = "PATH", help_heading = "Streams")]
    pub feed_file: Option<PathBuf>,
    /// replay: begin anew at the end of the file.
    #[arg(long, env, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set, help_heading = "Streams")]
    pub feed_loop: bool,

    /// The servers, separated by commas, such as nats://nats:4222; tls:// asks for TLS. Any of them will do.
    #[arg(long, env, value_name = "URLS", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_url: Option<String>,
    /// The JetStream stream whose messages are the trades.
    #[arg(long, env, value_name = "NAME", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_stream: Option<String>,
    /// How much later than the latest a trade may come, by the trades' own times, and still be in its bar: so much later do bars end. At most 1m. Must be
    /// the same on every server.
    #[arg(long, env, value_name = "DURATION", default_value = "250ms", value_parser = duration, help_heading = "NATS (FEED=nats)")]
    pub feed_lateness: Duration,
    /// The user that NATS knows the server as.
    #[arg(long, env, value_name = "NAME", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_user: Option<String>,
    /// That user's password. As a flag it can be seen in the process list.
    #[arg(long, env, value_name = "SECRET", hide_env_values = true, help_heading = "NATS (FEED=nats)")]
    pub feed_nats_password: Option<String>,
    /// Instead of a user: a token. As a flag it can be seen in the process list.
    #[arg(long, env, value_name = "SECRET", hide_env_values = true, help_heading = "NATS (FEED=nats)")]
    pub feed_nats_token: Option<String>,
    /// Instead of either: a file with a JWT and its key, as nsc makes it (user.creds). Read at the start.
    #[arg(long, env, value_name = "PATH", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_credentials_file: Option<PathBuf>,
    /// The authorities, in PEM, that may sign for NATS; with it, TLS is asked for. Default: the system's. Read for each connection.
    #[arg(long, env, value_name = "PATH", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_ca_file: Option<PathBuf>,
    /// The server's own certificate, in PEM, where NATS asks for one. Read for each connection.
    #[arg(long, env, value_name = "PATH", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_cert_file: Option<PathBuf>,
    /// That certificate's key, in PEM.
    #[arg(long, env, value_name = "PATH", help_heading = "NATS (FEED=nats)")]
    pub feed_nats_key_file: Option<PathBuf>,

    /// How long clients are still accepted after SIGTERM has turned readiness false; load balancers need a moment.
    #[arg(long, env, value_name = "DURATION", default_value = "5s", value_parser = duration, help_heading = "Draining")]
    pub drain_delay: Duration,
    /// Over how long the clients' departures are then spread; at most DRAIN_TIMEOUT.
    #[arg(long, env, value_name = "DURATION", default_value = "20s", value_parser = duration, help_heading = "Draining")]
    pub drain_window: Duration,
    /// When the rest is closed, counted from the end of DRAIN_DELAY.
    #[arg(long, env, value_name = "DURATION", default_value = "30s", value_parser = duration, help_heading = "Draining")]
    pub drain_timeout: Duration,
    /// How many clients at most leave in a second while the server drains; 0: as many as DRAIN_WINDOW makes. Where they are too many for that, the window is
    /// longer, up to DRAIN_TIMEOUT.
    #[arg(long, env, value_name = "COUNT", default_value_t = 0, help_heading = "Draining")]
    pub drain_rate: u32,

    /// Event loops, each with a thread and its share of the connections. Default: one per core.
    #[arg(long, env, value_name = "COUNT", value_parser = positive, help_heading = "System")]
    pub shards: Option<NonZeroUsize>,
    /// Connections that may wait to be accepted, per shard. In effect at most net.core.somaxconn.
    #[arg(long, env, value_name = "COUNT", default_value_t = 16_384, help_heading = "System",
        value_parser = clap::value_parser!(i32).range(1..))]
    pub listen_backlog: i32,
    /// Idle time after which the kernel probes whether a client is still there.
    #[arg(long, env, value_name = "DURATION", default_value = "30s", value_parser = duration, help_heading = "System")]
    pub tcp_keepalive: Duration,
    /// How long sent bytes may stay unacknowledged before the kernel gives a connection up.
    #[arg(long, env, value_name = "DURATION", default_value = "20s", value_parser = duration, help_heading = "System")]
    pub tcp_user_timeout: Duration,
    /// What is logged: error, warn, info, debug or trace, or directives such as info,tickwire_server::shard=debug. Changed at
    /// run time by PUT /log on ADMIN_ADDR.
    #[arg(long, env, value_name = "FILTER", default_value = "info", help_heading = "System")]
    pub log_level: LogFilter,
    /// How it is logged; auto: text on a terminal, else json.
    #[arg(long, env, value_enum, value_name = "FORMAT", default_value = "auto", help_heading = "System")]
    pub log_format: LogFormat,
}

/// The kinds of feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeedKind {
    /// Made up, as a pure function of FEED_SEED, symbol and time.
    Synthetic,
    /// From FEED_FILE, a CSV of trades.
    Replay,
    /// From FEED_NATS_STREAM, a stream of NATS JetStream.
    Nats,
}

/// The symbols of a synthetic feed that is not told any.
const SYNTHETIC_SYMBOLS: &str = "BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT,XRPUSDT,ADAUSDT,DOGEUSDT,LTCUSDT";

fn duration(text: &str) -> Result<Duration, &'static str> {
    let parsed = humantime::parse_duration(text).map_err(|_| "not a duration; write it like 15s or 500ms")?;
    if parsed > MAX_DURATION { Err("longer than a day") } else { Ok(parsed) }
}

/// Longer settings are typing errors; and deadlines are kept in 32-bit milliseconds, good for 49 days.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Reads flags and environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Asked`] for `--help` and `--version`, else [`ConfigError::Invalid`] with a line for people.
    pub fn read() -> Result<Self, ConfigError> {
        Args::try_parse()?.try_into()
    }

    /// As [`read`](Self::read), from flags alone, the first of which is the program's name.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_flags<I: IntoIterator<Item = T>, T: Into<std::ffi::OsString> + Clone>(
        flags: I,
    ) -> Result<Self, ConfigError> {
        Args::try_parse_from(flags)?.try_into()
    }
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let shown = |duration| humantime::format_duration(duration).to_string();
        let at_least = |variable, value: Duration, least: Duration, why: &str| {
            let ok = value >= least;
            ok.then_some(()).ok_or_else(|| {
                ConfigError::invalid(
                    variable,
                    shown(value),
                    format!("must be at least {}{why}", shown(least)),
                )
            })
        };
        let within = |variable, value: ByteSize, least: u64, most: u64, bounds: &str| {
            let ok = (least..=most).contains(&value.bytes());
            ok.then_some(()).ok_or_else(|| ConfigError::invalid(variable, value, format!("must be {bounds}")))
        };

        at_least("TLS_HANDSHAKE_DEADLINE", args.tls_handshake_deadline, MIN_TIMER, "")?;
        let tls = tls(&args)?;
        let auth = auth(&args, tls.as_ref())?;
        at_least("HEARTBEAT_INTERVAL", args.heartbeat_interval, MIN_TIMER, "")?;
        at_least(
            "HEARTBEAT_TIMEOUT",
            args.heartbeat_timeout,
            args.heartbeat_interval,
            ", HEARTBEAT_INTERVAL",
        )?;
        at_least("AUTH_DEADLINE", args.auth_deadline, MIN_TIMER, "")?;
        at_least("RING_RETENTION", args.ring_retention, Duration::from_secs(1), "")?;
        at_least("TCP_KEEPALIVE", args.tcp_keepalive, Duration::from_secs(1), "")?;
        at_least("TCP_USER_TIMEOUT", args.tcp_user_timeout, Duration::from_secs(1), "")?;
        at_least("DRAIN_TIMEOUT", args.drain_timeout, args.drain_window, ", DRAIN_WINDOW")?;
        let write_deadline = Duration::from_millis(args.write_deadline_ms);
        if !(MIN_TIMER..=MAX_DURATION).contains(&write_deadline) {
            return Err(ConfigError::invalid(
                "WRITE_DEADLINE_MS",
                args.write_deadline_ms,
                "must be 100 to 86400000",
            ));
        }
        if args.batch_window_ms > 1000 {
            return Err(ConfigError::invalid("BATCH_WINDOW_MS", args.batch_window_ms, "must be 0 to 1000"));
        }
        within("MAX_MSG_SIZE", args.max_msg_size, 4 << 10, MAX_PAYLOAD_LEN as u64, "4KB to 16MB")?;
        within("RING_SIZE", args.ring_size, 1 << 20, 1 << 40, "1MB to 1024GB")?;
        within(
            "WRITE_QUEUE_LIMIT",
            args.write_queue_limit,
            args.max_msg_size.bytes(),
            args.ring_size.bytes(),
            "at least MAX_MSG_SIZE and at most RING_SIZE",
        )?;
        for (variable, value) in
            [("MAX_CONNECTIONS", args.max_connections), ("MAX_FILTERS", args.max_filters)]
        {
            if value == 0 {
                return Err(ConfigError::invalid(variable, value, "must be at least 1"));
            }
        }

        let feed = match args.feed {
            FeedKind::Nats => FeedConfig::Nats(nats(&args)?),
            FeedKind::Synthetic => FeedConfig::Synthetic {
                seed: args.feed_seed,
                symbols: {
                    let asked = args.feed_symbols.as_deref().unwrap_or(SYNTHETIC_SYMBOLS);
                    symbols(asked).map_err(|problem| ConfigError::invalid("FEED_SYMBOLS", asked, problem))?
                },
                rate: match args.feed_rate {
                    rate @ 1..=1_000_000 => rate,
                    rate => return Err(ConfigError::invalid("FEED_RATE", rate, "must be 1 to 1000000")),
                },
                speed: args.feed_speed,
            },
            FeedKind::Replay => FeedConfig::Replay {
                file: args.feed_file.ok_or_else(|| {
                    ConfigError::Invalid(
                        "FEED_FILE (--feed-file) is not set: FEED is replay, which needs a CSV of trades"
                            .into(),
                    )
                })?,
                speed: args.feed_speed,
                repeat: args.feed_loop,
            },
        };
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            listen: args.listen_addr,
            admin: args.admin_addr,
            shards: args.shards.unwrap_or(cores),
            auth,
            tls,
            proxies: args.proxy_protocol_from.into(),
            protocol: Protocol {
                heartbeat_interval: args.heartbeat_interval,
                heartbeat_timeout: args.heartbeat_timeout,
                auth_deadline: args.auth_deadline,
                batch_window: Duration::from_millis(args.batch_window_ms),
                max_msg_size: usize::try_from(args.max_msg_size.bytes()).unwrap_or(MAX_PAYLOAD_LEN),
            },
            limits: Limits {
                write_deadline,
                write_queue: args.write_queue_limit.bytes(),
                max_connections: args.max_connections,
                max_filters: args.max_filters,
                max_connections_per_address: args.max_connections_per_address,
            },
            ring: RingBounds { size: args.ring_size.bytes(), retention: args.ring_retention },
            drain: Drain {
                delay: args.drain_delay,
                window: args.drain_window,
                timeout: args.drain_timeout,
                rate: NonZeroU32::new(args.drain_rate),
            },
            socket: SocketOptions {
                backlog: args.listen_backlog,
                keepalive: args.tcp_keepalive,
                user_timeout: args.tcp_user_timeout,
            },
            feed,
            log: (args.log_level, args.log_format),
        })
    }
}

/// Certificate and key, both or neither, and what else makes sense only with them.
fn tls(args: &Args) -> Result<Option<TlsConfig>, ConfigError> {
    let lacks = |what: &str, because: &str| {
        let flag = what.to_ascii_lowercase().replace('_', "-");
        Err(ConfigError::Invalid(format!("{what} (--{flag}) is not set: {because}")))
    };
    let (cert_file, key_file) = match (&args.tls_cert_file, &args.tls_key_file) {
        (Some(cert_file), Some(key_file)) => (cert_file.clone(), key_file.clone()),
        (Some(_), None) => return lacks("TLS_KEY_FILE", "TLS_CERT_FILE is, whose key it is to be"),
        (None, Some(_)) => return lacks("TLS_CERT_FILE", "TLS_KEY_FILE is, whose certificate it is to be"),
        // Never less than was asked for because of a variable that is not there.
        (None, None) => {
            let asked_for = [
                ("TLS_CLIENT_CA_FILE", args.tls_client_ca_file.is_some()),
                ("TLS_CLIENT_AUTH", args.tls_client_auth.is_some()),
                ("TLS_CLIENT_IDENTITY", args.tls_client_identity.is_some()),
            ];
            return match asked_for.iter().find(|(_, set)| *set) {
                None => Ok(None),
                Some((variable, _)) => lacks(
                    "TLS_CERT_FILE",
                    &format!("{variable} is, and clients show certificates by TLS only"),
                ),
            };
        }
    };
    let asked_for = [
        ("TLS_CLIENT_AUTH", args.tls_client_auth.is_some()),
        ("TLS_CLIENT_IDENTITY", args.tls_client_identity.is_some_and(|it| it != ClientIdentity::Ignored)),
    ];
    if let Some((variable, _)) = asked_for.iter().find(|(_, set)| *set)
        && args.tls_client_ca_file.is_none()
    {
        let because = format!("{variable} is, which is about the certificates that it is to check");
        return lacks("TLS_CLIENT_CA_FILE", &because);
    }
    Ok(Some(TlsConfig {
        cert_file,
        key_file,
        client_ca_file: args.tls_client_ca_file.clone(),
        client_auth: args.tls_client_auth.unwrap_or_default(),
        handshake_deadline: args.tls_handshake_deadline,
        handshakes: args.tls_handshakes,
    }))
}

/// At least one way to be let in.
fn auth(args: &Args, tls: Option<&TlsConfig>) -> Result<AuthConfig, ConfigError> {
    let password = args.stream_pass.clone().filter(|password| !password.is_empty());
    let by_certificate = tls.is_some() && args.tls_client_identity == Some(ClientIdentity::Sufficient);
    if password.is_none() && args.users_file.is_none() && !by_certificate {
        return Err(ConfigError::Invalid(
            "STREAM_PASS is not set: there is no default password; set it to what clients are to authenticate with, or set USERS_FILE, or TLS_CLIENT_IDENTITY=sufficient".into(),
        ));
    }
    let credentials = password
        .map(|password| Credentials::new(args.stream_user.clone(), password))
        .transpose()
        .map_err(|error| ConfigError::invalid(error.variable(), error.shown(), &error))?;
    Ok(AuthConfig {
        credentials,
        users_file: args.users_file.clone(),
        identity: args.tls_client_identity.unwrap_or_default(),
        address_failures: args.auth_failure_limit,
        user_failures: args.auth_user_failure_limit,
        threads: args.auth_threads,
    })
}

fn positive(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "not a whole number of at least 1")
}

/// A network, or an address that is one by itself.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "not a network; write it like 10.0.0.0/8 or 2001:db8::/32")
}

/// Timers shorter than this would be noise of the timer wheel.
const MIN_TIMER: Duration = Duration::from_millis(100);

/// `AAA,BBB` or a count.
fn symbols(text: &str) -> Result<Arc<[Arc<str>]>, String> {
    if let Ok(count) = text.parse::<usize>() {
        if !(1..=MAX_SYMBOLS).contains(&count) {
            return Err(format!("must be 1 to {MAX_SYMBOLS} symbols"));
        }
        return Ok((1..=count).map(|n| Arc::from(format!("SYM{n:04}"))).collect());
    }
    symbol_names(text)
}

/// `AAA,BBB`.
pub(super) fn symbol_names(text: &str) -> Result<Arc<[Arc<str>]>, String> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if name.is_empty() || name.len() > MAX_SYMBOL_LEN {
            return Err(format!("names are 1 to {MAX_SYMBOL_LEN} bytes, separated by commas"));
        }
        if names.iter().any(|known| **known == *name) {
            return Err(format!("{name} stands in it twice"));
        }
        names.push(name.into());
    }
    if names.len() > MAX_SYMBOLS {
        Err(format!("must be 1 to {MAX_SYMBOLS} symbols"))
    } else {
        Ok(names.into())
    }
}

#[cfg(test)]
#[path = "args/tests.rs"]
mod tests;
