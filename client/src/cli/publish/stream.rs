//! The stream that keeps the trades: found, or made.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::{self, ErrorCode, stream::Config, stream::StorageType};
use clap::ValueEnum;
use futures_util::StreamExt as _;

use super::subject::Subjects;
use crate::cli::duration;

/// How long NATS remembers ids, where nothing else is said: NATS' own default.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The stream that keeps the trades.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StreamArgs {
    /// The stream that keeps the trades.
    #[arg(long, value_name = "NAME", value_parser = stream_name)]
    stream: String,
    /// Make the stream where there is none, for all subjects below SUBJECT.
    #[arg(long, help_heading = "The stream, where it is made")]
    create: bool,
    /// For how long it keeps trades. A server can fill its rings with what is there.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration,
        default_value = "1h",
        requires = "create",
        help_heading = "The stream, where it is made"
    )]
    max_age: Duration,
    /// Where it keeps them.
    #[arg(
        long,
        value_enum,
        default_value = "file",
        requires = "create",
        help_heading = "The stream, where it is made"
    )]
    storage: Storage,
    /// For how long NATS remembers the ids of what it has stored, in memory: some 100 bytes each. Without it 2m, or --max-age where that is less.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration,
        requires = "create",
        help_heading = "The stream, where it is made"
    )]
    duplicate_window: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Storage {
    File,
    Memory,
}

/// A stream that is there.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    /// What it keeps; with wildcards.
    pub(super) subjects: Vec<String>,
    /// The sequence of its last message, when it was looked at; 0: it never had one.
    pub(super) last_sequence: u64,
    /// For how long it knows messages again by their ids.
    pub(super) duplicate_window: Duration,
    handle: jetstream::stream::Stream,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error(
        "NATS has no stream {name:?}; --create makes it, or `nats stream add {name} --subjects '{subjects}'` does"
    )]
    Missing { name: String, subjects: String },
    #[error("this NATS has no JetStream; start it with --jetstream, or enable it for this account")]
    NoJetStream,
    #[error("the stream {name:?} cannot be looked up")]
    Get { name: String, source: jetstream::context::GetStreamError },
    #[error("the stream {name:?} cannot be made")]
    Create { name: String, source: jetstream::context::CreateStreamError },
}

impl StreamError {
    /// Whether it may be another answer a moment later, as while a cluster elects a leader.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Self::Missing { .. })
    }
}

/// As NATS has it, so that it is told before there is a connection.
fn stream_name(name: &str) -> Result<String, &'static str> {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || ".*>/\\".contains(letter);
    if name.is_empty() || name.contains(bad) {
        return Err("a stream's name has none of . * > / \\ and no spaces; write it like TICKS");
    }
    Ok(name.to_owned())
}

impl StreamArgs {
    pub(super) fn name(&self) -> &str {
        &self.stream
    }

    /// Looks the stream up, and makes it where there is none and it is to be made.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub(super) async fn find(&self, client: &Client, subjects: &Subjects) -> Result<Stream, StreamError> {
        let context = jetstream::new(client.clone());
        let name = self.stream.clone();
        let handle = match context.get_stream(&name).await {
            Ok(handle) => handle,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    if !self.create {
                        return Err(StreamError::Missing { name, subjects: subjects.all() });
                    }
                    self.make(&context, subjects).await?
                }
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT =>
                {
                    return Err(StreamError::NoJetStream);
                }
                // That is how it is said that nobody answers.
                GetStreamErrorKind::Request if !has_jetstream(client) => {
                    return Err(StreamError::NoJetStream);
                }
                _ => return Err(StreamError::Get { name, source: error }),
            },
        };
        let info = handle.cached_info();
        Ok(Stream {
            name,
            subjects: info.config.subjects.clone(),
            last_sequence: info.state.last_sequence,
            duplicate_window: info.config.duplicate_window,
            handle,
        })
    }

    async fn make(
        &self,
        context: &jetstream::Context,
        subjects: &Subjects,
    ) -> Result<jetstream::stream::Stream, StreamError> {
        let config = Config {
            name: self.stream.clone(),
            subjects: vec![subjects.all()],
            max_age: self.max_age,
            // NATS refuses one that is longer than what is kept.
            duplicate_window: self.duplicate_window.unwrap_or(DUPLICATE_WINDOW.min(self.max_age)),
            storage: match self.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            allow_direct: true,
            ..Config::default()
        };
        let made = context.create_stream(config).await;
        made.map_err(|source| match source.kind() {
            CreateStreamErrorKind::JetStreamUnavailable => StreamError::NoJetStream,
            _ => StreamError::Create { name: self.stream.clone(), source },
        })
    }
}

/// Whether the server says that it has JetStream.
fn has_jetstream(client: &Client) -> bool {
    client.server_info().jetstream
}

/// How many messages are asked for at once, where the stream is looked through.
const LOOKS: usize = 64;

impl Stream {
    /// The rows of the publisher with this id that are among the `limit` messages behind a sequence, with their own sequences.
    pub(super) async fn rows_of(&self, id: &str, behind: u64, limit: u64) -> Vec<(u64, u64)> {
        let last = self.last_sequence.min(behind.saturating_add(limit));
        let looks = (behind + 1..=last).map(async |sequence| {
            // What cannot be had, because it is gone or may not be read, is looked past.
            let message = self.handle.get_raw_message(sequence).await.ok()?;
            let found = message.headers.get(async_nats::header::NATS_MESSAGE_ID)?;
            Some((row_of(found.as_str(), id)?, sequence))
        });
        futures_util::stream::iter(looks).buffered(LOOKS).filter_map(std::future::ready).collect().await
    }
}

/// The id of a row's message.
pub(super) fn message_id(id: &str, row: u64) -> String {
    format!("{id}-{row}")
}

/// The row of a message's id, if it is of this publisher.
fn row_of(found: &str, id: &str) -> Option<u64> {
    found.strip_prefix(id)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_id_and_by_no_other() {
        assert_eq!(row_of(&message_id("run-1", 17), "run-1"), Some(17));
        assert_eq!(row_of("run-1-17", "run"), None, "another publisher's, whose id begins alike");
        assert_eq!(row_of("run-17", "run-1"), None);
    }

    #[test]
    fn a_name_that_nats_would_refuse_is_refused_at_once() {
        assert!(stream_name("TICKS_2").is_ok());
        for name in ["", "A.B", "A B", "A>", "*"] {
            assert!(stream_name(name).is_err(), "{name}");
        }
    }
}
