//! How a server that has to go sends its clients to the others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::Duration;
use crate::rule::field_rule;

/// How a server that has to go sends its clients to the others. The pod's termination grace period follows from it: delay and timeout, and a
/// little more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Drain {
    /// How long new clients are still let in after the server has been told to go: the Service needs a moment to send them elsewhere.
    pub delay: Duration,
    /// Over how long the clients' departures are then spread: the longer, the fewer come to the other servers at once.
    pub window: Duration,
    /// When whoever is left is closed, counted from the end of delay; at least window. Default: window and 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// What a client has for leaving after its turn has come, where `timeout` does not say.
const AFTER_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

fn rules() -> Vec<Value> {
    vec![
        field_rule("delay", "duration(self.delay) <= duration('10m')", "must be at most 10m"),
        field_rule("window", "duration(self.window) <= duration('1h')", "must be at most 1h"),
        field_rule(
            "timeout",
            "!has(self.timeout) || duration(self.timeout) >= duration(self.window)",
            "must be at least window: the last clients are told to go at its end, and the grace period follows from timeout",
        ),
        field_rule(
            "timeout",
            "!has(self.timeout) || duration(self.timeout) <= duration('2h')",
            "must be at most 2h",
        ),
    ]
}

impl Drain {
    /// When whoever is left is closed, counted from the end of the delay.
    #[must_use]
    pub fn effective_timeout(&self) -> std::time::Duration {
        self.timeout.map_or_else(|| self.window.get() + AFTER_WINDOW, Duration::get)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), window: Duration::from_secs(20), timeout: None }
    }
}
