//! Who is let in.

use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{Auth, ErrorCode, Heartbeat, Mode};
use tickwire_tests::raw::{auth, subscribe};
use tickwire_tests::{Raw, TestServer, USER, Witness};

fn wrong() -> Vec<u8> {
    Auth { username: USER.into(), password: "battery staple".into() }.to_frame().to_vec()
}

#[test]
fn wrong_credentials_are_refused_and_which_is_wrong_is_not_said() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let unknown = Auth { username: "nobody".into(), password: tickwire_tests::PASSWORD.into() }.to_frame();
    let messages = [wrong(), unknown.to_vec()].map(|bytes| {
        let mut raw = Raw::connect(server.addr);
        raw.send(&bytes);
        raw.expect_refusal(ErrorCode::AuthFailed).message
    });
    assert_eq!(messages[0], messages[1]);
    assert_eq!(server.metric("tickwire_auth_failures_total{reason=\"credentials\"}"), 2.0);
    witness.assert_undisturbed();
}

#[test]
fn the_first_frame_must_be_auth() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    for first in [subscribe(Mode::Tick, None), Heartbeat {}.to_frame().to_vec()] {
        let mut raw = Raw::connect(server.addr);
        raw.send(&first);
        raw.expect_refusal(ErrorCode::AuthRequired);
    }
    witness.assert_undisturbed();
}

#[test]
fn a_second_auth_is_refused() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let mut raw = Raw::authenticated(server.addr);
    raw.send(&auth());
    raw.expect_refusal(ErrorCode::UnexpectedType);
    witness.assert_undisturbed();
}

#[test]
fn auth_and_subscribe_may_come_in_one_segment() {
    let server = TestServer::start(&[]);
    let mut raw = Raw::connect(server.addr);
    raw.send(&[auth(), subscribe(Mode::Tick, None)].concat());
    let opening = raw.batch();
    assert_eq!(raw.batch().first_sequence, opening.first_sequence);
}

#[test]
fn no_auth_within_the_deadline_is_refused() {
    let server = TestServer::start(&["--auth-deadline", "200ms"]);
    let mut raw = Raw::connect(server.addr);
    assert!(raw.expect_refusal(ErrorCode::AuthTimeout).message.contains("200ms"));
    assert_eq!(server.metric("tickwire_auth_failures_total{reason=\"timeout\"}"), 1.0);
}

#[test]
fn an_address_that_guesses_has_to_wait_and_the_connected_stay() {
    let server = TestServer::start(&["--auth-failure-limit", "3"]);
    let mut witness = Witness::start(&server);
    for _ in 0..3 {
        let mut raw = Raw::connect(server.addr);
        raw.send(&wrong());
        raw.expect_refusal(ErrorCode::AuthFailed);
    }
    // Even the right password is not looked at now.
    let mut raw = Raw::connect(server.addr);
    raw.send(&auth());
    let error = raw.expect_refusal(ErrorCode::RateLimited);
    assert!((1..=30_000).contains(&error.retry_after_ms), "{}", error.retry_after_ms);
    witness.assert_undisturbed();
}
