//! The servers.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tickwire_crd::{Image, StreamServerSpec};

use super::{Surroundings, pod};
use crate::course::{Course, HELD_MIN_READY_SECONDS, PACED_MIN_READY_SECONDS, PACED_SURGE};
use crate::issue::Issued;
use crate::settings::ServerImage;
use crate::validate::Validated;

/// The annotation of the pods whose change rolls them when what they refer to has changed: the credentials, a recording. What is in the pod
/// itself rolls them anyway, and certificates and further users are read by running servers.
const DIGEST: &str = "tickwire.dev/references-digest";

/// The longest value of a label.
const MAX_LABEL: usize = 63;

pub(super) fn build(
    validated: &Validated,
    issued: &Issued,
    course: &Course,
    around: &Surroundings,
) -> Deployment {
    let (fleet, spec) = (&validated.fleet, &validated.spec);
    let is_paced = spec.drain.reconnects_per_second.is_some();
    let (max_surge, min_ready_seconds) = if is_paced {
        (IntOrString::Int(PACED_SURGE), spec.rollout.min_ready_seconds.max(PACED_MIN_READY_SECONDS))
    } else {
        (spec.rollout.max_surge.clone(), spec.rollout.min_ready_seconds)
    };
    let min_ready_seconds = if course.is_held { HELD_MIN_READY_SECONDS } else { min_ready_seconds };
    let mut annotations = spec.pod.annotations.clone();
    annotations.insert(DIGEST.into(), issued.digest.clone());
    Deployment {
        metadata: fleet.metadata(fleet.name.clone(), "server"),
        spec: Some(DeploymentSpec {
            replicas: Some(course.replicas),
            // Where it may go on nothing is said: somebody else's pause stays.
            paused: course.is_held.then_some(true),
            selector: LabelSelector { match_labels: Some(fleet.selector()), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(max_surge),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            min_ready_seconds: Some(min_ready_seconds),
            progress_deadline_seconds: Some(
                spec.rollout.progress_deadline_seconds.max(min_ready_seconds + 1),
            ),
            revision_history_limit: Some(3),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels(validated, &version(spec, &around.server_image))),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod::build(validated, around)),
            },
        }),
        ..Deployment::default()
    }
}

fn pod_labels(validated: &Validated, version: &str) -> std::collections::BTreeMap<String, String> {
    let mut labels = validated.spec.pod.labels.clone();
    labels.extend(validated.fleet.labels("server"));
    if version.len() <= MAX_LABEL && version.ends_with(|last: char| last.is_ascii_alphanumeric()) {
        labels.insert("app.kubernetes.io/version".into(), version.into());
    }
    labels
}

/// The image as a container names it.
pub(super) fn image(wanted: &Image, default: &ServerImage) -> String {
    let repository = wanted.repository.as_ref().unwrap_or(&default.repository);
    match &wanted.digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => format!("{repository}:{}", wanted.tag.as_ref().unwrap_or(&default.tag)),
    }
}

/// What the servers' version is called: the tag, else the digest.
#[must_use]
pub fn version(spec: &StreamServerSpec, default: &ServerImage) -> String {
    match (&spec.image.tag, &spec.image.digest) {
        (Some(tag), _) => tag.clone(),
        (None, Some(digest)) => digest.clone(),
        (None, None) => default.tag.clone(),
    }
}
