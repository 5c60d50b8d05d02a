//! Times and sizes that a client notices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::Duration;
use crate::rule::field_rule;
use crate::size::Size;

/// Times and sizes that a client notices. Source: docs/PROTOCOL.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Protocol {
    /// A heartbeat is sent on a connection that carried nothing else for so long; at least 100ms.
    pub heartbeat_interval: Duration,
    /// A client that sends nothing for so long (and 5s of grace) is closed; more than heartbeatInterval.
    pub heartbeat_timeout: Duration,
    /// Ticks that come within so long of each other share a batch; at most 1s.
    pub batch_window: Duration,
    /// The largest payload of a frame, both ways; 4Ki to 16Mi.
    pub max_message_size: Size,
    /// A client that takes nothing for so long, while something waits for it, is closed; at least 100ms.
    pub write_deadline: Duration,
    /// How long a new connection has for its AUTH; at least 100ms.
    pub auth_deadline: Duration,
}

fn rules() -> Vec<Value> {
    let least = |field: &str| {
        field_rule(field, &format!("duration(self.{field}) >= duration('100ms')"), "must be at least 100ms")
    };
    vec![
        least("heartbeatInterval"),
        field_rule(
            "heartbeatTimeout",
            "duration(self.heartbeatTimeout) > duration(self.heartbeatInterval)",
            "must be more than heartbeatInterval",
        ),
        field_rule(
            "heartbeatTimeout",
            "duration(self.heartbeatTimeout) <= duration('24h')",
            "must be at most 24h",
        ),
        field_rule("batchWindow", "duration(self.batchWindow) <= duration('1s')", "must be at most 1s"),
        field_rule(
            "maxMessageSize",
            "quantity(self.maxMessageSize).compareTo(quantity('4Ki')) >= 0 && quantity(self.maxMessageSize).compareTo(quantity('16Mi')) <= 0",
            "must be 4Ki to 16Mi",
        ),
        least("writeDeadline"),
        field_rule("writeDeadline", "duration(self.writeDeadline) <= duration('24h')", "must be at most 24h"),
        least("authDeadline"),
        field_rule("authDeadline", "duration(self.authDeadline) <= duration('24h')", "must be at most 24h"),
    ]
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(15),
            heartbeat_timeout: Duration::from_secs(20),
            batch_window: Duration::from_millis(5),
            max_message_size: Size::from_bytes(64 << 10),
            write_deadline: Duration::from_secs(5),
            auth_deadline: Duration::from_secs(5),
        }
    }
}
