//! Every rule of the definition, with an object that keeps it and one that breaks it: what the API server says then.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::{Said, kubectl_with};
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::manifest;

/// A rule's message, a specification that keeps it, one that breaks it, and the field that the API server names.
struct Case {
    message: &'static str,
    keeps: &'static str,
    breaks: &'static str,
    field: &'static str,
}

const fn case(message: &'static str, field: &'static str, keeps: &'static str, breaks: &'static str) -> Case {
    Case { message, keeps, breaks, field }
}

const CASES: [Case; 57] = [
    case(
        "must be at most 1 where feed.replay is set: each server plays the recording from its own start",
        "spec.replicas",
        "{replicas: 1, feed: {replay: {configMapRef: {name: a, key: b}}}}",
        "{replicas: 2, feed: {replay: {configMapRef: {name: a, key: b}}}}",
    ),
    case(
        "autoscaling and feed.replay exclude each other: each server plays the recording from its own start",
        "spec",
        "{autoscaling: {maxReplicas: 3}}",
        "{replicas: 1, autoscaling: {maxReplicas: 3}, feed: {replay: {configMapRef: {name: a, key: b}}}}",
    ),
    case(
        "limits.writeQueue must be at least protocol.maxMessageSize",
        "spec",
        "{limits: {writeQueue: 1Mi}, protocol: {maxMessageSize: 1Mi}}",
        "{limits: {writeQueue: 1Mi}, protocol: {maxMessageSize: 2Mi}}",
    ),
    case(
        "autoscaling.targetActiveConnections must be at most nine tenths of limits.maxConnections, as an autoscaler acts only where its target is exceeded by a tenth",
        "spec",
        "{limits: {maxConnections: 10}, autoscaling: {maxReplicas: 3, targetActiveConnections: 9}}",
        "{limits: {maxConnections: 10}, autoscaling: {maxReplicas: 3, targetActiveConnections: 10}}",
    ),
    case(
        "must be at least minReplicas",
        "spec.autoscaling.maxReplicas",
        "{autoscaling: {minReplicas: 3, maxReplicas: 3}}",
        "{autoscaling: {minReplicas: 4, maxReplicas: 3}}",
    ),
    case(
        "must be at most 1h",
        "spec.autoscaling.scaleDown.stabilizationWindow",
        "{autoscaling: {maxReplicas: 3, scaleDown: {stabilizationWindow: 60m}}}",
        "{autoscaling: {maxReplicas: 3, scaleDown: {stabilizationWindow: 61m}}}",
    ),
    case(
        "is for the types NodePort and LoadBalancer",
        "spec.service.nodePort",
        "{service: {type: NodePort, nodePort: 30123}}",
        "{service: {nodePort: 30123}}",
    ),
    case(
        "is for the types NodePort and LoadBalancer",
        "spec.service.externalTrafficPolicy",
        "{service: {type: LoadBalancer, externalTrafficPolicy: Local}}",
        "{service: {externalTrafficPolicy: Local}}",
    ),
    case(
        "is for the type LoadBalancer",
        "spec.service.loadBalancerClass",
        "{service: {type: LoadBalancer, loadBalancerClass: example.com/a}}",
        "{service: {type: NodePort, loadBalancerClass: example.com/a}}",
    ),
    case(
        "is for the type LoadBalancer",
        "spec.service.loadBalancerSourceRanges",
        "{service: {type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24]}}",
        "{service: {type: NodePort, loadBalancerSourceRanges: [192.0.2.0/24]}}",
    ),
    case(
        "must be networks, such as 192.0.2.0/24",
        "spec.service.loadBalancerSourceRanges",
        "{service: {type: LoadBalancer, loadBalancerSourceRanges: ['2001:db8::/32']}}",
        "{service: {type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.1]}}",
    ),
    case(
        "must be networks, such as 10.0.0.0/16",
        "spec.service.proxyProtocol.from",
        "{service: {proxyProtocol: {from: [10.0.0.0/16]}}}",
        "{service: {proxyProtocol: {from: [10.0.0.0/33]}}}",
    ),
    case(
        "is required where mode is Secret, and only there",
        "spec.tls.secretRef",
        "{tls: {mode: Secret, secretRef: {name: a}}}",
        "{tls: {mode: Secret}}",
    ),
    case(
        "is required where mode is CertManager, and only there",
        "spec.tls.certManager",
        "{tls: {mode: CertManager, certManager: {issuerRef: {name: a}}}}",
        "{tls: {certManager: {issuerRef: {name: a}}}}",
    ),
    case(
        "is for the mode SelfSigned",
        "spec.tls.selfSigned",
        "{tls: {selfSigned: {}}}",
        "{tls: {mode: Disabled, selfSigned: {}}}",
    ),
    case(
        "needs TLS, but mode is Disabled",
        "spec.tls.clientAuthentication",
        "{tls: {clientAuthentication: {caSecretRef: {name: a, key: b}}}}",
        "{tls: {mode: Disabled, clientAuthentication: {caSecretRef: {name: a, key: b}}}}",
    ),
    case(
        "must be addresses, such as 192.0.2.1 or 2001:db8::1",
        "spec.tls.ipAddresses",
        "{tls: {ipAddresses: ['2001:db8::1', 192.0.2.1]}}",
        "{tls: {ipAddresses: [example.com]}}",
    ),
    case(
        "dnsNames and ipAddresses are for the modes SelfSigned and CertManager",
        "spec.tls",
        "{tls: {dnsNames: [example.com]}}",
        "{tls: {mode: Disabled, dnsNames: [example.com]}}",
    ),
    case(
        "must be at least 1m",
        "spec.tls.selfSigned.duration",
        "{tls: {selfSigned: {duration: 1m, renewBefore: 30s}}}",
        "{tls: {selfSigned: {duration: 59s, renewBefore: 30s}}}",
    ),
    case(
        "must be less than duration",
        "spec.tls.selfSigned.renewBefore",
        "{tls: {selfSigned: {duration: 2h, renewBefore: 1h}}}",
        "{tls: {selfSigned: {duration: 2h, renewBefore: 2h}}}",
    ),
    case(
        "must be at least twice the duration of the certificates that it signs",
        "spec.tls.selfSigned.caDuration",
        "{tls: {selfSigned: {duration: 2h, renewBefore: 1h, caDuration: 4h}}}",
        "{tls: {selfSigned: {duration: 2h, renewBefore: 1h, caDuration: 3h}}}",
    ),
    case(
        "exactly one of synthetic, replay and nats must be set",
        "spec.feed",
        "{feed: {synthetic: {}}}",
        "{replicas: 1, feed: {synthetic: {}, replay: {configMapRef: {name: a, key: b}}}}",
    ),
    case(
        "exactly one of synthetic, replay and nats must be set",
        "spec.feed",
        "{feed: {nats: {urls: ['nats://a'], stream: A, symbols: [B]}}}",
        "{feed: {synthetic: {}, nats: {urls: ['nats://a'], stream: A, symbols: [B]}}}",
    ),
    case(
        "must not be one number alone, which a server takes for how many symbols there are",
        "spec.feed.nats.symbols",
        "{feed: {nats: {urls: ['tls://a.b:4222'], stream: A-b_1, symbols: ['7203', '7204']}}}",
        "{feed: {nats: {urls: ['tls://a.b:4222'], stream: A-b_1, symbols: ['7203']}}}",
    ),
    case(
        "must be at most 1m",
        "spec.feed.nats.lateness",
        "{feed: {nats: {urls: ['nats://[::1]:4222'], stream: A, symbols: [B], lateness: 1m}}}",
        "{feed: {nats: {urls: ['nats://[::1]:4222'], stream: A, symbols: [B], lateness: 61s}}}",
    ),
    case(
        "only one of symbols and symbolCount may be set",
        "spec.feed.synthetic",
        "{feed: {synthetic: {symbolCount: 3}}}",
        "{feed: {synthetic: {symbolCount: 3, symbols: [A]}}}",
    ),
    case(
        "must not be one number alone, which a server takes for how many symbols there are",
        "spec.feed.synthetic.symbols",
        "{feed: {synthetic: {symbols: ['7203', '7204']}}}",
        "{feed: {synthetic: {symbols: ['7203']}}}",
    ),
    case(
        "must be at least 100ms",
        "spec.protocol.heartbeatInterval",
        "{protocol: {heartbeatInterval: 100ms}}",
        "{protocol: {heartbeatInterval: 99ms}}",
    ),
    case(
        "must be more than heartbeatInterval",
        "spec.protocol.heartbeatTimeout",
        "{protocol: {heartbeatInterval: 9s, heartbeatTimeout: 10s}}",
        "{protocol: {heartbeatInterval: 10s, heartbeatTimeout: 10s}}",
    ),
    case(
        "must be at most 24h",
        "spec.protocol.heartbeatTimeout",
        "{protocol: {heartbeatTimeout: 24h}}",
        "{protocol: {heartbeatTimeout: 25h}}",
    ),
    case(
        "must be at most 1s",
        "spec.protocol.batchWindow",
        "{protocol: {batchWindow: 1s}}",
        "{protocol: {batchWindow: 1001ms}}",
    ),
    case(
        "must be 4Ki to 16Mi",
        "spec.protocol.maxMessageSize",
        "{protocol: {maxMessageSize: 4Ki}}",
        "{protocol: {maxMessageSize: 1Ki}}",
    ),
    case(
        "must be at least 100ms",
        "spec.protocol.writeDeadline",
        "{protocol: {writeDeadline: 100ms}}",
        "{protocol: {writeDeadline: 0s}}",
    ),
    case(
        "must be at most 24h",
        "spec.protocol.writeDeadline",
        "{protocol: {writeDeadline: 24h}}",
        "{protocol: {writeDeadline: 24h1s}}",
    ),
    case(
        "must be at least 100ms",
        "spec.protocol.authDeadline",
        "{protocol: {authDeadline: 100ms}}",
        "{protocol: {authDeadline: 10ms}}",
    ),
    case(
        "must be at most 24h",
        "spec.protocol.authDeadline",
        "{protocol: {authDeadline: 24h}}",
        "{protocol: {authDeadline: 48h}}",
    ),
    case(
        "must be 1Mi to 1024Gi",
        "spec.limits.ringSize",
        "{limits: {ringSize: 4Mi}}",
        "{limits: {ringSize: 1025Gi}}",
    ),
    case(
        "must be at most ringSize",
        "spec.limits.writeQueue",
        "{limits: {ringSize: 4Mi, writeQueue: 4Mi}}",
        "{limits: {ringSize: 4Mi, writeQueue: 5Mi}}",
    ),
    case(
        "must be 1s to 24h",
        "spec.limits.ringRetention",
        "{limits: {ringRetention: 1s}}",
        "{limits: {ringRetention: 999ms}}",
    ),
    case("must be at most 10m", "spec.drain.delay", "{drain: {delay: 10m}}", "{drain: {delay: 11m}}"),
    case("must be at most 1h", "spec.drain.window", "{drain: {window: 1h}}", "{drain: {window: 1h1s}}"),
    case(
        "must be at least window: the last clients are told to go at its end, and the grace period follows from timeout",
        "spec.drain.timeout",
        "{drain: {window: 20s, timeout: 20s}}",
        "{drain: {window: 20s, timeout: 19s}}",
    ),
    case(
        "must not be set where reconnectsPerSecond is: it follows from limits.maxConnections and that pace",
        "spec.drain.timeout",
        "{drain: {reconnectsPerSecond: 100}}",
        "{drain: {reconnectsPerSecond: 100, timeout: 30s}}",
    ),
    case(
        "drain.reconnectsPerSecond must be at least limits.maxConnections / 7200, so that a full server drains within 2h",
        "spec",
        "{drain: {reconnectsPerSecond: 2}, limits: {maxConnections: 14400}}",
        "{drain: {reconnectsPerSecond: 2}, limits: {maxConnections: 14401}}",
    ),
    case("must be at most 2h", "spec.drain.timeout", "{drain: {timeout: 2h}}", "{drain: {timeout: 3h}}"),
    case(
        "must be at least 1, or a percentage from 1% to 100%",
        "spec.rollout.maxSurge",
        "{rollout: {maxSurge: 100%}}",
        "{rollout: {maxSurge: 0}}",
    ),
    case(
        "must not have keys of app.kubernetes.io/ and tickwire.dev/, which are the operator's",
        "spec.pod.labels",
        "{pod: {labels: {team: a}}}",
        "{pod: {labels: {app.kubernetes.io/name: a}}}",
    ),
    case(
        "only one of maxUnavailable and minAvailable may be set",
        "spec.disruption",
        "{disruption: {minAvailable: 1}}",
        "{disruption: {minAvailable: 1, maxUnavailable: 1}}",
    ),
    case(
        "must be at least 1s",
        "spec.monitoring.interval",
        "{monitoring: {interval: 1s}}",
        "{monitoring: {interval: 500ms}}",
    ),
    case(
        "must be at least 1, or a percentage from 1% to 100%",
        "spec.rollout.maxSurge",
        "{rollout: {maxSurge: 1}}",
        "{rollout: {maxSurge: 0%}}",
    ),
    case(
        "must be 4Ki to 16Mi",
        "spec.protocol.maxMessageSize",
        "{protocol: {maxMessageSize: 16Mi}, limits: {writeQueue: 16Mi}}",
        "{protocol: {maxMessageSize: 17Mi}, limits: {writeQueue: 32Mi}}",
    ),
    case(
        "must be 1Mi to 1024Gi",
        "spec.limits.ringSize",
        "{limits: {ringSize: 1Mi, writeQueue: 1Mi}}",
        "{limits: {ringSize: 1023Ki, writeQueue: 512Ki}}",
    ),
    case(
        "must be 1s to 24h",
        "spec.limits.ringRetention",
        "{limits: {ringRetention: 24h}}",
        "{limits: {ringRetention: 25h}}",
    ),
    case(
        "exactly one of synthetic, replay and nats must be set",
        "spec.feed",
        "{feed: {synthetic: {seed: 2}}}",
        "{feed: {}}",
    ),
    case(
        "must be at least 1h",
        "spec.tls.certManager.duration",
        "{tls: {mode: CertManager, certManager: {issuerRef: {name: a}, duration: 1h}}}",
        "{tls: {mode: CertManager, certManager: {issuerRef: {name: a}, duration: 59m}}}",
    ),
    case(
        "must be at least 5m",
        "spec.tls.certManager.renewBefore",
        "{tls: {mode: CertManager, certManager: {issuerRef: {name: a}, renewBefore: 5m}}}",
        "{tls: {mode: CertManager, certManager: {issuerRef: {name: a}, renewBefore: 4m}}}",
    ),
    case(
        "is required where certManager.serviceNames is false: a certificate needs a name",
        "spec.tls.dnsNames",
        "{tls: {mode: CertManager, dnsNames: [a.example], certManager: {issuerRef: {name: a}, serviceNames: false}}}",
        "{tls: {mode: CertManager, certManager: {issuerRef: {name: a}, serviceNames: false}}}",
    ),
];

