//! Trades from a stream of NATS JetStream, which every server reads for itself: the sequence is the stream's own, so that all of them hold the
//! same under the same numbers.
//!
//! ```text
//! survey (where to begin) → link (a consumer from there on) → intake (messages to chunks) ─┐
//!                            ▲                                                             │
//!                            └── anew from the last sequence on, whenever it breaks ◄──────┘
//! ```
//!
//! Bars follow from the stream's contents alone: time is what its messages say, never a clock's. It has come as far as the latest trade's time,
//! less FEED_LATENESS, or as far as a watermark message says; both in the order of the stream.
//!
//! Two things are taken for granted, and docs/OPERATIONS.md says so: a trade comes out of order by at most FEED_LATENESS, and messages leave the
//! stream at its old end alone. Without the first, servers that began at different places may disagree on their first bars; without the second,
//! on what there was to begin with.

mod connect;
mod intake;
mod link;
mod survey;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::health::FeedHealth;
use super::{Chunk, Feed, FeedError, Identity};
use crate::config::NatsConfig;
use crate::error_chain::chain;
use crate::metrics::FeedMetrics;
use connect::Connection;
use intake::Intake;
use link::{Link, LinkError, Place};

pub use intake::Rejection;
pub use survey::StartError;

/// A trade or a watermark that is dated so much later than JetStream stored it is rejected: one wrong clock would end everybody's bars. It
/// follows from the message alone, and so is the same on every server.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(60);

/// The most messages that are read again to fill the rings at the start: some seconds' work.
pub const MAX_REFILL: u64 = 2_000_000;

/// A link that broke without a message is tried again after this; twice as long after the next, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Sequences do not mean any more what they meant: what this server has published is of the past.
#[derive(Debug, thiserror::Error)]
pub enum EpochOver {
    /// Deleted, and made again.
    #[error("stream {stream} was deleted and made anew: its sequences start over")]
    Recreated {
        /// The stream.
        stream: String,
    },
    /// It has lost its end, as a restored one has.
    #[error(
        "stream {stream} ends at sequence {last}, but {published} has been published: it has lost its end, or was made anew"
    )]
    Behind {
        /// The stream.
        stream: String,
        /// Its last sequence.
        last: u64,
        /// The last sequence that this server has published.
        published: u64,
    },
    /// It has lost its end, and has gone on since.
    #[error("sequence {sequence} of stream {stream} is another message than the one that has been published")]
    Replaced {
        /// The stream.
        stream: String,
        /// The sequence.
        sequence: u64,
    },
    /// It does not keep messages for as long as this server was away from them.
    #[error(
        "messages {first} to {last} of stream {stream} were removed from it before this server has read them; have it keep them longer"
    )]
    Missed {
        /// The stream.
        stream: String,
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
}

/// A stream, as its messages come.
pub struct Nats {
    config: Arc<NatsConfig>,
    identity: Identity,
    /// When the stream was created, in nanoseconds since 1970 (UTC).
    created: u64,
    intake: Intake,
    health: FeedHealth,
    state: State,
    /// Links in a row that broke without a message.
    failures: u32,
}

/// Linking outlives a cancelled [`Feed::next`]; so it is kept.
enum State {
    /// Nothing has been asked for yet.
    New,
    Linking(Linking),
    Linked(Box<(Connection, Link)>),
}

type Linking = Pin<Box<dyn Future<Output = Result<(Connection, Link), EpochOver>> + Send>>;

impl Nats {
    /// Finds out where to begin, so that `retention` can be kept. Waits for NATS and the stream to be there, for at most a
    /// minute.
    ///
    /// # Errors
    ///
    /// [`StartError`], which names the setting.
    pub async fn open(
        config: NatsConfig,
        retention: Duration,
        metrics: FeedMetrics,
        health: FeedHealth,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let survey = survey::survey(&config, retention).await?;
        let identity = survey.identity(&config);
        let intake = Intake::new(&identity, config.lateness, survey.last, metrics);
        tracing::info!(
            stream = config.stream,
            first = identity.first_sequence,
            last = survey.last,
            complete = identity.complete,
            "begins with the stream's past"
        );
        let created = survey.created;
        Ok(Self { config, identity, created, intake, health, state: State::New, failures: 0 })
    }

    /// Begins to link, for which `connection` is used where there is one.
    fn link(&mut self, connection: Option<Connection>, gap_is_known: bool) {
        let place =
            Place { created: self.created, next: self.intake.next(), last: self.intake.last(), gap_is_known };
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE),
        };
        self.failures += 1;
        let (config, health) = (self.config.clone(), self.health.clone());
        self.state = State::Linking(Box::pin(link(config, health, connection, place, pause)));
    }
}

/// Links as soon as that can be done.
async fn link(
    config: Arc<NatsConfig>,
    health: FeedHealth,
    mut kept: Option<Connection>,
    place: Place,
    pause: Duration,
) -> Result<(Connection, Link), EpochOver> {
    tokio::time::sleep(pause).await;
    loop {
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => Connection::lasting(&config).await.map_err(|error| chain(&error)),
        };
        let why = match connection {
            Ok(connection) => match Link::new(&connection, &config, &place).await {
                Ok(link) => return Ok((connection, link)),
                Err(LinkError::Over(over)) => return Err(over),
                Err(LinkError::Away(why)) => {
                    kept = Some(connection);
                    why
                }
            },
            Err(why) => why,
        };
        health.away(&why);
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

impl Feed for Nats {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn next(&mut self) -> Result<Option<Chunk>, FeedError> {
        loop {
            if let Some(chunk) = self.intake.cut() {
                return Ok(Some(chunk));
            }
            match &mut self.state {
                State::New => self.link(None, false),
                // Kept in the state: dropping this future does not drop it.
                State::Linking(linking) => {
                    let (connection, link) = linking.await?;
                    self.health.back();
                    self.intake.linked(link.is_up_to_date());
                    self.state = State::Linked(Box::new((connection, link)));
                }
                State::Linked(linked) => {
                    let (_, link) = &mut **linked;
                    let before = self.intake.next();
                    // Messages are in the intake as soon as they are out of the link.
                    let more = link.more(&mut self.intake).await;
                    if self.intake.next() > before {
                        self.failures = 0;
                    }
                    if let Err(broken) = more {
                        self.relink(broken)?;
                    }
                }
            }
        }
    }
}

impl Nats {
    fn relink(&mut self, broken: link::Broken) -> Result<(), EpochOver> {
        let State::Linked(linked) = std::mem::replace(&mut self.state, State::New) else { return Ok(()) };
        let (connection, _) = *linked;
        match broken {
            // It has to be looked at why there is one, before it is told.
            link::Broken::Gap => {
                self.failures = 0;
                self.link(Some(connection), true);
            }
            link::Broken::Replaced { sequence } => {
                return Err(EpochOver::Replaced { stream: self.config.stream.clone(), sequence });
            }
            link::Broken::Lost(why) => {
                self.health.away(&why);
                self.link(Some(connection), false);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats")
            .field("config", &self.config)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
