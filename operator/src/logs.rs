//! Logs: JSON for machines, text on a terminal.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, Settings};

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error("LOG_LEVEL (--log-level) is {0:?}: not a filter; write it like info or info,kube=debug")]
    Filter(String),
    /// They were set up before.
    #[error("logs were set up before")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging to standard error for the process.
///
/// # Errors
///
/// Where the filter cannot be read, or logging was set up before.
pub fn init(settings: &Settings) -> Result<(), LogsError> {
    let filter =
        EnvFilter::try_new(&settings.log_level).map_err(|_| LogsError::Filter(settings.log_level.clone()))?;
    let on_terminal = std::io::stderr().is_terminal();
    let as_text =
        settings.log_format == LogFormat::Text || (settings.log_format == LogFormat::Auto && on_terminal);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log =
        if as_text { log.with_ansi(on_terminal).boxed() } else { log.json().flatten_event(true).boxed() };
    tracing_subscriber::registry().with(log.with_filter(filter)).try_init()?;
    Ok(())
}
