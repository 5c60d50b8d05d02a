//! How a change reaches the servers.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a change reaches the servers: new ones are started beside the old, and none is taken away before its successor serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [crate::rule::field_rule(
    "maxSurge",
    "type(self.maxSurge) == int ? self.maxSurge >= 1 : self.maxSurge.matches('^([1-9][0-9]?|100)%$')",
    "must be at least 1, or a percentage from 1% to 100%",
)]))]
pub struct Rollout {
    /// How many servers, or which part of replicas (such as 25%, rounded up), may be there besides; at least 1.
    pub max_surge: IntOrString,
    /// For how many seconds a new server must have been ready before the next is replaced.
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
    /// After how many seconds without progress a rollout counts as failed.
    #[schemars(range(min = 10, max = 86_400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            max_surge: IntOrString::String("25%".into()),
            min_ready_seconds: 5,
            progress_deadline_seconds: 600,
        }
    }
}
