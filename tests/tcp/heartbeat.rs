//! Signs of life.

use socket2::{SockFilter, SockRef};
use tickwire_proto::FrameType;
use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{ErrorCode, Heartbeat, Mode};
use tickwire_tests::{Raw, TestServer, Witness};

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
fn a_client_that_neither_reads_nor_sends_is_closed_though_its_kernel_answers() {
    let server = TestServer::start(&["--heartbeat-interval", "100ms", "--heartbeat-timeout", "100ms"]);
    let gone = Raw::authenticated(server.addr);
    tickwire_tests::eventually("it is closed", || server.closed("heartbeat_timeout") == 1);
    tickwire_tests::eventually("nothing of it is left", || server.connections() == 0);
    drop(gone);
}

#[test]
fn a_half_open_connection_is_given_up_when_nothing_is_acknowledged() {
    // Nothing but TCP_USER_TIMEOUT may end it here.
    let patient = ["--heartbeat-timeout", "1h", "--write-deadline-ms", "3600000", "--tcp-user-timeout", "1s"];
    let server = TestServer::start(&patient);
    let mut witness = Witness::start(&server);
    let (client, _) = Raw::subscribed(server.addr, Mode::Tick);
    // As a machine that has lost its power, or a cut cable: whatever comes in is dropped before the kernel sees it.
    let drop_all = SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(&client.stream).attach_filter(&[drop_all]).expect("a filter can be attached");
    tickwire_tests::eventually("it is given up", || server.closed("connection_lost") == 1);
    witness.assert_undisturbed();
    drop(client);
}
