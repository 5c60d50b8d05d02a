//! What NATS answers to a message.

use std::borrow::Cow;

use async_nats::{Message, StatusCode};
use serde::Deserialize;

/// A message that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// It had been stored before, and was known by its id.
    pub(super) duplicate: bool,
}

/// Why a message was not stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AckError {
    /// Nobody keeps its subject at the moment.
    #[error("no stream answers")]
    NobodyAnswers,
    /// NATS cannot, at the moment.
    #[error("NATS cannot store at the moment: {0}")]
    Unavailable(String),
    /// NATS does not want it.
    #[error("NATS does not store it: {0}")]
    Refused(String),
    /// Another stream has it.
    #[error("the stream {0} has stored it: it keeps the same subject")]
    OtherStream(String),
    /// What came is no answer.
    #[error("the answer is none of JetStream's")]
    Unknown,
}

impl AckError {
    /// Whether the same message may be stored a moment later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::NobodyAnswers | Self::Unavailable(_))
    }
}

/// The answer's JSON.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default, rename = "seq")]
    sequence: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    /// As HTTP has them.
    code: u16,
    #[serde(default)]
    description: String,
}

/// What passes: too many requests, unavailable.
const PASSING: [u16; 2] = [429, 503];

/// Reads the answer about a message that was meant for this stream.
pub(super) fn read(message: &Message, stream: &str) -> Result<Ack, AckError> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(AckError::NobodyAnswers);
    }
    parse(&message.payload, stream)
}

fn parse(payload: &[u8], stream: &str) -> Result<Ack, AckError> {
    let answer: Answer<'_> = serde_json::from_slice(payload).map_err(|_| AckError::Unknown)?;
    match answer.error {
        Some(Failure { code, description }) if PASSING.contains(&code) => {
            Err(AckError::Unavailable(description))
        }
        Some(Failure { description, .. }) => Err(AckError::Refused(description)),
        None if answer.stream != stream => Err(AckError::OtherStream(answer.stream.into_owned())),
        None => Ok(Ack { sequence: answer.sequence, duplicate: answer.duplicate }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_jetstream_is_understood() {
        let read = |text: &str| parse(text.as_bytes(), "TICKS");
        assert_eq!(read(r#"{"stream":"TICKS","seq":7}"#), Ok(Ack { sequence: 7, duplicate: false }));
        assert_eq!(
            read(r#"{"stream":"TICKS","domain":"hub","seq":7,"duplicate":true}"#),
            Ok(Ack { sequence: 7, duplicate: true })
        );
        assert_eq!(read(r#"{"stream":"QUOTES","seq":7}"#), Err(AckError::OtherStream("QUOTES".into())));
        let full = read(
            r#"{"error":{"code":400,"err_code":10077,"description":"maximum messages exceeded"},"stream":"TICKS","seq":0}"#,
        );
        assert_eq!(full, Err(AckError::Refused("maximum messages exceeded".into())));
        let busy = read(
            r#"{"error":{"code":429,"err_code":10167,"description":"too many requests"},"stream":"TICKS","seq":0}"#,
        );
        assert!(busy.unwrap_err().may_pass());
        assert_eq!(read("hello"), Err(AckError::Unknown));
    }
}
