//! How metrics are read: a Service without an address, so that each server is found by itself.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{METRICS_PORT, METRICS_PORT_NUMBER};
use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Service {
    let fleet = &validated.fleet;
    Service {
        metadata: fleet.metadata(fleet.metrics_service(), METRICS_PORT),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            selector: Some(fleet.selector()),
            // Those too that fill their rings or drain: it is then that somebody wants to see them.
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![ServicePort {
                name: Some(METRICS_PORT.into()),
                port: METRICS_PORT_NUMBER,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String(METRICS_PORT.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
