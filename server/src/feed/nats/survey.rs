//! Where a server begins in a stream, so that its rings are full of the past before it is ready; and from when on its bars are whole.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{RetentionPolicy, State};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{ConnectError, ConnectErrorKind, datetime};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use super::connect::{self, OptionsError};
use super::intake::{Stored, read};
use super::link::consumer;
use super::{FUTURE_TOLERANCE, MAX_REFILL};
use crate::config::NatsConfig;
use crate::error_chain::chain;
use crate::feed::{Identity, NANOS_PER_MINUTE, Symbols, epoch};

/// How long a start waits for NATS and the stream to be there.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How often it tries.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// So much more than RING_RETENTION is read, FEED_LATENESS aside: the minute in which reading begins makes no bars, and it is not over at once.
const WARM_UP: Duration = Duration::from_secs(120);

/// How far from a stream's old end a start keeps that has lost messages before: what is there is about to be removed.
const MARGIN: Duration = Duration::from_secs(10);

/// How many messages are looked at for one that tells the time.
const PEEK: usize = 256;

/// Why the feed does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// NATS does not let us in.
    #[error("FEED_NATS_URL {urls}: NATS does not let the server in; {settings}")]
    Denied {
        /// Its servers.
        urls: String,
        /// The settings that say who the server is, and what may be wrong with them.
        settings: &'static str,
    },
    /// They do not trust each other.
    #[error(
        "FEED_NATS_URL {urls}: no TLS with NATS; FEED_NATS_CA_FILE must have the authority that signed its certificate (default: the system's), and the URL a name that is in it: {why}"
    )]
    Tls {
        /// Its servers.
        urls: String,
        /// What TLS says.
        why: String,
    },
    /// The stream is one that gives each message to one reader.
    #[error(
        "FEED_NATS_STREAM {stream}: its retention is {retention}, by which messages go once somebody has taken them; it must be limits"
    )]
    Retention {
        /// The stream.
        stream: String,
        /// What it has.
        retention: &'static str,
    },
    /// It was waited for.
    #[error("{setting} {value}: not there within {PATIENCE:?}: {why}")]
    Absent {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What happened at the last attempt.
        why: String,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// When the stream was created, in nanoseconds since 1970 (UTC).
    pub(super) created: u64,
    /// Its last sequence; 0: there has never been one.
    pub(super) last: u64,
    /// The sequence to begin with.
    first: u64,
    /// From when on there are bars, in nanoseconds since 1970 (UTC).
    start: u64,
}

impl Survey {
    /// Whether nothing was ever before.
    fn is_complete(&self) -> bool {
        self.first <= 1
    }

    /// What the feed is.
    pub(super) fn identity(&self, config: &NatsConfig) -> Identity {
        let symbols = Symbols::new(config.symbols.clone());
        let joined = symbols.names().collect::<Vec<_>>().join(",");
        let lateness = u64::try_from(config.lateness.as_nanos()).unwrap_or(u64::MAX);
        let epoch = epoch(&[
            b"nats 1",
            config.stream.as_bytes(),
            &self.created.to_le_bytes(),
            joined.as_bytes(),
            // Another lateness makes other bars under the same sequences.
            &lateness.to_le_bytes(),
        ]);
        Identity {
            epoch,
            symbols,
            first_sequence: self.first,
            start: self.start,
            complete: self.is_complete(),
        }
    }
}

/// Something is not there: which setting names it, and why not.
struct Missing {
    setting: &'static str,
    why: String,
}

/// How an attempt fails.
enum Failure {
    Passing(Missing),
    Final(StartError),
}

fn passing(setting: &'static str, error: &dyn std::error::Error) -> Failure {
    Failure::Passing(Missing { setting, why: chain(error) })
}

const URL: &str = "FEED_NATS_URL";
const STREAM: &str = "FEED_NATS_STREAM";

/// Looks at the stream, once NATS and the stream are there.
pub(super) async fn survey(config: &NatsConfig, retention: Duration) -> Result<Survey, StartError> {
    let start = Instant::now();
    let mut said = String::new();
    loop {
        let Missing { setting, why } = match attempt(config, retention).await {
            Ok(survey) => return Ok(survey),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(missing)) => missing,
        };
        let value = if setting == STREAM { config.stream.clone() } else { config.urls() };
        if start.elapsed() + TRY_INTERVAL > PATIENCE {
            return Err(StartError::Absent { setting, value, why });
        }
        if why != said {
            tracing::warn!(setting, value, why, "waiting for the feed, for at most {PATIENCE:?}");
            said = why;
        }
        sleep(TRY_INTERVAL).await;
    }
}

