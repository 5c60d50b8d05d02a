//! Liveness, readiness, and the log's level.

use tickwire_tests::metrics::http;
use tickwire_tests::{Raw, TestServer};

#[test]
fn a_server_that_serves_is_alive_and_ready_and_one_that_drains_is_alive_alone() {
    let server = TestServer::start(&["--drain-delay", "1h"]);
    let _client = Raw::authenticated(server.addr);
    assert_eq!(http(server.admin, "GET", "/healthz", ""), (200, "ok\n".into()));
    assert_eq!(http(server.admin, "GET", "/readyz", ""), (200, "ok\n".into()));
    server.stop();
    tickwire_tests::eventually("readiness is false", || {
        http(server.admin, "GET", "/readyz", "") == (503, "draining\n".into())
    });
    assert_eq!(http(server.admin, "GET", "/healthz", "").0, 200);
    // Load balancers need a moment: until the delay is over, clients are still served.
    drop(Raw::authenticated(server.addr));
}

#[test]
fn a_log_level_that_is_none_is_refused_with_what_would_be_right() {
    let server = TestServer::start(&[]);
    assert_eq!(http(server.admin, "PUT", "/log", "info,tickwire_server=debug").0, 200);
    let (status, body) = http(server.admin, "PUT", "/log", "lots");
    assert_eq!(status, 400);
    assert!(body.contains("write it like info"), "{body}");
}

#[test]
fn the_metrics_of_the_specification_have_their_names() {
    let server = TestServer::start(&["--feed-rate", "1000"]);
    let (mut raw, _) = Raw::subscribed(server.addr, tickwire_proto::message::Mode::Tick);
    raw.batch();
    assert_eq!(server.metric("active_connections"), 1.0);
    tickwire_tests::eventually("what was sent is counted", || {
        server.metric("messages_sent_total") >= 1.0 && server.metric("bytes_sent_total") > 100.0
    });
    assert!(server.metric("publish_latency_ms_count") >= 1.0);
    assert_eq!(server.metric("heartbeat_timeouts_total"), 0.0);
}
