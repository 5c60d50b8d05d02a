//! One server's pod.

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, HTTPGetAction, KeyToPath,
    LocalObjectReference, PodSecurityContext, PodSpec, Probe, SeccompProfile, SecretVolumeSource,
    SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tickwire_crd::StreamServerSpec;

use super::{
    METRICS_PORT, METRICS_PORT_NUMBER, STREAM_PORT, STREAM_PORT_NUMBER, Surroundings, deployment,
    environment, none_if_empty,
};
use crate::fleet::Fleet;
use crate::validate::Validated;

/// The container's name.
pub(crate) const CONTAINER: &str = "server";

/// Where the servers' certificate is mounted.
pub(super) const TLS_FOLDER: &str = "/etc/tickwire/tls";
/// Where the authorities of clients' certificates are mounted.
pub(super) const CLIENT_CA_FOLDER: &str = "/etc/tickwire/client-ca";
/// Where further users are mounted.
pub(super) const USERS_FOLDER: &str = "/etc/tickwire/users";
/// Where a recording is mounted.
pub(super) const RECORDING_FOLDER: &str = "/etc/tickwire/recording";

/// Where what servers show to NATS is mounted.
pub(super) const NATS_FOLDER: &str = "/etc/tickwire/nats";

/// The user that the image runs as: nobody's, and not root.
const USER: i64 = 65532;

/// Secrets are for the pod's group alone: octal 0440.
const SECRET_MODE: i32 = 0o440;

/// What a pod has beyond its drain: the server ends its threads, and sends its last spans.
const AFTER_DRAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// For how many seconds a server may fill its rings before it counts as failed.
const STARTUP_SECONDS: i32 = 300;

pub(super) fn build(validated: &Validated, around: &Surroundings) -> PodSpec {
    let (fleet, spec) = (&validated.fleet, &validated.spec);
    let (volumes, mounts) = mounted(validated).into_iter().unzip();
    let secrets = &spec.image.pull_secrets;
    let scheduling = &spec.scheduling;
    PodSpec {
        service_account_name: Some(fleet.name.clone()),
        automount_service_account_token: Some(false),
        // Hundreds of variables for the Services of the namespace help nobody, and slow the start down.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(whole_seconds(grace_period(spec))),
        security_context: Some(pod_security(spec)),
        image_pull_secrets: (!secrets.is_empty()).then(|| {
            secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }).collect()
        }),
        containers: vec![container(validated, around, mounts)],
        volumes: Some(volumes),
        node_selector: none_if_empty(&scheduling.node_selector),
        tolerations: (!scheduling.tolerations.is_empty()).then(|| scheduling.tolerations.clone()),
        affinity: scheduling.affinity.clone(),
        topology_spread_constraints: Some(spread(fleet, &scheduling.topology_spread_constraints)),
        priority_class_name: scheduling.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

fn container(validated: &Validated, around: &Surroundings, mounts: Vec<VolumeMount>) -> Container {
    let spec = &validated.spec;
    let port = |name: &str, container_port| ContainerPort {
        name: Some(name.into()),
        container_port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    Container {
        name: CONTAINER.into(),
        image: Some(deployment::image(&spec.image, &around.server_image)),
        image_pull_policy: Some(spec.image.pull_policy.as_str().into()),
        env: Some(environment::build(validated)),
        ports: Some(vec![port(STREAM_PORT, STREAM_PORT_NUMBER), port(METRICS_PORT, METRICS_PORT_NUMBER)]),
        // A rollout goes on when a server is ready: so it asks often. A server that drains is left out by its deletion, whatever it answers; and one
        // answer that is late under load is no reason to have no server at all.
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(3),
            ..probe("/readyz")
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(3),
            ..probe("/healthz")
        }),
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(STARTUP_SECONDS),
            ..probe("/readyz")
        }),
        resources: Some(spec.resources.clone()),
        security_context: Some(container_security(spec)),
        // What a server says of a setting that cannot be right then stands in the pod's status, and from there in ours.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// Delay and timeout of the drain, and a little more.
