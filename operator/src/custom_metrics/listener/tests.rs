use futures_util::FutureExt as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::access::Access;
use super::super::api::Api;
use super::super::fake::{Authority, Fake, Identity, list, pod};
use super::super::front_proxy::FrontProxy;
use super::super::readings::{Ask, Readings};
use super::*;
use crate::metrics::Metrics;

const HOST: &str = "operator.tickwire-system.svc";
const METRIC: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/market/pods/%2A/active_connections";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// The whole API on a port of this machine.
struct Server {
    address: std::net::SocketAddr,
    certificate: CertificateDer<'static>,
    front_proxies: Arc<FrontProxies>,
    fake: Fake,
    metrics: Metrics,
    end: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    /// Trusts the authority's certificates of the name front-proxy-client, allows everything, and has two pods.
    async fn new(authority: &Authority) -> Self {
        let fake = Fake::default();
        fake.has(
            "/api/v1/namespaces/market/pods",
            list(&[pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", true)]),
        );
        decides(&fake, json!({ "allowed": true }));
        let (front_proxies, shown) = (Arc::new(FrontProxies::default()), Arc::new(Shown::default()));
        let config_map = authority.config_map(r#"["front-proxy-client"]"#);
        front_proxies.trust(FrontProxy::read(&config_map).unwrap());
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        shown.show(own.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let ask: Ask = Arc::new(|_| async { Some(7) }.boxed());
        let metrics = Metrics::new().unwrap();
        let api = Api {
            front_proxies: Arc::clone(&front_proxies),
            access: Arc::new(Access::new(fake.client())),
            readings: Arc::new(Readings::new(fake.client(), "", ask)),
            metrics: metrics.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn({
            let (front_proxies, end) = (Arc::clone(&front_proxies), end.clone());
            async move { serve(listener, &shown, &front_proxies, api.router(), end).await }
        });
        Self { address, certificate: own.der().clone(), front_proxies, fake, metrics, end, serving }
    }

    async fn connect(&self, identity: Option<&Identity>) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some(Identity { certificate, key }) => {
                config.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(HOST).unwrap(), stream)
            .await
            .unwrap()
    }

    /// Asks on a connection of its own. Answers the status and the document.
    async fn ask(&self, identity: Option<&Identity>, path: &str, headers: &str) -> (u16, Value) {
        self.request(identity, &format!("GET {path} HTTP/1.1"), headers).await
    }

    async fn request(&self, identity: Option<&Identity>, line: &str, headers: &str) -> (u16, Value) {
        let mut stream = self.connect(identity).await;
        let request = format!("{line}\r\nHost: {HOST}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
    }
}

fn decides(fake: &Fake, status: Value) {
    fake.has(
        REVIEWS,
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": status,
        }),
    );
}

const ALICE: &str = "X-Remote-User: alice\r\n";

#[tokio::test]
async fn the_front_proxy_is_answered_and_nobody_else() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Server::new(&ours).await;
    let front_proxy = ours.identity("front-proxy-client");

    let (code, answer) = server.ask(Some(&front_proxy), METRIC, ALICE).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(answer["kind"], "MetricValueList");
    let told: Vec<_> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["describedObject"]["name"].as_str().unwrap(), item["value"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("a", "7"), ("b", "7")]);

    for (identity, why) in [
        (None, "no certificate"),
        (Some(theirs.identity("front-proxy-client")), "not the API server's"),
        (Some(ours.identity("somebody")), "\"somebody\""),
    ] {
        for path in [METRIC, "/apis", "/apis/custom.metrics.k8s.io/v1beta2", "/nowhere"] {
            let (code, answer) = server.ask(identity.as_ref(), path, ALICE).await;
            assert_eq!(
                (code, &answer["kind"], &answer["reason"]),
                (401, &json!("Status"), &json!("Unauthorized"))
            );
            assert!(answer["message"].as_str().unwrap().contains(why), "{answer}");
        }
    }
    // One that does not say for whom it asks.
    assert_eq!(server.ask(Some(&front_proxy), METRIC, "").await.0, 401);
    let text = String::from_utf8(server.metrics.render().unwrap()).unwrap();
    assert!(text.contains("custom_metrics_requests_total{code=\"200\"} 1"), "{text}");
    assert!(text.contains("custom_metrics_requests_total{code=\"401\"} 13"), "{text}");
}

#[tokio::test]
async fn another_key_than_the_certificates_does_not_come_through_the_handshake() {
    let authority = Authority::new();
    let server = Server::new(&authority).await;
    let (one, other) = (authority.identity("front-proxy-client"), authority.identity("front-proxy-client"));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.clone()).unwrap();
    let stolen = CertifiedKeyOf { certificate: one.certificate, key: other.key };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(stolen.resolver()));
    let connecting =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), &mut stream);
    // In TLS 1.3 the client is through before the server has looked.
    let ended = async {
        let mut stream = connecting.await?;
        stream.write_all(format!("GET /apis HTTP/1.1\r\nHost: {HOST}\r\n{ALICE}\r\n").as_bytes()).await?;
        stream.read_u8().await
    };
    assert!(ended.await.is_err());
}

/// A certificate with a key that is not its own.
struct CertifiedKeyOf {
    certificate: CertificateDer<'static>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
}

impl CertifiedKeyOf {
    fn resolver(self) -> rustls::sign::SingleCertAndKey {
        let key = rustls::crypto::ring::sign::any_supported_type(&self.key).unwrap();
        rustls::sign::CertifiedKey::new(vec![self.certificate], key).into()
    }
}

