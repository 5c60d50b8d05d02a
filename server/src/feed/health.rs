//! Whether what a feed stands on is there. A server whose feed is away keeps its clients: what is published meanwhile comes afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::FeedMetrics;

/// A feed that is away for longer is told of by /readyz: shorter ones are restarts, which nobody need act upon.
pub const AWAY_TOLERANCE: Duration = Duration::from_secs(5);

/// Shared between a feed and who asks for its health.
#[derive(Clone, Debug)]
pub struct FeedHealth {
    away: Arc<Mutex<Option<Away>>>,
    metrics: FeedMetrics,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    why: String,
}

impl FeedHealth {
    /// All is well, as it stays for feeds that stand on nothing.
    #[must_use]
    pub fn new(metrics: FeedMetrics) -> Self {
        metrics.connected(true);
        Self { away: Arc::default(), metrics }
    }

    /// It is away, for this reason. Said in the log once, until it is back.
    pub(crate) fn away(&self, why: &str) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *away {
            None => {
                self.metrics.connected(false);
                tracing::warn!(
                    why,
                    "the feed is away: clients stay connected, and get what is published meanwhile once it is back"
                );
                *away = Some(Away { since: Instant::now(), why: why.to_owned() });
            }
            Some(away) if away.why != why => {
                tracing::debug!(why, "the feed is still away");
                why.clone_into(&mut away.why);
            }
            Some(_) => {}
        }
    }

    /// It is there.
    pub(crate) fn back(&self) {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(away) = away {
            self.metrics.connected(true);
            self.metrics.reconnected();
            tracing::info!(away_for = ?away.since.elapsed(), "the feed is back");
        }
    }

    /// For whoever asks whether the server is ready: since when and why the feed is away, once that is longer than [`AWAY_TOLERANCE`].
    #[must_use]
    pub fn illness(&self) -> Option<String> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let Away { since, why } = away.as_ref()?;
        let seconds = since.elapsed();
        (seconds > AWAY_TOLERANCE).then(|| format!("the feed is away since {} s: {why}", seconds.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn only_who_stays_away_is_told_of_and_with_the_latest_reason() {
        let health = FeedHealth::new(Metrics::new(1).unwrap().feed());
        assert_eq!(health.illness(), None);
        health.away("the connection was lost");
        advance(AWAY_TOLERANCE).await;
        assert_eq!(health.illness(), None);
        health.away("nobody answers");
        advance(Duration::from_secs(3)).await;
        assert_eq!(health.illness().as_deref(), Some("the feed is away since 8 s: nobody answers"));
        health.back();
        assert_eq!(health.illness(), None);
    }
}
