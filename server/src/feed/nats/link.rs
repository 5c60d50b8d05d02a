//! A consumer of the stream, from where the feed stands: pulled from in large batches, without acknowledgements, and made anew whenever
//! something is wrong with it.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::Info;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::EpochOver;
use super::connect::{Connection, Presence};
use super::intake::{Intake, Stored};
use super::survey::nanos;
use crate::config::NatsConfig;
use crate::error_chain::chain;

/// The most messages that NATS is asked for at a time; more are asked for once half of them have come. At 100,000 a second: six requests.
pub(super) const BATCH: usize = 32_768;

/// The most bytes of messages that are asked for at a time, or as much as a single message may have. 32,768 trades in Protobuf have about 5 MB with
/// their subjects.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// What JetStream counts for a message beside its payload, at most: subjects and headers.
const MESSAGE_OVERHEAD: usize = 64 * 1024;

/// NATS says so often that it is there and has nothing; not hearing of it twice is a broken link.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// How long a request for messages is good for.
const EXPIRES: Duration = Duration::from_secs(30);

/// NATS forgets a consumer from which nothing was asked for so long: ours, after our end.
pub(super) const INACTIVE: Duration = Duration::from_secs(60);

/// How long a connection that is being made is waited for before it is said to be away.
const CONNECTING: Duration = Duration::from_secs(2);

/// Where in the stream a link begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// When the stream was created, in nanoseconds since 1970 (UTC).
    pub(super) created: u64,
    /// The sequence to continue with.
    pub(super) next: u64,
    /// The last message that was taken.
    pub(super) last: Option<Stored>,
    /// Whether it is known that there is none of sequence `next`, so that there is no need to look again.
    pub(super) gap_is_known: bool,
}

/// Why there is no link.
#[derive(Debug)]
pub(super) enum LinkError {
    /// Not now.
    Away(String),
    /// Never again.
    Over(EpochOver),
}

/// Why a link is one no more.
#[derive(Debug)]
pub(super) enum Broken {
    /// NATS is away, or the consumer is gone, or has left something out.
    Lost(String),
    /// Sequences are missing right at the beginning: removed one by one, or by the stream's limits before they could be read.
    Gap,
    /// What had been taken under this sequence is another message.
    Replaced {
        /// The sequence.
        sequence: u64,
    },
}

/// A consumer, and its messages.
pub(super) struct Link {
    messages: pull::Stream,
    presence: watch::Receiver<Presence>,
    /// The connection's losses when this began.
    losses: u64,
    /// The consumer's own count of what it has delivered: without a gap, whatever was deleted from the stream.
    delivered: u64,
    /// Messages that there were when this began.
    pending: u64,
    place: Place,
}

impl Link {
    /// Makes a consumer from `place` on, once it is sure that the stream is still the same.
    pub(super) async fn new(
        connection: &Connection,
        config: &NatsConfig,
        place: &Place,
    ) -> Result<Self, LinkError> {
        let mut presence = connection.presence.clone();
        let connected = presence.wait_for(|presence| presence.connected);
        let losses = match timeout(CONNECTING, connected).await {
            Ok(Ok(presence)) => presence.losses,
            Ok(Err(_)) => return Err(LinkError::Away("the connection has ended".into())),
            Err(_) => {
                let trouble = connection.presence.borrow().trouble.clone();
                let trouble = trouble.map_or(String::new(), |trouble| format!(" ({trouble})"));
                return Err(LinkError::Away(format!("no connection to {}{trouble}", config.urls())));
            }
        };
        let away =
            |what: &str, error: &dyn std::error::Error| LinkError::Away(format!("{what}: {}", chain(error)));
        let stream = connection.jetstream.get_stream(&config.stream).await;
        let stream = stream.map_err(|error| away(&format!("stream {}", config.stream), &error))?;
        let start = place.start(config, stream.cached_info()).map_err(LinkError::Over)?;
        let consumer =
            stream.create_consumer(consumer(DeliverPolicy::ByStartSequence { start_sequence: start })).await;
        let consumer = consumer.map_err(|error| away("no consumer can be made", &error))?;
        let pending = consumer.cached_info().num_pending;
        let largest = connection.client.server_info().max_payload + MESSAGE_OVERHEAD;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .max_bytes_per_batch(BATCH_BYTES.max(largest))
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await
            .map_err(|error| away("messages cannot be asked for", &error))?;
        Ok(Self {
            messages,
            presence: connection.presence.clone(),
            losses,
            delivered: 0,
            pending,
            place: *place,
        })
    }

