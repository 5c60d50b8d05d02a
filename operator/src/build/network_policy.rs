//! Who may open connections to the pods.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{METRICS_PORT, STREAM_PORT, Surroundings};
use crate::validate::Validated;

pub(super) fn build(validated: &Validated, around: &Surroundings) -> Option<NetworkPolicy> {
    let (fleet, policy) = (&validated.fleet, &validated.spec.network_policy);
    if !policy.enabled {
        return None;
    }
    let rule = |port: &str, from: Vec<NetworkPolicyPeer>| NetworkPolicyIngressRule {
        from: (!from.is_empty()).then_some(from),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.into())),
            protocol: Some("TCP".into()),
            ..NetworkPolicyPort::default()
        }]),
    };
    let labels = |labels| LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labels(
            [("kubernetes.io/metadata.name".to_owned(), around.operator_namespace.clone())].into(),
        )),
        pod_selector: Some(labels(around.operator_labels.clone())),
        ..NetworkPolicyPeer::default()
    };
    let every_pod = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let readers = if policy.metrics.is_empty() { vec![every_pod] } else { policy.metrics.clone() };
    Some(NetworkPolicy {
        metadata: fleet.metadata(fleet.name.clone(), "stream"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels(fleet.selector())),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(vec![
                rule(STREAM_PORT, policy.clients.clone()),
                rule(METRICS_PORT, readers.into_iter().chain([operator]).collect()),
            ]),
            egress: None,
        }),
    })
}
