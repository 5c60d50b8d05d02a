//! Peers that others wrote: OpenSSL, Python's ssl, and HAProxy in front of a server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output};

use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;
use tickwire_proto::FrameType;
use tickwire_proto::message::{ErrorCode, Mode};
use tickwire_tests::pki::{Authority, Folder, Names};
use tickwire_tests::raw::{auth, subscribe};
use tickwire_tests::{PASSWORD, PATIENCE, Raw, TestServer, USER, eventually};

/// A program that does not outlive its test.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| missing(command, &error)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to do.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// What a command says until it ends.
fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| missing(command, &error))
}

fn missing(command: &Command, error: &std::io::Error) -> ! {
    panic!("{:?} is needed for this test, and cannot be run: {error}", command.get_program());
}

/// A server that speaks TLS, and the files of its certificate.
fn tls_server(flags: &[&str]) -> (Folder, TestServer) {
    let authority = Authority::new("servers");
    let folder = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let server = TestServer::start(&[&folder.server_flags()[..], flags].concat());
    (folder, server)
}

fn openssl(to: SocketAddr, ca: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &to.to_string(), "-CAfile", ca, "-servername", "localhost"]);
    command.args(["-verify_hostname", "localhost", "-verify_return_error", "-verify_quiet", "-quiet"]);
    command.args(arguments);
    command
}

/// A client's connection.
#[derive(Debug)]
struct Connection {
    /// What stands between it and the network. It ends first, lest it complain of the other's end.
    _through: Option<Process>,
    raw: Raw,
}

impl Connection {
    /// Through `openssl s_client`, which encrypts what is sent, and decrypts what is received.
    fn over_openssl(to: SocketAddr, ca: &str, arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        let far = OwnedFd::from(listener.accept().unwrap().0);
        let mut command = openssl(to, ca, arguments);
        command.stdin(far.try_clone().unwrap()).stdout(far);
        Self { _through: Some(Process::start(&mut command)), raw: Raw::over(near) }
    }

    /// Over plain TCP, from this address.
    fn plain(source: &str, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { _through: None, raw: Raw::over(socket.into()) }
    }

    /// AUTH and SUBSCRIBE, and what they are answered with.
    fn subscribe(&mut self) {
        self.raw.send(&[auth(), subscribe(Mode::Tick, None)].concat());
        assert_eq!(self.raw.frame(), Some((FrameType::Heartbeat, vec![])));
        let opening = self.raw.batch();
        assert_eq!(self.raw.batch().first_sequence, opening.first_sequence);
    }
}

/// The client that was written from docs/PROTOCOL.md, until it has twenty ticks.
fn python(to: SocketAddr, (user, password): (&str, &str), arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/tickwire_client.py");
    let mut command = Command::new("python3");
    command.arg(script).env("STREAM_PASS", password).args(["--address", &to.to_string(), "--user", user]);
    command.args(["--mode", "tick", "--ticks", "20", "--seconds", &PATIENCE.as_secs().to_string()]);
    output(command.args(arguments))
}

fn assert_served(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 20);
}

fn assert_refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "not {why:?}, but {said}");
}

/// The flags by which the Python client shows a certificate, to a server with a certificate of its own.
fn shows<'a>(server: &'a Folder, client: &'a Folder) -> [&'a str; 7] {
    ["--tls", "--ca", server.ca(), "--cert", client.certificate(), "--key", client.key()]
}

#[test]
fn openssl_is_served_over_tls_1_3_whether_it_names_the_protocol_or_none() {
    let (files, server) = tls_server(&[]);
    for alpn in [&["-alpn", "tickwire/1"][..], &["-alpn", "h2,tickwire/1"], &[]] {
        let arguments = [&["-tls1_3"], alpn].concat();
        Connection::over_openssl(server.addr, files.ca(), &arguments).subscribe();
    }
    assert_eq!(server.closed("tls_failed"), 0);
}

