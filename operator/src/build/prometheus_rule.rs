//! What Prometheus raises an alarm about; docs/OPERATIONS.md says what to do then.

use std::time::Duration;

use kube::core::DynamicObject;
use serde_json::{Value, json};
use tickwire_crd::TlsMode;

use crate::kinds;
use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Option<DynamicObject> {
    let (fleet, monitoring) = (&validated.fleet, &validated.spec.monitoring);
    if !(monitoring.enabled && monitoring.alerts && validated.kinds.prometheus_rule) {
        return None;
    }
    let mut object = DynamicObject::new(&fleet.name, &kinds::prometheus_rule()).data(json!({
        "spec": { "groups": [{ "name": format!("tickwire.{}.{}", fleet.namespace, fleet.name), "rules": alerts(validated) }] },
    }));
    object.metadata = fleet.metadata(fleet.name.clone(), "metrics");
    let own = object.metadata.labels.take().unwrap_or_default();
    object.metadata.labels = Some(monitoring.labels.clone().into_iter().chain(own).collect());
    Some(object)
}

fn alerts(validated: &Validated) -> Vec<Value> {
    let fleet = &validated.fleet;
    let of = format!("namespace=\"{}\",service=\"{}\"", fleet.namespace, fleet.metrics_service());
    let full = f64::from(validated.spec.limits.max_connections) * 0.9;
    let alert = |name: &str, severity: &str, wait: &str, expression: String, summary: &str| {
        json!({
            "alert": name,
            "expr": expression,
            "for": wait,
            "labels": { "severity": severity },
            "annotations": {
                "summary": format!("{summary} (StreamServer {}/{})", fleet.namespace, fleet.name),
                "runbook": "docs/OPERATIONS.md#alerts",
            },
        })
    };
    let no_server = alert(
        "TickwireNoServer",
        "critical",
        "2m",
        format!("sum(up{{{of}}}) == 0 or absent(up{{{of}}})"),
        "No server answers",
    );
    // Where none is asked for, none has to answer.
    let no_server = (validated.spec.replicas > 0).then_some(no_server);
    let certificate_ends_in = certificate_ends_in(validated).as_secs();
    let others = vec![
        alert(
            "TickwireFeedBehind",
            "critical",
            "1m",
            format!("max by (pod) (tickwire_feed_lag_seconds{{{of}}}) > 1"),
            "A server publishes ticks more than a second late",
        ),
        alert(
            "TickwireAlmostFull",
            "warning",
            "5m",
            format!("max by (pod) (active_connections{{{of}}}) > {full}"),
            "A server has more than nine tenths of the connections that it may have",
        ),
        alert(
            "TickwireSlowConsumers",
            "warning",
            "10m",
            format!("sum(rate(tickwire_connections_closed_total{{{of},reason=\"slow_consumer\"}}[5m])) > 1"),
            "More than one client a second is closed as it does not keep up",
        ),
        alert(
            "TickwireResumesLost",
            "warning",
            "5m",
            format!("sum(rate(tickwire_resumes_total{{{of},result=\"unavailable\"}}[5m])) > 0"),
            "Clients come back for ticks that no server keeps any more",
        ),
        alert(
            "TickwireCertificateEnds",
            "critical",
            "1h",
            format!(
                "min by (pod) (tickwire_tls_certificate_expiry_timestamp_seconds{{{of}}} > 0) - time() < {certificate_ends_in}"
            ),
            "A server's certificate should have been renewed long ago, and ends soon",
        ),
    ];
    no_server.into_iter().chain(others).collect()
}

/// A certificate that is good for so long yet has not been renewed when it should have been: half of the time that there is for it, and at
/// most a week.
fn certificate_ends_in(validated: &Validated) -> Duration {
    let tls = &validated.spec.tls;
    let renew_before = match tls.mode {
        TlsMode::SelfSigned => Some(tls.self_signed.clone().unwrap_or_default().renew_before),
        TlsMode::CertManager => tls.cert_manager.as_ref().and_then(|wanted| wanted.renew_before),
        TlsMode::Secret | TlsMode::Disabled => None,
    };
    renew_before.map_or(WEEK, |renew_before| WEEK.min(renew_before.get() / 2))
}

/// Time enough for a person.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
