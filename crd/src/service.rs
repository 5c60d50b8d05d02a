//! How clients reach the servers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rule::field_rule;

/// The Service, of the StreamServer's name, through which clients reach the servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Service {
    /// From where the Service can be reached.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Its port; 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The port on the nodes; for NodePort and LoadBalancer. Default: a free one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
    /// Further annotations of the Service: what a cloud's load balancer is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Further labels of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether a node sends what comes from outside to servers of its own alone (Local), which keeps the clients' addresses, or to all
    /// (Cluster). For NodePort and LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Which implementation of load balancers is meant; for LoadBalancer. It cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Networks from which the load balancer lets clients in, such as 192.0.2.0/24; for LoadBalancer. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub load_balancer_source_ranges: Vec<String>,
    /// Connections begin with a PROXY protocol header, by which a load balancer tells who the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

fn rules() -> Vec<Value> {
    vec![
        field_rule(
            "nodePort",
            "!has(self.nodePort) || self.type != 'ClusterIP'",
            "is for the types NodePort and LoadBalancer",
        ),
        field_rule(
            "externalTrafficPolicy",
            "!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'",
            "is for the types NodePort and LoadBalancer",
        ),
        field_rule(
            "loadBalancerClass",
            "!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",
            "is for the type LoadBalancer",
        ),
        field_rule(
            "loadBalancerSourceRanges",
            "!has(self.loadBalancerSourceRanges) || self.type == 'LoadBalancer'",
            "is for the type LoadBalancer",
        ),
        field_rule(
            "loadBalancerSourceRanges",
            "!has(self.loadBalancerSourceRanges) || self.loadBalancerSourceRanges.all(network, isCIDR(network))",
            "must be networks, such as 192.0.2.0/24",
        ),
        // As the Service itself has it: it may be set only together with the type.
        field_rule(
            "loadBalancerClass",
            "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))",
            "cannot be changed while the type is LoadBalancer",
        ),
    ]
}

impl Default for Service {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: 21591,
            node_port: None,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            external_traffic_policy: None,
            load_balancer_class: None,
            load_balancer_source_ranges: Vec::new(),
            proxy_protocol: None,
        }
    }
}

/// From where a Service can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From within the cluster.
    #[default]
    ClusterIP,
    /// By a port of each node, too.
    NodePort,
    /// By a load balancer, too.
    LoadBalancer,
}

impl ServiceType {
    /// As a Service has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// To which servers a node sends what comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// To all.
    Cluster,
    /// To those on the node.
    Local,
}

impl TrafficPolicy {
    /// As a Service has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// Connections begin with a PROXY protocol header, version 1 or 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [field_rule(
    "from",
    "self.from.all(network, isCIDR(network))",
    "must be networks, such as 10.0.0.0/16",
)]))]
pub struct ProxyProtocol {
    /// The networks of the load balancers, such as 10.0.0.0/16: whoever connects from there must begin with a header, and nobody else may.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub from: Vec<String>,
}
