//! Where ticks come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::Duration;
use crate::reference::{KeyReference, NameReference};
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
    /// Trades from a stream of NATS JetStream, which every server reads for itself: all hold the same ticks under the stream's own sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsFeed>,
}

fn rules() -> Vec<Value> {
    vec![
        rule(
            "[has(self.synthetic), has(self.replay), has(self.nats)].exists_one(set, set)",
            "exactly one of synthetic, replay and nats must be set",
        ),
        rule(
            "has(self.synthetic) == has(oldSelf.synthetic) && has(self.replay) == has(oldSelf.replay)",
            "the kind of feed cannot be changed, as positions in the stream come from it; create another StreamServer",
        ),
    ]
}

impl Default for Feed {
    fn default() -> Self {
        Self { synthetic: Some(SyntheticFeed::default()), replay: None, nats: None }
    }
}

/// What is said of a field that determines positions.
const FIXED: &str = "cannot be changed, as positions in the stream come from it; create another StreamServer";

/// What is said of symbols' names that are no names.
const NOT_A_COUNT: &str = "must not be one number alone, which a server takes for how many symbols there are";

/// A made-up market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self == oldSelf", FIXED),
    rule("!(has(self.symbols) && has(self.symbolCount))", "only one of symbols and symbolCount may be set"),
    field_rule(
        "symbols",
        "!has(self.symbols) || self.symbols.size() > 1 || !self.symbols[0].matches('^[0-9]+$')",
        NOT_A_COUNT,
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
    field_rule("configMapRef", "self.configMapRef == oldSelf.configMapRef", FIXED),
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

/// A stream of NATS JetStream. Bars are made from its contents alone, so that they are the same on every server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = nats_rules()))]
pub struct NatsFeed {
    /// Where NATS answers, such as `nats://nats.market:4222`, or `tls://…` for TLS; any of them will do. Names and passwords belong into secretRef.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 255), regex(pattern = NATS_URL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub urls: Vec<String>,
    /// The stream's name in JetStream.
    #[schemars(length(min = 1, max = 255), regex(pattern = NATS_STREAM))]
    pub stream: String,
    /// The symbols to take from the stream, by names of at most 32 printable ASCII characters but the comma. Trades of others are left out.
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 1, max = 32), regex(pattern = "^[!-+--~]+$")),
        // Not a set: the order numbers the bars.
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub symbols: Vec<String>,
    /// How much later than the latest a trade may come, by the trades' own times, and still be in its bar: so much later do bars end; at most 1m.
    #[serde(default = "lateness")]
    pub lateness: Duration,
    /// A Secret with what NATS asks for, under these keys: `username` and `password`, or `token`, or `user.creds` (as nsc makes it); `ca.crt`, the
    /// authorities that may sign for NATS; `tls.crt` and `tls.key`, the servers' own certificate. Another login rolls the servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameReference>,
}

/// A URL without a user and a path: a name or an address, and perhaps a port.
const NATS_URL: &str =
    r"^(nats|tls)://([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$";

/// Printable ASCII but `.`, `*`, `>`, `/` and `\`, as JetStream has it.
const NATS_STREAM: &str = r"^[!-)+,\-0-=?-\[\]-~]+$";

fn nats_rules() -> Vec<Value> {
    let fixed = |field: &str| field_rule(field, &format!("self.{field} == oldSelf.{field}"), FIXED);
    vec![
        fixed("stream"),
        fixed("symbols"),
        fixed("lateness"),
        field_rule("symbols", "self.symbols.size() > 1 || !self.symbols[0].matches('^[0-9]+$')", NOT_A_COUNT),
        field_rule("lateness", "duration(self.lateness) <= duration('1m')", "must be at most 1m"),
    ]
}

fn lateness() -> Duration {
    Duration::from_millis(250)
}
