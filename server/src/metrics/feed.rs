//! What is counted of the feed.

use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge};

use super::Register;
use crate::feed::nats::Rejection;

/// What the publisher and its feed count.
#[derive(Clone, Debug)]
pub struct FeedMetrics {
    trades: IntCounter,
    late: IntCounter,
    rejected: IntCounterVec,
    lag: Gauge,
    caught_up: IntGauge,
    last_sequence: Gauge,
    connected: IntGauge,
    reconnects: IntCounter,
}

impl FeedMetrics {
    /// Each at zero, and the feed connected.
    pub(super) fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            trades: register.counter("tickwire_feed_trades_total", "Trades taken from the feed")?,
            late: register.counter(
                "tickwire_feed_late_trades_total",
                "Trades that came after the end of their second's bar, and are in TICK alone",
            )?,
            rejected: register.counters(
                "tickwire_feed_rejected_total",
                "Messages of the feed that are no trades of its symbols; their sequences are covered",
                &["reason"],
            )?,
            lag: register.float_gauge(
                "tickwire_feed_lag_seconds",
                "Seconds from when the last batch was due until it was published",
            )?,
            caught_up: register.gauge(
                "tickwire_feed_caught_up",
                "1 once the past that the feed begins with has been filled in",
            )?,
            last_sequence: register
                .float_gauge("tickwire_feed_last_sequence", "The feed's last sequence that was published")?,
            connected: register.gauge(
                "tickwire_feed_connected",
                "1 while what the feed stands on is there; of a feed that stands on nothing: always",
            )?,
            reconnects: register.counter(
                "tickwire_feed_reconnects_total",
                "Times that what the feed stands on was away, and is there again",
            )?,
        };
        Rejection::LABELS.iter().for_each(|label| drop(metrics.rejected.with_label_values(&[label])));
        metrics.connected(true);
        Ok(metrics)
    }

    pub(super) fn late_trades(&self) -> u64 {
        self.late.get()
    }

    pub(super) fn rejections(&self, label: &str) -> u64 {
        self.rejected.with_label_values(&[label]).get()
    }

    /// So many trades, so many of them too late for their bars, due at `due`, were published at `now`, both in nanoseconds since 1970 (UTC).
    pub(crate) fn published(&self, trades: usize, late: u64, due: u64, now: u64, caught_up: bool) {
        self.trades.inc_by(trades as u64);
        self.late.inc_by(late);
        self.lag.set(Duration::from_nanos(now.saturating_sub(due)).as_secs_f64());
        self.caught_up.set(caught_up.into());
    }

    /// Everything up to this sequence of the feed has been published.
    pub(crate) fn reached(&self, sequence: u64) {
        self.last_sequence.set(sequence as f64);
    }

    /// A message was no trade of this feed's.
    pub(crate) fn rejected(&self, why: &Rejection) {
        self.rejected.with_label_values(&[why.label()]).inc();
    }

    /// What the feed stands on is there, or is not.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    /// What the feed stands on is there again.
    pub(crate) fn reconnected(&self) {
        self.reconnects.inc();
    }
}
