//! Where ticks come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reference::KeyReference;
use crate::rule::{field_rule, rule};

/// Where ticks come from: one of these. Positions in the stream come from the feed, and clients go by them from server to server: so
/// what determines the positions cannot be changed. Create another StreamServer for another feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Feed {
    /// A made-up market, a pure function of these fields and the time: all servers hold the same ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticFeed>,
    /// A recording. Each server plays it from its own start, so it is for one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayFeed>,
}

fn rules() -> Vec<Value> {
    vec![
        rule(
            "[has(self.synthetic), has(self.replay)].exists_one(set, set)",
            "exactly one of synthetic and replay must be set",
        ),
        rule(
            "has(self.synthetic) == has(oldSelf.synthetic)",
            "the kind of feed cannot be changed, as positions in the stream come from it; create another StreamServer",
        ),
    ]
}

impl Default for Feed {
    fn default() -> Self {
        Self { synthetic: Some(SyntheticFeed::default()), replay: None }
    }
}

/// A made-up market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self == oldSelf", "cannot be changed, as positions in the stream come from it; create another StreamServer"),
    rule("!(has(self.symbols) && has(self.symbolCount))", "only one of symbols and symbolCount may be set"),
    field_rule(
        "symbols",
        "!has(self.symbols) || self.symbols.size() > 1 || !self.symbols[0].matches('^[0-9]+$')",
        "must not be one number alone, which a server takes for how many symbols there are",
    ),
]))]
pub struct SyntheticFeed {
    /// Which market: the same seed, symbols and rate are the same ticks.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// The symbols' names, of at most 32 printable ASCII characters but the comma. Default: eight of the best known pairs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 1, max = 32), regex(pattern = "^[!-+--~]+$")),
        // Not a set: to a rule, sets are equal in any order, but the order determines positions.
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub symbols: Vec<String>,
    /// Instead of names: how many symbols (SYM0001, SYM0002, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub symbol_count: Option<i32>,
    /// Trades per second of the feed's time, over all symbols.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: i32,
}

impl Default for SyntheticFeed {
    fn default() -> Self {
        Self { seed: 1, symbols: Vec::new(), symbol_count: None, rate: 100 }
    }
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    field_rule("configMapRef", "self.configMapRef == oldSelf.configMapRef", "cannot be changed, as positions in the stream come from it; create another StreamServer"),
]))]
pub struct ReplayFeed {
    /// A key of a ConfigMap: a CSV with the header time,symbol,price,size, times in UTC.
    pub config_map_ref: KeyReference,
    /// How many times faster than recorded it is played; 1 to 10000.
    #[serde(default = "speed")]
    #[schemars(range(min = 1, max = 10_000))]
    pub speed: i32,
    /// Whether it begins anew at its end.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
}

fn speed() -> i32 {
    1
}
