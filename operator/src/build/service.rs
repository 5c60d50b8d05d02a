//! How clients reach the servers.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{STREAM_PORT, none_if_empty};
use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Service {
    let (fleet, service) = (&validated.fleet, &validated.spec.service);
    let mut metadata = fleet.metadata(fleet.name.clone(), "stream");
    metadata.annotations = none_if_empty(&service.annotations);
    // Ours come last: the selectors of others go by them.
    let own = metadata.labels.take().unwrap_or_default();
    metadata.labels = Some(service.labels.clone().into_iter().chain(own).collect());
    let ranges = &service.load_balancer_source_ranges;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(service.type_.as_str().into()),
            selector: Some(fleet.selector()),
            ports: Some(vec![ServicePort {
                name: Some(STREAM_PORT.into()),
                port: service.port,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String(STREAM_PORT.into())),
                node_port: service.node_port,
                ..ServicePort::default()
            }]),
            external_traffic_policy: service.external_traffic_policy.map(|policy| policy.as_str().into()),
            load_balancer_class: service.load_balancer_class.clone(),
            load_balancer_source_ranges: (!ranges.is_empty()).then(|| ranges.clone()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
