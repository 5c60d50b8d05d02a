//! How Prometheus finds the servers.

use kube::core::DynamicObject;
use serde_json::json;

use super::METRICS_PORT;
use crate::fleet::{COMPONENT_LABEL, INSTANCE_LABEL};
use crate::kinds;
use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Option<DynamicObject> {
    let (fleet, monitoring) = (&validated.fleet, &validated.spec.monitoring);
    if !(monitoring.enabled && validated.kinds.service_monitor) {
        return None;
    }
    let mut labels = fleet.selector();
    labels.insert(COMPONENT_LABEL.into(), METRICS_PORT.into());
    let spec = json!({
        "selector": { "matchLabels": labels },
        "namespaceSelector": { "matchNames": [fleet.namespace] },
        "endpoints": [{ "port": METRICS_PORT, "interval": monitoring.interval }],
        // Every sample then says of which StreamServer it is.
        "targetLabels": [INSTANCE_LABEL],
    });
    let mut object = DynamicObject::new(&fleet.name, &kinds::service_monitor()).data(json!({ "spec": spec }));
    object.metadata = fleet.metadata(fleet.name.clone(), "metrics");
    let own = object.metadata.labels.take().unwrap_or_default();
    object.metadata.labels = Some(monitoring.labels.clone().into_iter().chain(own).collect());
    Some(object)
}
