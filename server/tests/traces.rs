//! Traces: what a collector gets, and that one that is silent or away is no matter to clients, or to the server's end.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tickwire_proto::message::Mode;
use tickwire_tests::pki::{Authority, Folder, Names};
use tickwire_tests::{PATIENCE, Raw, eventually};

/// EX_USAGE.
const BAD_CONFIGURATION: i32 = 64;

fn command(endpoint: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire-server"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.args(["--listen-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"]);
    command.args(["--drain-window", "0s", "--ring-retention", "1s"]);
    command.env("STREAM_USER", tickwire_tests::USER).env("STREAM_PASS", tickwire_tests::PASSWORD);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).envs(variables.iter().copied());
    command
}

/// A server that has started.
struct Process {
    child: Child,
    log: Receiver<serde_json::Value>,
    addr: SocketAddr,
}

impl Process {
    fn start(endpoint: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = command(endpoint, variables).spawn().expect("the program runs");
        let lines = BufReader::new(child.stderr.take().expect("its log is ours")).lines();
        let (tell, log) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line of the log is JSON");
                // A test that has seen enough does not read on.
                let _read = tell.send(event);
            }
        });
        let mut process = Self { child, log, addr: ([0, 0, 0, 0], 0).into() };
        let serving = process.logged("serving");
        process.addr = serving["listen"].as_str().expect("an address").parse().expect("an address");
        process
    }

    /// The next event with this message; those before it are passed over.
    fn logged(&self, message: &str) -> serde_json::Value {
        loop {
            let event = self.log.recv_timeout(PATIENCE).expect(message);
            if event["message"] == message {
                return event;
            }
        }
    }

    /// Tells it to end. It has ended well when this returns.
    fn end(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where the test has failed, it may still run.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A request, as a collector gets it.
struct Posted {
    /// The request line and the headers, in lower case.
    head: String,
    body: Vec<u8>,
}

/// A collector that takes everything, by TLS where it has a configuration; its endpoint, and what it has got.
fn collector(tls: Option<Arc<ServerConfig>>) -> (String, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", listener.local_addr().expect("an address"));
    let (tell, posted) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (tell, tls) = (tell.clone(), tls.clone());
            thread::spawn(move || match tls {
                None => take_requests(stream, &tell),
                Some(config) => {
                    let session = ServerConnection::new(config).expect("the configuration is good");
                    take_requests(StreamOwned::new(session, stream), &tell);
                }
            });
        }
    });
    (endpoint, posted)
}

fn take_requests(stream: impl Read + Write, tell: &Sender<Posted>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            // Who leaves says nothing more, in one way or another.
            if !reader.read_line(&mut head).is_ok_and(|len| len > 0) {
                return;
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        reader.read_exact(&mut body).expect("the body");
        let _told = tell.send(Posted { head, body });
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        reader.get_mut().write_all(answer).expect("the server reads");
    }
}

/// A field of a protobuf message, of bytes or text.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("one byte of a length");
    assert!(length < 0x80, "one byte of a length");
    [&[number << 3 | 2, length], content].concat()
}

/// The name of a span: Span.name of opentelemetry/proto/trace/v1/trace.proto.
fn span(name: &str) -> Vec<u8> {
    field(5, name.as_bytes())
}

/// An attribute: KeyValue of opentelemetry/proto/common/v1/common.proto.
fn attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Takes what is posted until all spans of these names have come. Answers all bodies.
fn await_spans(posted: &Receiver<Posted>, names: &[&str]) -> Vec<u8> {
    let mut bodies = Vec::new();
    while let Some(missing) = names.iter().find(|name| !contains(&bodies, &span(name))) {
        let Posted { head, body } = posted.recv_timeout(PATIENCE).expect(missing);
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains("api-key: open sesame\r\n"), "{head}");
        bodies.extend(body);
    }
    bodies
}

