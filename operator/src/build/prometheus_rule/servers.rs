//! Alerts about the servers as processes: that they are there, and what they need.

use std::time::Duration;

use tickwire_crd::TlsMode;

use super::alert::Severity::{Critical, Warning};
use super::alert::{Alert, minutes};
use super::{Subject, whole_seconds};
use crate::build::pod::grace_period;

/// Time enough for a person.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a pod takes to be gone after the kubelet has killed it, and Prometheus to notice.
const AFTER_GRACE: Duration = Duration::from_secs(60);

pub(super) fn alerts(subject: &Subject<'_>) -> Vec<Alert> {
    let Subject { spec, of, window, .. } = subject;
    let no_server = Alert {
        name: "TickwireNoServer",
        severity: Critical,
        wait: minutes(2),
        expression: format!("sum(up{{{of}}}) == 0 or absent(up{{{of}}})"),
        summary: "No server answers",
        description: "Prometheus reaches none of the servers. Either clients have nobody to connect to, or nobody can see how they do.",
    };
    // Where none is asked for, none has to answer.
    let no_server = (spec.replicas > 0).then_some(no_server);
    let certificate_ends_in = certificate_ends_in(subject).as_secs();
    let others = vec![
        Alert {
            name: "TickwireServerDown",
            severity: Warning,
            wait: minutes(5),
            expression: format!("max by (pod) (up{{{of}}}) == 0"),
            summary: "A server does not answer",
            description: "{{ $labels.pod }} has not told its metrics for five minutes. Its clients are with the others, which have so many more.",
        },
        Alert {
            name: "TickwireServerNotReady",
            severity: Warning,
            wait: minutes(10),
            expression: format!("max by (pod) (tickwire_feed_caught_up{{{of}}}) == 0"),
            summary: "A server does not become ready",
            description: "{{ $labels.pod }} has not got the past that clients may resume in, and so takes no clients.",
        },
        Alert {
            name: "TickwireServerRestarts",
            severity: Warning,
            wait: minutes(1),
            expression: format!(
                "max by (pod) (changes(process_start_time_seconds{{{of}}}[15m])) > {RESTARTS}"
            ),
            summary: "A server ends again and again",
            description: "{{ $labels.pod }} has started {{ $value }} times anew within a quarter of an hour, and each time its clients have lost their connections.",
        },
        Alert {
            name: "TickwireDrainStuck",
            severity: Warning,
            wait: whole_seconds(grace_period(spec) + AFTER_GRACE),
            expression: format!("max by (pod) (tickwire_draining{{{of}}}) == 1"),
            summary: "A server should have drained, and is still there",
            description: "{{ $labels.pod }} was told to go longer ago than its drain and its grace period may take.",
        },
        Alert {
            name: "TickwireFilesLow",
            severity: Warning,
            wait: minutes(5),
            expression: format!(
                "max by (pod) (process_open_fds{{{of}}} / process_max_fds{{{of}}}) > {ALMOST_ALL}"
            ),
            summary: "A server has almost as many files open as it may",
            description: "{{ $labels.pod }} has {{ $value | humanizePercentage }} of its files open; each connection is one. When all are, no client gets in.",
        },
        Alert {
            name: "TickwireAcceptErrors",
            severity: Warning,
            wait: minutes(5),
            expression: format!(
                "sum by (pod) (increase(tickwire_accept_errors_total{{{of}}}[{window}])) > 0"
            ),
            summary: "A server cannot accept connections",
            description: "{{ $labels.pod }} could not accept some {{ $value | humanize }} connections of late, as a rule because no file is left for them.",
        },
        Alert {
            name: "TickwireReloadFails",
            severity: Warning,
            wait: minutes(1),
            expression: format!(
                "sum by (pod, source) (increase(tickwire_reloads_total{{{of},result=\"error\"}}[15m])) > 0"
            ),
            summary: "A server cannot use a file that has changed",
            description: "{{ $labels.pod }} goes on with what it had of {{ $labels.source }}: what the file has now is not in use.",
        },
        Alert {
            name: "TickwireCertificateEnds",
            severity: Critical,
            wait: minutes(60),
            expression: format!(
                "min by (pod) (tickwire_tls_certificate_expiry_timestamp_seconds{{{of}}} > 0) - time() < {certificate_ends_in}"
            ),
            summary: "A server's certificate should have been renewed long ago, and ends soon",
            description: "The certificate of {{ $labels.pod }} is good for {{ $value | humanizeDuration }} yet. When it has ended, no client gets in.",
        },
    ];
    no_server.into_iter().chain(others).collect()
}

/// Twice may be an upgrade of the image; more is no coincidence.
const RESTARTS: u32 = 2;

/// From here on the rest is gone within one bad minute.
const ALMOST_ALL: f64 = 0.9;

/// A certificate that is good for so long yet has not been renewed when it should have been: half of the time that there is for it, and at
/// most a week.
fn certificate_ends_in(subject: &Subject<'_>) -> Duration {
    let tls = &subject.spec.tls;
    let renew_before = match tls.mode {
        TlsMode::SelfSigned => Some(tls.self_signed.clone().unwrap_or_default().renew_before),
        TlsMode::CertManager => tls.cert_manager.as_ref().and_then(|wanted| wanted.renew_before),
        TlsMode::Secret | TlsMode::Disabled => None,
    };
    renew_before.map_or(WEEK, |renew_before| WEEK.min(renew_before.get() / 2))
}