pub(super) fn grace_period(spec: &StreamServerSpec) -> std::time::Duration {
    let drain = &spec.drain;
    drain.delay.get() + drain.effective_timeout(spec.limits.max_connections) + AFTER_DRAIN
}

/// Rounded up.
fn whole_seconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String(METRICS_PORT.into()),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

fn pod_security(spec: &StreamServerSpec) -> PodSecurityContext {
    let mut context = PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    };
    context.merge_from(spec.security.pod.clone().unwrap_or_default());
    context
}

fn container_security(spec: &StreamServerSpec) -> SecurityContext {
    let mut context = SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
        ..SecurityContext::default()
    };
    context.merge_from(spec.security.container.clone().unwrap_or_default());
    context
}

/// Over nodes as far as possible, unless something else is said.
fn spread(fleet: &Fleet, wanted: &[TopologySpreadConstraint]) -> Vec<TopologySpreadConstraint> {
    let ours = || LabelSelector { match_labels: Some(fleet.selector()), ..LabelSelector::default() };
    if wanted.is_empty() {
        return vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            label_selector: Some(ours()),
            // So that a rollout spreads the new pods among themselves, whatever is still there of the old.
            match_label_keys: Some(vec!["pod-template-hash".into()]),
            ..TopologySpreadConstraint::default()
        }];
    }
    let fill = |mut constraint: TopologySpreadConstraint| {
        constraint.label_selector.get_or_insert_with(ours);
        constraint
    };
    wanted.iter().cloned().map(fill).collect()
}

/// The files that the server reads. Secrets are mounted as folders, whose content the kubelet changes at once and the server reads anew.
fn mounted(validated: &Validated) -> Vec<(Volume, VolumeMount)> {
    let (fleet, spec) = (&validated.fleet, &validated.spec);
    let mut mounted = Vec::new();
    if let Some(secret) = fleet.tls_secret_of(spec) {
        mounted.push(secret_volume("tls", &secret, &["tls.crt", "tls.key"], TLS_FOLDER));
    }
    if let Some(clients) = &spec.tls.client_authentication {
        let reference = &clients.ca_secret_ref;
        mounted.push(secret_volume("client-ca", &reference.name, &[&reference.key], CLIENT_CA_FOLDER));
    }
    if let Some(users) = &spec.auth.users {
        let reference = &users.secret_ref;
        mounted.push(secret_volume("users", &reference.name, &[&reference.key], USERS_FOLDER));
    }
    if let Some(nats) = validated.nats.as_ref().filter(|nats| !nats.files().is_empty()) {
        mounted.push(secret_volume("nats", &nats.name, &nats.files(), NATS_FOLDER));
    }
    if let Some(replay) = &spec.feed.replay {
        let reference = &replay.config_map_ref;
        let source = ConfigMapVolumeSource {
            name: reference.name.clone(),
            items: Some(items(&[&reference.key])),
            default_mode: Some(SECRET_MODE),
            ..ConfigMapVolumeSource::default()
        };
        let volume = Volume { name: "recording".into(), config_map: Some(source), ..Volume::default() };
        mounted.push((volume, mount("recording", RECORDING_FOLDER)));
    }
    mounted
}

fn secret_volume(name: &str, secret: &str, keys: &[&str], folder: &str) -> (Volume, VolumeMount) {
    let source = SecretVolumeSource {
        secret_name: Some(secret.into()),
        items: Some(items(keys)),
        default_mode: Some(SECRET_MODE),
        ..SecretVolumeSource::default()
    };
    (Volume { name: name.into(), secret: Some(source), ..Volume::default() }, mount(name, folder))
}

fn items(keys: &[&str]) -> Vec<KeyToPath> {
    keys.iter().map(|key| KeyToPath { key: (*key).into(), path: (*key).into(), mode: None }).collect()
}

fn mount(name: &str, folder: &str) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: folder.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
