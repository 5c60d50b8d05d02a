//! The fifth step: from what was validated and issued to the objects that should be there, as far as the course goes. A pure function: no client, clock or
//! chance; so it is tested from a few lines of YAML (operator/tests/build.rs).

mod autoscaler;
mod certificate;
mod credentials;
mod deployment;
mod disruption_budget;
mod environment;
mod metrics_service;
mod network_policy;
mod operator_secret;
mod pod;
mod prometheus_rule;
mod service;
mod service_account;
mod service_monitor;
mod tls_secret;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DynamicObject;

use crate::course::Course;
use crate::issue::Issued;
use crate::settings::{Labels, ServerImage};
use crate::validate::Validated;

pub use deployment::version;
pub(crate) use pod::CONTAINER;
pub use prometheus_rule::alert_rules;

/// What the operator itself brings in.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The image of servers whose StreamServer names none.
    pub server_image: ServerImage,
    /// The operator's own namespace.
    pub operator_namespace: String,
    /// The labels of the operator's own pods.
    pub operator_labels: Labels,
}

/// Not applied yet.
#[derive(Clone, Copy, Debug)]
pub struct Prepared;

/// As the API server has it now.
#[derive(Clone, Copy, Debug)]
pub struct Applied;

/// Everything that is made for one StreamServer; `None`: it should not be there. It has passwords and keys: so no Debug.
#[derive(Clone)]
pub struct Resources<State> {
    /// The pods' identity, which can do nothing.
    pub service_account: ServiceAccount,
    /// What only the operator needs.
    pub operator_secret: Secret,
    /// The credentials, where the operator makes them up.
    pub credentials_secret: Option<Secret>,
    /// The servers' certificate, where the operator signs it.
    pub tls_secret: Option<Secret>,
    /// The authorities by which clients know the servers, where the operator signs.
    pub ca_config_map: Option<ConfigMap>,
    /// What cert-manager is asked for.
    pub certificate: Option<DynamicObject>,
    /// The Secret that cert-manager has made: what is ours of it is that it goes with the StreamServer.
    pub certificate_secret: Option<Secret>,
    /// How clients reach the servers.
    pub service: Service,
    /// How metrics are read.
    pub metrics_service: Service,
    /// Who may open connections to the pods.
    pub network_policy: Option<NetworkPolicy>,
    /// How many pods may be missing.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// The servers; `None`: they stay as they are, but for their number, while something that they need cannot be used.
    pub deployment: Option<Deployment>,
    /// How their number follows the number of connections.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// How Prometheus finds the servers.
    pub service_monitor: Option<DynamicObject>,
    /// What Prometheus raises an alarm about.
    pub prometheus_rule: Option<DynamicObject>,
    /// Where they come from.
    pub state: PhantomData<State>,
}

/// Builds everything that should be there.
#[must_use]
pub fn build(
    validated: &Validated,
    issued: &Issued,
    course: &Course,
    around: &Surroundings,
) -> Resources<Prepared> {
    Resources {
        service_account: service_account::build(validated),
        operator_secret: operator_secret::build(validated, issued),
        credentials_secret: credentials::build(validated, issued),
        tls_secret: tls_secret::build(validated, issued),
        ca_config_map: tls_secret::ca_config_map(validated, issued),
        certificate: certificate::build(validated),
        certificate_secret: certificate::secret(validated),
        service: service::build(validated),
        metrics_service: metrics_service::build(validated),
        network_policy: network_policy::build(validated, around),
        disruption_budget: disruption_budget::build(validated),
        deployment: validated
            .problems
            .is_empty()
            .then(|| deployment::build(validated, issued, course, around)),
        autoscaler: autoscaler::build(validated),
        service_monitor: service_monitor::build(validated),
        prometheus_rule: prometheus_rule::build(validated),
        state: PhantomData,
    }
}

/// A map without what is in none.
fn none_if_empty(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

/// The name of the port for clients.
const STREAM_PORT: &str = "stream";
/// Its number in the pod: the server's default.
const STREAM_PORT_NUMBER: i32 = 21591;
/// The name of the port for health and metrics.
const METRICS_PORT: &str = "metrics";
/// Its number in the pod: the server's default.
pub const METRICS_PORT_NUMBER: i32 = 21592;
