//! What a publisher does with a stream of NATS JetStream, and who reads it beside Tickwire.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
pub use async_nats::jetstream::stream::RetentionPolicy;
use async_nats::jetstream::stream::{self, StorageType};
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::{NatsServer, PATIENCE, eventually};

/// The stream of a test.
pub const STREAM: &str = "TRADES";
/// Its only subject.
const SUBJECT: &str = "trades.all";

/// How many messages are sent before the first has to be stored; the client has 5,000 wait at most.
const IN_FLIGHT: usize = 1000;

/// How long a message may take to be stored before it is sent once more.
const STORED: Duration = Duration::from_secs(1);

/// JetStream, as a client sees it that connects again by itself.
#[derive(Debug)]
pub struct JetStream {
    context: Context,
    runtime: Runtime,
}

impl JetStream {
    /// As a client sees it that says nothing of itself.
    ///
    /// # Panics
    ///
    /// Where there is no connection.
    #[must_use]
    pub fn of(nats: &NatsServer) -> Self {
        Self::connect(nats, ConnectOptions::new())
    }

    /// As this client sees it.
    ///
    /// # Panics
    ///
    /// Where there is no connection.
    #[must_use]
    pub fn connect(nats: &NatsServer, options: ConnectOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let context = runtime.block_on(async {
            let client = options.connect(nats.url()).await.expect("NATS lets us in");
            jetstream::new(client)
        });
        Self { context, runtime }
    }

    /// Makes the stream, stored in files and without limits.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn make_stream(&self) {
        self.make_stream_of(RetentionPolicy::Limits);
    }

    /// The same, by which messages are kept in this way.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn make_stream_of(&self, retention: RetentionPolicy) {
        let config = stream::Config {
            name: STREAM.into(),
            subjects: vec![SUBJECT.into()],
            storage: StorageType::File,
            retention,
            ..Default::default()
        };
        // JetStream may take a moment longer than the port.
        eventually("the stream is made", || {
            self.runtime.block_on(self.context.create_stream(config.clone())).is_ok()
        });
    }

    /// Deletes the stream.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn delete_stream(&self) {
        self.runtime.block_on(self.context.delete_stream(STREAM)).expect("the stream is deleted");
    }

    /// Removes the messages before this sequence.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn purge_before(&self, sequence: u64) {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(STREAM).await.expect("the stream");
            stream.purge().sequence(sequence).await.expect("it is purged");
        });
    }

    /// Removes one message.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn delete(&self, sequence: u64) {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(STREAM).await.expect("the stream");
            assert!(stream.delete_message(sequence).await.expect("an answer"), "it is deleted");
        });
    }

    /// Publishes messages, in order; all are stored when this returns.
    ///
    /// # Panics
    ///
    /// Where one is not stored.
    pub fn publish(&self, messages: impl IntoIterator<Item = Vec<u8>>) {
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            self.runtime.block_on(async {
                let mut acks = Vec::with_capacity(IN_FLIGHT);
                for message in messages.by_ref().take(IN_FLIGHT) {
                    acks.push(self.context.publish(SUBJECT, message.into()).await.expect("it is sent"));
                }
                for ack in acks {
                    ack.await.expect("it is stored");
                }
            });
        }
    }

    /// Publishes one message, though NATS may be away: under an identity, so that it is stored once however often it is sent.
    pub fn publish_stubbornly(&self, identity: u64, message: &[u8]) {
        self.runtime.block_on(async {
            loop {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Msg-Id", identity.to_string());
                let stored = async {
                    let sent = self.context.publish_with_headers(SUBJECT, headers, message.to_vec().into());
                    sent.await.ok()?.await.ok()
                };
                if timeout(STORED, stored).await.is_ok_and(|stored| stored.is_some()) {
                    return;
                }
            }
        });
    }

    /// What the stream holds: sequences and payloads.
    ///
    /// # Panics
    ///
    /// Where it cannot be read.
    #[must_use]
    pub fn contents(&self) -> Vec<(u64, Vec<u8>)> {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(STREAM).await.expect("the stream");
            let count = stream.cached_info().state.messages as usize;
            let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
            let consumer = stream.create_consumer(config).await.expect("a consumer");
            let messages = consumer.stream().messages().await.expect("messages").take(count);
            let read = messages.map(|message| {
                let message = message.expect("a message");
                (message.info().expect("of JetStream").stream_sequence, message.payload.to_vec())
            });
            timeout(PATIENCE, read.collect()).await.expect("all come")
        })
    }
}
