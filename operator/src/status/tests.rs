use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tickwire_crd::ConditionType::{CertificateReady, Degraded, Progressing, Ready};
use tickwire_crd::RebalancePhase;

use super::*;
use crate::apply::ApplyError;
use crate::certificate::Validity;
use crate::course::Course;
use crate::kinds::Kinds;
use crate::settings::ServerImage;
use crate::validate::{CertificateSource, Credentials};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn around() -> Surroundings {
    Surroundings {
        server_image: ServerImage { repository: "tickwire/server".into(), tag: "0.1.0".into() },
        operator_namespace: "tickwire-system".into(),
        operator_labels: [("app".to_owned(), "operator".to_owned())].into(),
    }
}

fn server(spec: &str) -> StreamServer {
    serde_saphyr::from_str(&format!(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata: {{ name: ticks, namespace: market, uid: u-1, generation: 7 }}\nspec: {spec}"
    ))
    .unwrap()
}

/// A Deployment of generation 1 with this status.
fn deployment(status: Value) -> Deployment {
    serde_json::from_value(json!({ "metadata": { "name": "ticks", "generation": 1 }, "status": status }))
        .unwrap()
}

/// As many as are wanted, as specified, and available.
fn whole(replicas: i32) -> Deployment {
    deployment(json!({
        "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
    }))
}

fn pod(name: &str, status: Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": name }, "status": status })).unwrap()
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "server", "image": "tickwire/server:0.1.0", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": reason, "message": message } },
    }] })
}

fn crashed(code: i32, reason: &str, message: &str) -> Value {
    let mut status = waiting("CrashLoopBackOff", "back-off 10s");
    status["containerStatuses"][0]["lastState"] =
        json!({ "terminated": { "exitCode": code, "reason": reason, "message": message } });
    status
}

/// What is told of a StreamServer whose objects were all applied, of which this is the Deployment, and these are the pods.
fn told_of(server: &StreamServer, deployment: Deployment, pods: &[Pod], expiry: Option<Timestamp>) -> Told {
    told_with(server, Some(deployment), pods, expiry, Vec::new())
}

/// The same, where there are problems.
fn told_with(
    server: &StreamServer,
    deployment: Option<Deployment>,
    pods: &[Pod],
    expiry: Option<Timestamp>,
    problems: Vec<Problem>,
) -> Told {
    told_in(server, deployment, pods, expiry, problems, None, None)
}

/// The same, with more that is known.
fn told_in(
    server: &StreamServer,
    deployment: Option<Deployment>,
    pods: &[Pod],
    expiry: Option<Timestamp>,
    problems: Vec<Problem>,
    waits: Option<&str>,
    rebalance: Option<&RebalanceStatus>,
) -> Told {
    let fleet = Fleet::of(server).unwrap();
    let validated = Validated {
        fleet: fleet.clone(),
        spec: server.spec.clone(),
        kinds: Kinds::default(),
        credentials: Credentials::Missing,
        certificate: CertificateSource::SelfSigned { data: [].into() },
        operator_data: [].into(),
        operator_version: None,
        credentials_version: None,
        recording: Vec::new(),
        nats: None,
        problems,
    };
    let mut issued = crate::issue::issue(&validated, None, now()).unwrap();
    issued.notes.clear();
    issued.certificate_validity = expiry.map(|not_after| Validity { not_before: Timestamp::MIN, not_after });
    let prepared = build::build(&validated, &issued, &Course::straight(&validated.spec, now()), &around());
    let applied = Resources::<Applied> {
        service_account: prepared.service_account,
        operator_secret: prepared.operator_secret,
        credentials_secret: prepared.credentials_secret,
        tls_secret: prepared.tls_secret,
        ca_config_map: prepared.ca_config_map,
        certificate: prepared.certificate,
        certificate_secret: prepared.certificate_secret,
        service: prepared.service,
        metrics_service: prepared.metrics_service,
        network_policy: prepared.network_policy,
        disruption_budget: prepared.disruption_budget,
        deployment,
        autoscaler: prepared.autoscaler,
        service_monitor: prepared.service_monitor,
        prometheus_rule: prepared.prometheus_rule,
        state: std::marker::PhantomData,
    };
    let situation = Situation {
        server,
        fleet: &fleet,
        deployment: None,
        service: None,
        pods,
        connections: Some(12),
        rebalance,
        waits,
        scaling: None,
    };
    status(situation, &Outcome::Applied(&validated, &issued, &applied), &around(), now())
}

