//! The users file: names and hashes, checked beside the shards.

use std::io::Write as _;

use argon2::{Argon2, Params, PasswordHasher as _};
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Auth, Mode};
use tickwire_tests::raw::subscribe;
use tickwire_tests::{PASSWORD, Raw, TestServer, USER, Witness, eventually};

/// A line whose hash takes `memory` KiB and as many milliseconds as that asks for.
fn line(name: &str, password: &str, memory: u32) -> String {
    let params = Params::new(memory, 1, 1, None).expect("parameters");
    let hash = Argon2::from(params).hash_password(password.as_bytes()).expect("a hash");
    format!("{name}:{hash}\n")
}

fn file(lines: &[String]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.concat().as_bytes()).expect("the disk takes it");
    file
}

fn auth(username: &str, password: &str) -> Vec<u8> {
    Auth { username: username.into(), password: password.into() }.to_frame().to_vec()
}

/// Sends AUTH and SUBSCRIBE at once. Answers whether ticks come.
fn is_let_in(server: &TestServer, username: &str, password: &str) -> bool {
    let mut raw = Raw::connect(server.addr);
    raw.send(&[auth(username, password), subscribe(Mode::Tick, None)].concat());
    let (kind, _) = raw.frame().expect("an answer");
    if kind == tickwire_proto::FrameType::Error {
        return false;
    }
    raw.batch();
    raw.batch();
    true
}

#[test]
fn users_of_the_file_and_of_the_environment_are_let_in_and_nobody_else() {
    let users = file(&["# people\n\n".into(), line("ann", "apple", 64), line("bob", "pear", 64)]);
    let server = TestServer::start(&["--users-file", users.path().to_str().unwrap()]);
    for _ in 0..2 {
        assert!(is_let_in(&server, "ann", "apple"));
        assert!(is_let_in(&server, "bob", "pear"));
        assert!(is_let_in(&server, USER, PASSWORD));
    }
    assert!(!is_let_in(&server, "ann", "pear"));
    assert!(!is_let_in(&server, "eve", "apple"));
    assert!(!is_let_in(&server, USER, "apple"));
    assert_eq!(server.metric("tickwire_auth_failures_total{reason=\"credentials\"}"), 3.0);
}

#[test]
fn without_a_password_in_the_environment_the_file_is_enough() {
    let users = file(&[line("ann", "apple", 64)]);
    let path = users.path().to_str().unwrap();
    let server = TestServer::start(&["--stream-pass", "", "--users-file", path]);
    assert!(is_let_in(&server, "ann", "apple"));
    assert!(!is_let_in(&server, USER, PASSWORD));
}

#[test]
fn a_changed_file_counts_at_once_and_a_bad_one_does_not() {
    let users = file(&[line("ann", "apple", 64)]);
    let path = users.path();
    let server = TestServer::start(&["--users-file", path.to_str().unwrap()]);
    let mut raw = Raw::connect(server.addr);
    raw.send(&[auth("ann", "apple"), subscribe(Mode::Tick, None)].concat());
    raw.batch();
    let reloads = |result: &str| {
        server.metric(&format!("tickwire_reloads_total{{result=\"{result}\",source=\"users\"}}"))
    };
    std::fs::write(path, line("bob", "pear", 64)).unwrap();
    eventually("it is read", || reloads("ok") == 1.0);
    assert!(is_let_in(&server, "bob", "pear"));
    assert!(!is_let_in(&server, "ann", "apple"));
    std::fs::write(path, "ann:apple\n").unwrap();
    eventually("it is found bad", || reloads("error") == 1.0);
    assert!(is_let_in(&server, "bob", "pear"));
    // Who has been let in stays.
    raw.batch();
}

/// Connections that each send a password of its own for ann, and stay.
fn guess(server: &TestServer, count: usize) -> Vec<Raw> {
    let guess = |n| {
        let mut raw = Raw::connect(server.addr);
        raw.send(&auth("ann", &format!("guess {n}")));
        raw
    };
    (0..count).map(guess).collect()
}

/// One check at a time, on one shard, and no limit to failures.
const ONE_BY_ONE: [&str; 6] = ["--auth-threads", "1", "--shards", "1", "--auth-failure-limit", "0"];

#[test]
fn checks_that_take_long_do_not_hold_anybody_up() {
    // 128 MiB: a good part of a second each.
    let users = file(&[line("ann", "apple", 131_072)]);
    let path = users.path().to_str().unwrap();
    let server = TestServer::start(&[&ONE_BY_ONE[..], &["--users-file", path]].concat());
    let waiting = || server.metric("tickwire_auth_checks_waiting");
    let mut witness = Witness::start(&server);
    let guesses = guess(&server, 20);
    eventually("they wait", || waiting() >= 1.0);
    witness.assert_undisturbed();
    assert!(waiting() >= 1.0, "the witness had not to wait for them");
    // Nor does the server's end wait for those that have not begun.
    drop(guesses);
}

#[test]
fn a_client_that_leaves_while_its_password_is_checked_leaves_nothing_behind() {
    let users = file(&[line("ann", "apple", 65_536)]);
    let path = users.path().to_str().unwrap();
    let server = TestServer::start(&[&ONE_BY_ONE[..], &["--users-file", path]].concat());
    let waiting = || server.metric("tickwire_auth_checks_waiting");
    let guesses = guess(&server, 10);
    eventually("all have come, and some are not checked yet", || {
        waiting() >= 1.0 && server.metric("tickwire_connections_accepted_total") >= 10.0
    });
    drop(guesses);
    eventually("all have gone", || server.connections() == 0 && waiting() == 0.0);
    // What they tried counts all the same.
    let failures = "tickwire_auth_failures_total{reason=\"credentials\"}";
    eventually("all verdicts have come", || server.metric(failures) == 10.0);
    assert!(is_let_in(&server, USER, PASSWORD));
}
