//! Each sample in docs/samples is applied, becomes ready, and is deleted without a trace.

use tickwire_client::{Client, Credentials, Event, Mode, Request, Tls};
use tickwire_tests::pki::{Authority, Names};

use crate::cluster::{kubectl, root};
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::StreamServer;

/// Everything that the operator makes.
pub(crate) const CHILDREN: &str = "streamservers,deployments,replicasets,pods,services,secrets,serviceaccounts,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,servicemonitors,prometheusrules,certificates.cert-manager.io";

/// Applies a sample, waits until it is ready, and gives it to be looked at. Then deletes it, and waits until nothing of it is left.
fn try_sample(name: &str, prepare: impl FnOnce(&Namespace), look: impl FnOnce(StreamServer<'_>)) {
    operator::installed();
    let namespace = Namespace::new(&format!("sample-{name}"));
    let before = namespace.names(CHILDREN);
    prepare(&namespace);
    let prepared = namespace.names(CHILDREN);
    let file = sample(name);
    namespace.kubectl(&["apply", "--filename", &file]);
    let server = StreamServer { namespace: &namespace, name };
    look(server.until_ready());
    namespace.kubectl(&["delete", "--filename", &file, "--wait", "--timeout=2m"]);
    crate::cluster::eventually(&format!("nothing is left of {name}"), || {
        let left = namespace.names(CHILDREN);
        left.iter().all(|object| before.contains(object) || prepared.contains(object)).then_some(())
    });
    let config_maps = namespace.names("configmaps");
    assert_eq!(config_maps, ["configmap/kube-root-ca.crt"], "nor a ConfigMap");
}

fn sample(name: &str) -> String {
    root().join("docs/samples").join(format!("{name}.yaml")).display().to_string()
}

/// Subscribes, and waits for ticks.
fn ticks_come(client: &Client) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut subscription = client.subscribe(Request::new(Mode::Tick));
        loop {
            let event = tokio::time::timeout(tickwire_tests::PATIENCE, subscription.next())
                .await
                .expect("ticks come");
            match event.expect("it goes well") {
                Event::Batch(batch) if batch.len > 0 => return,
                Event::Disconnected { error, .. } => panic!("{error}: {error:?}"),
                _ => {}
            }
        }
    });
}

#[test]
fn minimal() {
    try_sample(
        "minimal",
        |_| {},
        |server| {
            ticks_come(&server.client());
            let stranger = server.plain_client();
            assert!(is_refused(&stranger), "without TLS nobody is let in");
        },
    );
}

#[test]
fn plain() {
    try_sample("plain", |_| {}, |server| ticks_come(&server.plain_client()));
}

#[test]
fn mutual_tls() {
    let authority = Authority::new("Clients of a test");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let pair = authority.client(&["alice"]);
    let (certificate, key) = (write("alice.crt", &pair.certificate), write("alice.key", &pair.key));
    let ca = write("ca.crt", authority.certificate());
    try_sample(
        "mutual-tls",
        |namespace| {
            let file = format!("--from-file=ca.crt={}", ca.display());
            namespace.kubectl(&["create", "secret", "generic", "client-authorities", &file]);
        },
        |server| {
            let trust = server.trust().client_certificate(certificate, key).build().expect("files");
            ticks_come(&server.plain_client().tls(trust));
            assert!(is_refused(&server.client()), "without a certificate nobody is let in");
        },
    );
}

#[test]
fn tls_from_secret() {
    let authority = Authority::new("Ours");
    try_sample(
        "tls-from-secret",
        |namespace| {
            let pair = authority.server(&["ticks.example"]);
            let manifest = serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "ticks-certificate" }, "type": "kubernetes.io/tls",
                "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key },
            });
            namespace.apply(&manifest.to_string());
        },
        |server| {
            let ca = server.namespace.file("ours.crt", authority.certificate());
            let trust = Tls::builder().ca_file(ca).server_name("ticks.example").build().expect("files");
            ticks_come(&server.plain_client().tls(trust));
        },
    );
}

#[test]
fn own_credentials() {
    try_sample(
        "own-credentials",
        |_| {},
        |server| {
            let status = server.get()["status"].clone();
            assert!(
                server.namespace.get("secret", "own-credentials-credentials").is_none(),
                "none is made up: {status}"
            );
            ticks_come(&server.client());
        },
    );
}

#[test]
fn users_file() {
    try_sample(
        "users-file",
        |_| {},
        |server| {
            ticks_come(&server.client());
            // One of those in the sample, whose comment says the password.
            let tls = || server.trust().build().expect("authorities");
            let client =
                |password| Client::new([server.address()], Credentials::new("ann", password)).tls(tls());
            ticks_come(&client("not-a-secret-ann"));
            assert!(is_refused(&client("not-a-secret-bob")));
        },
    );
}

