//! How many pods may be missing when nodes are emptied.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Option<PodDisruptionBudget> {
    let (fleet, disruption) = (&validated.fleet, &validated.spec.disruption);
    if !disruption.enabled {
        return None;
    }
    let max_unavailable = match (&disruption.max_unavailable, &disruption.min_available) {
        (None, None) => Some(IntOrString::Int(1)),
        (max_unavailable, _) => max_unavailable.clone(),
    };
    Some(PodDisruptionBudget {
        metadata: fleet.metadata(fleet.name.clone(), "server"),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(LabelSelector {
                match_labels: Some(fleet.selector()),
                ..LabelSelector::default()
            }),
            max_unavailable,
            min_available: disruption.min_available.clone(),
            // A pod that does not serve protects nobody: it must not keep a node from being emptied.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
        }),
        ..PodDisruptionBudget::default()
    })
}
