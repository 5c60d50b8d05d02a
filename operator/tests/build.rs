//! From a few lines of a StreamServer to every manifest that is made of them, as reviewed snapshots.
//!
//! To change them: `INSTA_UPDATE=always cargo test -p tickwire-operator --test build`, then read the difference.

#![expect(clippy::unwrap_used, reason = "a test fails where its world does")]

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Container;
use kube::core::DynamicObject;
use serde::Serialize;
use tickwire_crd::{StreamServer, TlsMode};
use tickwire_operator::build::{Prepared, Resources, Surroundings, build};
use tickwire_operator::course::Course;
use tickwire_operator::fleet::Fleet;
use tickwire_operator::issue::{Issued, IssuedTls};
use tickwire_operator::kinds::Kinds;
use tickwire_operator::nats_secret::NatsSecret;
use tickwire_operator::observe::Observed;
use tickwire_operator::settings::ServerImage;
use tickwire_operator::validate::{CertificateSource, Credentials, Pair, Validated};

/// As it comes from an API server: with a UID, and with the schema's defaults, which the types have too.
fn validated(spec: &str, kinds: Kinds) -> Validated {
    let text = format!(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata: {{ name: ticks, namespace: market, uid: u-1 }}\nspec:\n{spec}"
    );
    let server: StreamServer = serde_saphyr::from_str(&text).unwrap();
    let pair = Pair { username: b"tickwire".to_vec(), password: b"secret".to_vec() };
    Validated {
        fleet: Fleet::of(&server).unwrap(),
        kinds,
        credentials: match server.spec.auth.secret_ref {
            Some(_) => Credentials::Referenced(pair),
            None => Credentials::Generated(pair),
        },
        certificate: match server.spec.tls.mode {
            TlsMode::SelfSigned => CertificateSource::SelfSigned { data: BTreeMap::new() },
            TlsMode::CertManager => CertificateSource::CertManager(None),
            // What is in the Secret makes no difference to the manifests.
            TlsMode::Secret | TlsMode::Disabled => CertificateSource::Disabled,
        },
        operator_data: BTreeMap::new(),
        operator_version: None,
        credentials_version: None,
        recording: Vec::new(),
        nats: None,
        problems: Vec::new(),
        spec: server.spec,
    }
}

/// What `issue` would make, without chance.
fn issued(validated: &Validated) -> Issued {
    let entry = |key: &str, value: &str| (key.to_owned(), ByteString(value.into()));
    let generated = match &validated.credentials {
        Credentials::Generated(pair) => Some(pair.clone()),
        _ => None,
    };
    let tls = matches!(validated.certificate, CertificateSource::SelfSigned { .. }).then(|| IssuedTls {
        data: [entry("tls.crt", "certificate"), entry("tls.key", "key"), entry("ca.crt", "authorities")]
            .into(),
        bundle: "authorities".into(),
    });
    Issued {
        operator_data: [entry("digest.key", "digest key")].into(),
        generated,
        tls,
        certificate_validity: None,
        digest: "0123456789abcdef".into(),
        look_again: None,
        notes: Vec::new(),
    }
}

/// Nothing is waited for.
fn straight(validated: &Validated) -> Course {
    Course::straight(&validated.spec, jiff::Timestamp::UNIX_EPOCH)
}

fn around() -> Surroundings {
    Surroundings {
        server_image: ServerImage { repository: "tickwire/server".into(), tag: "0.1.0".into() },
        operator_namespace: "tickwire-system".into(),
        operator_labels: [("app.kubernetes.io/name".to_owned(), "tickwire".to_owned())].into(),
    }
}

fn built(spec: &str, kinds: Kinds) -> Resources<Prepared> {
    let validated = validated(spec, kinds);
    build(&validated, &issued(&validated), &straight(&validated), &around())
}