#[test]
fn autoscaling() {
    try_sample(
        "autoscaling",
        |_| {},
        |server| {
            let autoscaler =
                server.namespace.get("horizontalpodautoscaler", server.name).expect("it is there");
            assert_eq!(autoscaler["spec"]["scaleTargetRef"]["kind"], "StreamServer");
            assert_eq!(autoscaler["spec"]["metrics"][0]["pods"]["metric"]["name"], "active_connections");
            // It finds its target by the scale subresource: what it says of it is true.
            crate::cluster::eventually("the autoscaler can scale", || {
                let status = server.namespace.get("horizontalpodautoscaler", server.name)?["status"].clone();
                let conditions = status["conditions"].as_array()?.clone();
                conditions
                    .iter()
                    .any(|it| it["type"] == "AbleToScale" && it["status"] == "True")
                    .then_some(())
            });
            server.condition("ScalingActive", "True", "MetricsServed");
            ticks_come(&server.client());
        },
    );
}

#[test]
fn load_balancer() {
    try_sample(
        "load-balancer",
        |_| {},
        |server| {
            let service = server.namespace.get("service", server.name).expect("it is there");
            assert_eq!(service["spec"]["type"], "LoadBalancer");
            assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
            assert_eq!(service["spec"]["loadBalancerSourceRanges"][0], "198.51.100.0/24");
            assert!(server.get()["status"]["endpoint"].is_null(), "nobody here gives it an address");
            // Nobody here is in the load balancer's network: who comes directly needs no header.
            ticks_come(&server.client());
            // Were everybody a load balancer, everybody had to send one.
            server.patch(r#"{"service":{"proxyProtocol":{"from":["0.0.0.0/0"]}}}"#);
            server.until_complete();
            assert!(is_refused(&server.client()), "without a header it is closed");
        },
    );
}

#[test]
fn node_port() {
    try_sample(
        "node-port",
        |_| {},
        |server| {
            let service = server.namespace.get("service", server.name).expect("it is there");
            let port = service["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
            let nodes =
                kubectl(&["get", "nodes", "--output=jsonpath={.items[0].status.addresses[0].address}"]);
            let client = Client::new([format!("{nodes}:{port}")], server.credentials());
            ticks_come(&client.tls(server.trust().build().expect("authorities")));
        },
    );
}

#[test]
fn network_policy() {
    try_sample(
        "network-policy",
        |_| {},
        |server| {
            let policy = server.namespace.get("networkpolicy", server.name).expect("it is there");
            let [clients, metrics] = [0, 1].map(|index| policy["spec"]["ingress"][index].clone());
            assert_eq!(
                (&clients["ports"][0]["port"], &metrics["ports"][0]["port"]),
                (&"stream".into(), &"metrics".into())
            );
            assert_eq!(clients["from"].as_array().map(Vec::len), Some(3), "{clients}");
            // The operator reads the metrics, whoever else may.
            let operator = metrics["from"].as_array().and_then(|from| from.last()).expect("somebody").clone();
            let name = &operator["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
            assert_eq!(name, operator::NAMESPACE);
            let labels = operator["podSelector"]["matchLabels"].as_object().expect("labels").clone();
            let selector: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().expect("text")))
                .collect();
            let pods = [
                "--namespace",
                operator::NAMESPACE,
                "get",
                "pods",
                "--output=name",
                "--selector",
                &selector.join(","),
            ];
            assert!(kubectl(&pods).contains(&operator::leader()), "the labels are its own");
        },
    );
}

#[test]
fn scheduling() {
    try_sample(
        "scheduling",
        |_| {},
        |server| {
            let deployment = server.namespace.get("deployment", server.name).expect("it is there");
            let template = &deployment["spec"]["template"];
            let pod = &template["spec"];
            assert_eq!(pod["nodeSelector"]["kubernetes.io/os"], "linux");
            assert_eq!(pod["tolerations"][0]["key"], "example.com/ticks");
            assert_eq!(pod["topologySpreadConstraints"][0]["topologyKey"], "topology.kubernetes.io/zone");
            let counted = &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
            assert_eq!(counted["app.kubernetes.io/instance"], server.name);
            assert_eq!(pod["containers"][0]["resources"]["limits"]["memory"], "512Mi");
            assert_eq!(template["metadata"]["labels"]["example.com/team"], "markets");
            ticks_come(&server.client());
        },
    );
}

#[test]
fn replay() {
    try_sample("replay", |_| {}, |server| ticks_come(&server.client()));
}

#[test]
fn monitoring() {
    try_sample(
        "monitoring",
        |_| {},
        |server| {
            let monitor = server.namespace.get("servicemonitor", server.name).expect("it is there");
            let selected: Vec<_> =
                monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels").iter().collect();
            let selector: Vec<_> = selected
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().expect("text")))
                .collect();
            let services = server.namespace.kubectl(&[
                "get",
                "services",
                "--output=name",
                "--selector",
                &selector.join(","),
            ]);
            assert_eq!(
                services.trim(),
                format!("service/{}-metrics", server.name),
                "it selects the Service with the metrics"
            );
            let rule = server.namespace.get("prometheusrule", server.name).expect("it is there");
            assert!(rule["spec"]["groups"][0]["rules"].as_array().is_some_and(|rules| rules.len() > 3));
        },
    );
}