/// Where nothing was applied, and this is the Deployment that runs.
fn unapplied<'a>(
    server: &'a StreamServer,
    fleet: &'a Fleet,
    deployment: Option<&'a Deployment>,
) -> Situation<'a> {
    Situation {
        server,
        fleet,
        deployment,
        service: None,
        pods: &[],
        connections: None,
        rebalance: None,
        waits: None,
        scaling: None,
    }
}

/// What is told where nothing was applied, and this is the Deployment that runs.
fn told(server: &StreamServer, deployment: Option<&Deployment>, outcome: &Outcome<'_>) -> Told {
    let fleet = Fleet::of(server).unwrap();
    status(unapplied(server, &fleet, deployment), outcome, &around(), now())
}

fn later() -> Option<Timestamp> {
    Some("2026-03-01T00:00:00Z".parse().unwrap())
}

#[track_caller]
fn assert_condition(told: &Told, type_: ConditionType, status: &str, reason: &str) -> String {
    let condition = told.status.condition(type_).unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), (status, reason), "{condition:?}");
    condition.message.clone()
}

fn reasons(told: &Told) -> Vec<&str> {
    told.notes.iter().map(|note| note.reason.as_ref()).collect()
}

#[test]
fn a_fleet_that_is_whole_is_ready_and_says_all_that_people_look_for() {
    let told = told_of(&server("{replicas: 3}"), whole(3), &[], later());
    assert_eq!(assert_condition(&told, Ready, "True", "Serving"), "3 of 3 servers serve");
    assert_condition(&told, Progressing, "False", "Complete");
    assert_condition(&told, Degraded, "False", "AsSpecified");
    assert_condition(&told, CertificateReady, "True", "Valid");
    let status = &told.status;
    assert_eq!((status.replicas, status.ready_replicas, status.updated_replicas), (3, 3, 3));
    assert_eq!(status.observed_generation, Some(7));
    assert_eq!(status.active_connections, Some(12));
    assert_eq!(status.version.as_deref(), Some("0.1.0"));
    assert_eq!(status.endpoint.as_deref(), Some("ticks.market.svc:21591"));
    assert_eq!(status.credentials_secret.as_deref(), Some("ticks-credentials"));
    assert_eq!(status.certificate_expiry.as_ref().map(|expiry| expiry.0), later());
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(7)));
    assert_eq!(reasons(&told), ["Ready"]);
}

#[test]
fn during_a_rollout_it_is_ready_while_enough_serve_and_the_version_is_what_all_run() {
    let mut server = server("{replicas: 2, image: {tag: 0.2.0}}");
    server.status = Some(told_of(&server, whole(2), &[], later()).status);
    server.status.as_mut().unwrap().version = Some("0.1.0".into());
    let rolling = deployment(json!({
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2,
    }));
    let told = told_of(&server, rolling, &[], later());
    assert_condition(&told, Ready, "True", "Serving");
    let message = assert_condition(&told, Progressing, "True", "RollingOut");
    assert_eq!(message, "1 of 2 servers are as specified, 2 serve; 2 older ones are still there");
    assert_eq!(told.status.version.as_deref(), Some("0.1.0"));
    assert_eq!(reasons(&told), ["RolloutStarted"]);

    server.status = Some(told.status);
    let told = told_of(&server, whole(2), &[], later());
    assert_eq!(told.status.version.as_deref(), Some("0.2.0"));
    assert_eq!(reasons(&told), ["RolloutComplete"]);
}

#[test]
fn a_rollout_that_waits_for_a_drain_is_under_way_and_says_for_whom() {
    let mut server = server("{replicas: 2, drain: {reconnectsPerSecond: 100}}");
    let held = deployment(json!({
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3,
        "conditions": [{ "type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused" }],
    }));
    let waits = "waits until ticks-1 has drained: 12 clients are left";
    let told = told_in(&server, Some(held.clone()), &[], later(), Vec::new(), Some(waits), None);
    assert_eq!(assert_condition(&told, Progressing, "True", "Draining"), waits);
    assert_condition(&told, Degraded, "False", "AsSpecified");
    assert_eq!(reasons(&told), ["RolloutStarted", "Ready"]);

    // That it goes on is no news.
    server.status = Some(told.status);
    let told = told_in(&server, Some(held), &[], later(), Vec::new(), None, None);
    assert_condition(&told, Progressing, "True", "RollingOut");
    assert!(told.notes.is_empty(), "{:?}", told.notes);
}