#[tokio::test]
async fn who_may_not_is_told_so_and_who_asks_for_nothing_or_nonsense_too() {
    let authority = Authority::new();
    let server = Server::new(&authority).await;
    let front_proxy = authority.identity("front-proxy-client");
    let base = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/market";
    for (path, expected, reason, part) in [
        (format!("{base}/pods/*/latency"), 404, "NotFound", "active_connections"),
        (format!("{base}/services/*/active_connections"), 404, "NotFound", "NAMESPACE"),
        (format!("{base}/pods/..%2F..%2Fsecrets/active_connections"), 404, "NotFound", "nothing at"),
        ("/openapi/v2".to_owned(), 404, "NotFound", "/openapi/v2"),
        ("/openapi/v3".to_owned(), 404, "NotFound", "/openapi/v3"),
        (format!("{METRIC}?metricLabelSelector=a%3Db"), 400, "BadRequest", "metricLabelSelector"),
        (format!("{METRIC}?labelSelector=a&labelSelector=b"), 400, "BadRequest", "labelSelector"),
    ] {
        let (code, answer) = server.ask(Some(&front_proxy), &path, ALICE).await;
        assert_eq!((code, &answer["reason"]), (expected, &json!(reason)), "{path}: {answer}");
        assert_eq!(answer["code"], expected);
        assert!(answer["message"].as_str().unwrap().contains(part), "{path}: {answer}");
    }
    let (code, answer) =
        server.request(Some(&front_proxy), &format!("DELETE {METRIC} HTTP/1.1"), ALICE).await;
    assert_eq!((code, &answer["reason"]), (405, &json!("MethodNotAllowed")), "{answer}");
    // With a query as an autoscaler has it.
    let query = format!("{METRIC}?labelSelector=app.kubernetes.io%2Finstance%3Dticks&metricLabelSelector=");
    assert_eq!(server.ask(Some(&front_proxy), &query, ALICE).await.0, 200);

    decides(&server.fake, json!({ "allowed": false, "reason": "no role allows it" }));
    let (code, answer) = server.ask(Some(&front_proxy), METRIC, "X-Remote-User: bob\r\n").await;
    assert_eq!((code, &answer["reason"]), (403, &json!("Forbidden")));
    assert!(answer["message"].as_str().unwrap().contains("no role allows it"), "{answer}");
    // Who may not ask does not learn that a pod is not there.
    let one = format!("{base}/pods/nobody/active_connections");
    assert_eq!(server.ask(Some(&front_proxy), &one, "X-Remote-User: bob\r\n").await.0, 403);
}

#[tokio::test]
async fn discovery_and_health_are_served() {
    let authority = Authority::new();
    let server = Server::new(&authority).await;
    let front_proxy = authority.identity("front-proxy-client");
    for (path, kind) in [
        ("/apis", "APIGroupList"),
        ("/apis/custom.metrics.k8s.io", "APIGroup"),
        ("/apis/custom.metrics.k8s.io/v1beta2", "APIResourceList"),
    ] {
        // As the aggregator asks, which belongs to no group.
        let (code, answer) =
            server.ask(Some(&front_proxy), path, "X-Remote-User: system:kube-aggregator\r\n").await;
        assert_eq!((code, &answer["kind"]), (200, &json!(kind)));
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.ask(None, path, "").await, (200, json!("ok")));
    }
    assert!(server.fake.requests("POST").is_empty(), "discovery is open to all whom somebody knows");
}

#[tokio::test]
async fn another_authority_counts_from_when_it_is_known_on_connections_that_are_there_too() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = Server::new(&first).await;
    let mut stream = server.connect(Some(&first.identity("front-proxy-client"))).await;
    let request = format!("GET /apis HTTP/1.1\r\nHost: {HOST}\r\n{ALICE}\r\n");
    let mut codes = Vec::new();
    for round in 0..2 {
        if round == 1 {
            let config_map = second.config_map(r#"["front-proxy-client"]"#);
            server.front_proxies.trust(FrontProxy::read(&config_map).unwrap());
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            answer.push(stream.read_u8().await.unwrap());
        }
        codes.push(String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(codes, ["200", "401"]);
    let second = second.identity("front-proxy-client");
    assert_eq!(server.ask(Some(&second), "/apis", ALICE).await.0, 200);
}

/// Whether an answer's document has come whole.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n").is_some_and(|(_, body)| serde_json::from_str::<Value>(body).is_ok())
}

#[tokio::test]
async fn told_to_stop_it_ends_and_takes_no_more() {
    let authority = Authority::new();
    let server = Server::new(&authority).await;
    let idle = server.connect(Some(&authority.identity("front-proxy-client"))).await;
    server.end.cancel();
    server.serving.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn more_strangers_than_there_is_room_for_are_turned_away_and_the_front_proxy_is_not() {
    let authority = Authority::new();
    let server = Server::new(&authority).await;
    let mut strangers = Vec::new();
    for _ in 0..MAX_STRANGERS {
        let mut stranger = server.connect(None).await;
        // It has its place when it is answered.
        stranger
            .write_all(format!("GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut begin = [0; 12];
        stranger.read_exact(&mut begin).await.unwrap();
        strangers.push(stranger);
    }
    let mut one_more = server.connect(None).await;
    let _written = one_more.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert!(one_more.read_u8().await.is_err());
    let front_proxy = authority.identity("front-proxy-client");
    assert_eq!(server.ask(Some(&front_proxy), METRIC, ALICE).await.0, 200);
}