    /// Whether there was nothing to come when this began.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.pending == 0
    }

    /// Waits for a message, and takes it with what else has come, as far as the intake has room.
    ///
    /// Cancel-safe: what is out of the link is in the intake.
    pub(super) async fn more(&mut self, intake: &mut Intake) -> Result<(), Broken> {
        let losses = self.losses;
        let first = tokio::select! {
            // Both may be dropped: messages stay in their queue until they are taken, a loss until it is seen.
            message = unconstrained(self.messages.next()) => message,
            _ = self.presence.wait_for(|presence| presence.losses > losses) => {
                return Err(Broken::Lost("the connection was lost".into()));
            }
        };
        let mut next = Some(first);
        while let Some(message) = next {
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(Broken::Lost(chain(&error))),
                None => return Err(Broken::Lost("the consumer has ended".into())),
            };
            self.take(&message, intake)?;
            // Without tokio's budget, which would have it seem after 128 messages that there are no more.
            next = if intake.is_full() { None } else { unconstrained(self.messages.next()).now_or_never() };
        }
        Ok(())
    }

    fn take(&mut self, message: &jetstream::Message, intake: &mut Intake) -> Result<(), Broken> {
        let Info { stream_sequence, consumer_sequence, pending, published, .. } = message
            .info()
            .map_err(|error| Broken::Lost(format!("a message that is not JetStream's: {error}")))?;
        let stored = Stored { sequence: stream_sequence, time: nanos(published) };
        if consumer_sequence != self.delivered + 1 {
            return Err(Broken::Lost(format!(
                "message {consumer_sequence} of the consumer came after {}",
                self.delivered
            )));
        }
        if self.delivered == 0 {
            self.place.check(stored)?;
        }
        self.delivered = consumer_sequence;
        intake.take(stored, pending, &message.payload);
        Ok(())
    }
}

impl Place {
    /// From which sequence on messages are asked for: from the last that was taken, so that it can be seen that it is still the same.
    fn start(&self, config: &NatsConfig, info: &jetstream::stream::Info) -> Result<u64, EpochOver> {
        let stream = config.stream.clone();
        let state = &info.state;
        let published = self.next - 1;
        if nanos(info.created) != self.created {
            Err(EpochOver::Recreated { stream })
        } else if state.last_sequence < published {
            Err(EpochOver::Behind { stream, last: state.last_sequence, published })
        } else if state.first_sequence > self.next {
            Err(EpochOver::Missed { stream, first: self.next, last: state.first_sequence - 1 })
        } else {
            Ok(self.last.map_or(self.next, |last| last.sequence))
        }
    }

    /// Of the first message that comes: whether it continues what was taken before.
    fn check(&self, first: Stored) -> Result<(), Broken> {
        match self.last {
            Some(last) if last.sequence == first.sequence && last.time != first.time => {
                Err(Broken::Replaced { sequence: first.sequence })
            }
            _ if first.sequence > self.next && !self.gap_is_known => Err(Broken::Gap),
            _ => Ok(()),
        }
    }
}

/// A consumer that nobody else has, is forgotten with us, and keeps no account of what was taken.
pub(super) fn consumer(from: DeliverPolicy) -> pull::Config {
    pull::Config {
        description: Some("a tickwire-server's feed".into()),
        deliver_policy: from,
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE,
        num_replicas: 1,
        memory_storage: true,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: u64 = 5_000;

    fn place(next: u64, last: Option<u64>) -> Place {
        let last = last.map(|sequence| Stored { sequence, time: STORED });
        Place { created: 1, next, last, gap_is_known: false }
    }

    #[test]
    fn a_link_continues_only_what_was_taken_before() {
        let at = |sequence, time| Stored { sequence, time };
        let place = place(11, Some(10));
        assert!(place.check(at(10, STORED)).is_ok());
        assert!(place.check(at(11, 9_000)).is_ok(), "the last one was removed since");
        assert!(matches!(place.check(at(10, STORED + 1)), Err(Broken::Replaced { sequence: 10 })));
        assert!(matches!(place.check(at(12, 9_000)), Err(Broken::Gap)));
        assert!(Place { gap_is_known: true, ..place }.check(at(12, 9_000)).is_ok());
    }
}
