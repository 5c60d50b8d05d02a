//! How Prometheus learns of the servers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// How Prometheus learns of the servers: a ServiceMonitor and a PrometheusRule, where the cluster has these kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Monitoring {
    /// Whether there is a ServiceMonitor.
    pub enabled: bool,
    /// Whether there is a PrometheusRule with alerts, too.
    pub alerts: bool,
    /// How often metrics are read; at least 1s.
    #[schemars(extend("x-kubernetes-validations" = [crate::rule::rule(
        "duration(self) >= duration('1s')",
        "must be at least 1s",
    )]))]
    pub interval: Duration,
    /// Further labels of both, by which a Prometheus selects them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self { enabled: true, alerts: true, interval: Duration::from_secs(30), labels: BTreeMap::new() }
    }
}
