//! TLS on the data port, and what peers may do wrong with it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use tickwire_proto::message::{ErrorCode, Mode};
use tickwire_tests::pki::{Authority, Folder, Names};
use tickwire_tests::raw::{auth, subscribe};
use tickwire_tests::trust::trust;
use tickwire_tests::{PATIENCE, Raw, TestServer, Witness, eventually};

/// A server with a certificate of an authority of its own.
struct Secured {
    server: TestServer,
    authority: Authority,
    folder: Folder,
    /// Trusts the authority.
    client: Arc<ClientConfig>,
}

fn secured(flags: &[&str]) -> Secured {
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let server = TestServer::start(&[&folder.server_flags()[..], flags].concat());
    let client = trust(&authority, None);
    Secured { server, authority, folder, client }
}

/// The bytes with which a client begins.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = "localhost".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(config.clone(), name).expect("a client");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("memory takes it");
    hello
}

/// Clients that begin so, and do not go on.
fn beginners(server: &TestServer, count: usize, hello: &[u8]) -> Vec<Raw> {
    let begin = |_| {
        let mut raw = Raw::connect(server.addr);
        raw.send(hello);
        raw
    };
    (0..count).map(begin).collect()
}

/// Reads until the server closes, whatever it says.
fn drain(stream: &mut TcpStream) {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server does not close: {error}"),
    }
}

