//! Clients that do not keep up.

use std::io::Read;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tickwire_proto::message::{ErrorCode, Mode, Resume};
use tickwire_tests::raw::{auth, subscribe};
use tickwire_tests::{PATIENCE, Raw, TestServer, Witness, eventually};

/// A feed whose TICK stream fills any socket within a second or so: 200,000 trades of 60 bytes.
const FLOOD: [&str; 2] = ["--feed-rate", "200000"];

/// A deadline that is met before the write queue's limit is: at 12 MB a second, 256 MB are twenty seconds.
const DEADLINE: [&str; 6] =
    ["--write-deadline-ms", "500", "--write-queue-limit", "256MB", "--ring-size", "256MB"];

/// A client with the smallest receive buffer the kernel gives, subscribed to the flood.
fn slow_client(server: &TestServer) -> Raw {
    slow_client_after(server, None)
}

/// The same, after a position.
fn slow_client_after(server: &TestServer, position: Option<Resume>) -> Raw {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut stream, &[auth(), subscribe(Mode::Tick, position)].concat()).unwrap();
    Raw::over(stream)
}

#[test]
fn a_reader_that_stops_is_closed_within_the_write_deadline_and_told_why_once_it_reads_again() {
    let server = TestServer::start(&[&FLOOD[..], &DEADLINE].concat());
    let mut slow = slow_client(&server);
    eventually("it is closed", || server.closed("slow_consumer") >= 1);
    eventually("nothing of it is left", || server.connections() == 0);
    assert_eq!(server.metric("tickwire_cursors_lagging{shard=\"0\"}"), 0.0);
    assert_eq!(server.metric("tickwire_cursors_lagging{shard=\"1\"}"), 0.0);
    // Whole frames, then the reason, then the end.
    assert!(slow.expect_refusal(ErrorCode::SlowConsumer).message.contains("WRITE_DEADLINE_MS"));
}

#[test]
fn a_reader_of_a_byte_a_second_is_closed_with_the_deadline_too() {
    let server = TestServer::start(&[&FLOOD[..], &DEADLINE].concat());
    let mut witness = Witness::start(&server);
    let mut slow = slow_client(&server);
    // The reader's pace is what is tested: a handful of bytes is no progress that the server could see.
    let mut bytes = 0;
    eventually("it is closed", || {
        std::thread::park_timeout(Duration::from_millis(100));
        bytes += slow.stream.read(&mut [0]).unwrap();
        server.closed("slow_consumer") >= 1
    });
    assert!(bytes < 1000, "{bytes} bytes were read before it was closed");
    assert!(slow_reason(slow).contains("WRITE_DEADLINE_MS"));
    witness.assert_undisturbed();
}

/// What a client is told that has read some bytes away: the text of the last frame, wherever it begins.
fn slow_reason(mut slow: Raw) -> String {
    let mut rest = Vec::new();
    slow.stream.read_to_end(&mut rest).unwrap();
    String::from_utf8_lossy(&rest[rest.len().saturating_sub(100)..]).into_owned()
}

#[test]
fn a_reader_that_lags_by_more_than_the_write_queue_is_closed_before_the_deadline() {
    let flags = ["--write-deadline-ms", "3600000", "--write-queue-limit", "256KB", "--feed-rate", "200000"];
    let server = TestServer::start(&flags);
    let mut slow = slow_client(&server);
    eventually("it is closed", || server.closed("slow_consumer") >= 1);
    assert!(slow.expect_refusal(ErrorCode::SlowConsumer).message.contains("WRITE_QUEUE_LIMIT"));
}

#[test]
fn a_reader_that_falls_out_of_the_ring_while_it_catches_up_is_closed() {
    // While a resumed subscription catches up, the write queue's limit does not hold; the ring's does.
    let flags = [
        "--write-deadline-ms",
        "3600000",
        "--ring-size",
        "4MB",
        "--write-queue-limit",
        "4MB",
        "--feed-rate",
        "200000",
    ];
    let server = TestServer::start(&flags);
    let (mut live, first) = Raw::subscribed(server.addr, Mode::Tick);
    live.batch();
    let slow = slow_client_after(&server, Some(Resume { epoch: 0, after_sequence: first }));
    drop(live);
    eventually("it is closed", || server.closed("slow_consumer") >= 1);
    assert!(slow_reason(slow).contains("fell out of the log"));
}

#[test]
fn stopped_readers_do_not_disturb_the_others() {
    let server = TestServer::start(&["--feed-rate", "20000", "--write-deadline-ms", "1000"]);
    let mut witness = Witness::start(&server);
    let stopped: Vec<_> = (0..20).map(|_| slow_client(&server)).collect();
    eventually("all of them are closed", || server.closed("slow_consumer") >= 20);
    witness.assert_undisturbed();
    drop(stopped);
}

#[test]
fn a_client_that_asks_and_never_reads_the_answers_is_closed() {
    // Nothing but what waits for it can end it.
    let server = TestServer::start(&["--feed-rate", "1", "--write-deadline-ms", "3600000"]);
    let mut slow = slow_client(&server);
    // Each of these is answered by an ERROR; 200,000 of them would be 16 MB.
    let bad = tickwire_proto::encode::FrameMessage::to_frame(&tickwire_proto::message::Subscribe {
        mode: 9,
        resume: None,
        symbols: vec![],
    });
    let flood = bad.repeat(1000);
    slow.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..200 {
        slow.try_send(&flood);
        if server.closed("slow_consumer") >= 1 {
            break;
        }
    }
    eventually("it is closed", || server.closed("slow_consumer") >= 1);
}

#[test]
fn a_burst_of_resumes_that_cannot_be_and_whose_answers_are_not_read_ends_that_client_alone() {
    // Once, the connection was closed beneath the code that answered it, and the shard with it.
    let flags = ["--feed-rate", "10", "--auth-failure-limit", "0", "--write-deadline-ms", "3600000"];
    let server = TestServer::start(&flags);
    let mut witness = Witness::start(&server);
    let impossible = subscribe(Mode::Tick, Some(Resume { epoch: 1, after_sequence: 1 }));
    let mut slow = slow_client(&server);
    slow.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..100 {
        slow.try_send(&impossible.repeat(1000));
        if server.closed("slow_consumer") >= 1 {
            break;
        }
    }
    eventually("it is closed", || server.closed("slow_consumer") >= 1);
    witness.assert_undisturbed();
}