/// A rule about a change: what is there before, a change that keeps it, one that breaks it.
struct Change {
    message: &'static str,
    field: &'static str,
    before: &'static str,
    keeps: &'static str,
    breaks: &'static str,
}

const CHANGES: [Change; 9] = [
    // To a rule, sets are equal in any order; this list is none.
    Change {
        message: "cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed.synthetic",
        before: "{feed: {synthetic: {symbols: [A, B]}}}",
        keeps: r#"{"spec": {"feed": {"synthetic": {"symbols": ["A", "B"]}}}}"#,
        breaks: r#"{"spec": {"feed": {"synthetic": {"symbols": ["B", "A"]}}}}"#,
    },
    Change {
        message: "cannot be changed while the type is LoadBalancer",
        field: "spec.service.loadBalancerClass",
        before: "{service: {type: LoadBalancer, loadBalancerClass: example.com/a}}",
        keeps: r#"{"spec": {"service": {"type": "ClusterIP", "loadBalancerClass": null}}}"#,
        breaks: r#"{"spec": {"service": {"loadBalancerClass": "example.com/b"}}}"#,
    },
    Change {
        message: "cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed.synthetic",
        before: "{feed: {synthetic: {seed: 1}}}",
        keeps: r#"{"spec": {"feed": {"synthetic": {"seed": 1}}}}"#,
        breaks: r#"{"spec": {"feed": {"synthetic": {"seed": 2}}}}"#,
    },
    Change {
        message: "the kind of feed cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed",
        before: "{replicas: 1}",
        keeps: r#"{"spec": {"replicas": 0}}"#,
        breaks: r#"{"spec": {"feed": {"synthetic": null, "replay": {"configMapRef": {"name": "a", "key": "b"}}}}}"#,
    },
    Change {
        message: "cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed.replay.configMapRef",
        before: "{replicas: 1, feed: {replay: {configMapRef: {name: a, key: b}}}}",
        keeps: r#"{"spec": {"feed": {"replay": {"speed": 60}}}}"#,
        breaks: r#"{"spec": {"feed": {"replay": {"configMapRef": {"key": "c"}}}}}"#,
    },
    Change {
        message: "the kind of feed cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed",
        before: "{replicas: 1, feed: {replay: {configMapRef: {name: a, key: b}}}}",
        keeps: r#"{"spec": {"feed": {"replay": {"loop": true}}}}"#,
        breaks: r#"{"spec": {"feed": {"replay": null, "nats": {"urls": ["nats://a"], "stream": "A", "symbols": ["B"]}}}}"#,
    },
    Change {
        message: "cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed.nats.stream",
        before: "{feed: {nats: {urls: ['nats://a'], stream: A, symbols: [B]}}}",
        keeps: r#"{"spec": {"feed": {"nats": {"urls": ["tls://b:4222", "tls://c:4222"]}}}}"#,
        breaks: r#"{"spec": {"feed": {"nats": {"stream": "B"}}}}"#,
    },
    // The order numbers the bars.
    Change {
        message: "cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed.nats.symbols",
        before: "{feed: {nats: {urls: ['nats://a'], stream: A, symbols: [B, C]}}}",
        keeps: r#"{"spec": {"feed": {"nats": {"secretRef": {"name": "login"}}}}}"#,
        breaks: r#"{"spec": {"feed": {"nats": {"symbols": ["C", "B"]}}}}"#,
    },
    Change {
        message: "cannot be changed, as positions in the stream come from it; create another StreamServer",
        field: "spec.feed.nats.lateness",
        before: "{feed: {nats: {urls: ['nats://a'], stream: A, symbols: [B]}}}",
        keeps: r#"{"spec": {"feed": {"nats": {"lateness": "250ms"}}}}"#,
        breaks: r#"{"spec": {"feed": {"nats": {"lateness": "1s"}}}}"#,
    },
];

