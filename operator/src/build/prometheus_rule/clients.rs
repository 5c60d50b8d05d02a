//! Alerts about what clients notice.

use super::Subject;
use super::alert::Severity::Warning;
use super::alert::{Alert, minutes};

pub(super) fn alerts(subject: &Subject<'_>) -> Vec<Alert> {
    let Subject { spec, of, window, .. } = subject;
    let full = f64::from(spec.limits.max_connections) * ALMOST_ALL;
    vec![
        Alert {
            name: "TickwireAlmostFull",
            severity: Warning,
            wait: minutes(5),
            expression: format!("max by (pod) (active_connections{{{of}}}) > {full}"),
            summary: "A server has more than nine tenths of the connections that it may have",
            description: "{{ $labels.pod }} has {{ $value | printf \"%.0f\" }} connections. When it has as many as it may, new clients are refused.",
        },
        Alert {
            name: "TickwireLatencyHigh",
            severity: Warning,
            wait: minutes(10),
            expression: format!(
                "histogram_quantile(0.99, sum by (le) (rate(publish_latency_ms_bucket{{{of}}}[{window}]))) > {SLOW_MS}"
            ),
            summary: "Ticks reach the last subscriber late",
            description: "One batch in a hundred is offered to its last subscriber more than {{ $value | humanize }} ms after it was due.",
        },
        Alert {
            name: "TickwireSlowConsumers",
            severity: Warning,
            wait: minutes(10),
            expression: format!(
                "sum(rate(tickwire_connections_closed_total{{{of},reason=\"slow_consumer\"}}[{window}])) > 1"
            ),
            summary: "More than one client a second is closed as it does not keep up",
            description: "{{ $value | humanize }} clients a second are closed with SLOW_CONSUMER.",
        },
        Alert {
            name: "TickwireHeartbeatTimeouts",
            severity: Warning,
            wait: minutes(5),
            // A part of those who are there, and more than a few: what is much differs from fleet to fleet.
            expression: format!(
                "sum(increase(heartbeat_timeouts_total{{{of}}}[{window}])) > {SILENT_PART} * sum(active_connections{{{of}}}) and sum(increase(heartbeat_timeouts_total{{{of}}}[{window}])) > {SILENT}"
            ),
            summary: "Unusually many clients have gone silent",
            description: "{{ $value | humanize }} clients were closed with HEARTBEAT_TIMEOUT of late, over a hundredth of those who are connected.",
        },
        Alert {
            name: "TickwireAuthFailures",
            severity: Warning,
            wait: minutes(10),
            expression: format!("sum by (reason) (rate(tickwire_auth_failures_total{{{of}}}[{window}])) > 1"),
            summary: "Clients are not let in",
            description: "{{ $value | humanize }} times a second an AUTH is not accepted ({{ $labels.reason }}).",
        },
        Alert {
            name: "TickwireResumesLost",
            severity: Warning,
            wait: minutes(5),
            expression: format!(
                "sum(rate(tickwire_resumes_total{{{of},result=\"unavailable\"}}[{window}])) > 0"
            ),
            summary: "Clients come back for ticks that no server keeps any more",
            description: "{{ $value | printf \"%.3g\" }} clients a second come back too late, and are told that they have missed something.",
        },
    ]
}

/// From here on a failing neighbour's clients do not fit.
const ALMOST_ALL: f64 = 0.9;

/// Milliseconds: a bound of the histogram's, and what a person notices.
const SLOW_MS: f64 = 250.0;

/// Of the connected clients; a network that breaks takes more at once.
const SILENT_PART: f64 = 0.01;

/// Fewer within the window may be telephones that were switched off.
const SILENT: u32 = 10;