/// All manifests, in the order in which they are applied.
fn manifests(resources: &Resources<Prepared>) -> String {
    // Without `..`: what is built is looked at.
    let Resources {
        service_account,
        operator_secret,
        credentials_secret,
        tls_secret,
        ca_config_map,
        certificate,
        certificate_secret,
        service,
        metrics_service,
        network_policy,
        disruption_budget,
        deployment,
        autoscaler,
        service_monitor,
        prometheus_rule,
        state: _,
    } = resources;
    let mut documents = vec![yaml(service_account), yaml(operator_secret)];
    documents.extend(credentials_secret.as_ref().map(yaml));
    documents.extend(tls_secret.as_ref().map(yaml));
    documents.extend(ca_config_map.as_ref().map(yaml));
    documents.extend(certificate.as_ref().map(yaml::<DynamicObject>));
    documents.extend(certificate_secret.as_ref().map(yaml));
    documents.extend([yaml(service), yaml(metrics_service)]);
    documents.extend(network_policy.as_ref().map(yaml));
    documents.extend(disruption_budget.as_ref().map(yaml));
    documents.extend(deployment.as_ref().map(yaml));
    documents.extend(autoscaler.as_ref().map(yaml));
    documents.extend(service_monitor.as_ref().map(yaml));
    documents.extend(prometheus_rule.as_ref().map(yaml));
    documents.join("---\n")
}

fn yaml<T: Serialize>(object: &T) -> String {
    serde_saphyr::to_string(object).unwrap()
}

/// Everything, where the specification says nothing.
#[test]
fn an_empty_specification_is_a_whole_fleet() {
    insta::assert_snapshot!(manifests(&built("  {}\n", Kinds::default())));
}

#[test]
fn where_the_cluster_has_the_kinds_of_others_they_are_used() {
    let kinds = Kinds { service_monitor: true, prometheus_rule: true, certificate: true };
    let spec = "
  monitoring: { interval: 10s, labels: { release: prometheus } }
  tls:
    mode: CertManager
    dnsNames: [ticks.example]
    certManager: { issuerRef: { name: ours, kind: ClusterIssuer }, duration: 720h }
";
    let Resources { certificate, service_monitor, prometheus_rule, tls_secret, ca_config_map, .. } =
        built(spec, kinds);
    assert!(tls_secret.is_none() && ca_config_map.is_none(), "they are cert-manager's");
    insta::assert_snapshot!(
        [yaml(&certificate), yaml(&service_monitor), yaml(&prometheus_rule)].join("---\n")
    );
}

#[test]
fn what_is_not_asked_for_or_has_no_kind_is_not_built() {
    let spec = "
  tls: { mode: Disabled }
  auth: { secretRef: { name: mine } }
  disruption: { enabled: false }
";
    let resources = built(spec, Kinds::default());
    assert!(resources.tls_secret.is_none());
    assert!(resources.ca_config_map.is_none());
    assert!(resources.credentials_secret.is_none());
    assert!(resources.disruption_budget.is_none());
    assert!(resources.network_policy.is_none());
    assert!(resources.autoscaler.is_none());
    assert!(resources.service_monitor.is_none());
    assert!(resources.prometheus_rule.is_none());
}

#[test]
fn the_number_of_servers_follows_the_connections_and_falls_by_one_per_drain() {
    let spec = "
  autoscaling: { minReplicas: 3, maxReplicas: 12, targetActiveConnections: 1000 }
  drain: { delay: 10s, window: 90s }
";
    insta::assert_snapshot!(yaml(&built(spec, Kinds::default()).autoscaler));
}

#[test]
fn clients_come_through_a_load_balancer_that_tells_who_they_are() {
    let spec = "
  service:
    type: LoadBalancer
    port: 443
    annotations: { example.com/proxy-protocol: v2 }
    labels: { team: market, app.kubernetes.io/name: not-ours-to-change }
    externalTrafficPolicy: Local
    loadBalancerClass: example.com/internal
    loadBalancerSourceRanges: [192.0.2.0/24]
    proxyProtocol: { from: [10.0.0.0/16, 'fd00::/8'] }
";
    let resources = built(spec, Kinds::default());
    assert_eq!(variable(&resources, "PROXY_PROTOCOL_FROM").as_deref(), Some("10.0.0.0/16,fd00::/8"));
    insta::assert_snapshot!(yaml(&resources.service));
}

