//! How the number of servers follows the number of connections.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
    PodsMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource as _;
use tickwire_crd::StreamServer;

use crate::validate::Validated;

/// The longest period that a scaling policy may have, in seconds (autoscaling/v2).
const MAX_PERIOD: u64 = 1800;

/// Upwards there is nothing to wait for: the clients are there already. Twice as many every 15 seconds, or four more.
const SCALE_UP_PERIOD: i32 = 15;

pub(super) fn build(validated: &Validated) -> Option<HorizontalPodAutoscaler> {
    let (fleet, spec) = (&validated.fleet, &validated.spec);
    let autoscaling = spec.autoscaling.as_ref()?;
    let scale_down = &autoscaling.scale_down;
    // So that the clients of one server have arrived before the next goes.
    let window = spec.drain.window_of(autoscaling.target_active_connections);
    let drain = (spec.drain.delay.get() + window).as_secs().clamp(1, MAX_PERIOD);
    let policy =
        |type_: &str, value, period_seconds| HPAScalingPolicy { type_: type_.into(), value, period_seconds };
    Some(HorizontalPodAutoscaler {
        metadata: fleet.metadata(fleet.name.clone(), "server"),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(StreamServer::api_version(&()).into_owned()),
                kind: StreamServer::kind(&()).into_owned(),
                name: fleet.name.clone(),
            },
            min_replicas: Some(autoscaling.min_replicas),
            max_replicas: autoscaling.max_replicas,
            metrics: Some(vec![MetricSpec {
                type_: "Pods".into(),
                pods: Some(PodsMetricSource {
                    metric: MetricIdentifier { name: "active_connections".into(), selector: None },
                    target: MetricTarget {
                        type_: "AverageValue".into(),
                        average_value: Some(Quantity(autoscaling.target_active_connections.to_string())),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                scale_up: Some(HPAScalingRules {
                    stabilization_window_seconds: Some(0),
                    select_policy: Some("Max".into()),
                    policies: Some(vec![
                        policy("Percent", 100, SCALE_UP_PERIOD),
                        policy("Pods", 4, SCALE_UP_PERIOD),
                    ]),
                    ..HPAScalingRules::default()
                }),
                scale_down: Some(HPAScalingRules {
                    stabilization_window_seconds: Some(seconds(scale_down.stabilization_window.get())),
                    select_policy: Some("Max".into()),
                    policies: Some(vec![policy(
                        "Pods",
                        scale_down.pods_per_drain,
                        i32::try_from(drain).unwrap_or(i32::MAX),
                    )]),
                    ..HPAScalingRules::default()
                }),
            }),
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

/// In whole seconds, rounded up.
fn seconds(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}
