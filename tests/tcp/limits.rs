//! Too many, too fast.

use std::net::TcpStream;

use socket2::SockRef;
use tickwire_proto::message::ErrorCode;
use tickwire_tests::{Raw, TestServer, Witness, eventually};

#[test]
fn more_connections_than_the_limit_are_told_so_and_a_free_place_is_taken() {
    let server = TestServer::start(&["--max-connections", "3"]);
    let mut witness = Witness::start(&server);
    let second = Raw::authenticated(server.addr);
    let third = Raw::authenticated(server.addr);
    for _ in 0..5 {
        let mut fourth = Raw::connect(server.addr);
        let error = fourth.expect_refusal(ErrorCode::ConnectionLimit);
        assert!(error.retry_after_ms > 0 && error.message.contains('3'), "{error:?}");
    }
    witness.assert_undisturbed();
    drop((second, third));
    eventually("the places are free", || server.connections() == 1);
    drop(Raw::authenticated(server.addr));
}

#[test]
fn a_storm_of_connects_and_closes_leaves_nothing_behind() {
    let server = TestServer::start(&["--auth-failure-limit", "0"]);
    let mut witness = Witness::start(&server);
    for n in 0..3000 {
        let stream = TcpStream::connect(server.addr).expect("the server accepts");
        if n % 2 == 0 {
            // Reset, not closed: what a crash or a port scan looks like.
            SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("linger can be set");
        }
    }
    eventually("the storm is over", || {
        server.metric("tickwire_connections_accepted_total") >= 2000.0 && server.connections() == 1
    });
    witness.assert_undisturbed();
    assert_eq!(server.metric("tickwire_accept_errors_total"), 0.0);
}