#[test]
fn every_group_of_the_specification_reaches_the_pods() {
    let spec = "
  image: { repository: registry.example/server, tag: 1.2.3, pullPolicy: Always, pullSecrets: [{ name: pull }] }
  replicas: 5
  auth:
    secretRef: { name: mine }
    users: { secretRef: { name: people, key: users } }
    failureLimit: 3
    userFailureLimit: 30
  tls:
    mode: Secret
    secretRef: { name: our-certificate }
    clientAuthentication: { caSecretRef: { name: clients, key: ca.crt }, mode: Optional, identity: Sufficient }
  feed: { synthetic: { seed: 7, symbols: [A, B], rate: 5000 } }
  protocol: { heartbeatInterval: 1s, heartbeatTimeout: 2500ms, batchWindow: 0s, maxMessageSize: 1Mi, writeDeadline: 1m, authDeadline: 2s }
  limits: { maxConnections: 12, maxConnectionsPerAddress: 3, writeQueue: 2Mi, maxFilters: 4, ringSize: 8Mi, ringRetention: 1h30m }
  drain: { delay: 1500ms, window: 30s, timeout: 45s }
  rollout: { maxSurge: 2, minReadySeconds: 30, progressDeadlineSeconds: 20 }
  resources: { limits: { memory: 1Gi } }
  scheduling:
    nodeSelector: { disk: fast }
    tolerations: [{ key: dedicated, operator: Exists }]
    topologySpreadConstraints: [{ maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule }]
    priorityClassName: high
  pod: { labels: { team: market }, annotations: { note: text } }
  security: { pod: { fsGroup: 1000 }, container: { runAsUser: 1000 } }
";
    insta::assert_snapshot!(yaml(&built(spec, Kinds::default()).deployment));
}

#[test]
fn a_recording_is_mounted_and_played() {
    let spec = "
  replicas: 1
  feed: { replay: { configMapRef: { name: trades, key: trades.csv }, speed: 60, loop: true } }
";
    let resources = built(spec, Kinds::default());
    for (name, value) in [
        ("FEED", "replay"),
        ("FEED_FILE", "/etc/tickwire/recording/trades.csv"),
        ("FEED_SPEED", "60"),
        ("FEED_LOOP", "true"),
    ] {
        assert_eq!(variable(&resources, name).as_deref(), Some(value));
    }
    let pod = resources.deployment.unwrap().spec.unwrap().template.spec.unwrap();
    let volume = pod.volumes.unwrap().into_iter().find(|volume| volume.name == "recording").unwrap();
    assert_eq!(volume.config_map.unwrap().name, "trades");
}

const NATS: &str = "
  feed:
    nats: { urls: ['nats://a:4222', 'tls://b:4222'], stream: TRADES, symbols: [B, A], lateness: 1500ms, secretRef: { name: bus } }
";

/// With a Secret that has these keys.
fn built_with_nats(entries: &[(&str, &str)]) -> Resources<Prepared> {
    let mut validated = validated(NATS, Kinds::default());
    let data = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString((*value).into()))).collect();
    validated.nats = Some(NatsSecret::read("bus", &data).unwrap());
    build(&validated, &issued(&validated), &straight(&validated), &around())
}

#[test]
fn trades_come_from_nats() {
    let resources = built(NATS, Kinds::default());
    for (name, value) in [
        ("FEED", "nats"),
        ("FEED_NATS_URL", "nats://a:4222,tls://b:4222"),
        ("FEED_NATS_STREAM", "TRADES"),
        ("FEED_SYMBOLS", "B,A"),
        ("FEED_LATENESS", "1500ms"),
    ] {
        assert_eq!(variable(&resources, name).as_deref(), Some(value));
    }
    assert!(!variables(&resources).iter().any(|name| name.starts_with("FEED_NATS_USER")));
}

#[test]
fn what_servers_show_to_nats_comes_from_the_secret_and_only_what_is_in_it() {
    let from_secret = |resources: &Resources<Prepared>, name: &str| {
        let variable =
            container(resources).env.unwrap().into_iter().find(|variable| variable.name == name)?;
        let reference = variable.value_from?.secret_key_ref?;
        Some((reference.name, reference.key))
    };
    let bus = |key: &str| Some(("bus".to_owned(), key.to_owned()));
    let user = built_with_nats(&[("username", "ticks"), ("password", "secret")]);
    assert_eq!(from_secret(&user, "FEED_NATS_USER"), bus("username"));
    assert_eq!(from_secret(&user, "FEED_NATS_PASSWORD"), bus("password"));
    assert!(
        !container(&user).volume_mounts.unwrap().iter().any(|mount| mount.name == "nats"),
        "no file is needed"
    );
    let token = built_with_nats(&[("token", "secret")]);
    assert_eq!(from_secret(&token, "FEED_NATS_TOKEN"), bus("token"));
    assert_eq!(from_secret(&token, "FEED_NATS_USER"), None);

    let file = built_with_nats(&[("user.creds", "JWT")]);
    let path = variable(&file, "FEED_NATS_CREDENTIALS_FILE");
    assert_eq!(path.as_deref(), Some("/etc/tickwire/nats/user.creds"));
    let pod = file.deployment.unwrap().spec.unwrap().template.spec.unwrap();
    let volume =
        pod.volumes.unwrap().into_iter().find(|volume| volume.name == "nats").unwrap().secret.unwrap();
    let items: Vec<_> = volume.items.unwrap().into_iter().map(|item| item.key).collect();
    assert_eq!((volume.secret_name.as_deref(), items), (Some("bus"), vec!["user.creds".to_owned()]));
}

