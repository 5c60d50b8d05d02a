//! Bytes that are no frames, frames that may not come, and good frames in odd pieces.

use tickwire_proto::encode::{FrameMessage, frame};
use tickwire_proto::message::{DataBatch, ErrorCode, Heartbeat, Mode, Subscribe};
use tickwire_proto::{FrameType, HEADER_LEN};
use tickwire_tests::raw::{auth, subscribe};
use tickwire_tests::{Raw, TestServer, Witness};

/// Sends bytes as the first ones of a connection and as those after AUTH; both must get this code, be closed and counted, and
/// nobody else may notice.
fn refused(bytes: &[u8], code: ErrorCode, reason: &str) {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let mut stranger = Raw::connect(server.addr);
    stranger.try_send(bytes);
    let mut friend = Raw::authenticated(server.addr);
    friend.try_send(bytes);
    for mut raw in [stranger, friend] {
        let error = raw.expect_refusal(code);
        assert!(!error.message.is_empty());
    }
    tickwire_tests::eventually("both are counted", || server.closed(reason) >= 2);
    witness.assert_undisturbed();
}

fn with(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}

#[test]
fn a_wrong_magic_is_refused_at_its_first_byte() {
    refused(b"G", ErrorCode::BadMagic, "bad_magic");
}

#[test]
fn http_and_tls_are_told_that_this_is_another_protocol() {
    let server = TestServer::start(&[]);
    for hello in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00"] {
        let mut raw = Raw::connect(server.addr);
        raw.try_send(hello);
        let error = raw.expect_refusal(ErrorCode::BadMagic);
        assert!(error.message.contains("another protocol"), "{}", error.message);
    }
}

#[test]
fn a_wrong_version_is_refused() {
    refused(&with(auth(), 2, 2), ErrorCode::BadVersion, "bad_version");
}

#[test]
fn an_unknown_type_is_refused() {
    refused(&with(auth(), 3, 9), ErrorCode::UnexpectedType, "unexpected_type");
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_payload_comes() {
    refused(b"TW\x01\x02\x7f\xff\xff\xff", ErrorCode::FrameTooLarge, "frame_too_large");
}

#[test]
fn a_stranger_may_send_less_than_a_friend() {
    let server = TestServer::start(&[]);
    let five_thousand = &frame(FrameType::Heartbeat, &[0; 5000])[..HEADER_LEN];
    let mut stranger = Raw::connect(server.addr);
    stranger.send(five_thousand);
    assert!(stranger.expect_refusal(ErrorCode::FrameTooLarge).message.contains("4096"));
    let mut friend = Raw::authenticated(server.addr);
    let names = (0..1000).map(|number| format!("SYMBOL{number}")).collect();
    let unknown = Subscribe { mode: Mode::Tick.into(), resume: None, symbols: names }.to_frame();
    assert!(unknown.len() > 5000);
    friend.send(&unknown);
    // It is read, and refused for what is in it; the connection goes on.
    assert_eq!(friend.error().0, ErrorCode::UnknownSymbol);
    friend.subscribe(Mode::Tick);
}

#[test]
fn a_bad_checksum_is_refused() {
    let mut bytes = auth();
    *bytes.last_mut().unwrap() ^= 0x80;
    refused(&bytes, ErrorCode::BadChecksum, "bad_checksum");
}

#[test]
fn a_payload_that_does_not_parse_is_refused() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let mut stranger = Raw::connect(server.addr);
    stranger.send(&frame(FrameType::Auth, b"\x0a\x7fab"));
    stranger.expect_refusal(ErrorCode::Malformed);
    for kind in [FrameType::Subscribe, FrameType::Heartbeat] {
        let mut friend = Raw::authenticated(server.addr);
        friend.send(&frame(kind, b"\xff\xff"));
        friend.expect_refusal(ErrorCode::Malformed);
    }
    witness.assert_undisturbed();
}

#[test]
fn a_batch_from_a_client_is_refused() {
    refused(&DataBatch::default().to_frame(), ErrorCode::UnexpectedType, "unexpected_type");
}

#[test]
fn a_byte_at_a_time_works() {
    let server = TestServer::start(&[]);
    let mut raw = Raw::connect(server.addr);
    for byte in auth().iter().chain(&subscribe(Mode::Tick, None)) {
        raw.send(&[*byte]);
    }
    let opening = raw.batch();
    assert_eq!(raw.batch().first_sequence, opening.first_sequence);
}

#[test]
fn a_thousand_frames_in_one_segment_work() {
    let server = TestServer::start(&[]);
    let mut raw = Raw::connect(server.addr);
    let mut bytes = auth();
    for _ in 0..499 {
        bytes.extend(Heartbeat {}.to_frame());
        bytes.extend(subscribe(Mode::Second, None));
    }
    bytes.extend(subscribe(Mode::Tick, None));
    raw.send(&bytes);
    // Openings of those that were replaced need not come; the last one does, and its stream after it.
    let mut ticks = 0;
    let mut position = None;
    while ticks < 20 {
        let batch = raw.batch();
        if batch.last_sequence + 1 == batch.first_sequence {
            position = None;
        }
        assert!(position.is_none_or(|position| batch.first_sequence == position + 1));
        position = Some(batch.last_sequence);
        ticks += batch.ticks.len();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_truncated_frame_and_then_silence_ends_with_the_deadline() {
    let server = TestServer::start(&[
        "--auth-deadline",
        "300ms",
        "--heartbeat-interval",
        "200ms",
        "--heartbeat-timeout",
        "200ms",
    ]);
    let mut witness = Witness::start(&server);
    let mut stranger = Raw::connect(server.addr);
    stranger.send(&auth()[..10]);
    stranger.expect_refusal(ErrorCode::AuthTimeout);
    // A friend's half frame is no sign of life either: HEARTBEAT_TIMEOUT, and the grace of five seconds.
    let mut friend = Raw::authenticated(server.addr);
    friend.send(&subscribe(Mode::Tick, None)[..10]);
    friend.expect_refusal(ErrorCode::HeartbeatTimeout);
    witness.assert_undisturbed();
}

#[test]
fn a_client_that_leaves_between_its_subscription_and_its_mistake_takes_nobody_along() {
    // Once, what was left after a SUBSCRIBE was taken up when the connection was gone, and the shard went with it.
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let bytes = [auth(), subscribe(Mode::Tick, None), b"G".to_vec()].concat();
    for _ in 0..200 {
        let mut raw = Raw::connect(server.addr);
        raw.try_send(&bytes);
    }
    tickwire_tests::eventually("all are gone", || server.connections() == 1);
    witness.assert_undisturbed();
}