#[test]
fn fewer_servers_than_there_are_are_on_their_way() {
    let told = told_of(&server("{replicas: 2}"), whole(3), &[], later());
    let message = assert_condition(&told, Progressing, "True", "ScalingDown");
    assert!(message.contains("3 servers are there, and 2 are wanted"), "{message}");
}

#[test]
fn how_evenly_clients_are_spread_is_in_the_status_and_its_beginning_and_end_are_told_once() {
    let mut server = server("{replicas: 2, rebalance: {mode: Always}}");
    let seen =
        |phase| RebalanceStatus { phase, servers: 2, fullest: 70, mean: 50, shed: 20, next_round: None };
    for (phase, told_of_it) in [
        (RebalancePhase::Balanced, None),
        (RebalancePhase::Rebalancing, Some("RebalanceStarted")),
        (RebalancePhase::Rebalancing, None),
        (RebalancePhase::Balanced, Some("Rebalanced")),
    ] {
        let now = seen(phase);
        let told = told_in(&server, Some(whole(2)), &[], later(), Vec::new(), None, Some(&now));
        assert_eq!(told.status.rebalance.as_ref(), Some(&now));
        assert_eq!(reasons(&told).into_iter().find(|reason| reason.contains("ebalance")), told_of_it);
        server.status = Some(told.status);
    }
}

#[test]
fn numbers_of_a_generation_before_do_not_count_as_complete() {
    let mut stale = whole(2);
    stale.metadata.generation = Some(2);
    let told = told_of(&server("{replicas: 2}"), stale, &[], later());
    assert_condition(&told, Progressing, "True", "RollingOut");
}

#[test]
fn no_servers_are_ready_where_none_is_asked_for() {
    let told = told_of(&server("{replicas: 0}"), whole(0), &[], later());
    assert_condition(&told, Ready, "True", "ScaledToZero");
}

#[test]
fn what_keeps_pods_from_coming_up_is_said_with_what_to_do() {
    let unschedulable = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available",
    }] });
    for (status, reason, words) in [
        (
            waiting("ErrImagePull", "not found"),
            "ImageNotPulled",
            vec!["tickwire/server:0.1.0", "not found", "spec.image"],
        ),
        (waiting("ImagePullBackOff", "back-off"), "ImageNotPulled", vec!["back-off"]),
        (waiting("CreateContainerConfigError", "no secret"), "ContainerNotStarted", vec!["no secret"]),
        (
            crashed(
                64,
                "Error",
                "tickwire-server: RING_SIZE (--ring-size) is \"1\": must be 1MB to 1024GB\n",
            ),
            "ConfigurationRejected",
            vec!["RING_SIZE", "change it in spec"],
        ),
        (crashed(137, "OOMKilled", ""), "OutOfMemory", vec!["spec.resources.limits.memory", "ringSize"]),
        (
            crashed(1, "Error", "first\nlast words"),
            "CrashLooping",
            vec!["status 1", "last words", "kubectl logs --previous one"],
        ),
        (unschedulable, "NotSchedulable", vec!["0/1 nodes", "spec.resources"]),
    ] {
        let told = told_of(&server("{replicas: 1}"), deployment(json!({})), &[pod("one", status)], later());
        let message = assert_condition(&told, Degraded, "True", reason);
        for word in words {
            assert!(message.contains(word), "{reason} should say {word:?}: {message}");
        }
        assert!(reasons(&told).contains(&reason));
    }
}

#[test]
fn a_pod_that_is_ending_is_nobodys_trouble() {
    let mut ending = pod("one", waiting("CrashLoopBackOff", ""));
    ending.metadata.deletion_timestamp = Some(Time(now()));
    let told = told_of(&server("{replicas: 1}"), whole(1), &[ending], later());
    assert_condition(&told, Degraded, "False", "AsSpecified");
}