/// The number of servers, and whether their rollout waits, is the course's matter.
#[test]
fn a_deployment_is_asked_for_what_the_course_says_and_pauses_only_while_it_is_held() {
    let validated = validated("  { replicas: 2 }\n", Kinds::default());
    let of = |course: &Course| {
        let spec =
            build(&validated, &issued(&validated), course, &around()).deployment.unwrap().spec.unwrap();
        (spec.replicas, spec.paused)
    };
    let straight = straight(&validated);
    assert_eq!(of(&straight), (Some(2), None), "a person's own pause stays");
    assert_eq!(of(&Course { replicas: 5, is_held: true, ..straight }), (Some(5), Some(true)));
}

#[test]
fn at_a_pace_one_server_is_replaced_at_a_time_and_no_drain_is_cut_short() {
    let spec = "
  drain: { delay: 5s, window: 20s, reconnectsPerSecond: 100 }
  limits: { maxConnections: 12000 }
  rollout: { maxSurge: 50%, minReadySeconds: 0, progressDeadlineSeconds: 10 }
  autoscaling: { maxReplicas: 4, targetActiveConnections: 6000 }
";
    let resources = built(spec, Kinds::default());
    assert_eq!(variable(&resources, "DRAIN_RATE").as_deref(), Some("100"));
    assert_eq!(variable(&resources, "DRAIN_WINDOW").as_deref(), Some("20s"));
    // 12,000 at 100 a second, and what the last has for leaving.
    assert_eq!(variable(&resources, "DRAIN_TIMEOUT").as_deref(), Some("130s"));
    let deployment = resources.deployment.unwrap().spec.unwrap();
    let rolling = deployment.strategy.unwrap().rolling_update.unwrap();
    assert_eq!(serde_json::to_value(rolling.max_surge).unwrap(), 1);
    assert_eq!(serde_json::to_value(rolling.max_unavailable).unwrap(), 0);
    assert_eq!(deployment.min_ready_seconds, Some(5));
    assert_eq!(deployment.template.spec.unwrap().termination_grace_period_seconds, Some(5 + 130 + 10));
    let behavior = resources.autoscaler.unwrap().spec.unwrap().behavior.unwrap();
    let policy = behavior.scale_down.unwrap().policies.unwrap().remove(0);
    assert_eq!(policy.period_seconds, 5 + 60, "that of a server with as many clients as are aimed at");
    assert_eq!(variable(&built("  {}\n", Kinds::default()), "DRAIN_RATE"), None);
}

#[test]
fn a_network_policy_lets_clients_and_readers_of_metrics_in_and_always_the_operator() {
    let spec = "
  networkPolicy:
    enabled: true
    clients: [{ ipBlock: { cidr: 192.0.2.0/24 } }]
    metrics: [{ namespaceSelector: { matchLabels: { name: monitoring } } }]
";
    insta::assert_snapshot!(yaml(&built(spec, Kinds::default()).network_policy));
}

#[test]
fn a_disruption_budget_has_what_the_specification_says() {
    let of = |spec: &str| built(spec, Kinds::default()).disruption_budget.unwrap().spec.unwrap();
    let given = of("  disruption: { minAvailable: 50% }\n");
    assert_eq!(given.max_unavailable, None);
    assert_eq!(serde_json::to_value(given.min_available).unwrap(), "50%");
    let given = of("  disruption: { maxUnavailable: 2 }\n");
    assert_eq!(serde_json::to_value(given.max_unavailable).unwrap(), 2);
}