#[test]
fn openssl_is_refused_with_tls_1_2_and_with_another_protocol() {
    let (files, server) = tls_server(&[]);
    let wrong = [(&["-tls1_2"][..], "protocol version"), (&["-alpn", "h2"], "no application protocol")];
    for (arguments, alert) in wrong {
        assert_refused(&output(&mut openssl(server.addr, files.ca(), arguments)), alert);
    }
    eventually("both are counted", || server.closed("tls_failed") == 2);
    assert_eq!(server.metric("tickwire_connections_closed_total{reason=\"tls_failed\"}"), 2.0);
}

#[test]
fn a_client_in_another_language_is_served_over_tls_and_looks_at_the_servers_name() {
    let (files, server) = tls_server(&[]);
    let client = |arguments: &[&str]| python(server.addr, (USER, PASSWORD), arguments);
    assert_served(&client(&["--tls", "--ca", files.ca()]));
    assert_served(&client(&["--tls", "--ca", files.ca(), "--server-name", "localhost"]));
    assert_eq!(server.closed("tls_failed"), 0);
    assert_refused(
        &client(&["--tls", "--ca", files.ca(), "--server-name", "elsewhere"]),
        "Hostname mismatch",
    );
    assert_refused(&client(&["--tls"]), "certificate is not accepted");
    // Clients tell the server that they do not trust it.
    eventually("both are counted", || server.closed("tls_failed") >= 2);
}

#[test]
fn a_client_in_another_language_says_so_where_only_one_side_speaks_tls() {
    let (files, encrypted) = tls_server(&[]);
    let plain = TestServer::start(&[]);
    let with = ["--tls", "--ca", files.ca()];
    assert_refused(&python(plain.addr, (USER, PASSWORD), &with), "the server does not speak TLS");
    assert_refused(&python(encrypted.addr, (USER, PASSWORD), &[]), "does the server speak TLS (--tls)?");
    eventually("both are counted", || plain.closed("bad_magic") >= 1 && encrypted.closed("tls_failed") >= 1);
}

#[test]
fn where_a_clients_certificate_is_required_only_a_good_one_is_let_in() {
    let clients = Authority::new("clients");
    let shown = |by: &Authority, names: Names| Folder::new(&by.client(names), by);
    let good = shown(&clients, Names::common("somebody"));
    let expired = shown(&clients, Names::common("somebody").expired());
    let strange = shown(&Authority::new("strangers"), Names::common("somebody"));
    let forged = shown(&Authority::new("clients"), Names::common("somebody"));
    let for_servers = Folder::new(&clients.server(&["somebody"]), &clients);
    let (files, server) = tls_server(&["--tls-client-ca-file", good.ca()]);
    let client = |arguments: &[&str]| python(server.addr, (USER, PASSWORD), arguments);

    assert_refused(&client(&["--tls", "--ca", files.ca()]), "demands a client's certificate");
    assert_refused(&client(&shows(&files, &expired)), "certificate expired");
    assert_refused(&client(&shows(&files, &strange)), "unknown ca");
    assert_refused(&client(&shows(&files, &forged)), "decrypt error");
    assert_refused(&client(&shows(&files, &for_servers)), "TLS: the server refuses: ");
    eventually("all are counted", || server.closed("tls_failed") >= 5);
    let counted = server.closed("tls_failed");
    // Its name is ignored, unless it is asked for.
    assert_served(&client(&shows(&files, &good)));

    let arguments = ["-cert", good.certificate(), "-key", good.key()];
    Connection::over_openssl(server.addr, files.ca(), &arguments).subscribe();
    assert_eq!(server.closed("tls_failed"), counted);
}

#[test]
fn where_a_clients_certificate_is_optional_one_without_is_let_in() {
    let clients = Authority::new("clients");
    let good = Folder::new(&clients.client(Names::common("somebody")), &clients);
    let (files, server) = tls_server(&["--tls-client-ca-file", good.ca(), "--tls-client-auth", "optional"]);
    assert_served(&python(server.addr, (USER, PASSWORD), &["--tls", "--ca", files.ca()]));
    assert_served(&python(server.addr, (USER, PASSWORD), &shows(&files, &good)));
}

