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
    /// When whoever is left is closed, counted from the end of delay; at least window. Default: window and 10s, and where reconnectsPerSecond is
    /// set, as long as limits.maxConnections need at that pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many clients at most are sent away in a second, over all servers; 1 to 100000. Servers are then replaced, and removed, one after
    /// another, each once the one before has drained. Default: each server spreads its own over window, and nobody waits for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub reconnects_per_second: Option<i32>,
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
        field_rule(
            "timeout",
            "!has(self.timeout) || !has(self.reconnectsPerSecond)",
            "must not be set where reconnectsPerSecond is: it follows from limits.maxConnections and that pace",
        ),
    ]
}

impl Drain {
    /// Over how long so many clients leave a server: window, or longer where reconnectsPerSecond asks for that.
    #[must_use]
    pub fn window_of(&self, clients: i32) -> std::time::Duration {
        let at_pace = self.reconnects_per_second.map_or(0, |pace| {
            u64::from(clients.unsigned_abs()).div_ceil(u64::from(pace.unsigned_abs().max(1)))
        });
        self.window.get().max(std::time::Duration::from_secs(at_pace))
    }

    /// When whoever is left is closed, counted from the end of the delay, on a server that may have so many clients: no drain at the pace that is
    /// asked for is cut short.
    #[must_use]
    pub fn effective_timeout(&self, max_connections: i32) -> std::time::Duration {
        self.timeout.map_or_else(|| self.window_of(max_connections) + AFTER_WINDOW, Duration::get)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5),
            window: Duration::from_secs(20),
            timeout: None,
            reconnects_per_second: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_drains_at_the_pace_before_its_rest_is_closed() {
        let seconds = std::time::Duration::from_secs;
        let drain = |pace| Drain { reconnects_per_second: pace, ..Drain::default() };
        assert_eq!(drain(None).effective_timeout(100_000), seconds(20 + 10), "nothing is paced");
        assert_eq!(drain(Some(100)).effective_timeout(100_000), seconds(1000 + 10));
        assert_eq!(drain(Some(300)).window_of(1000), seconds(20), "the window alone is slow enough");
        assert_eq!(drain(Some(3)).window_of(100), seconds(34), "rounded up");
    }
}