#[test]
fn a_collector_gets_the_spans_of_arrivals_windows_and_the_drain() {
    let (endpoint, posted) = collector(None);
    let variables =
        [("OTEL_BSP_SCHEDULE_DELAY", "100"), ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=open%20sesame")];
    let mut server = Process::start(&endpoint, &variables);
    let (mut client, _) = Raw::subscribed(server.addr, Mode::Tick);
    client.batch();
    let bodies = await_spans(&posted, &["accept", "auth", "subscribe", "publish"]);
    assert!(contains(&bodies, &attribute("service.name", "tickwire-server")));
    assert!(contains(&bodies, &attribute("client.address", "127.0.0.1")));
    assert!(contains(&bodies, &attribute("user.name", tickwire_tests::USER)));
    assert!(!contains(&bodies, tickwire_tests::PASSWORD.as_bytes()));
    // The last ones are sent before it ends.
    server.end();
    await_spans(&posted, &["drain"]);
}

/// A collector's TLS: `files` are its certificate, and whose clients it takes.
fn tls(files: &Folder) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = |file: &str| CertificateDer::from_pem_file(file).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(files.ca())).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_client_cert_verifier(verifier.build().expect("a verifier"));
    let key = PrivateKeyDer::from_pem_file(files.key()).expect("a key");
    Arc::new(config.with_single_cert(vec![certificate(files.certificate())], key).expect("they fit"))
}

#[test]
fn a_collector_behind_mutual_tls_gets_spans_and_one_that_is_not_trusted_gets_none() {
    let authority = Authority::new("ours");
    let theirs = Folder::new(&authority.server(&["127.0.0.1"]), &authority);
    let ours = Folder::new(&authority.client(Names::common("tickwire")), &authority);
    let (endpoint, posted) = collector(Some(tls(&theirs)));
    let trusting = |ca| {
        [
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=open%20sesame"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", ours.certificate()),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", ours.key()),
        ]
    };
    let mut server = Process::start(&endpoint, &trusting(ours.ca()));
    let (mut client, _) = Raw::subscribed(server.addr, Mode::Tick);
    client.batch();
    await_spans(&posted, &["accept", "publish"]);
    server.end();

    let other = Authority::new("other");
    let stranger = Folder::new(&other.server(&["127.0.0.1"]), &other);
    let mut server = Process::start(&endpoint, &trusting(stranger.ca()));
    while posted.try_recv().is_ok() {}
    let warning = server.logged("spans are lost; the server goes on without them");
    assert!(warning["error"].as_str().is_some_and(|error| !error.is_empty()), "{warning}");
    server.end();
    assert!(posted.try_recv().is_err());
}

#[test]
fn a_collector_that_never_answers_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    // Longer than this test has patience: were the export waited for, it would fail.
    let variables = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "5"),
    ];
    let mut server = Process::start(&endpoint, &variables);
    let (mut request, _) = listener.accept().expect("the exporter connects");
    request.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    assert_ne!(request.read(&mut [0]).expect("a request"), 0);
    // From here on the exporter waits, and each window adds a span to a queue of five.
    let (mut client, _) = Raw::subscribed(server.addr, Mode::Tick);
    for _ in 0..20 {
        client.batch();
    }
    server.end();
    server.logged("the last spans may not have reached the collector");
    let lost = server.logged("spans were lost");
    assert!(lost["dropped"].as_u64().is_some_and(|dropped| dropped > 0), "{lost}");
}

#[test]
fn a_collector_that_is_away_costs_a_line_in_the_log() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let mut server = Process::start(&format!("http://{nobody}"), &[("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let (mut client, _) = Raw::subscribed(server.addr, Mode::Tick);
    let warning = server.logged("spans are lost; the server goes on without them");
    assert_eq!(warning["level"], "WARN");
    assert_eq!(warning["collector"], nobody.to_string());
    assert!(warning["failed"].as_u64().is_some_and(|failed| failed > 0), "{warning}");
    client.batch();
    server.end();
    server.logged("ended");
}

#[test]
fn what_is_asked_for_and_not_there_stops_the_start() {
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "tls.key"),
    ] {
        let output = command("http://localhost:4318", &[(variable, value)]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(BAD_CONFIGURATION), "{said}");
        assert!(said.starts_with(&format!("tickwire-server: {variable} ")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
