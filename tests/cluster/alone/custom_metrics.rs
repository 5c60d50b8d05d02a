//! The registration of the metrics' API comes and goes with the operator, and gives way to somebody else's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tickwire_tests::pki::Authority;

use crate::cluster::{eventually, helm, kubectl, kubectl_with};
use crate::custom_metrics::{API_SERVICE, SPEC, served};
use crate::namespace::Namespace;
use crate::operator::{self, NAMESPACE, RELEASE};
use crate::stream_server::StreamServer;

/// Somebody else's API: prometheus-adapter's version.
const THEIRS: &str = "v1beta1.custom.metrics.k8s.io";

fn uninstall() {
    helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=2m"]);
}

fn api_service(name: &str) -> Option<Value> {
    let text = kubectl(&["get", "apiservice", name, "--ignore-not-found", "--output=json"]);
    (!text.is_empty()).then(|| serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn the_registration_and_its_certificate_go_with_the_chart_and_come_with_the_next() {
    operator::installed();
    served();
    let secret = || {
        let name = format!("{RELEASE}-api");
        kubectl(&["--namespace", NAMESPACE, "get", "secret", &name, "--ignore-not-found", "--output=name"])
    };
    assert!(!secret().is_empty());
    uninstall();
    eventually("nothing of it is left", || {
        (api_service(API_SERVICE).is_none() && secret().is_empty()).then_some(())
    });
    // What is left of an API that nobody answers for would be an error of every kubectl.
    let said = kubectl_with("", &["api-resources", "--output=name"]);
    assert!(said.ok && said.err.is_empty(), "{}", said.err);
    operator::install();
    served();
}

#[test]
fn a_registration_that_somebody_changes_or_deletes_is_put_right() {
    operator::installed();
    served();
    let get = |template: &str| {
        kubectl_with("", &["get", "apiservice", API_SERVICE, "--output", &format!("jsonpath={{{template}}}")])
            .out
    };
    let bundle = get(".spec.caBundle");
    assert!(!bundle.is_empty());
    kubectl(&[
        "patch",
        "apiservice",
        API_SERVICE,
        "--type=merge",
        r#"--patch={"spec":{"versionPriority":7,"service":{"name":"another"}}}"#,
    ]);
    eventually("it is as it was", || {
        (get(".spec.versionPriority") == "100" && get(".spec.service.name") == format!("{RELEASE}-api"))
            .then_some(())
    });
    let uid = get(".metadata.uid");
    kubectl(&["delete", "apiservice", API_SERVICE]);
    eventually("it is there again", || {
        let now = get(".metadata.uid");
        (!now.is_empty() && now != uid && get(".spec.caBundle") == bundle).then_some(())
    });
    served();
}

#[test]
fn the_operator_that_takes_over_keeps_the_registration_and_its_certificate() {
    operator::installed();
    served();
    let before = api_service(API_SERVICE).expect("it is registered");
    let killed = operator::kill_leader();
    let lease = || {
        kubectl(&["--namespace", NAMESPACE, "get", "lease", RELEASE, "--output=jsonpath={.spec.renewTime}"])
    };
    let renewed = lease();
    eventually("an operator leads again", || (lease() != renewed).then_some(()));
    served();
    let after = api_service(API_SERVICE).expect("it is registered");
    assert_eq!(before["spec"], after["spec"], "{killed} was killed");
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
}

#[test]
fn somebody_elses_api_is_left_alone_used_where_it_answers_and_succeeded_when_it_goes() {
    operator::installed();
    uninstall();
    eventually("ours is gone", || api_service(API_SERVICE).is_none().then_some(()));
    let namespace = Namespace::new("foreign-metrics");
    let theirs = Theirs::new(&namespace);
    let as_they_left_it = theirs.objects();
    operator::install();

    let server = StreamServer::apply(&namespace, "ticks", SPEC).until_ready().until_complete();
    let message = server.condition("ScalingActive", "False", "ForeignMetricsApi");
    for part in [&format!("{}/adapter", namespace.name), THEIRS, "Autoscaling beside another metrics API"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(api_service(API_SERVICE).is_none(), "nothing is registered beside theirs");

    // A rule for it has been added there.
    theirs.answer_for(server.pods());
    let message = server.condition("ScalingActive", "True", "ForeignMetrics");
    assert!(message.contains(&format!("{}/adapter", namespace.name)), "{message}");
    eventually("the autoscaler has it from them", || {
        let status = namespace.get("horizontalpodautoscaler", "ticks")?["status"].clone();
        (status["currentMetrics"][0]["pods"]["current"]["averageValue"] == "17").then_some(())
    });
    assert!(api_service(API_SERVICE).is_none());
    assert_eq!(theirs.objects(), as_they_left_it, "nothing of theirs was changed");

    drop(theirs);
    served();
    server.condition("ScalingActive", "True", "MetricsServed");

    // And one that comes later is given way to.
    let theirs = Theirs::new(&namespace);
    eventually("ours is withdrawn", || api_service(API_SERVICE).is_none().then_some(()));
    server.condition("ScalingActive", "False", "ForeignMetricsApi");
    drop(theirs);
    served();
}

/// Somebody else who serves custom.metrics.k8s.io, from this process; the cluster reaches it by a Service. With this it goes.
struct Theirs<'a> {
    namespace: &'a Namespace,
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// The pods that are told of.
    pods: std::sync::Mutex<Vec<String>>,
    has_ended: AtomicBool,
}

impl<'a> Theirs<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        let node = kubectl(&[
            "get",
            "nodes",
            r#"--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#,
        ]);
        let listener = TcpListener::bind((node.as_str(), 0)).expect("a node's address is this machine's");
        let address = listener.local_addr().expect("an address");
        let pair = Authority::new("theirs").server(&["adapter"]);
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.expect("a certificate"), key)
            .expect("a pair");
        let (config, shared) = (Arc::new(config), Arc::new(Shared::default()));
        let serving = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.has_ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
                    // One request per connection: it ends by itself.
                    std::thread::spawn(move || answer(stream.ok()?, config, &shared));
                }
            }
        });
        let port = address.port();
        let objects = [
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": "adapter" },
                "spec": { "ports": [{ "name": "https", "port": 443, "targetPort": port }] },
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": { "name": "adapter", "labels": { "kubernetes.io/service-name": "adapter" } },
                "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
                "endpoints": [{ "addresses": [node], "conditions": { "ready": true } }],
            }),
            json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": THEIRS },
                "spec": {
                    "group": "custom.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
                    "versionPriority": 100, "insecureSkipTLSVerify": true,
                    "service": { "namespace": namespace.name, "name": "adapter", "port": 443 },
                },
            }),
        ];
        let theirs = Self { namespace, shared, address, serving: Some(serving) };
        namespace.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string());
        eventually("their API is available", || {
            let conditions = api_service(THEIRS)?["status"]["conditions"].clone();
            (conditions[0]["status"] == "True").then_some(())
        });
        theirs
    }

    fn answer_for(&self, pods: Vec<String>) {
        *self.shared.pods.lock().expect("nobody panics with it") = pods;
    }

    /// All of it, but for what Kubernetes itself says of it.
    fn objects(&self) -> Vec<Value> {
        let mut objects = vec![
            api_service(THEIRS).expect("it is there"),
            self.namespace.get("service", "adapter").expect("it is there"),
            self.namespace.get("endpointslice", "adapter").expect("it is there"),
        ];
        for object in &mut objects {
            object["status"] = Value::Null;
            object["metadata"]["resourceVersion"] = Value::Null;
        }
        objects
    }
}

