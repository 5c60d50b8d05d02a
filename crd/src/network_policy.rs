//! Who may open connections to the pods.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may open connections to the pods: a NetworkPolicy. Where it is enabled, the ports for clients and for metrics are open as it says, and nothing
/// else; the operator may always read the metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether there is a policy at all.
    pub enabled: bool,
    /// From where clients may come. Default: from everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub clients: Vec<NetworkPolicyPeer>,
    /// From where metrics may be read, beside the operator. Default: from every pod of the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub metrics: Vec<NetworkPolicyPeer>,
}
