//! The command line as a person, or a script, meets it.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

use std::process::{Command, Output};

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
