//! What the servers' pods are like, beside the server itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, PodSecurityContext, SecurityContext, Toleration, TopologySpreadConstraint,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations of the pods, beside the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [crate::rule::field_rule(
    "labels",
    "!has(self.labels) || !self.labels.exists(key, key.startsWith('app.kubernetes.io/') || key.startsWith('tickwire.dev/'))",
    "must not have keys of app.kubernetes.io/ and tickwire.dev/, which are the operator's",
)]))]
pub struct Pod {
    /// Further labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Further annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// On which nodes the pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Nodes and neighbours that are required or preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How evenly the pods are spread; where a constraint has no labelSelector, it counts the pods of this StreamServer. Default: over nodes, as
    /// far as possible.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The pods' PriorityClass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// Fields that replace those of the operator's own security contexts, which satisfy the Pod Security Standard `restricted`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Security {
    /// Fields of the pod's security context, such as fsGroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSecurityContext>,
    /// Fields of the container's security context, such as runAsUser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<SecurityContext>,
}
