//! The server as a process: what it says at the start, how it ends, and with which status.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tickwire_proto::message::ErrorCode;
use tickwire_tests::Raw;
use tickwire_tests::raw::auth;

/// EX_USAGE.
const BAD_CONFIGURATION: i32 = 64;

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire-server"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.args(["--listen-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]).args(flags);
    command
}

/// Runs a server that is not to start. Answers its status and what it says.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A server that has started.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    fn start(flags: &[&str]) -> Self {
        let mut command = command(flags);
        command.env("STREAM_USER", tickwire_tests::USER).env("STREAM_PASS", tickwire_tests::PASSWORD);
        let mut child = command.spawn().expect("the program runs");
        let mut log = BufReader::new(child.stderr.take().expect("its log is ours"));
        let serving = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).expect("its log can be read"), 0, "it serves before it ends");
            let event: serde_json::Value = serde_json::from_str(&line).expect("each line of the log is JSON");
            if event["message"] == "serving" {
                break event;
            }
        };
        let address = |name: &str| serving[name].as_str().expect("an address").parse().expect("an address");
        Self { child, log, addr: address("listen"), admin: address("admin") }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it ends");
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("its log can be read");
        (status, log)
    }
}

#[test]
fn without_a_password_it_does_not_start_and_says_what_to_set() {
    let (status, said) = refused(&mut command(&[]));
    assert_eq!(status, Some(BAD_CONFIGURATION));
    assert!(said.contains("STREAM_PASS is not set") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_setting_that_cannot_be_right_is_named_whether_it_came_as_flag_or_variable() {
    let expected = "tickwire-server: DRAIN_DELAY (--drain-delay) is \"soon\": not a duration; write it like 15s or 500ms\n";
    assert_eq!(refused(&mut command(&["--drain-delay", "soon"])), (Some(BAD_CONFIGURATION), expected.into()));
    assert_eq!(refused(command(&[]).env("DRAIN_DELAY", "soon")), (Some(BAD_CONFIGURATION), expected.into()));
}

#[test]
fn a_bad_row_stops_the_start_with_its_line_and_column() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "time,symbol,price,size\n2021-01-08T00:00:00Z,A,1.0.0,1\n").expect("a file");
    let path = file.path().to_str().expect("a path");
    let (status, said) =
        refused(&mut command(&["--stream-pass", "x", "--feed", "replay", "--feed-file", path]));
    assert_eq!(status, Some(1));
    assert!(said.contains("line 2, column price: \"1.0.0\" is not a decimal number"), "{said}");
}

#[test]
fn an_address_in_use_stops_the_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let (status, said) = refused(command(&["--stream-pass", "x"]).args(["--admin-addr", &addr]));
    assert_eq!(status, Some(1));
    assert!(said.contains(&addr), "{said}");
}

