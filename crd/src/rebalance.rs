//! Whether clients are moved from full servers to empty ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether clients are moved from full servers to empty ones. Connections stay where they are, so servers that have come later have few: the operator
/// can have the fullest send some away, which resume wherever the Service leads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Rebalance {
    /// When clients are moved.
    pub mode: RebalanceMode,
    /// How much more than the mean, in percent, the fullest server may have; 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub tolerance_percent: i32,
    /// How many clients at most are moved in a second, over all servers; 1 to 100000.
    #[schemars(range(min = 1, max = 100_000))]
    pub connections_per_second: i32,
}

/// When clients are moved. Not On and Off: in a YAML file these are true and false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalanceMode {
    /// Never.
    #[default]
    Never,
    /// After servers were added, until they have their share.
    ScaleUp,
    /// Whenever a server has too many.
    Always,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self { mode: RebalanceMode::default(), tolerance_percent: 15, connections_per_second: 100 }
    }
}
