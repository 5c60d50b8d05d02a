//! What Prometheus raises an alarm about; docs/OPERATIONS.md has a section for each alert: what it means, what to look at, what to do.

mod alert;
mod clients;
mod feed;
mod scaling;
mod servers;

use std::time::Duration;

use kube::core::DynamicObject;
use serde_json::{Value, json};
use tickwire_crd::StreamServerSpec;

use self::alert::Alert;
use crate::fleet::Fleet;
use crate::kinds;
use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Option<DynamicObject> {
    let (fleet, monitoring) = (&validated.fleet, &validated.spec.monitoring);
    if !(monitoring.enabled && monitoring.alerts && validated.kinds.prometheus_rule) {
        return None;
    }
    let mut object = DynamicObject::new(&fleet.name, &kinds::prometheus_rule())
        .data(json!({ "spec": alert_rules(fleet, &validated.spec) }));
    object.metadata = fleet.metadata(fleet.name.clone(), "metrics");
    let own = object.metadata.labels.take().unwrap_or_default();
    object.metadata.labels = Some(monitoring.labels.clone().into_iter().chain(own).collect());
    Some(object)
}

/// The alerts of a fleet, as a rule file of Prometheus has them: an object with `groups`.
#[must_use]
pub fn alert_rules(fleet: &Fleet, spec: &StreamServerSpec) -> Value {
    let subject = Subject::new(fleet, spec);
    let group = |topic: &str, alerts: Vec<Alert>| {
        json!({
            "name": format!("tickwire.{}.{}.{topic}", fleet.namespace, fleet.name),
            "rules": alerts.iter().map(|alert| alert.rule(fleet)).collect::<Vec<_>>(),
        })
    };
    json!({ "groups": [
        group("servers", servers::alerts(&subject)),
        group("feed", feed::alerts(&subject)),
        group("clients", clients::alerts(&subject)),
        group("scaling", scaling::alerts(&subject)),
    ] })
}

/// Whom the alerts are about.
struct Subject<'a> {
    fleet: &'a Fleet,
    spec: &'a StreamServerSpec,
    /// The matchers by which the fleet's samples are found; there is room for more behind them.
    of: String,
    /// Over how long rates are taken.
    window: tickwire_crd::Duration,
    /// How old a sample may be until the next one comes.
    lag: tickwire_crd::Duration,
}

/// Long enough to be no accident, short enough to be news.
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// Samples that a rate takes to go on when one is missing.
const SAMPLES: u32 = 4;

/// What servers differ by although they are equally far: they are not asked at the same moment.
const LAG: Duration = Duration::from_secs(60);

impl<'a> Subject<'a> {
    fn new(fleet: &'a Fleet, spec: &'a StreamServerSpec) -> Self {
        let interval = spec.monitoring.interval.get();
        Self {
            fleet,
            spec,
            of: format!("namespace=\"{}\",service=\"{}\"", fleet.namespace, fleet.metrics_service()),
            window: whole_seconds(WINDOW.max(interval * SAMPLES)),
            lag: whole_seconds(LAG.max(interval * 2)),
        }
    }

    /// Connections of the servers that are to stay: those of a server that drains say nothing of the fleet.
    fn staying(&self) -> String {
        let of = &self.of;
        format!("(active_connections{{{of}}} unless on (pod) (tickwire_draining{{{of}}} == 1))")
    }
}

/// Rounded up.
fn whole_seconds(time: Duration) -> tickwire_crd::Duration {
    tickwire_crd::Duration::from_secs(time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}
