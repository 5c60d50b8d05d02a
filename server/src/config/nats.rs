//! How a feed over NATS JetStream is reached, and what is taken from it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ServerAddr;

use super::args::symbol_names;
use super::{Args, ConfigError};

/// The longest FEED_LATENESS: as long as a bar of mode MINUTE.
pub const MAX_LATENESS: Duration = Duration::from_secs(60);

/// A feed over NATS JetStream.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// Its servers; any of them will do. Without usernames and passwords.
    pub servers: Vec<ServerAddr>,
    /// The stream's name.
    pub stream: String,
    /// The symbols' names. Trades of others are left out.
    pub symbols: Arc<[Arc<str>]>,
    /// How much later than the latest a trade may come, by the trades' own times, and still be in its bar.
    pub lateness: Duration,
    /// Who the server is, to NATS.
    pub login: NatsLogin,
    /// Whom it trusts.
    pub tls: NatsTls,
}

impl NatsConfig {
    /// Its servers, as a person wrote them.
    #[must_use]
    pub fn urls(&self) -> String {
        self.servers.iter().map(ServerAddr::as_url_str).collect::<Vec<_>>().join(",")
    }
}

/// Who the server is, to NATS.
#[derive(Clone, Debug)]
pub enum NatsLogin {
    /// Nobody; or whoever the certificate says.
    Nobody,
    /// A user with a password.
    User {
        /// The name.
        name: String,
        /// The password.
        password: Secret,
    },
    /// Who has a token.
    Token(Secret),
    /// A user with a JWT and a key, in a file as `nsc` makes it.
    Credentials(PathBuf),
}

impl NatsLogin {
    /// The settings that it is made of, for errors.
    #[must_use]
    pub fn settings(&self) -> &'static str {
        match self {
            Self::Nobody => {
                "FEED_NATS_USER and FEED_NATS_PASSWORD, FEED_NATS_TOKEN or FEED_NATS_CREDENTIALS_FILE are not set"
            }
            Self::User { .. } => "FEED_NATS_USER or FEED_NATS_PASSWORD is not right",
            Self::Token(_) => "FEED_NATS_TOKEN is not right",
            Self::Credentials(_) => "FEED_NATS_CREDENTIALS_FILE is not right",
        }
    }
}

/// TLS with NATS. Besides, a server's URL may ask for it, and the server itself.
#[derive(Clone, Debug)]
pub struct NatsTls {
    /// The authorities that may sign for NATS, in PEM; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The server's own certificate and key, in PEM, where NATS asks for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What is in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it is.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What FEED=nats needs.
pub(super) fn nats(args: &Args) -> Result<NatsConfig, ConfigError> {
    let urls = needed(
        "FEED_NATS_URL",
        args.feed_nats_url.as_deref(),
        "its servers' URLs, such as nats://nats:4222",
    )?;
    let servers = urls.split(',').map(|url| server(url.trim())).collect::<Result<_, _>>()?;
    let stream =
        needed("FEED_NATS_STREAM", args.feed_nats_stream.as_deref(), "a stream's name, such as TRADES")?;
    if !stream.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte)) {
        let problem = "not a stream's name: those have no spaces, and none of . * > / \\";
        return Err(ConfigError::invalid("FEED_NATS_STREAM", stream, problem));
    }
    let symbols = needed(
        "FEED_SYMBOLS",
        args.feed_symbols.as_deref(),
        "the names of the symbols to take from the stream, such as BTCUSDT,ETHUSDT",
    )?;
    if symbols.parse::<usize>().is_ok() {
        let problem = "a count, which is for FEED=synthetic; name the symbols, such as BTCUSDT,ETHUSDT";
        return Err(ConfigError::invalid("FEED_SYMBOLS", symbols, problem));
    }
    if args.feed_lateness > MAX_LATENESS {
        let value = humantime::format_duration(args.feed_lateness);
        return Err(ConfigError::invalid("FEED_LATENESS", value, "must be 0s to 1m"));
    }
    Ok(NatsConfig {
        servers,
        stream: stream.to_owned(),
        symbols: symbol_names(symbols)
            .map_err(|problem| ConfigError::invalid("FEED_SYMBOLS", symbols, problem))?,
        lateness: args.feed_lateness,
        login: login(args)?,
        tls: tls(args)?,
    })
}