#[test]
fn where_the_name_must_be_the_certificates_another_is_refused_and_the_password_counts_as_before() {
    let clients = Authority::new("clients");
    let own = Folder::new(&clients.client(Names::common(USER)), &clients);
    // Where there are alternative names, the common name is none.
    let others = Names::alternatives(&["somebody", "spiffe://example/somebody"]).and_common(USER);
    let others = Folder::new(&clients.client(others), &clients);
    let flags = ["--tls-client-ca-file", own.ca(), "--tls-client-identity", "required"];
    let (files, server) = tls_server(&flags);

    assert_served(&python(server.addr, (USER, PASSWORD), &shows(&files, &own)));
    assert_refused(&python(server.addr, (USER, PASSWORD), &shows(&files, &others)), "AUTH_FAILED");
    assert_refused(&python(server.addr, (USER, "wrong"), &shows(&files, &own)), "AUTH_FAILED");
    assert_eq!(server.metric("tickwire_auth_failures_total{reason=\"identity\"}"), 1.0);
    assert_eq!(server.metric("tickwire_auth_failures_total{reason=\"credentials\"}"), 1.0);
    assert_eq!(server.closed("tls_failed"), 0);
}

#[test]
fn where_the_certificate_suffices_no_password_is_looked_at() {
    let clients = Authority::new("clients");
    let names = ["somebody", "spiffe://example/somebody"];
    let certificate = Folder::new(&clients.client(&names), &clients);
    let flags = ["--tls-client-ca-file", certificate.ca(), "--tls-client-identity", "sufficient"];
    let (files, server) = tls_server(&flags);
    for name in names {
        assert_served(&python(server.addr, (name, ""), &shows(&files, &certificate)));
    }
    assert_refused(&python(server.addr, (USER, PASSWORD), &shows(&files, &certificate)), "AUTH_FAILED");
}

/// HAProxy in front of a server, which it tells its clients' addresses.
#[derive(Debug)]
struct HaProxy {
    /// Where it does so by version 2 of the PROXY protocol.
    v2: SocketAddr,
    /// Where it does so by version 1.
    v1: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

/// What a server must be told to believe [`HaProxy`], which connects from there.
const TRUST: [&str; 2] = ["--proxy-protocol-from", "127.0.0.1"];

impl HaProxy {
    /// With these options for its connections to the server.
    fn start(server: &TestServer, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let to = server.addr;
        let config = format!(
            "\
global
    maxconn 100
    nbthread 1
defaults
    mode tcp
    timeout connect 1m
    timeout client 1m
    timeout server 1m
listen version-2
    bind fd@0
    server tickwire {to} send-proxy-v2 {options}
listen version-1
    bind fd@1
    server tickwire {to} send-proxy {options}
"
        );
        std::fs::write(&file, config).unwrap();
        // It inherits its listeners, as its input and output: no port is chosen that another test might take meanwhile, and clients may
        // connect before it is up.
        let [v2, v1] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&v2, &v1].map(|listener| listener.local_addr().unwrap());
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file).stdin(OwnedFd::from(v2)).stdout(OwnedFd::from(v1));
        let process = Process::start(&mut command);
        Self { v2: addresses[0], v1: addresses[1], _process: process, _folder: folder }
    }
}