/// The rules about names, which no specification can break.
const LONG_NAME: &str = "metadata.name must be at most 50 characters: Services are named after it";
const DOTTED_NAME: &str =
    "metadata.name must begin with a letter and have no dots: Services are named after it";

#[test]
fn each_rule_lets_one_object_pass_and_refuses_another_with_its_field_and_message() {
    operator::installed();
    let namespace = Namespace::new("rules");
    let create = |name: &str, spec: &str| -> Said {
        namespace.try_kubectl(&manifest(name, spec), &["create", "--dry-run=server", "--filename=-"])
    };
    for Case { message, keeps, breaks, field } in &CASES {
        let said = create("ticks", keeps);
        assert!(said.ok, "{keeps} should pass: {}", said.err);
        assert_refused(&create("ticks", breaks), breaks, field, message);
    }
    assert!(create(&"a".repeat(50), "{}").ok);
    assert_refused(&create(&"a".repeat(51), "{}"), "51 characters", "", LONG_NAME);
    assert!(create("a-1", "{}").ok);
    for name in ["1a", "a.b"] {
        assert_refused(&create(name, "{}"), name, "", DOTTED_NAME);
    }
}

#[test]
fn each_rule_about_a_change_lets_one_pass_and_refuses_another() {
    operator::installed();
    let namespace = Namespace::new("changes");
    for (index, Change { message, field, before, keeps, breaks }) in CHANGES.iter().enumerate() {
        let name = format!("ticks-{index}");
        // Paused: nothing of it is meant to run.
        let paused = before.replacen('{', "{paused: true, ", 1);
        namespace.apply(&manifest(&name, &paused));
        let patch = |patch: &str| {
            namespace.try_kubectl(
                "",
                &["patch", "streamserver", &name, "--type=merge", "--dry-run=server", "--patch", patch],
            )
        };
        assert_refused(&patch(breaks), breaks, field, message);
        let said = patch(keeps);
        assert!(said.ok, "{keeps} should pass: {}", said.err);
    }
}

