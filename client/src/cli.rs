//! What the commands share: where the server is, and who asks.

pub(crate) mod bench;
pub(crate) mod hash_password;
pub(crate) mod line;
pub(crate) mod publish;
pub(crate) mod subscribe;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use tickwire_client::{Client, Credentials, Mode, Tls};

/// The variable of this name, unless it is set to nothing: a deployment's template often cannot leave one away.
fn filled(name: &'static str) -> Option<&'static str> {
    let is_empty = std::env::var_os(name).is_some_and(|value| value.is_empty());
    (!is_empty).then_some(name)
}

/// Where the server is, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where a server is; several, separated by commas, are tried in turn.
    #[arg(
        long,
        env = filled("TICKWIRE_ADDRESS"),
        value_name = "HOST:PORT",
        value_parser = trimmed,
        value_delimiter = ',',
        default_value = "127.0.0.1:21591"
    )]
    address: Vec<String>,
    /// The user to authenticate as.
    #[arg(long, env = filled("STREAM_USER"), value_name = "NAME", default_value = "tickwire")]
    user: String,
    /// That user's password; better given as STREAM_PASS, as flags can be seen in the process list. It may be left away with --cert, for a server
    /// to which the certificate is enough.
    #[arg(long, env = "STREAM_PASS", value_name = "SECRET", hide_env_values = true)]
    password: Option<String>,
    /// Speak TLS; --ca, --cert, --key and --server-name imply it.
    #[arg(long, env = filled("TICKWIRE_TLS"), value_parser = BoolishValueParser::new(), help_heading = "TLS")]
    tls: bool,
    /// Trust the authorities in this file (PEM) instead of the system's.
    #[arg(long, env = filled("TICKWIRE_CA"), value_name = "FILE", help_heading = "TLS")]
    ca: Option<PathBuf>,
    /// The certificate (PEM, with its chain) to show to a server that asks for one.
    #[arg(long, env = filled("TICKWIRE_CERT"), value_name = "FILE", help_heading = "TLS")]
    cert: Option<PathBuf>,
    /// That certificate's private key (PEM, unencrypted).
    #[arg(long, env = filled("TICKWIRE_KEY"), value_name = "FILE", help_heading = "TLS")]
    key: Option<PathBuf>,
    /// The name that the server's certificate must be for; without it, the host in --address.
    #[arg(long, env = filled("TICKWIRE_SERVER_NAME"), value_name = "NAME", help_heading = "TLS")]
    server_name: Option<String>,
}

/// An address as it is meant: a list may have spaces behind its commas.
fn trimmed(address: &str) -> Result<String, std::convert::Infallible> {
    Ok(address.trim().to_owned())
}

impl ServerArgs {
    /// How many servers there are to try.
    pub(crate) fn addresses(&self) -> usize {
        self.address.len()
    }

    pub(crate) fn client(self) -> Result<Client> {
        let tls = self.tls()?;
        let password = match (self.password, &self.cert) {
            (Some(password), _) => password,
            // A server to which the certificate is enough does not look at it; any other refuses it.
            (None, Some(_)) => String::new(),
            (None, None) => bail!("no password: set STREAM_PASS to the server's"),
        };
        for address in &self.address {
            check(address)?;
        }
        let client = Client::new(self.address, Credentials::new(self.user, password));
        Ok(match tls {
            Some(tls) => client.tls(tls),
            None => client,
        })
    }

    /// `None`: without TLS. Whoever says anything about certificates wants them looked at, whatever TICKWIRE_TLS says.
    fn tls(&self) -> Result<Option<Tls>> {
        let Self { address: _, user: _, password: _, tls, ca, cert, key, server_name } = self;
        let implied = ca.is_some() || cert.is_some() || key.is_some() || server_name.is_some();
        if !tls && !implied {
            return Ok(None);
        }
        let mut builder = Tls::builder();
        if let Some(file) = ca {
            builder = builder.ca_file(file);
        }
        builder = match (cert, key) {
            (Some(cert), Some(key)) => builder.client_certificate(cert, key),
            (Some(_), None) => {
                bail!("--cert without --key: give the file with the certificate's private key too")
            }
            (None, Some(_)) => bail!("--key without --cert: give the file with the key's certificate too"),
            (None, None) => builder,
        };
        if let Some(name) = server_name {
            builder = builder.server_name(name);
        }
        Ok(Some(builder.build()?))
    }
}

/// Whether it is `host:port`.
fn check(address: &str) -> Result<()> {
    if address.contains("://") {
        bail!(
            "{address:?} has a scheme; write it without a scheme, as host:port, and use --tls to speak TLS"
        );
    }
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.with_context(|| format!("{address:?} is not an address; write it like ticks.example.com:21591"))?;
    Ok(())
}

/// What to subscribe to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// second and minute are bars, tick is every trade.
    #[arg(long, value_enum, value_name = "MODE", default_value = "second")]
    pub(crate) mode: ModeArg,
    /// Only these symbols, separated by commas; without it, all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) symbols: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    Second,
    Minute,
    Tick,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Second => Self::Second,
            ModeArg::Minute => Self::Minute,
            ModeArg::Tick => Self::Tick,
        }
    }
}

/// A duration as people write it.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "not a duration; write it like 15s or 500ms")
}

/// A sequence of causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