#[test]
fn a_signal_ends_a_start_that_waits_for_its_feed() {
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("nats://{closed}");
    let mut command = command(&["--stream-pass", "x", "--feed", "nats", "--feed-nats-url", &url]);
    command.args(["--feed-nats-stream", "TRADES", "--feed-symbols", "A"]);
    let mut child = command.spawn().expect("the program runs");
    let mut log = BufReader::new(child.stderr.take().expect("its log is ours"));
    let mut said = String::new();
    while !said.contains("waiting for the feed") {
        assert_ne!(log.read_line(&mut said).expect("its log can be read"), 0, "it waits: {said}");
    }
    assert!(said.contains(&url), "{said}");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn help_explains_every_setting_and_hides_the_password() {
    let output =
        command(&["--help"]).env("STREAM_PASS", "hunter2").stdout(Stdio::piped()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(text.contains("--write-queue-limit") && text.contains("[env: STREAM_PASS]"), "{text}");
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_signal_drains_and_ends_with_status_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Process::start(&["--drain-delay", "0s", "--drain-window", "200ms"]);
        let mut client = Raw::authenticated(server.addr);
        server.signal(signal);
        let (code, error) = client.error();
        assert_eq!(code, ErrorCode::Draining);
        assert!((1..=200).contains(&error.retry_after_ms), "{}", error.retry_after_ms);
        // It does not leave by itself: its slot ends, and the server closes.
        assert_eq!(client.frame(), None);
        let (status, log) = server.end();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("\"ended\""), "{log}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = Process::start(&["--drain-delay", "0s", "--drain-window", "1h", "--drain-timeout", "1h"]);
    let mut client = Raw::authenticated(server.addr);
    server.signal(Signal::TERM);
    assert_eq!(client.error().0, ErrorCode::Draining);
    server.signal(Signal::TERM);
    assert_eq!(client.frame(), None);
    assert_eq!(server.end().0.code(), Some(0));
}

#[test]
fn the_end_of_the_drain_closes_whoever_is_left() {
    let server = Process::start(&["--drain-delay", "0s", "--drain-window", "0s", "--drain-timeout", "200ms"]);
    let mut client = Raw::authenticated(server.addr);
    server.signal(Signal::TERM);
    assert_eq!(client.error().0, ErrorCode::Draining);
    assert_eq!(client.frame(), None);
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("DRAIN_TIMEOUT is over"), "{log}");
}

#[test]
fn half_a_request_to_the_admin_port_does_not_keep_it_alive() {
    let server = Process::start(&["--drain-delay", "0s"]);
    let mut half = TcpStream::connect(server.admin).expect("the admin port accepts");
    half.write_all(b"GET /metrics HT").expect("it reads");
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
}

#[test]
fn no_password_is_ever_logged() {
    let server = Process::start(&["--drain-delay", "0s", "--log-level", "trace"]);
    let mut client = Raw::connect(server.addr);
    client.send(&auth());
    client.frame();
    drop(client);
    server.signal(Signal::TERM);
    let (_, log) = server.end();
    assert!(log.contains("authenticated"), "{log}");
    assert!(!log.contains(tickwire_tests::PASSWORD), "{log}");
}

#[test]
fn a_full_file_table_is_counted_and_waited_out() {
    // Files enough for the server itself and a few clients. Accepting fails for want of files; the server goes on.
    let mut shell = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_tickwire-server");
    let script =
        format!("ulimit -n 48; exec {program} --listen-addr 127.0.0.1:0 --admin-addr 127.0.0.1:0 --shards 1");
    shell
        .arg("-c")
        .arg(script)
        .env("STREAM_USER", tickwire_tests::USER)
        .env("STREAM_PASS", tickwire_tests::PASSWORD);
    let mut child = shell.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("its log is ours")).lines();
    let mut event = || -> serde_json::Value {
        serde_json::from_str(&log.next().expect("more").expect("text")).expect("JSON")
    };
    let serving = loop {
        let event = event();
        if event["message"] == "serving" {
            break event;
        }
    };
    let addr: SocketAddr = serving["listen"].as_str().expect("an address").parse().expect("an address");
    let mut first = Raw::authenticated(addr);
    let mut others: Vec<_> = (0..60).map(|_| Raw::connect(addr)).collect();
    let warning = event();
    assert_eq!(warning["level"], "WARN", "{warning}");
    assert!(warning["error"].as_str().is_some_and(|error| error.contains("files")), "{warning}");
    // When places are free again, those who waited are served.
    let mut last = others.pop().expect("sixty");
    drop(others);
    last.send(&auth());
    assert!(last.frame().is_some());
    first.send(&tickwire_tests::raw::subscribe(tickwire_proto::message::Mode::Tick, None));
    first.batch();
    let admin: SocketAddr = serving["admin"].as_str().expect("an address").parse().expect("an address");
    let mut metrics = TcpStream::connect(admin).expect("the admin port accepts");
    metrics.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it reads");
    let text = std::io::read_to_string(metrics).expect("it answers");
    let errors = text.lines().find_map(|line| line.strip_prefix("tickwire_accept_errors_total "));
    assert!(errors.is_some_and(|errors| errors.parse().is_ok_and(|errors: u64| errors > 0)), "{text}");
    kill_process(Pid::from_child(&child), Signal::KILL).expect("it runs");
    child.wait().expect("it ends");
}