/// Set, and not to nothing: a Secret's or ConfigMap's key may be there and empty.
fn set(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

fn needed<'a>(
    variable: &'static str,
    value: Option<&'a str>,
    right: &'static str,
) -> Result<&'a str, ConfigError> {
    set(value).ok_or_else(|| {
        let flag = variable.to_ascii_lowercase().replace('_', "-");
        ConfigError::Invalid(format!("{variable} (--{flag}) is not set: FEED is nats, which needs {right}"))
    })
}

fn server(url: &str) -> Result<ServerAddr, ConfigError> {
    // Before anything of it can be shown.
    if url.contains('@') {
        return Err(ConfigError::Invalid(
            "FEED_NATS_URL (--feed-nats-url) has a username or a password in it: put them into FEED_NATS_USER and FEED_NATS_PASSWORD, as URLs are logged".into(),
        ));
    }
    let problem =
        "not the URLs of NATS servers; write them like nats://nats:4222 or tls://a:4222,tls://b:4222";
    let invalid = || ConfigError::invalid("FEED_NATS_URL", url, problem);
    let server: ServerAddr = url.parse().map_err(|_| invalid())?;
    if matches!(server.scheme(), "nats" | "tls") && !server.host().is_empty() {
        Ok(server)
    } else {
        Err(invalid())
    }
}

fn login(args: &Args) -> Result<NatsLogin, ConfigError> {
    let user = set(args.feed_nats_user.as_deref());
    let password = set(args.feed_nats_password.as_deref());
    let token = set(args.feed_nats_token.as_deref());
    let file = &args.feed_nats_credentials_file;
    let ways = [
        ("FEED_NATS_USER", user.is_some() || password.is_some()),
        ("FEED_NATS_TOKEN", token.is_some()),
        ("FEED_NATS_CREDENTIALS_FILE", file.is_some()),
    ];
    let chosen: Vec<_> = ways.iter().filter(|(_, set)| *set).map(|(variable, _)| *variable).collect();
    if chosen.len() > 1 {
        return Err(ConfigError::Invalid(format!(
            "{} are set: a server can show NATS one of them; unset the others",
            chosen.join(" and ")
        )));
    }
    let lacks = |what: &str, of: &str| {
        let flag = what.to_ascii_lowercase().replace('_', "-");
        Err(ConfigError::Invalid(format!("{what} (--{flag}) is not set: {of} is, and NATS wants both")))
    };
    match (user, password, token, file) {
        (Some(name), Some(password), ..) => {
            Ok(NatsLogin::User { name: name.to_owned(), password: Secret(password.to_owned()) })
        }
        (Some(_), None, ..) => lacks("FEED_NATS_PASSWORD", "FEED_NATS_USER"),
        (None, Some(_), ..) => lacks("FEED_NATS_USER", "FEED_NATS_PASSWORD"),
        (_, _, Some(token), _) => Ok(NatsLogin::Token(Secret(token.to_owned()))),
        (_, _, _, Some(file)) => Ok(NatsLogin::Credentials(file.clone())),
        _ => Ok(NatsLogin::Nobody),
    }
}

fn tls(args: &Args) -> Result<NatsTls, ConfigError> {
    let lacks = |what: &str, because: &str| {
        let flag = what.to_ascii_lowercase().replace('_', "-");
        Err(ConfigError::Invalid(format!("{what} (--{flag}) is not set: {because}")))
    };
    let own = match (&args.feed_nats_cert_file, &args.feed_nats_key_file) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (Some(_), None) => {
            return lacks("FEED_NATS_KEY_FILE", "FEED_NATS_CERT_FILE is, whose key it is to be");
        }
        (None, Some(_)) => {
            return lacks("FEED_NATS_CERT_FILE", "FEED_NATS_KEY_FILE is, whose certificate it is to be");
        }
        (None, None) => None,
    };
    Ok(NatsTls { ca_file: args.feed_nats_ca_file.clone(), own })
}
