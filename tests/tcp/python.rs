//! The client that was written from docs/PROTOCOL.md alone, in Python with its standard library only, against real servers.

use std::path::Path;
use std::process::{Command, Output};

use tickwire_tests::{PASSWORD, TestServer, USER};

fn client(servers: &[&TestServer], arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/tickwire_client.py");
    let mut command = Command::new("python3");
    command.arg(script).env("STREAM_PASS", PASSWORD).args(["--user", USER]);
    for server in servers {
        command.args(["--address", &server.addr.to_string()]);
    }
    command.args(arguments).output().expect("python3 is installed")
}

/// The JSON object at the end of standard error.
fn summary(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON")
}

#[test]
fn a_client_in_another_language_follows_every_mode_and_checks_every_range() {
    let server = TestServer::start(&["--feed-speed", "60"]);
    for mode in ["second", "minute", "tick"] {
        let output = client(&[&server], &["--mode", mode, "--ticks", "50", "--seconds", "60", "--json"]);
        assert_eq!(summary(&output)["ticks"], 50, "{mode}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 50);
    }
}

#[test]
fn a_client_in_another_language_resumes_on_another_server_and_gets_the_same_ticks() {
    let flags = ["--feed-rate", "1000", "--feed-seed", "7"];
    let (one, two) = (TestServer::start(&flags), TestServer::start(&flags));
    let cut = ["--mode", "tick", "--ticks", "2000", "--seconds", "60", "--cut-every", "10", "--json"];
    let output = client(&[&one, &two], &cut);
    let seen = summary(&output);
    assert!(seen["reconnects"].as_u64() >= Some(10), "{seen}");
    // The same stretch, read without a cut.
    let after = (seen["first_sequence"].as_u64().unwrap() - 1).to_string();
    let whole = client(
        &[&two],
        &["--mode", "tick", "--ticks", "2000", "--seconds", "60", "--after", &after, "--json"],
    );
    summary(&whole);
    assert_eq!(output.stdout, whole.stdout);
}

#[test]
fn a_client_in_another_language_says_what_the_server_says() {
    let server = TestServer::start(&[]);
    let output = client(&[&server], &["--mode", "tick", "--symbols", "GOLD", "--seconds", "5"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("UNKNOWN_SYMBOL") && text.contains("GOLD"), "{text}");
}

#[test]
fn its_own_tests_pass_vectors_included() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let output =
        Command::new("python3").args(["-m", "unittest", "discover", "-s"]).arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("OK"), "{text}");
}