async fn attempt(config: &NatsConfig, retention: Duration) -> Result<Survey, Failure> {
    let options = connect::options(config).map_err(|error| Failure::Final(error.into()))?;
    let jetstream = connect::once(options, config).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Failure::Final(StartError::Denied { urls: config.urls(), settings: config.login.settings() })
        }
        _ if is_about_trust(&error) => {
            Failure::Final(StartError::Tls { urls: config.urls(), why: chain(&error) })
        }
        _ => passing(URL, &error),
    })?;
    let stream = jetstream.get_stream(&config.stream).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            let why = "there is no such stream; docs/OPERATIONS.md says how to make it".into();
            Failure::Passing(Missing { setting: STREAM, why })
        }
        _ => passing(STREAM, &error),
    })?;
    let info = stream.cached_info();
    let retention_policy = match info.config.retention {
        RetentionPolicy::Limits => None,
        RetentionPolicy::Interest => Some("interest"),
        RetentionPolicy::WorkQueue => Some("workqueue"),
    };
    if let Some(retention) = retention_policy {
        let stream = config.stream.clone();
        return Err(Failure::Final(StartError::Retention { stream, retention }));
    }
    let (created, state) = (nanos(info.created), &info.state);
    let last = state.last_sequence;
    let found = match begin(config, retention, state) {
        Begin::AtTheFirst => peek(&stream, DeliverPolicy::All).await?,
        Begin::At(time) => {
            let time = datetime::from_nanos(time.into());
            let start_time = time.map_err(|error| passing(STREAM, error.as_ref()))?;
            peek(&stream, DeliverPolicy::ByStartTime { start_time }).await?
        }
        Begin::AfterTheLast => None,
    };
    let earliest = (last + 1).saturating_sub(MAX_REFILL);
    let found = match found {
        Some(found) if found.sequence < earliest => {
            peek(&stream, DeliverPolicy::ByStartSequence { start_sequence: earliest }).await?
        }
        found => found,
    };
    let lateness = u64::try_from(config.lateness.as_nanos()).unwrap_or(u64::MAX);
    let (first, start) = match found {
        Some(first) => (first.sequence, first.bars_start(lateness)),
        None => (last + 1, after_any_of(nanos(state.last_timestamp))),
    };
    let start = if first <= 1 { 0 } else { start };
    Ok(Survey { created, last, first, start })
}

/// Whether TLS has failed over what the two sides show each other, which no waiting will change.
fn is_about_trust(error: &ConnectError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let cause = source.and_then(std::io::Error::get_ref).and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// The stream's first message.
    AtTheFirst,
    /// The first one stored at or after this time, in nanoseconds since 1970 (UTC).
    At(u64),
    /// There is none that would have to be read.
    AfterTheLast,
}

/// Counted back from the last message, as the rings' retention is: so a stream in which nothing has come for long still fills them.
fn begin(config: &NatsConfig, retention: Duration, state: &State) -> Begin {
    if state.messages == 0 {
        return Begin::AfterTheLast;
    }
    let span = u64::try_from((retention + WARM_UP + config.lateness).as_nanos()).unwrap_or(u64::MAX);
    let (first, last) = (nanos(state.first_timestamp), nanos(state.last_timestamp));
    // What a stream that has lost messages begins with may be lost before it is read.
    let keeps_off = if state.first_sequence > 1 { first + MARGIN.as_nanos() as u64 } else { 0 };
    match last.saturating_sub(span).max(keeps_off) {
        // Or all of it has come just now.
        from if from <= first || from > last => Begin::AtTheFirst,
        from => Begin::At(from),
    }
}

/// The first message from somewhere on.
struct First {
    sequence: u64,
    /// When it was stored, in nanoseconds since 1970 (UTC).
    stored: u64,
    /// The time that it tells, or one soon after it; `None`: none of them is a trade.
    time: Option<u64>,
}

impl First {
    /// From when on bars are whole: as trades come out of order by no more than the lateness, none that belongs into a later minute was before.
    fn bars_start(&self, lateness: u64) -> u64 {
        match self.time {
            Some(time) => whole_minute_after(time.saturating_add(lateness)),
            None => after_any_of(self.stored),
        }
    }
}

/// From when on there are bars if the last message before was stored then: none can be dated later.
fn after_any_of(stored: u64) -> u64 {
    whole_minute_after(stored.saturating_add(FUTURE_TOLERANCE.as_nanos() as u64))
}

/// The first minute that begins after `time`.
fn whole_minute_after(time: u64) -> u64 {
    (time / NANOS_PER_MINUTE + 1).saturating_mul(NANOS_PER_MINUTE)
}

/// The first message from there on; `None`: there is none.
async fn peek(stream: &jetstream::stream::Stream, from: DeliverPolicy) -> Result<Option<First>, Failure> {
    let consumer = stream.create_consumer(consumer(from)).await.map_err(|error| passing(STREAM, &error))?;
    let messages = consumer.fetch().max_messages(PEEK).messages().await;
    let mut messages = messages.map_err(|error| passing(STREAM, &error))?;
    let mut first: Option<First> = None;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| passing(STREAM, error.as_ref()))?;
        let info = message.info().map_err(|error| passing(STREAM, error.as_ref()))?;
        let stored = Stored { sequence: info.stream_sequence, time: nanos(info.published) };
        let time = read(stored, &message.payload).ok().map(|message| message.time());
        let first = first.get_or_insert(First { sequence: stored.sequence, stored: stored.time, time });
        first.time = first.time.or(time);
        if first.time.is_some() {
            break;
        }
    }
    Ok(first)
}

/// In nanoseconds since 1970 (UTC); 0 for what is before, as a time that is not set.
pub(super) fn nanos(time: datetime::DateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos()).unwrap_or(0)
}

#[cfg(test)]
#[path = "survey/tests.rs"]
mod tests;
