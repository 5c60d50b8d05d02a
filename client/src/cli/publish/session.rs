//! One connection's work: send what is due, and take in what NATS answers.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use async_nats::{HeaderMap, Message, Subscriber, header};
use futures_util::{FutureExt as _, StreamExt as _};
use tickwire_proto::trade;
use tokio::time::{Instant, sleep_until};

use super::Encoding;
use super::ack;
use super::intake::Intake;
use super::nats::Connection;
use super::outbox::Outbox;
use super::stop::Stop;
use super::stream::message_id;
use super::subject::Subjects;
use crate::cli::chain;

/// How long NATS may take to answer, while something is under way.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection's work ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Everything is stored.
    Done,
    /// A signal came, and another while there was something under way.
    Stopped,
    /// Without NATS, for this reason.
    Lost(String),
}

fn lost() -> Ended {
    Ended::Lost("the connection to NATS is lost".into())
}

/// What a connection works with. Everything that counts outlives it.
pub(super) struct Session<'a> {
    pub(super) connection: &'a Connection,
    pub(super) outbox: &'a mut Outbox,
    pub(super) intake: &'a mut Intake,
    pub(super) subjects: &'a mut Subjects,
    pub(super) id: &'a str,
    pub(super) encoding: Encoding,
}

impl Session<'_> {
    /// Works until everything is stored, or the connection is lost.
    ///
    /// # Errors
    ///
    /// What trying again does not mend: the source is wrong, or NATS refuses a message.
    pub(super) async fn run(&mut self, stop: &mut Stop) -> Result<Ended> {
        let connection = self.connection;
        tokio::select! {
            // Its state is in the outbox, where nothing is half done at a point of waiting.
            ended = self.work(stop) => ended,
            () = connection.lost() => Ok(lost()),
        }
    }

    async fn work(&mut self, stop: &mut Stop) -> Result<Ended> {
        // One subscription for all answers: what is behind its point is the row's number.
        let inbox = self.connection.client.new_inbox();
        let subscribed = self.connection.client.subscribe(format!("{inbox}.*")).await;
        let Ok(mut answers): Result<Subscriber, _> = subscribed else { return Ok(lost()) };
        let mut more = true;
        let mut stopped = false;
        let mut heard = Instant::now();
        loop {
            if !self.send(&inbox).await {
                return Ok(lost());
            }
            if self.outbox.is_empty() && !more {
                return self.intake.error().map_or(Ok(Ended::Done), |error| Err(error.into()));
            }
            tokio::select! {
                answer = answers.next() => {
                    let mut answer = answer;
                    while let Some(message) = answer {
                        if let Some(lost) = self.take(&inbox, &message)? {
                            return Ok(lost);
                        }
                        // Whatever is there already.
                        answer = answers.next().now_or_never().flatten();
                    }
                    heard = Instant::now();
                }
                // Cancel-safe; what it has given is in the outbox before anything else is waited for.
                message = self.intake.next(), if more && self.outbox.has_room() => {
                    if self.outbox.is_empty() {
                        // Nothing was to be answered until now.
                        heard = Instant::now();
                    }
                    let mut message = Some(message);
                    while let Some(next) = message {
                        let Some(next) = next else {
                            more = false;
                            break;
                        };
                        self.push(&next)?;
                        message = if self.outbox.has_room() { self.intake.next().now_or_never() } else { None };
                    }
                }
                () = sleep_until(heard + ACK_TIMEOUT), if !self.outbox.is_empty() => {
                    return Ok(Ended::Lost(format!("NATS has not answered for {ACK_TIMEOUT:?}")));
                }
                () = stop.told() => {
                    if stopped {
                        return Ok(Ended::Stopped);
                    }
                    stopped = true;
                    self.intake.stop();
                }
            }
        }
    }

    /// Puts a message into the outbox.
    fn push(&mut self, message: &trade::Message<'_>) -> Result<()> {
        let subject = self.subjects.of(message)?;
        let payload = match self.encoding {
            Encoding::Protobuf => message.to_protobuf(),
            Encoding::Json => message.to_json().into_bytes(),
        };
        self.outbox.push(subject, payload);
        Ok(())
    }

    /// Sends whatever was not sent on this connection. Answers whether there still is one.
    async fn send(&mut self, inbox: &str) -> bool {
        while let Some((row, subject, payload)) = self.outbox.next_unsent() {
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_MESSAGE_ID, message_id(self.id, row));
            let (client, reply) = (&self.connection.client, format!("{inbox}.{row}"));
            // Subjects and sizes were looked at; what fails is that nobody takes it any more.
            if client.publish_with_reply_and_headers(subject, reply, headers, payload).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Takes in an answer. `Some`: the same has to be tried again, on another connection.
    fn take(&mut self, inbox: &str, message: &Message) -> Result<Option<Ended>> {
        let behind = message.subject.strip_prefix(inbox).and_then(|rest| rest.strip_prefix('.'));
        let row = behind
            .and_then(|row| row.parse().ok())
            .ok_or_else(|| anyhow!("NATS answers on {}, where nothing was asked", message.subject))?;
        match ack::read(message, self.subjects.stream()) {
            Ok(ack) => self.outbox.acknowledge(row, ack),
            Err(error) if error.may_pass() => return Ok(Some(Ended::Lost(chain(&error)))),
            Err(error) => bail!("message {row}: {}", chain(&error)),
        }
        Ok(None)
    }
}
