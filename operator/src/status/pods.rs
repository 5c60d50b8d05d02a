//! What the pods say when they do not come up.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

/// EX_USAGE: the server says that a setting cannot be right.
const BAD_CONFIGURATION: i32 = 64;

/// Why a pod does not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The first trouble that is found, in the order of the pods' names.
pub(super) fn trouble(pods: &[Pod]) -> Option<Trouble> {
    let mut living: Vec<_> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    living.sort_by_key(|pod| pod.name_any());
    living.into_iter().find_map(of)
}

fn of(pod: &Pod) -> Option<Trouble> {
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        let said = condition.message.clone().unwrap_or_default();
        return Some(Trouble {
            reason: "NotSchedulable",
            message: format!(
                "no node takes pod {name}: {said}; add nodes, or change spec.resources or spec.scheduling"
            ),
        });
    }
    status.container_statuses.iter().flatten().find_map(|container| not_up(&name, container))
}

fn not_up(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let said = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
    let trouble = |reason, message| Some(Trouble { reason, message });
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => trouble(
            "ImageNotPulled",
            format!(
                "pod {pod} cannot pull image {}: {said}; check spec.image and its pullSecrets",
                container.image
            ),
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => trouble(
            "ContainerNotStarted",
            format!("pod {pod}: {said}; check the Secrets that spec refers to, and spec.security"),
        ),
        _ => ended(pod, container),
    }
}

/// What has ended with an error, and has not come up since: also while it is being tried once more.
fn ended(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref())?;
    if container.ready || last.exit_code == 0 {
        return None;
    }
    let words = last.message.as_deref().unwrap_or_default().trim();
    let words = words.lines().last().unwrap_or_default();
    let (reason, message) = match last.exit_code {
        BAD_CONFIGURATION => (
            "ConfigurationRejected",
            format!("the server of pod {pod} does not take a setting: {words}; change it in spec"),
        ),
        _ if last.reason.as_deref() == Some("OOMKilled") => (
            "OutOfMemory",
            format!(
                "the server of pod {pod} takes more memory than it may; raise spec.resources.limits.memory, or lower spec.limits.ringSize"
            ),
        ),
        code => (
            "CrashLooping",
            format!(
                "the server of pod {pod} ends with status {code}: {words}; `kubectl logs --previous {pod}` has more"
            ),
        ),
    };
    Some(Trouble { reason, message })
}