/// The settings of the server are checked by the server itself: whatever the operator writes, it must read.
#[test]
fn every_variable_is_one_that_the_server_knows() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md")).unwrap();
    let everything = "
  auth: { users: { secretRef: { name: people, key: users } } }
  tls: { clientAuthentication: { caSecretRef: { name: clients, key: ca.crt } } }
  service: { type: NodePort, proxyProtocol: { from: [10.0.0.0/8] } }
  feed: { synthetic: { symbolCount: 3 } }
";
    let replay = "  feed: { replay: { configMapRef: { name: trades, key: trades.csv } } }\n";
    let paced = "  drain: { reconnectsPerSecond: 100 }\n";
    let user = [("username", "ticks"), ("password", "secret")];
    let of = |spec| built(spec, Kinds::default());
    let nats = [&user[..], &[("token", "secret")], &[("user.creds", "JWT")]].map(built_with_nats);
    for resources in [of(everything), of(replay), of(paced)].iter().chain(&nats) {
        let names = variables(resources);
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/CONFIGURATION.md");
        }
    }
}

#[test]
fn a_grace_period_outlasts_the_whole_drain() {
    for (spec, seconds) in [
        ("  drain: { delay: 5s, window: 20s }\n", 5 + 20 + 10 + 10),
        ("  drain: { delay: 0s, window: 1m, timeout: 2m }\n", 120 + 10),
        ("  drain: { delay: 1500ms, window: 0s, timeout: 0s }\n", 12),
    ] {
        let pod = built(spec, Kinds::default()).deployment.unwrap().spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.termination_grace_period_seconds, Some(seconds), "{spec}");
    }
}

/// A change of what is mounted and read while running must not roll the pods; one of what is read at the start must.
#[test]
fn pods_roll_for_credentials_and_settings_and_not_for_a_certificate() {
    let validated = validated("  {}\n", Kinds::default());
    let template = |validated: &Validated, issued: &Issued| {
        serde_json::to_value(
            build(validated, issued, &straight(validated), &around())
                .deployment
                .unwrap()
                .spec
                .unwrap()
                .template,
        )
        .unwrap()
    };
    let before = template(&validated, &issued(&validated));

    let mut renewed = issued(&validated);
    renewed.tls.as_mut().unwrap().data.insert("tls.crt".into(), ByteString(b"another".to_vec()));
    assert_eq!(template(&validated, &renewed), before);

    let mut other_password = issued(&validated);
    other_password.digest = "fedcba9876543210".into();
    assert_ne!(template(&validated, &other_password), before);

    let mut other_setting = validated.clone();
    other_setting.spec.limits.max_connections = 5;
    assert_ne!(template(&other_setting, &issued(&validated)), before);

    let mut more = validated.clone();
    more.spec.replicas = 9;
    assert_eq!(template(&more, &issued(&validated)), before);
}

/// That this test and the operator's steps go by the same objects.
#[test]
fn what_is_observed_of_nothing_is_valid_and_built_alike() {
    let spec = validated("  {}\n", Kinds::default()).spec;
    let mut server = StreamServer::new("ticks", spec);
    server.metadata.namespace = Some("market".into());
    server.metadata.uid = Some("u-1".into());
    let fleet = Fleet::of(&server).unwrap();
    let observed = Observed::alone(server, fleet, Kinds::default());
    let (valid, authority) = tickwire_operator::validate::validate(&observed);
    assert!(valid.problems.is_empty());
    assert!(authority.is_none());
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let issued = tickwire_operator::issue::issue(&valid, authority, now).unwrap();
    assert_eq!(issued.digest.len(), 16);
    let resources = build(&valid, &issued, &straight(&valid), &around());
    let labels = resources.deployment.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/instance"], "ticks");
    assert!(
        resources.tls_secret.unwrap().data.unwrap()["tls.crt"].0.starts_with(b"-----BEGIN CERTIFICATE-----")
    );
}

fn container(resources: &Resources<Prepared>) -> Container {
    let pod = resources.deployment.as_ref().unwrap().spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    pod.containers[0].clone()
}

fn variables(resources: &Resources<Prepared>) -> Vec<String> {
    container(resources).env.iter().flatten().map(|variable| variable.name.clone()).collect()
}

fn variable(resources: &Resources<Prepared>, name: &str) -> Option<String> {
    container(resources).env?.into_iter().find(|variable| variable.name == name)?.value
}
