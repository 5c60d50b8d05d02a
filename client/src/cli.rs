//! What the commands share: where the server is, and who asks.

pub(crate) mod bench;
pub(crate) mod line;
pub(crate) mod subscribe;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tickwire_client::{Client, Credentials, Mode};

/// Where the server is, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where a server is; several, separated by commas, are tried in turn.
    #[arg(
        long,
        env = "TICKWIRE_ADDRESS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:21591"
    )]
    address: Vec<String>,
    /// The user to authenticate as.
    #[arg(long, env = "STREAM_USER", value_name = "NAME", default_value = "tickwire")]
    user: String,
    /// That user's password; better given as STREAM_PASS, as flags can be seen in the process list.
    #[arg(long, env = "STREAM_PASS", value_name = "SECRET", hide_env_values = true)]
    password: Option<String>,
}

impl ServerArgs {
    pub(crate) fn client(self) -> Result<Client> {
        let password = self.password.context("no password: set STREAM_PASS to the server's")?;
        for address in &self.address {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            port.with_context(|| {
                format!("{address:?} is not an address; write it like ticks.example.com:21591")
            })?;
        }
        Ok(Client::new(self.address, Credentials::new(self.user, password)))
    }
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
