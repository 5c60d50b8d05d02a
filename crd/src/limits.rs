//! What one client, or all of a server, may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::Duration;
use crate::rule::field_rule;
use crate::size::Size;

/// What one client, or all of a server, may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Limits {
    /// Connections at once, per server; more are told to come again later.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: i32,
    /// Connections at once from one address (of IPv6: a /64), per server; 0: no limit, for clients that come through load balancers which do
    /// not tell their addresses.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_connections_per_address: i32,
    /// A client that has caught up and then lags by more bytes is closed; at least protocol.maxMessageSize, at most ringSize.
    pub write_queue: Size,
    /// Different symbol filters at once, per stream.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_filters: i32,
    /// How many bytes of its past each of the three streams keeps in memory, so that clients can resume; 1Mi to 1024Gi. The symbol filters of a
    /// stream take as much again at most: keep resources.limits.memory above six times this.
    pub ring_size: Size,
    /// How long each stream keeps its past, ringSize permitting; at least 1s. Longer than a client needs to come back.
    pub ring_retention: Duration,
}

fn rules() -> Vec<Value> {
    vec![
        field_rule(
            "ringSize",
            "quantity(self.ringSize).compareTo(quantity('1Mi')) >= 0 && quantity(self.ringSize).compareTo(quantity('1024Gi')) <= 0",
            "must be 1Mi to 1024Gi",
        ),
        field_rule(
            "writeQueue",
            "quantity(self.writeQueue).compareTo(quantity(self.ringSize)) <= 0",
            "must be at most ringSize",
        ),
        field_rule(
            "ringRetention",
            "duration(self.ringRetention) >= duration('1s') && duration(self.ringRetention) <= duration('24h')",
            "must be 1s to 24h",
        ),
    ]
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_connections_per_address: 0,
            write_queue: Size::from_bytes(4 << 20),
            max_filters: 256,
            ring_size: Size::from_bytes(64 << 20),
            ring_retention: Duration::from_secs(600),
        }
    }
}