#[test]
fn what_the_deployment_says_of_quotas_and_deadlines_is_passed_on() {
    let refused = deployment(json!({ "observedGeneration": 1, "conditions": [
        { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few" },
    ] }));
    let told = told_of(&server("{replicas: 1}"), refused, &[], later());
    assert!(assert_condition(&told, Degraded, "True", "PodsRefused").contains("exceeded quota: few"));
    assert_condition(&told, Ready, "False", "TooFewServers");

    let stalled = deployment(json!({ "observedGeneration": 1, "conditions": [
        { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" },
    ] }));
    let told = told_of(&server("{replicas: 1}"), stalled, &[], later());
    assert_condition(&told, Degraded, "True", "RolloutStalled");
    assert_condition(&told, Progressing, "False", "Stalled");
}

#[test]
fn a_certificate_that_has_ended_is_said_whether_or_not_anything_is_applied() {
    let mut server = server("{replicas: 1}");
    let ended = "2025-12-31T00:00:00Z".parse().unwrap();
    let told_ended = told_of(&server, whole(1), &[], Some(ended));
    assert_condition(&told_ended, CertificateReady, "False", "Expired");
    assert_condition(&told_ended, Degraded, "True", "CertificateExpired");

    server.status = Some(told_of(&server, whole(1), &[], later()).status);
    server.status.as_mut().unwrap().certificate_expiry = Some(Time(ended));
    let paused = told(&server, Some(&whole(1)), &Outcome::Paused);
    assert_condition(&paused, CertificateReady, "False", "Expired");
    assert_condition(&paused, Degraded, "True", "CertificateExpired");
}

#[test]
fn what_is_invalid_blocks_and_what_runs_is_still_told_of() {
    let mut server = server("{replicas: 1}");
    let problems = || {
        vec![
            Problem::configuration("SecretNotFound", "Secret a does not exist".into()),
            Problem::certificate("InvalidCertificate", "Secret b: nonsense".into()),
        ]
    };
    let at_first = told_with(&server, None, &[], None, problems());
    assert_condition(&at_first, Ready, "False", "Blocked");
    assert_condition(&at_first, Progressing, "False", "Blocked");
    let message = assert_condition(&at_first, Degraded, "True", "SecretNotFound");
    assert_eq!(message, "Secret a does not exist; Secret b: nonsense");
    assert_condition(&at_first, CertificateReady, "False", "InvalidCertificate");
    assert_eq!(reasons(&at_first), ["SecretNotFound"]);

    // Said once.
    server.status = Some(at_first.status);
    let again = told_with(&server, None, &[], None, problems());
    assert!(again.notes.is_empty(), "{:?}", again.notes);

    let running = told_with(&server, Some(whole(1)), &[], later(), problems());
    assert_condition(&running, Ready, "True", "Serving");
    assert_condition(&running, Progressing, "False", "Blocked");
    assert_eq!(running.status.version, None, "what runs may not be what is specified");
}

#[test]
fn a_server_that_keeps_ending_is_in_trouble_while_it_is_tried_once_more_and_no_longer_when_it_is_up() {
    let mut running = crashed(1, "Error", "last words");
    running["containerStatuses"][0]["state"] = json!({ "running": {} });
    let told = told_of(&server("{replicas: 1}"), whole(1), &[pod("one", running.clone())], later());
    assert_condition(&told, Degraded, "True", "CrashLooping");
    running["containerStatuses"][0]["ready"] = json!(true);
    let told = told_of(&server("{replicas: 1}"), whole(1), &[pod("one", running)], later());
    assert_condition(&told, Degraded, "False", "AsSpecified");
}

#[test]
fn that_more_are_asked_for_is_no_warning_and_that_some_were_lost_is() {
    let mut server = server("{replicas: 3}");
    server.status = Some(told_of(&server, whole(3), &[], later()).status);
    server.spec.replicas = 5;
    let scaling = deployment(
        json!({ "observedGeneration": 1, "replicas": 5, "updatedReplicas": 5, "readyReplicas": 3 }),
    );
    let told = told_of(&server, scaling, &[], later());
    assert_condition(&told, Ready, "False", "TooFewServers");
    assert!(!reasons(&told).contains(&"NotReady"));
    server.spec.replicas = 3;
    let lost = deployment(
        json!({ "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 2 }),
    );
    assert!(reasons(&told_of(&server, lost, &[], later())).contains(&"NotReady"));
}

#[test]
fn what_the_api_server_refuses_is_said_in_its_words_and_once() {
    let refused = |code: u16, reason: &str, message: &str| {
        let answer = kube::core::Status::failure(message, reason).with_code(code);
        ApplyError::Api {
            verb: "apply",
            kind: "Service".into(),
            name: "ticks".into(),
            source: kube::Error::Api(answer.boxed()),
        }
    };
    let issued = || {
        let server = server("{tls: {mode: Disabled}}");
        let fleet = Fleet::of(&server).unwrap();
        let observed = crate::observe::Observed::alone(server, fleet, Kinds::default());
        let (validated, _) = crate::validate::validate(&observed);
        crate::issue::issue(&validated, None, now()).unwrap()
    };
    for (error, reason) in [
        (refused(403, "Forbidden", "exceeded quota: few"), "QuotaExceeded"),
        (refused(403, "Forbidden", "no rights"), "Forbidden"),
        (refused(422, "Invalid", "port is invalid"), "Refused"),
        (refused(500, "InternalError", "etcd"), "ApplyFailed"),
        (ApplyError::Taken { kind: "Service".into(), name: "ticks".into() }, "NameTaken"),
    ] {
        let errors = ApplyErrors(vec![error]);
        let told = told(&server("{}"), None, &Outcome::NotApplied(&issued(), &errors));
        let message = assert_condition(&told, Degraded, "True", reason);
        assert_eq!(reasons(&told), ["CredentialsCreated", reason], "what was made is told of nevertheless");
        assert!(message.contains("Service ticks"), "{message}");
        if let ApplyError::Api { source: kube::Error::Api(answer), .. } = &errors.0[0] {
            assert_eq!(message, format!("cannot apply Service ticks: {}", answer.message));
        }
    }
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let mut server = server("{replicas: 1}");
    let first = told_of(&server, whole(1), &[], later());
    let before = first.status.condition(Ready).unwrap().last_transition_time.clone();
    server.status = Some(first.status);
    let fleet = Fleet::of(&server).unwrap();
    let hour_later = now() + jiff::SignedDuration::from_hours(1);
    let deployment = whole(1);
    let situation = unapplied(&server, &fleet, Some(&deployment));
    let told = status(situation, &Outcome::Paused, &around(), hour_later);
    assert_eq!(told.status.condition(Ready).unwrap().last_transition_time, before);
    assert_eq!(
        told.status.condition(Progressing).unwrap().last_transition_time,
        before,
        "False before and after"
    );
    assert_eq!(reasons(&told), ["Paused"]);
}

#[test]
fn whether_an_autoscaler_is_served_is_told_where_there_is_one_and_by_events_when_it_changes() {
    let mut server = server("{replicas: 1}");
    let fleet = Fleet::of(&server).unwrap();
    let deployment = whole(1);
    let mut told = |scaling: Option<&Scaling>| {
        let situation = Situation { scaling, ..unapplied(&server, &fleet, Some(&deployment)) };
        let told = status(situation, &Outcome::Paused, &around(), now());
        server.status = Some(told.status.clone());
        let condition = told.status.condition(ConditionType::ScalingActive).cloned();
        (condition, reasons(&told).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(told(None).0, None);
    let by = || "Service monitoring/adapter (APIService v1beta1.custom.metrics.k8s.io)".to_owned();
    let unanswered = Scaling::Unanswered { by: by(), why: "not found".to_owned() };
    for (scaling, status, reason, part, event) in [
        (
            Scaling::Unavailable("no operator is ready".to_owned()),
            "False",
            "MetricsUnavailable",
            "no operator is ready",
            None,
        ),
        (Scaling::Served, "True", "MetricsServed", "the operator", Some("MetricsServed")),
        (
            unanswered,
            "False",
            "ForeignMetricsApi",
            "Autoscaling beside another metrics API",
            Some("ForeignMetricsApi"),
        ),
        (
            Scaling::ServedByOthers(by()),
            "True",
            "ForeignMetrics",
            "monitoring/adapter",
            Some("ForeignMetrics"),
        ),
    ] {
        let (condition, events) = told(Some(&scaling));
        let condition = condition.unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), (status, reason));
        assert!(condition.message.contains(part), "{}", condition.message);
        assert_eq!(events, event.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert!(told(Some(&scaling)).1.is_empty(), "it is told once");
    }
    assert_eq!(told(None).0, None);
}

#[test]
fn an_endpoint_is_the_load_balancers_once_it_has_one() {
    let server = server("{service: {type: LoadBalancer, port: 443}}");
    let fleet = Fleet::of(&server).unwrap();
    let service = |ingress: Value| -> Service {
        serde_json::from_value(json!({
            "metadata": {}, "spec": { "ports": [{ "port": 443 }] }, "status": { "loadBalancer": { "ingress": ingress } },
        }))
        .unwrap()
    };
    let endpoint = |ingress| endpoint(&fleet, &service(ingress), ServiceType::LoadBalancer);
    assert_eq!(endpoint(json!([])), None);
    assert_eq!(endpoint(json!([{ "ip": "192.0.2.1" }])).as_deref(), Some("192.0.2.1:443"));
    assert_eq!(endpoint(json!([{ "ip": "2001:db8::1" }])).as_deref(), Some("[2001:db8::1]:443"));
    assert_eq!(endpoint(json!([{ "hostname": "lb.example" }])).as_deref(), Some("lb.example:443"));
}
