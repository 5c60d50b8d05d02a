//! Logs: JSON for machines, text on a terminal; the filter can be changed while the server runs.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt as format, reload};

use crate::traces::{self, Traces};

/// Which events are logged: a level, or directives such as `info,tickwire_server::shard=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// The NATS client tells each attempt to connect on level INFO; whether the feed is away, the feed itself says.
const QUIET: &str = "async_nats=error";

impl LogFilter {
    fn to_env_filter(&self) -> EnvFilter {
        // Parsed once before, in from_str: nothing is left that could be wrong. What a filter says of a target itself comes later, and counts.
        EnvFilter::new(format!("{QUIET},{}", self.0))
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
            .all(|word| word.trim().parse::<LevelFilter>().is_ok());
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

/// Sets up logging to standard error for the process, and traces beside it, if there are any.
///
/// # Errors
///
/// Where logging has been set up before.
pub fn init(
    filter: &LogFilter,
    how: LogFormat,
    traces: Option<&Traces>,
) -> Result<LogControl, tracing_subscriber::util::TryInitError> {
    let (dispatch, control) = dispatch(filter, how, traces);
    dispatch.try_init()?;
    Ok(control)
}

fn dispatch(filter: &LogFilter, how: LogFormat, traces: Option<&Traces>) -> (Dispatch, LogControl) {
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter.to_env_filter());
    // The filter is the log's alone, and lets no span of the traces pass. Were it one for all, spans of level INFO would be made for nobody
    // while there are no traces; so no layer wants them, the interest in them is `never`, and asking costs an atomic load. Its level is said
    // because filters that name none have every event looked at, down to TRACE.
    let not_traces =
        filter_fn(|metadata| metadata.target() != traces::TARGET).with_max_level_hint(LevelFilter::TRACE);
    let filter = filter.and(not_traces);
    let on_terminal = std::io::stderr().is_terminal();
    let as_text = how == LogFormat::Text || (how == LogFormat::Auto && on_terminal);
    let log = format::layer().with_writer(std::io::stderr);
    let log =
        if as_text { log.with_ansi(on_terminal).boxed() } else { log.json().flatten_event(true).boxed() };
    let registry = tracing_subscriber::registry().with(log.with_filter(filter));
    let dispatch = match traces {
        Some(traces) => registry.with(traces.layer()).into(),
        // Not an Option for a layer: one that is None wants everything, and `never` would become `sometimes`.
        None => registry.into(),
    };
    (dispatch, LogControl { set: Arc::new(move |filter| handle.reload(filter)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Span;
    use tracing::dispatcher::with_default;

    fn filter(text: &str) -> LogFilter {
        text.parse().unwrap()
    }

    /// Whether the log, or the traces, want what is written so.
    fn is_wanted(dispatch: &Dispatch, write: fn() -> Span) -> bool {
        // Where it is written is known only once somebody wants it.
        let everybody = Dispatch::new(tracing_subscriber::registry());
        let metadata = with_default(&everybody, || write().metadata()).unwrap();
        !dispatch.register_callsite(metadata).is_never()
    }

    #[test]
    fn without_traces_no_level_of_the_log_has_their_spans_made() {
        let (dispatch, control) = dispatch(&filter("trace"), LogFormat::Json, None);
        for text in ["trace", "info,tickwire_trace=trace", "error"] {
            control.set(&filter(text)).unwrap();
            assert!(!is_wanted(&dispatch, || tracing::info_span!(target: traces::TARGET, "ours")), "{text}");
        }
    }

    #[test]
    fn the_level_can_be_changed_while_the_server_runs() {
        let (dispatch, control) = dispatch(&filter("info"), LogFormat::Json, None);
        for (text, warn, debug) in [("info", true, false), ("debug", true, true), ("error", false, false)] {
            control.set(&filter(text)).unwrap();
            assert_eq!(is_wanted(&dispatch, || tracing::warn_span!("another")), warn, "{text}");
            assert_eq!(is_wanted(&dispatch, || tracing::debug_span!("another")), debug, "{text}");
        }
    }
}
