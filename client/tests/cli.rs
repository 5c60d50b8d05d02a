//! The command line as a person, or a script, meets it.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tickwire_tests::{PASSWORD, TestServer, USER};

fn tickwire(server: &TestServer, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(arguments).args(["--address", &server.addr.to_string()]);
    command.env("STREAM_USER", USER).env("STREAM_PASS", PASSWORD).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn subscribe_prints_a_line_per_tick_and_a_summary_beside() {
    let server = TestServer::start(&["--feed-rate", "500"]);
    let output = tickwire(&server, &["subscribe", "--mode", "tick", "--count", "20"]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 21, "a header, and twenty ticks: {text}");
    assert!(text.lines().next().is_some_and(|header| header.contains("symbol") && header.contains("price")));
    assert!(said(&output).contains("20 ticks in "), "{}", said(&output));
}

#[test]
fn subscribe_for_machines_prints_a_json_object_per_tick_and_no_more() {
    let server = TestServer::start(&["--feed-rate", "500"]);
    let output = tickwire(
        &server,
        &[
            "subscribe",
            "--mode",
            "tick",
            "--symbols",
            "BTCUSDT,ETHUSDT",
            "--count",
            "20",
            "--json",
            "--quiet",
        ],
    );
    assert!(output.status.success());
    assert_eq!(said(&output), "");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let tick: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(["BTCUSDT", "ETHUSDT"].contains(&tick["symbol"].as_str().expect("a symbol")));
        assert!(tick["close"].is_i64() && tick["trades"] == 1);
    }
}

#[test]
fn what_the_server_refuses_is_said_with_what_to_do() {
    let server = TestServer::start(&[]);
    for (arguments, expected) in [
        (&["--symbols", "GOLD"][..], "UNKNOWN_SYMBOL: the feed has no symbol \"GOLD\" (check the spelling"),
        (
            &["--password", "wrong"],
            "AUTH_FAILED: username or password is wrong (check the username and STREAM_PASS)",
        ),
    ] {
        let output = tickwire(&server, &[&["subscribe"], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}

#[test]
fn where_no_server_is_the_first_attempt_is_the_last_and_the_address_is_named() {
    let server = TestServer::start(&[]);
    let gone = server.addr;
    drop(server);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    let output = command
        .args(["subscribe", "--address", &gone.to_string(), "--password", "x"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("cannot connect to {gone}")), "{}", said(&output));
}

#[test]
fn bench_connects_all_proves_continuity_and_measures() {
    let server = TestServer::start(&["--feed-rate", "200"]);
    let pid = std::process::id().to_string();
    let output = tickwire(
        &server,
        &[
            "bench",
            "--mode",
            "tick",
            "--clients",
            "50",
            "--for",
            "1s",
            "--json",
            "--sources",
            "3",
            "--server-pid",
            &pid,
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["connected"], 50);
    assert_eq!(report["discontinuities"], 0);
    assert!(report["steady"]["batches"].as_u64() > Some(50), "{report}");
    assert!(report["latency_ms"]["p50"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn bench_fails_where_not_everybody_is_let_in() {
    let server = TestServer::start(&["--max-connections", "10"]);
    let output = tickwire(&server, &["bench", "--clients", "12", "--for", "100ms", "--password", "wrong"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("AUTH_FAILED"));
}

/// A certificate that is an authority's; its key is nobody's.
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ca.crt");

#[test]
fn whoever_names_a_certificate_or_a_name_for_one_is_never_connected_without_tls() {
    let server = TestServer::start(&[]);
    for arguments in [&["--tls", "--ca", CA][..], &["--ca", CA], &["--ca", CA, "--server-name", "localhost"]]
    {
        let output = tickwire(&server, &[&["subscribe", "--count", "1"], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "TLS with {} failed: the server does not speak TLS; leave --tls away, and what implies it",
            server.addr
        );
        assert!(said(&output).contains(&expected), "{}", said(&output));
    }
}

#[test]
fn a_certificate_without_its_key_and_a_key_without_its_certificate_are_refused() {
    let server = TestServer::start(&[]);
    for (flag, expected) in [("--cert", "--cert without --key"), ("--key", "--key without --cert")] {
        let output = tickwire(&server, &["subscribe", "--ca", CA, flag, CA]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}

#[test]
fn a_ca_file_that_is_not_there_is_named() {
    let server = TestServer::start(&[]);
    let output = tickwire(&server, &["subscribe", "--ca", "/nowhere/ca.crt"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "tickwire: the CA file /nowhere/ca.crt cannot be read: No such file or directory";
    assert!(said(&output).starts_with(expected), "{}", said(&output));
}

fn hash_password(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.arg("hash-password").args(arguments).env_remove("STREAM_USER");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // A program that refuses its arguments does not read what comes.
    let _refused = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn hash_password_makes_of_a_line_of_input_a_line_that_the_password_fits() {
    use argon2::password_hash::phc::PasswordHash;
    use argon2::{Argon2, PasswordVerifier as _};

    for (arguments, input, start) in [
        (&[][..], "correct horse\nand more\n", "tickwire:$argon2id$v=19$m=19456,t=2,p=1$"),
        (
            &["--user", "ann", "--memory", "8", "--iterations", "1"],
            "correct horse\r\n",
            "ann:$argon2id$v=19$m=8,t=1,p=1$",
        ),
        (&["--memory", "8"], "correct horse", "tickwire:$argon2id$v=19$m=8,t=2,p=1$"),
    ] {
        let output = hash_password(arguments, input);
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).expect("text");
        let line = text.strip_suffix('\n').expect("a whole line");
        assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
        let (_, hash) = line.split_once(':').expect("a colon");
        let hash = PasswordHash::new(hash).expect("a hash");
        assert!(Argon2::default().verify_password(b"correct horse", &hash).is_ok());
    }
}

#[test]
fn hash_password_says_what_is_wrong_with_a_name_or_a_password() {
    for (arguments, input, expected) in [
        (&["--user", "a:b"][..], "x\n", "must have no colon"),
        (&["--memory", "7"], "x\n", "8..=262144"),
        (&[], "\n", "the password is empty"),
        (&[], "", "the password is empty"),
    ] {
        let output = hash_password(arguments, input);
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}