fn assert_refused(said: &Said, what: &str, field: &str, message: &str) {
    assert!(!said.ok, "{what} should be refused");
    assert!(said.err.contains(message), "{what}: {}", said.err);
    assert!(said.err.contains(field), "{what} should name {field}: {}", said.err);
}

/// A rule without a case is not tested. A rule is one by where it stands, the field that it names, and its message.
#[test]
fn every_rule_of_the_definition_has_its_case() {
    let definition = serde_json::to_value(tickwire_crd::definition()).expect("JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut rules = BTreeSet::new();
    collect(schema, "", &mut rules);
    assert!(rules.len() > 40, "{rules:?}");
    let cases = CASES.iter().map(|case| (case.field, case.message));
    let cases = cases.chain(CHANGES.iter().map(|change| (change.field, change.message)));
    let cases = cases.chain([("", LONG_NAME), ("", DOTTED_NAME)]);
    let tested: BTreeSet<_> = cases.map(|(field, message)| (field.to_owned(), message.to_owned())).collect();
    assert_eq!(rules, tested);
}

fn collect(schema: &Value, path: &str, rules: &mut BTreeSet<(String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().expect("each rule has a message");
        let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        rules.insert((field, message.to_owned()));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(property, &path, rules);
    }
    assert!(
        schema["items"]["x-kubernetes-validations"].is_null(),
        "{path}: rules of entries have no cases here"
    );
}

/// What the schema says by itself: bounds, patterns, enumerations, typing errors.
#[test]
fn what_is_out_of_bounds_or_misspelt_is_refused_with_the_field() {
    operator::installed();
    let namespace = Namespace::new("schema");
    for (spec, expected) in [
        (
            "{replicas: -1}",
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        ),
        ("{replicas: 1001}", "should be less than or equal to 1000"),
        ("{service: {port: 0}}", "spec.service.port"),
        (
            "{service: {type: Loadbalancer}}",
            "supported values: \"ClusterIP\", \"NodePort\", \"LoadBalancer\"",
        ),
        ("{tls: {mode: selfsigned}}", "spec.tls.mode: Unsupported value"),
        ("{feed: {nats: {urls: ['nats://me:secret@a'], stream: A, symbols: [B]}}}", "spec.feed.nats.urls[0]"),
        ("{feed: {nats: {urls: ['http://a'], stream: A, symbols: [B]}}}", "spec.feed.nats.urls[0]"),
        ("{feed: {nats: {urls: ['nats://a'], stream: A.B, symbols: [B]}}}", "spec.feed.nats.stream"),
        ("{feed: {nats: {urls: ['nats://a'], stream: A}}}", "spec.feed.nats.symbols: Required value"),
        ("{rebalance: {mode: Sometimes}}", "supported values: \"Never\", \"ScaleUp\", \"Always\""),
        ("{rebalance: {tolerancePercent: 0}}", "spec.rebalance.tolerancePercent"),
        ("{drain: {reconnectsPerSecond: 0}}", "spec.drain.reconnectsPerSecond"),
        ("{drain: {window: 20}}", "spec.drain.window"),
        ("{drain: {window: 20 seconds}}", "spec.drain.window"),
        ("{limits: {ringSize: 64MB}}", "spec.limits.ringSize"),
        ("{tls: {dnsNames: ['not a name']}}", "spec.tls.dnsNames[0]"),
        ("{autoscaling: {}}", "spec.autoscaling.maxReplicas: Required value"),
        ("{replcas: 3}", "unknown field \"spec.replcas\""),
    ] {
        let said = kubectl_with(
            &manifest("ticks", spec),
            &[
                "--namespace",
                &namespace.name,
                "create",
                "--dry-run=server",
                "--validate=strict",
                "--filename=-",
            ],
        );
        assert!(!said.ok, "{spec} should be refused");
        assert!(said.err.contains(expected), "{spec}: {}", said.err);
    }
}
