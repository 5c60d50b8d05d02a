//! The kind itself.

#![expect(clippy::duplicated_attributes, reason = "each column has attributes of its own")]

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::Auth;
use crate::autoscaling::Autoscaling;
use crate::disruption::Disruption;
use crate::drain::Drain;
use crate::feed::Feed;
use crate::image::Image;
use crate::limits::Limits;
use crate::monitoring::Monitoring;
use crate::network_policy::NetworkPolicy;
use crate::pod::{Pod, Scheduling, Security};
use crate::protocol::Protocol;
use crate::rebalance::Rebalance;
use crate::rollout::Rollout;
use crate::rule::{field_rule, rule};
use crate::service::Service;
use crate::status::StreamServerStatus;
use crate::tls::Tls;

/// The API group.
pub const GROUP: &str = "tickwire.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";

/// A fleet of stream servers: what it should be like. Every field has a default; `spec: {}` is a fleet of two, with TLS and a made-up market.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tickwire.dev",
    version = "v1alpha1",
    kind = "StreamServer",
    plural = "streamservers",
    shortname = "ss",
    category = "all",
    namespaced,
    status = "StreamServerStatus",
    derive = "PartialEq",
    doc = "A fleet of servers that push ticks over TCP to long-lived clients, upgraded and scaled without any client missing a tick.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether as many servers as wanted serve"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "How many servers there are"
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.activeConnections",
        description = "Clients connected to all servers together"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "The version that all servers run"
    ),
    printcolumn(
        name = "TLS Expiry",
        type_ = "string",
        format = "date-time",
        json_path = ".status.certificateExpiry",
        description = "When the servers' certificate ends"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "How long ago it was created"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready, or not",
        priority = 1
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "Where clients connect",
        priority = 1
    )
)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct StreamServerSpec {
    /// Which image the servers run.
    pub image: Image,
    /// How many servers there are; 0 to 1000. Where autoscaling is set, its HorizontalPodAutoscaler sets this.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// How the number of servers follows the number of connections. Default: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Whether clients are moved from full servers to empty ones. Default: they are not.
    pub rebalance: Rebalance,
    /// How clients reach the servers.
    pub service: Service,
    /// Who may connect.
    pub auth: Auth,
    /// What connections are encrypted with.
    pub tls: Tls,
    /// Where ticks come from.
    pub feed: Feed,
    /// Times and sizes that a client notices.
    pub protocol: Protocol,
    /// What one client, or all of a server, may take.
    pub limits: Limits,
    /// How a server that has to go sends its clients to the others.
    pub drain: Drain,
    /// How a change reaches the servers.
    pub rollout: Rollout,
    /// What of CPU and memory a pod asks for, and may take. Default: requests of 100m and 256Mi, and no limit.
    pub resources: ResourceRequirements,
    /// On which nodes the pods run.
    pub scheduling: Scheduling,
    /// Labels and annotations of the pods.
    pub pod: Pod,
    /// Fields that replace those of the operator's own security contexts.
    pub security: Security,
    /// How many servers may be missing when nodes are emptied.
    pub disruption: Disruption,
    /// Who may open connections to the pods.
    pub network_policy: NetworkPolicy,
    /// How Prometheus learns of the servers.
    pub monitoring: Monitoring,
    /// While true, the operator changes nothing of this StreamServer but its status.
    pub paused: bool,
}

fn rules() -> Vec<Value> {
    vec![
        field_rule(
            "replicas",
            "!has(self.feed.replay) || self.replicas <= 1",
            "must be at most 1 where feed.replay is set: each server plays the recording from its own start",
        ),
        rule(
            "!has(self.feed.replay) || !has(self.autoscaling)",
            "autoscaling and feed.replay exclude each other: each server plays the recording from its own start",
        ),
        rule(
            "quantity(self.limits.writeQueue).compareTo(quantity(self.protocol.maxMessageSize)) >= 0",
            "limits.writeQueue must be at least protocol.maxMessageSize",
        ),
        rule(
            "!has(self.autoscaling) || self.autoscaling.targetActiveConnections * 10 <= self.limits.maxConnections * 9",
            "autoscaling.targetActiveConnections must be at most nine tenths of limits.maxConnections, as an autoscaler acts only where its target is exceeded by a tenth",
        ),
        rule(
            "!has(self.drain.reconnectsPerSecond) || self.limits.maxConnections <= self.drain.reconnectsPerSecond * 7200",
            "drain.reconnectsPerSecond must be at least limits.maxConnections / 7200, so that a full server drains within 2h",
        ),
    ]
}

impl Default for StreamServerSpec {
    fn default() -> Self {
        let request = |quantity: &str| Quantity(quantity.to_owned());
        Self {
            image: Image::default(),
            replicas: 2,
            autoscaling: None,
            rebalance: Rebalance::default(),
            service: Service::default(),
            auth: Auth::default(),
            tls: Tls::default(),
            feed: Feed::default(),
            protocol: Protocol::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            rollout: Rollout::default(),
            resources: ResourceRequirements {
                requests: Some(
                    [("cpu".to_owned(), request("100m")), ("memory".to_owned(), request("256Mi"))].into(),
                ),
                ..ResourceRequirements::default()
            },
            scheduling: Scheduling::default(),
            pod: Pod::default(),
            security: Security::default(),
            disruption: Disruption::default(),
            network_policy: NetworkPolicy::default(),
            monitoring: Monitoring::default(),
            paused: false,
        }
    }
}
