//! Logs: JSON for machines, text on a terminal; the filter can be changed while the server runs.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt as format, reload};

/// Which events are logged: a level, or directives such as `info,tickwire_server::shard=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    fn to_env_filter(&self) -> EnvFilter {
        // Parsed once before, in from_str: nothing is left that could be wrong.
        EnvFilter::new(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let text = text.trim();
        // EnvFilter takes a bare word for a target; here it is a level, or a typing error.
        let words_are_levels = text
            .split(',')
            .filter(|directive| !directive.contains('='))
            .all(|word| word.trim().parse::<tracing::level_filters::LevelFilter>().is_ok());
        if text.is_empty() || !words_are_levels || EnvFilter::try_new(text).is_err() {
            return Err(InvalidFilter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a filter.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a filter; write it like info or info,tickwire_server=debug")]
pub struct InvalidFilter;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Changes the filter of a running server.
#[derive(Clone)]
pub struct LogControl {
    set: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl LogControl {
    /// A control that changes nothing, for a server whose host has set logs up by itself.
    #[must_use]
    pub fn fixed() -> Self {
        Self { set: Arc::new(|_| Ok(())) }
    }

    /// Logs by `filter` from now on.
    ///
    /// # Errors
    ///
    /// Where logging has ended.
    pub fn set(&self, filter: &LogFilter) -> Result<(), reload::Error> {
        (self.set)(filter.to_env_filter())
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}

/// Sets up logging to standard error for the process.
///
/// # Errors
///
/// Where logging has been set up before.
pub fn init(
    filter: &LogFilter,
    how: LogFormat,
) -> Result<LogControl, tracing_subscriber::util::TryInitError> {
    let (layer, handle) = reload::Layer::<EnvFilter, Registry>::new(filter.to_env_filter());
    let registry = tracing_subscriber::registry().with(layer);
    let on_terminal = std::io::stderr().is_terminal();
    let as_text = how == LogFormat::Text || (how == LogFormat::Auto && on_terminal);
    if as_text {
        registry.with(format::layer().with_writer(std::io::stderr).with_ansi(on_terminal)).try_init()?;
    } else {
        registry.with(format::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()?;
    }
    Ok(LogControl { set: Arc::new(move |filter| handle.reload(filter)) })
}
