//! PROXY headers, as load balancers send them.

use std::io::Read as _;

use tickwire_proto::message::ErrorCode;
use tickwire_tests::raw::auth;
use tickwire_tests::{Raw, TestServer, eventually};

const LOOPBACK: [&str; 2] = ["--proxy-protocol-from", "127.0.0.0/8"];

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 40000 21591\r\n").into_bytes()
}

fn v2(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([192, 0, 2, 1, 0x9c, 0x40, 0x54, 0x57]);
    header
}

#[test]
fn a_header_of_either_version_comes_before_auth_in_any_segments() {
    let server = TestServer::start(&LOOPBACK);
    for header in [v1("192.0.2.7"), v2([192, 0, 2, 7]), b"PROXY UNKNOWN\r\n".to_vec()] {
        let bytes = [header, auth()].concat();
        for size in [1, 7, bytes.len()] {
            let mut raw = Raw::connect(server.addr);
            bytes.chunks(size).for_each(|segment| raw.send(segment));
            assert!(raw.frame().is_some(), "segments of {size}");
        }
    }
}

#[test]
fn a_connection_from_a_load_balancer_without_a_header_is_closed_and_counted() {
    let server = TestServer::start(&[&LOOPBACK[..], &["--auth-deadline", "300ms"]].concat());
    // No header, one that is cut off, and nothing.
    for bytes in [auth(), v2([192, 0, 2, 7])[..20].to_vec(), vec![]] {
        let mut raw = Raw::connect(server.addr);
        raw.send(&bytes);
        let mut said = Vec::new();
        // It may be reset, with what it had sent unread.
        let _closed = raw.stream.read_to_end(&mut said);
        assert!(said.is_empty(), "a load balancer is told nothing");
    }
    eventually("all are counted", || server.closed("proxy_header") == 3);
}

#[test]
fn a_header_from_elsewhere_is_no_frame() {
    let server = TestServer::start(&["--proxy-protocol-from", "10.0.0.0/8,2001:db8::/32"]);
    let mut raw = Raw::connect(server.addr);
    raw.send(&v1("192.0.2.7"));
    raw.expect_refusal(ErrorCode::BadMagic);
    let _direct = Raw::authenticated(server.addr);
}

#[test]
fn limits_are_for_the_client_that_the_header_names() {
    let flags = [&LOOPBACK[..], &["--max-connections-per-address", "1"]].concat();
    let server = TestServer::start(&flags);
    let connect = |client: &str| {
        let mut raw = Raw::connect(server.addr);
        raw.send(&[v1(client), auth()].concat());
        raw
    };
    let mut one = connect("192.0.2.7");
    let mut other = connect("192.0.2.8");
    assert!(one.frame().is_some() && other.frame().is_some());
    connect("192.0.2.7").expect_refusal(ErrorCode::ConnectionLimit);
    drop(one);
    eventually("there is room again", || server.connections() == 1);
    let mut again = connect("192.0.2.7");
    let (kind, _) = again.frame().expect("an answer");
    assert_eq!(kind, tickwire_proto::FrameType::Heartbeat);
}
