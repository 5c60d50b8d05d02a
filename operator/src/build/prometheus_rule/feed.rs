//! Alerts about where ticks come from, and how late.

use super::Subject;
use super::alert::Severity::{Critical, Warning};
use super::alert::{Alert, minutes};

pub(super) fn alerts(subject: &Subject<'_>) -> Vec<Alert> {
    let Subject { of, window, lag, .. } = subject;
    vec![
        Alert {
            name: "TickwireFeedDown",
            severity: Critical,
            wait: minutes(1),
            expression: format!("max by (pod) (tickwire_feed_connected{{{of}}}) == 0"),
            summary: "A server has no connection to its feed",
            description: "{{ $labels.pod }} keeps its clients, and has no ticks for them. What is published meanwhile arrives afterwards.",
        },
        Alert {
            name: "TickwireFeedLagging",
            severity: Critical,
            wait: minutes(2),
            // In time and not in sequences: so it holds for a feed of any pace, and one that stands still is behind nobody.
            expression: format!(
                "max by (pod) (tickwire_feed_last_sequence{{{of}}}) < on () group_left () max(tickwire_feed_last_sequence{{{of}}} offset {lag})"
            ),
            summary: "A server is behind the others",
            description: "{{ $labels.pod }} has come as far as sequence {{ $value | printf \"%.0f\" }} of its feed, which another server had reached long before.",
        },
        Alert {
            name: "TickwireFeedBehind",
            severity: Critical,
            wait: minutes(1),
            expression: format!("max by (pod) (tickwire_feed_lag_seconds{{{of}}}) > {LATE}"),
            summary: "A server publishes ticks more than a second late",
            description: "{{ $labels.pod }} published its last batch {{ $value | humanizeDuration }} after it was due.",
        },
        Alert {
            name: "TickwireFeedReconnects",
            severity: Warning,
            wait: minutes(5),
            expression: format!(
                "max by (pod) (increase(tickwire_feed_reconnects_total{{{of}}}[15m])) > {RECONNECTS}"
            ),
            summary: "A server loses its feed again and again",
            description: "{{ $labels.pod }} has connected to its feed {{ $value | humanize }} times anew within a quarter of an hour.",
        },
        Alert {
            name: "TickwireFeedRejects",
            severity: Warning,
            wait: minutes(5),
            // All servers read the same messages: the most that one has rejected is what was rejected.
            expression: format!(
                "max by (reason) (rate(tickwire_feed_rejected_total{{{of},reason!=\"{NOT_ASKED_FOR}\"}}[{window}])) > 0"
            ),
            summary: "The feed has messages that cannot be used",
            description: "{{ $value | printf \"%.3g\" }} messages a second are left out of all streams ({{ $labels.reason }}).",
        },
        Alert {
            name: "TickwireFeedLateTrades",
            severity: Warning,
            wait: minutes(15),
            expression: format!(
                "max by (pod) (rate(tickwire_feed_late_trades_total{{{of}}}[{window}]) / rate(tickwire_feed_trades_total{{{of}}}[{window}])) > {LATE_PART}"
            ),
            summary: "Trades come later than the feed's lateness allows",
            description: "{{ $value | humanizePercentage }} of the trades came when their bars were closed, and are in none.",
        },
    ]
}

/// Seconds. What is due is published within milliseconds where there is time for it.
const LATE: f64 = 1.0;

/// A restart of the broker, or a rolling one of three, is no news.
const RECONNECTS: u32 = 3;

/// The part of the trades that a chart may lack before somebody sees it.
const LATE_PART: f64 = 0.01;

/// Trades of symbols that FEED_SYMBOLS does not name: left out as asked.
const NOT_ASKED_FOR: &str = "unknown_symbol";
