//! Signs of life.

use tickwire_proto::FrameType;
use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{ErrorCode, Heartbeat};
use tickwire_tests::{Raw, TestServer};

#[test]
fn the_server_sends_a_heartbeat_where_it_sent_nothing_else() {
    let server = TestServer::start(&["--heartbeat-interval", "100ms"]);
    let mut raw = Raw::authenticated(server.addr);
    for _ in 0..3 {
        assert_eq!(raw.frame().map(|(kind, payload)| (kind, payload.len())), Some((FrameType::Heartbeat, 0)));
    }
}

#[test]
fn a_client_that_says_nothing_is_closed_and_one_that_does_is_not() {
    let server = TestServer::start(&["--heartbeat-interval", "100ms", "--heartbeat-timeout", "100ms"]);
    let mut silent = Raw::authenticated(server.addr);
    let mut alive = Raw::authenticated(server.addr);
    // It speaks whenever it hears something, until the silent one is closed.
    let closed = || server.metric("heartbeat_timeouts_total") >= 1.0;
    while !closed() {
        assert_eq!(alive.frame().map(|(kind, _)| kind), Some(FrameType::Heartbeat));
        alive.send(&Heartbeat {}.to_frame());
    }
    silent.expect_refusal(ErrorCode::HeartbeatTimeout);
    alive.send(&Heartbeat {}.to_frame());
    assert_eq!(alive.frame().map(|(kind, _)| kind), Some(FrameType::Heartbeat));
}

#[test]
fn a_half_open_connection_is_closed_with_the_timeout_though_nobody_answers() {
    let server = TestServer::start(&["--heartbeat-interval", "100ms", "--heartbeat-timeout", "100ms"]);
    // It neither reads nor sends, as a machine that has lost its power; the kernel alone acknowledges.
    let gone = Raw::authenticated(server.addr);
    tickwire_tests::eventually("it is closed", || server.connections() == 0);
    assert_eq!(server.closed("heartbeat_timeout"), 1);
    drop(gone);
}