#[test]
fn tuned() {
    try_sample("tuned", |_| {}, |server| ticks_come(&server.client()));
}

#[test]
fn paced_drain() {
    try_sample(
        "paced-drain",
        |_| {},
        |server| {
            let deployment = server.namespace.get("deployment", server.name).expect("it is there");
            assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 1);
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["terminationGracePeriodSeconds"], 5 + 12_000 / 100 + 10 + 10);
            ticks_come(&server.client());
        },
    );
}

/// There is no NATS in the namespace: it is asked for, and nothing goes wrong but that no server is ready. With one, `try_sample` and `ticks_come` would do.
#[test]
fn nats() {
    operator::installed();
    let name = "nats";
    let namespace = Namespace::new("sample-nats");
    namespace.kubectl(&["apply", "--filename", &sample(name)]);
    let server = StreamServer { namespace: &namespace, name };
    server.condition("Ready", "False", "TooFewServers");
    let deployment = namespace.get("deployment", name).expect("it is there");
    let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    let variable = |name: &str| {
        variables
            .as_array()
            .into_iter()
            .flatten()
            .find(|variable| variable["name"] == name)
            .expect("it is set")
    };
    assert_eq!(variable("FEED_NATS_URL")["value"], "nats://nats:4222");
    assert_eq!(variable("FEED_NATS_PASSWORD")["valueFrom"]["secretKeyRef"]["name"], "nats-login");
    namespace.kubectl(&["delete", "--filename", &sample(name), "--wait", "--timeout=2m"]);
    namespace.until_empty_of("deployments,pods,services,secrets");
}

/// There is no issuer here: the test signs in cert-manager's place.
#[test]
fn cert_manager() {
    operator::installed();
    let name = "cert-manager";
    let namespace = Namespace::new("sample-cert-manager");
    namespace.kubectl(&["apply", "--filename", &sample(name)]);
    let server = StreamServer { namespace: &namespace, name };
    let message = server.condition("CertificateReady", "False", "Pending");
    assert!(message.contains("kubectl describe certificate cert-manager"), "{message}");
    let certificate = namespace.get("certificates.cert-manager.io", name).expect("it is asked for");
    let secret = certificate["spec"]["secretName"].as_str().expect("a name");
    let names: Vec<_> = certificate["spec"]["dnsNames"]
        .as_array()
        .expect("names")
        .iter()
        .filter_map(|it| it.as_str())
        .collect();
    let pair = Authority::new("An issuer").server(Names::alternatives(&names));
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": secret }, "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key },
    });
    namespace.apply(&manifest.to_string());
    server.condition("CertificateReady", "True", "Valid");
    server.until_ready();
    assert!(names.contains(&server.host().as_str()), "{names:?}");
    namespace.kubectl(&["delete", "streamserver", name, "--wait"]);
    namespace.until_empty_of("deployments,pods,services,certificates.cert-manager.io,secrets");
}

fn is_refused(client: &Client) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut subscription = client.subscribe(Request::new(Mode::Tick));
        let event =
            tokio::time::timeout(tickwire_tests::PATIENCE, subscription.next()).await.expect("an answer");
        matches!(event, Err(_) | Ok(Event::Disconnected { .. }))
    })
}

/// A sample that is not tried is not known to work.
#[test]
fn every_sample_is_tried() {
    let tried = [
        "autoscaling",
        "cert-manager",
        "load-balancer",
        "minimal",
        "monitoring",
        "mutual-tls",
        "nats",
        "network-policy",
        "node-port",
        "own-credentials",
        "paced-drain",
        "plain",
        "replay",
        "scheduling",
        "tls-from-secret",
        "tuned",
        "users-file",
    ];
    let mut there: Vec<_> = std::fs::read_dir(root().join("docs/samples"))
        .expect("the folder")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".yaml").map(ToOwned::to_owned))
        .collect();
    there.sort();
    assert_eq!(there, tried);
}
