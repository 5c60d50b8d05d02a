//! What the operator answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What has become of the specification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StreamServerStatus {
    /// The generation of the specification that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Progressing, Degraded and CertificateReady, and where autoscaling is set, ScalingActive; each with a reason and a message that says what to do.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many servers there are, those included that are being replaced.
    pub replicas: i32,
    /// How many of them serve.
    pub ready_replicas: i32,
    /// How many of them are as the specification has it.
    pub updated_replicas: i32,
    /// The label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The clients connected to all servers together, as last read from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_connections: Option<i64>,
    /// How evenly the clients are spread, where spec.rebalance.mode is not Never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<RebalanceStatus>,
    /// Where clients connect: host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The version that all servers run: the image's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the servers' certificate ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expiry: Option<Time>,
    /// The Secret with the username and the password that clients use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<String>,
    /// The ConfigMap whose key ca.crt has the authorities by which clients know the servers; where the operator signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<String>,
}

/// How evenly the clients are spread, as last seen while nothing else was changing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceStatus {
    /// Whether clients are being moved.
    pub phase: RebalancePhase,
    /// Over how many servers they were spread then. In mode ScaleUp clients are moved once there are more than that.
    pub servers: i32,
    /// The connections of the fullest server.
    pub fullest: i64,
    /// The connections of a server on average.
    pub mean: i64,
    /// How many clients the servers were asked to send away, since this moving, or the last one, began.
    pub shed: i64,
    /// While clients are being moved: when it is looked how far that has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_round: Option<Time>,
}

/// Whether clients are being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalancePhase {
    /// None is: no server has too many; or in mode ScaleUp, none has come.
    Balanced,
    /// The fullest servers send some away.
    Rebalancing,
    /// They have come back to where they were, over and over: nobody is moved until the number of servers changes.
    Stalled,
}

impl StreamServerStatus {
    /// The condition of a type.
    #[must_use]
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_.as_str())
    }

    /// Whether a condition holds: it is there, and True.
    #[must_use]
    pub fn has(&self, type_: ConditionType) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == "True")
    }
}

/// The types of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// As many servers as wanted serve.
    Ready,
    /// A change is on its way to the servers.
    Progressing,
    /// Something is wrong that a person should look at, while what runs keeps running.
    Degraded,
    /// The servers have a certificate that is good.
    CertificateReady,
    /// The number of servers can follow the number of connections. Only where that is asked for.
    ScalingActive,
}

impl ConditionType {
    /// As it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::CertificateReady => "CertificateReady",
            Self::ScalingActive => "ScalingActive",
        }
    }
}
