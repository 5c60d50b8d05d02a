use super::settings::{QUEUE, TlsFiles};
use super::*;
use crate::tls::FileSetting;
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;
use rustls::ProtocolVersion;
use std::net::SocketAddr;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::layer::SubscriberExt as _;

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    let value = |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.to_owned());
    Settings::read(&value).map_err(|error| error.to_string())
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:4318/base");

#[test]
fn they_are_off_until_an_endpoint_is_set_and_can_be_turned_off_again() {
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
    assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]), Ok(None));
    assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    // What would be wrong is of no interest then.
    assert_eq!(read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(None));
    assert_eq!(read(&[ENDPOINT]), Ok(Some(plain())));
    let timeout = Duration::from_millis(3);
    assert_eq!(
        read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_TIMEOUT", "3")]),
        Ok(Some(Settings { timeout, ..plain() }))
    );
}

/// What [`ENDPOINT`] alone asks for.
fn plain() -> Settings {
    let timeout = Duration::from_secs(10);
    Settings { collector: "collector:4318".into(), queue: QUEUE, timeout, tls: None }
}

#[test]
fn by_https_the_collector_is_checked_and_files_of_the_traces_own_win() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector");
    let by_system = Settings { collector: "collector:443".into(), tls: Some(TlsFiles::default()), ..plain() };
    assert_eq!(read(&[endpoint]), Ok(Some(by_system)));
    let file = |variable, file: &str| FileSetting { variable, file: file.into() };
    let (ca, certificate, key) = (
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "ca.crt"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "tls.crt"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "tls.key"),
    );
    let others = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "other.crt");
    let tls = TlsFiles {
        ca: Some(file(ca.0, ca.1)),
        client: Some((file(certificate.0, certificate.1), file(key.0, key.1))),
    };
    assert_eq!(read(&[endpoint, others, ca, certificate, key]).unwrap().unwrap().tls.as_ref(), Some(&tls));
    assert!(read(&[endpoint, certificate]).unwrap_err().contains("its key is missing"));
    assert!(read(&[endpoint, key]).unwrap_err().contains("its certificate is missing"));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.pem");
    std::fs::write(&bad, "no certificate").unwrap();
    let missing = folder.path().join("missing.pem");
    for (file, problem) in [(&bad, "holds no certificate"), (&missing, "cannot be read")] {
        let ca = FileSetting { variable: "OTEL_EXPORTER_OTLP_CERTIFICATE", file: file.clone() };
        let tls = Some(TlsFiles { ca: Some(ca), client: None });
        let error = client::client(&Settings { tls, ..plain() }).unwrap_err().to_string();
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE ") && error.contains(problem), "{error}");
    }
}

#[test]
fn what_is_not_supported_is_named_without_its_secrets() {
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://user:secret@collector");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318/secret");
    for (variable, value, problem) in [
        (all.0, all.1, "begins with http:// or https://"),
        (traces.0, traces.1, "begins with http://"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "it may be gzip, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "it may be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "it may be http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "it may be otlp"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "it may be always_on"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is not a number from 1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "is not a number from 1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999", "to 1000000"),
    ] {
        let error = read(&[(variable, value), ENDPOINT]).unwrap_err();
        assert!(error.starts_with(variable) && error.contains(problem), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let ratio = |ratio| {
        read(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)])
    };
    assert!(ratio("0.25").is_ok());
    assert!(ratio("25").unwrap_err().contains("from 0 to 1"));
}

/// Keeps what it is given.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// The spans that are made meanwhile, in the order of their ends.
fn spans(during: impl FnOnce()) -> Vec<SpanData> {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let traces = Traces { provider, settings: plain(), losses: Arc::default() };
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, during);
    std::mem::take(&mut kept.0.lock().unwrap())
}

fn attribute<'a>(span: &'a SpanData, name: &str) -> Option<&'a Value> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == name);
    let value = found.next().map(|attribute| &attribute.value);
    assert!(found.next().is_none(), "{name} is given once");
    value
}

fn peer() -> SocketAddr {
    "[::ffff:10.0.0.1]:4000".parse().unwrap()
}

#[test]
fn the_steps_of_an_arrival_are_within_it_and_end_with_the_subscription() {
    let spans = spans(|| {
        let mut arrival = Arrival::accept(peer());
        arrival.client("192.0.2.7:5000".parse().unwrap());
        arrival.tls();
        arrival.established(Some(ProtocolVersion::TLSv1_3), true);
        arrival.auth();
        arrival.authenticated("someone");
        arrival.subscribe(peer());
        arrival.subscribed("tick", 3, false);
        arrival.over("peer_closed");
    });
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["tls", "auth", "subscribe", "accept"]);
    let (accept, steps) = spans.split_last().unwrap();
    assert_eq!(accept.parent_span_id, SpanId::INVALID);
    assert!(steps.iter().all(|step| step.parent_span_id == accept.span_context.span_id()));
    assert!(spans.iter().all(|span| span.status == Status::Unset && attribute(span, "error.type").is_none()));
    assert_eq!(attribute(accept, "network.peer.address"), Some(&"10.0.0.1".into()));
    assert_eq!(attribute(accept, "client.address"), Some(&"192.0.2.7".into()));
    assert_eq!(attribute(accept, "client.port"), Some(&Value::I64(5000)));
    assert_eq!(attribute(&spans[0], "tls.protocol.version"), Some(&"1.3".into()));
    assert_eq!(attribute(&spans[0], "tls.resumed"), Some(&true.into()));
    assert_eq!(attribute(&spans[1], "user.name"), Some(&"someone".into()));
    assert_eq!(attribute(&spans[2], "tickwire.symbols"), Some(&Value::I64(3)));
}

#[test]
fn what_fails_says_why_and_a_later_subscription_stands_alone() {
    let spans = spans(|| {
        let mut arrival = Arrival::accept(peer());
        arrival.auth();
        arrival.over("auth_failed");
        let mut arrival = Arrival::default();
        arrival.subscribe(peer());
        arrival.refused("bad_mode");
        assert!(arrival.0.is_none());
    });
    let failed = |error: &'static str| (Status::error(""), Some(Value::from(error)));
    let ends: Vec<_> =
        spans.iter().map(|span| (span.status.clone(), attribute(span, "error.type").cloned())).collect();
    assert_eq!(ends, [failed("auth_failed"), failed("auth_failed"), failed("bad_mode")]);
    assert_eq!(spans[2].parent_span_id, SpanId::INVALID);
}

#[test]
fn windows_and_drains_are_spans_of_their_own() {
    let spans = spans(|| {
        Publishing::begin(100).end(3);
        Draining::begin(7).end(0);
    });
    assert_eq!(attribute(&spans[0], "tickwire.ticks"), Some(&Value::I64(100)));
    assert_eq!(attribute(&spans[0], "tickwire.batches"), Some(&Value::I64(3)));
    assert_eq!(attribute(&spans[1], "tickwire.clients.left"), Some(&Value::I64(0)));
}

#[test]
fn where_they_are_off_an_arrival_is_eight_bytes_and_nothing_more() {
    // Said, as another test may have turned them on for its thread.
    tracing::subscriber::with_default(NoSubscriber::default(), || {
        let mut arrival = Arrival::accept(peer());
        arrival.subscribe(peer());
        assert!(arrival.0.is_none());
        assert_eq!(size_of_val(&arrival), 8);
    });
}