#[test]
fn ticks_come_by_tls_and_the_end_is_told() {
    let Secured { server, client, .. } = secured(&["--drain-window", "0s"]);
    let mut raw = Raw::tls(server.addr, &client);
    raw.authenticate();
    let first = raw.subscribe(Mode::Tick);
    assert_eq!(raw.batch().first_sequence, first);
    assert_eq!(raw.stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(raw.stream.conn.alpn_protocol(), Some(&b"tickwire/1"[..]));
    server.stop();
    let (code, _) = raw.error();
    assert_eq!(code, ErrorCode::Draining);
    // Without close_notify this would be an unexpected end.
    while raw.frame().is_some() {}
}

#[test]
fn segments_of_a_byte_make_no_difference() {
    let Secured { server, client, .. } = secured(&[]);
    let mut raw = Raw::tls(server.addr, &client);
    while raw.stream.conn.is_handshaking() {
        let mut bytes = Vec::new();
        while raw.stream.conn.wants_write() {
            raw.stream.conn.write_tls(&mut bytes).unwrap();
        }
        for byte in bytes {
            raw.stream.sock.write_all(&[byte]).unwrap();
        }
        if raw.stream.conn.is_handshaking() {
            raw.stream.conn.read_tls(&mut raw.stream.sock).unwrap();
            raw.stream.conn.process_new_packets().unwrap();
        }
    }
    raw.stream.conn.writer().write_all(&[auth(), subscribe(Mode::Tick, None)].concat()).unwrap();
    let mut bytes = Vec::new();
    while raw.stream.conn.wants_write() {
        raw.stream.conn.write_tls(&mut bytes).unwrap();
    }
    for byte in bytes {
        raw.stream.sock.write_all(&[byte]).unwrap();
    }
    let opening = raw.batch();
    assert_eq!(raw.batch().first_sequence, opening.first_sequence);
}

#[test]
fn whoever_does_not_speak_tls_is_closed_and_counted() {
    let Secured { server, client, .. } = secured(&[]);
    for bytes in [auth(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x16, 3, 1, 0, 4, 9, 9, 9, 9]] {
        let mut raw = Raw::connect(server.addr);
        raw.send(&bytes);
        drain(&mut raw.stream);
    }
    // After the handshake, too.
    let mut raw = Raw::tls(server.addr, &client);
    raw.authenticate();
    raw.stream.sock.write_all(&[0x17, 3, 3, 0, 32]).unwrap();
    raw.stream.sock.write_all(&[0; 32]).unwrap();
    drain(&mut raw.stream.sock);
    eventually("all are counted", || server.closed("tls_failed") == 4);
}

#[test]
fn a_tls_client_is_told_that_the_port_does_not_speak_tls() {
    let server = TestServer::start(&[]);
    let authority = Authority::new("Tickwire test");
    let mut raw = Raw::connect(server.addr);
    raw.send(&client_hello(&trust(&authority, None)));
    assert!(raw.expect_refusal(ErrorCode::BadMagic).message.contains("TLS"));
}

#[test]
fn a_handshake_that_stalls_is_closed_after_its_deadline() {
    let Secured { server, client, .. } = secured(&["--tls-handshake-deadline", "300ms"]);
    let hello = client_hello(&client);
    // Nothing at all, half of the first message, and the whole of it.
    for len in [0, hello.len() / 2, hello.len()] {
        let mut raw = Raw::connect(server.addr);
        raw.send(&hello[..len]);
        drain(&mut raw.stream);
    }
    eventually("all are counted", || server.closed("tls_timeout") == 2);
    assert_eq!(server.closed("silent"), 1);
}

#[test]
fn a_handshake_message_longer_than_any_that_is_accepted_is_not_waited_for() {
    // The largest record there is, of a handshake; the first one begins with a ClientHello (1) of 60,000 bytes. Source: RFC 8446, sections 4 and 5.1.
    const LEN: usize = 1 << 14;
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.resize(5 + LEN, 0);
    let mut first = record.clone();
    first[5..9].copy_from_slice(&[1, 0, 0xea, 0x60]);
    // Nothing but its length can end it.
    let Secured { server, .. } = secured(&["--tls-handshake-deadline", "1h"]);
    let mut raw = Raw::connect(server.addr);
    // 49,152 bytes: it is not over, and its end never comes.
    for part in [&first, &record, &record] {
        raw.try_send(part);
    }
    drain(&mut raw.stream);
    drop(raw);
    eventually("it is counted", || server.closed("tls_failed") == 1);
}

#[test]
fn handshakes_that_stall_do_not_keep_others_out() {
    let flags = ["--shards", "1", "--tls-handshakes", "2", "--tls-handshake-deadline", "1h"];
    let Secured { server, client, .. } = secured(&flags);
    let hello = client_hello(&client);
    let stalled = beginners(&server, 2, &hello);
    eventually("all places are taken", || {
        server.metric("tickwire_tls_handshakes_under_way{shard=\"0\"}") == 2.0
    });
    // More than there are places.
    let mut others: Vec<_> = (0..5).map(|_| Raw::tls(server.addr, &client)).collect();
    others.iter_mut().for_each(Raw::authenticate);
    assert!((1..=2).contains(&server.closed("tls_timeout")));
    drop(stalled);
}

#[test]
fn a_host_that_stalls_any_number_of_handshakes_does_not_keep_another_waiting() {
    let flags = ["--shards", "1", "--tls-handshakes", "2", "--tls-handshake-deadline", "1h"];
    let Secured { server, client, .. } = secured(&flags);
    let hello = client_hello(&client);
    let stalled = beginners(&server, 100, &hello);
    eventually("most of them wait", || server.metric("tickwire_tls_handshakes_waiting{shard=\"0\"}") > 80.0);
    let honest = Raw::connect_from([127, 0, 0, 2].into(), server.addr);
    Raw::tls_over(honest, &client).authenticate();
    // Two a second lose their place; it was not the ninety-eight before it that had to.
    let before = server.closed("tls_timeout");
    assert!(before <= 20, "{before} were before it");
    drop(stalled);
}

#[test]
fn who_waits_and_leaves_is_not_waited_for() {
    // Once, one that stood in line and was heard of while there was a place began ahead of its turn, and counted as waiting for ever after.
    let flags = ["--shards", "1", "--tls-handshakes", "1", "--tls-handshake-deadline", "1h"];
    let Secured { server, client, .. } = secured(&flags);
    let hello = client_hello(&client);
    for _ in 0..20 {
        let mut first = Raw::tls(server.addr, &client);
        let mut waiting = beginners(&server, 3, &hello[..10]);
        // What ends the first, and what comes of the others meanwhile, are for one turn of the shard.
        let _sent = first.handshake();
        waiting.iter_mut().for_each(|raw| raw.try_send(&hello[10..]));
        drop((first, waiting));
    }
    eventually("nobody is left", || server.connections() == 0);
    let gauge = |name: &str| server.metric(&format!("tickwire_tls_handshakes_{name}{{shard=\"0\"}}"));
    eventually("nothing is counted that is not there", || {
        gauge("waiting") == 0.0 && gauge("under_way") == 0.0
    });
    Raw::tls(server.addr, &client).authenticate();
}

#[test]
fn a_handshake_that_does_not_get_its_turn_is_told_from_one_that_stalls() {
    // A place is taken for half a second: of two who wait, one at least waits in vain.
    let flags = ["--shards", "1", "--tls-handshakes", "1", "--tls-handshake-deadline", "500ms"];
    let Secured { server, client, .. } = secured(&flags);
    let hello = client_hello(&client);
    let mut all = beginners(&server, 3, &hello);
    all.iter_mut().for_each(|raw| drain(&mut raw.stream));
    eventually("all are counted", || server.closed("tls_timeout") + server.closed("tls_busy") == 3);
    assert!(server.closed("tls_timeout") >= 1);
    assert!(server.closed("tls_busy") >= 1);
}

#[test]
fn a_chain_of_many_certificates_is_not_looked_at() {
    // Paths through them are looked for before the client has shown a key: of forty certificates there may be more than can be tried in a minute.
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let flags = [&folder.server_flags()[..], &["--tls-client-ca-file", folder.ca()]].concat();
    let server = TestServer::start(&flags);
    let with = |others: usize| {
        let mut own = authority.client(Names::common("tester"));
        (0..others).for_each(|_| own.certificate.push_str(Authority::new("in between").certificate()));
        Raw::tls(server.addr, &trust(&authority, Some(&own)))
    };
    with(4).authenticate();
    for others in [5, 40] {
        let mut raw = with(others);
        let _sent = raw.handshake();
        let error = raw.stream.read(&mut [0]).expect_err("the server refuses");
        assert!(error.to_string().contains("alert"), "{error}");
    }
    eventually("both are counted", || server.closed("tls_failed") == 2);
}

#[test]
fn a_client_that_comes_back_resumes_by_its_ticket() {
    let Secured { server, client, .. } = secured(&[]);
    for _ in 0..3 {
        let mut raw = Raw::tls(server.addr, &client);
        raw.authenticate();
    }
    assert_eq!(server.metric("tickwire_tls_handshakes_total{kind=\"full\"}"), 1.0);
    assert_eq!(server.metric("tickwire_tls_handshakes_total{kind=\"resumed\"}"), 2.0);
}

#[test]
fn who_comes_over_the_limit_is_told_so_by_tls() {
    let Secured { server, client, .. } = secured(&["--max-connections", "1"]);
    let mut first = Raw::tls(server.addr, &client);
    first.authenticate();
    let mut second = Raw::tls(server.addr, &client);
    assert_eq!(second.error().0, ErrorCode::ConnectionLimit);
    assert_eq!(second.frame(), None);
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let server = TestServer::start(&["--max-connections-per-address", "2"]);
    let mut both: Vec<_> = (0..2).map(|_| Raw::authenticated(server.addr)).collect();
    let refused = Raw::connect(server.addr).expect_refusal(ErrorCode::ConnectionLimit);
    assert!(refused.message.contains("2 connections") && refused.retry_after_ms > 0, "{refused:?}");
    both.pop();
    eventually("it is counted", || server.closed("address_limit") == 1);
    eventually("there is room again", || server.connections() == 1);
    let _third = Raw::authenticated(server.addr);
}

#[test]
fn only_clients_with_a_good_certificate_come_in_where_one_is_required() {
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let flags = [&folder.server_flags()[..], &["--tls-client-ca-file", folder.ca()]].concat();
    let server = TestServer::start(&flags);
    let stranger = Authority::new("somebody else");
    let good = authority.client(Names::common("tester"));
    for own in [
        None,
        Some(stranger.client(Names::common("tester"))),
        Some(authority.client(Names::common("tester").expired())),
        // For servers only.
        Some(authority.server(&["tester"])),
    ] {
        let mut raw = Raw::tls(server.addr, &trust(&authority, own.as_ref()));
        // The client's side of the handshake is over before the server has looked at the certificate.
        let _sent = raw.handshake();
        let mut byte = [0];
        let error = raw.stream.read(&mut byte).expect_err("the server refuses");
        assert!(error.to_string().contains("alert"), "{error}");
    }
    eventually("all are counted", || server.closed("tls_failed") == 4);
    let mut raw = Raw::tls(server.addr, &trust(&authority, Some(&good)));
    raw.authenticate();
}

#[test]
fn a_ticket_is_no_way_around_a_new_client_authority() {
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let clients = Folder::new(&one.client(Names::common("tester")), &one);
    let server =
        TestServer::start(&[&folder.server_flags()[..], &["--tls-client-ca-file", clients.ca()]].concat());
    let config = trust(&authority, Some(&one.client(Names::common("tester"))));
    Raw::tls(server.addr, &config).authenticate();
    Raw::tls(server.addr, &config).authenticate();
    assert_eq!(server.metric("tickwire_tls_handshakes_total{kind=\"resumed\"}"), 1.0);
    clients.swap(&two.client(Names::common("tester")), &two);
    let reloads = "tickwire_reloads_total{result=\"ok\",source=\"tls\"}";
    eventually("the new authority is in use", || server.metric(reloads) == 1.0);
    let mut raw = Raw::tls(server.addr, &config);
    let _sent = raw.handshake();
    raw.stream.read(&mut [0]).expect_err("the old authority's client is refused");
    assert_eq!(server.metric("tickwire_tls_handshakes_total{kind=\"resumed\"}"), 1.0);
}

#[test]
fn a_ticket_does_not_outlive_the_certificate_that_the_client_has_shown() {
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let flags = [&folder.server_flags()[..], &["--tls-client-ca-file", folder.ca()]].concat();
    let server = TestServer::start(&flags);
    // Time enough for two handshakes, even where others have the machine's time.
    let end = SystemTime::now() + Duration::from_secs(5);
    let own = authority.client(Names::common("tester").until(end));
    let config = trust(&authority, Some(&own));
    let resumed = || server.metric("tickwire_tls_handshakes_total{kind=\"resumed\"}");
    Raw::tls(server.addr, &config).authenticate();
    Raw::tls(server.addr, &config).authenticate();
    assert_eq!((resumed(), server.closed("tls_failed")), (1.0, 0), "the ticket is good at first");
    // Ends are told to the second.
    eventually("the certificate has expired", || SystemTime::now() > end + Duration::from_secs(1));
    let mut raw = Raw::tls(server.addr, &config);
    let _sent = raw.handshake();
    assert_eq!(raw.frame(), None);
    drop(raw);
    eventually("it is counted", || server.closed("tls_failed") == 1);
    assert_eq!(resumed(), 1.0, "its handshake does not count as one that succeeded");
}

#[test]
fn a_new_certificate_is_for_new_connections_and_a_bad_one_for_none() {
    let Secured { server, authority, folder, client } = secured(&[]);
    let mut old = Raw::tls(server.addr, &client);
    old.authenticate();
    old.subscribe(Mode::Tick);
    let before = server.metric("tickwire_tls_certificate_expiry_timestamp_seconds");

    // Another authority's, which the client does not trust: who gets it shows which one it was.
    let next = Authority::new("the next one");
    let later = SystemTime::now() + Duration::from_secs(5 * 24 * 3600);
    folder.swap(&next.server(Names::alternatives(&["localhost"]).until(later)), &next);
    let reloads = |result: &str| {
        server.metric(&format!("tickwire_reloads_total{{result=\"{result}\",source=\"tls\"}}"))
    };
    eventually("it is in use", || reloads("ok") == 1.0);
    assert!(
        server.metric("tickwire_tls_certificate_expiry_timestamp_seconds") > before + 3.0 * 24.0 * 3600.0
    );
    Raw::tls(server.addr, &trust(&authority, None)).handshake().expect_err("not the old certificate");
    let new = trust(&next, None);
    Raw::tls(server.addr, &new).authenticate();

    // A key of another certificate, no certificate at all, and one that has expired.
    let mut broken = next.server(&["localhost"]);
    broken.key = next.server(&["localhost"]).key;
    folder.swap(&broken, &next);
    eventually("it is found bad", || reloads("error") == 1.0);
    broken.certificate = "not a certificate".into();
    folder.swap(&broken, &next);
    eventually("it is found bad", || reloads("error") == 2.0);
    folder.swap(&next.server(Names::alternatives(&["localhost"]).expired()), &next);
    eventually("it is found bad", || reloads("error") == 3.0);
    let early = SystemTime::now() + Duration::from_secs(3600);
    folder.swap(&next.server(Names::alternatives(&["localhost"]).from(early)), &next);
    eventually("it is found bad", || reloads("error") == 4.0);
    assert_eq!(reloads("ok"), 1.0);
    Raw::tls(server.addr, &trust(&next, None)).authenticate();
    old.batch();
}

#[test]
fn a_client_that_stops_reading_is_closed_and_the_others_go_on() {
    let flags = ["--feed-rate", "20000", "--write-deadline-ms", "500", "--write-queue-limit", "1MB"];
    let Secured { server, client, .. } = secured(&flags);
    let mut reader = Raw::tls(server.addr, &client);
    reader.authenticate();
    let mut next = reader.subscribe(Mode::Tick);
    let mut stalled = Raw::tls(server.addr, &client);
    stalled.authenticate();
    stalled.subscribe(Mode::Tick);
    let start = Instant::now();
    while server.closed("slow_consumer") == 0 {
        assert!(start.elapsed() < PATIENCE, "who stopped reading is still there after {PATIENCE:?}");
        let batch = reader.batch();
        assert_eq!(batch.first_sequence, next);
        next = batch.last_sequence + 1;
    }
}

#[test]
fn tls_clients_at_a_port_without_tls_are_refused_one_by_one_and_the_others_go_on() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let hello = client_hello(&trust(&Authority::new("Tickwire test"), None));
    let strangers = beginners(&server, 10, &hello);
    for mut raw in strangers {
        raw.expect_refusal(ErrorCode::BadMagic);
    }
    eventually("all are counted", || server.closed("bad_magic") == 10);
    witness.assert_undisturbed();
}