/// Clients of two addresses that come through one proxy are two to the server, where a client that comes twice is one.
fn assert_told_apart(server: &TestServer, proxy: &HaProxy, connect: impl Fn(&str, SocketAddr) -> Connection) {
    for front in [proxy.v2, proxy.v1] {
        let both = ["127.0.0.2", "127.0.0.3"].map(|source| {
            let mut client = connect(source, front);
            client.subscribe();
            client
        });
        for source in ["127.0.0.2", "127.0.0.3"] {
            let error = connect(source, front).raw.expect_refusal(ErrorCode::ConnectionLimit);
            assert!(error.message.contains("address"), "{error:?}");
        }
        drop(both);
        eventually("they have left", || server.connections() == 0);
        // A place that is free is taken.
        connect("127.0.0.2", front).subscribe();
        eventually("it has left, too", || server.connections() == 0);
    }
}

/// A connection that claims to come from nobody is closed, without a word, where it comes from a proxy.
fn assert_refused_without_header(server: &TestServer) {
    let mut direct = Raw::connect(server.addr);
    direct.send(&auth());
    assert_eq!(direct.frame(), None);
    eventually("it is counted", || server.closed("proxy_header") == 1);
    assert_eq!(server.metric("tickwire_connections_closed_total{reason=\"proxy_header\"}"), 1.0);
}

#[test]
fn the_server_sees_the_addresses_of_clients_that_come_through_haproxy() {
    let server = TestServer::start(&[&TRUST[..], &["--max-connections-per-address", "1"]].concat());
    assert_told_apart(&server, &HaProxy::start(&server, ""), Connection::plain);
    assert_refused_without_header(&server);
}

#[test]
fn the_server_sees_the_addresses_of_clients_whose_tls_passes_through_haproxy() {
    let (files, server) = tls_server(&[&TRUST[..], &["--max-connections-per-address", "1"]].concat());
    let proxy = HaProxy::start(&server, "");
    assert_told_apart(&server, &proxy, |source, front| {
        let arguments = ["-tls1_3", "-alpn", "tickwire/1", "-bind", source];
        Connection::over_openssl(front, files.ca(), &arguments)
    });
    for front in [proxy.v2, proxy.v1] {
        assert_served(&python(front, (USER, PASSWORD), &["--tls", "--ca", files.ca()]));
        eventually("it has left", || server.connections() == 0);
    }
    assert_refused_without_header(&server);
    assert_eq!(server.closed("tls_failed"), 0);
}

#[test]
fn haproxys_checks_are_connections_that_were_abandoned() {
    let (files, encrypted) = tls_server(&TRUST);
    for server in [&TestServer::start(&TRUST), &encrypted] {
        let proxy = HaProxy::start(server, "check inter 100ms");
        eventually("some are counted", || server.closed("abandoned") >= 4);
        for reason in ["connection_lost", "tls_failed", "proxy_header"] {
            assert_eq!(server.closed(reason), 0, "{reason}");
        }
        if std::ptr::eq(server, &encrypted) {
            assert_served(&python(proxy.v2, (USER, PASSWORD), &["--tls", "--ca", files.ca()]));
        } else {
            Connection::plain("127.0.0.2", proxy.v2).subscribe();
        }
    }
}

#[test]
fn who_comes_through_haproxy_when_the_server_is_full_is_told_so() {
    let flags = [&TRUST[..], &["--max-connections", "1"]].concat();
    let (files, encrypted) = tls_server(&flags);
    let proxy = HaProxy::start(&encrypted, "");
    for front in [proxy.v2, proxy.v1] {
        let mut one = Connection::over_openssl(front, files.ca(), &[]);
        one.subscribe();
        Connection::over_openssl(front, files.ca(), &[]).raw.expect_refusal(ErrorCode::ConnectionLimit);
        drop(one);
        eventually("it has left", || encrypted.connections() == 0);
    }
    let plain = TestServer::start(&flags);
    let proxy = HaProxy::start(&plain, "");
    for front in [proxy.v2, proxy.v1] {
        let mut one = Connection::plain("127.0.0.2", front);
        one.subscribe();
        Connection::plain("127.0.0.3", front).raw.expect_refusal(ErrorCode::ConnectionLimit);
        drop(one);
        eventually("it has left", || plain.connections() == 0);
    }
}