impl Drop for Theirs<'_> {
    fn drop(&mut self) {
        let _said = kubectl_with("", &["delete", "apiservice", THEIRS, "--ignore-not-found"]);
        let objects = ["delete", "service/adapter", "endpointslice/adapter", "--ignore-not-found"];
        let _said = self.namespace.try_kubectl("", &objects);
        self.shared.has_ended.store(true, Ordering::Relaxed);
        // It looks whether it is over when somebody comes.
        drop(TcpStream::connect(self.address));
        if let Some(serving) = self.serving.take() {
            let _ended = serving.join();
        }
    }
}

/// Answers one request.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, shared: &Shared) -> Option<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, stream));
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut header = String::new();
    while header != "\r\n" {
        header.clear();
        if stream.read_line(&mut header).ok()? == 0 {
            return None;
        }
    }
    let (code, body) = document(&path, &shared.pods.lock().ok()?);
    let body = body.to_string();
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn document(path: &str, pods: &[String]) -> (u16, Value) {
    let base = "/apis/custom.metrics.k8s.io/v1beta1";
    if path == base {
        let resources = json!([{
            "name": "pods/active_connections", "singularName": "", "namespaced": true, "kind": "MetricValueList", "verbs": ["get"],
        }]);
        let list = json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "custom.metrics.k8s.io/v1beta1", "resources": resources,
        });
        return (200, list);
    }
    if !path.starts_with(&format!("{base}/namespaces/")) || pods.is_empty() {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "there is no rule for this metric",
        });
        return (404, status);
    }
    let items: Vec<_> = pods
        .iter()
        .map(|pod| {
            json!({
                "describedObject": { "kind": "Pod", "name": pod, "apiVersion": "/v1" },
                "metricName": "active_connections", "timestamp": "2026-01-01T00:00:00Z", "value": "17", "selector": null,
            })
        })
        .collect();
    let list = json!({
        "kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1", "metadata": {}, "items": items,
    });
    (200, list)
}
