//! How many servers may be missing when nodes are emptied.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many servers may be missing when nodes are emptied: a PodDisruptionBudget. Default: one at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [crate::rule::rule(
    "!(has(self.maxUnavailable) && has(self.minAvailable))",
    "only one of maxUnavailable and minAvailable may be set",
)]))]
pub struct Disruption {
    /// Whether there is a budget at all.
    pub enabled: bool,
    /// How many, or which part (such as 25%), may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// How many, or which part, must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { enabled: true, max_unavailable: None, min_available: None }
    }
}
