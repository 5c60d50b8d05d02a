//! How the number of servers follows the number of connections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::rule::field_rule;

/// How the number of servers follows the number of connections: a HorizontalPodAutoscaler on `active_connections`, whose target is the
/// StreamServer's own scale subresource. `spec.replicas` is then its field: leave it out of what you apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [field_rule(
    "maxReplicas",
    "self.maxReplicas >= self.minReplicas",
    "must be at least minReplicas",
)]))]
pub struct Autoscaling {
    /// The fewest servers; 1 to 1000.
    #[serde(default = "min_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// The most servers; at least minReplicas, at most 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Connections per server that are aimed at; more add servers, fewer remove some. Keep it well below limits.maxConnections.
    #[serde(default = "target_active_connections")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_active_connections: i32,
    /// How carefully servers are removed: each one that goes sends its clients to the others.
    #[serde(default)]
    pub scale_down: ScaleDown,
}

fn min_replicas() -> i32 {
    2
}

fn target_active_connections() -> i32 {
    10_000
}

/// How carefully servers are removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ScaleDown {
    /// For how long fewer servers must have been enough before one is removed; at most 1h.
    #[schemars(extend("x-kubernetes-validations" = [crate::rule::rule(
        "duration(self) <= duration('1h')",
        "must be at most 1h",
    )]))]
    pub stabilization_window: Duration,
    /// How many may be removed within one drain (drain.delay and drain.window together).
    #[schemars(range(min = 1, max = 1000))]
    pub pods_per_drain: i32,
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self { stabilization_window: Duration::from_secs(600), pods_per_drain: 1 }
    }
}
