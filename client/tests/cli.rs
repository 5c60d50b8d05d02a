//! The command line as a person, or a script, meets it.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tickwire_client::client::Timing;
use tickwire_client::{Event, LinkError, Mode, Request, Subscription, Tls, TlsFailure};
use tickwire_tests::pki::{Authority, Folder, Names};
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
            "AUTH_FAILED: username or password is wrong (check --user, and the password in STREAM_PASS)",
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

#[test]
fn over_tls_ticks_come_where_certificates_fit_and_words_where_they_do_not() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let folder = Folder::new(&ours.server(&["localhost", "127.0.0.1"]), &ours);
    let member = Folder::new(&ours.client(Names::common(USER)), &ours);
    let stranger = Folder::new(&theirs.client(Names::common(USER)), &theirs);
    let client_ca = ["--tls-client-ca-file", folder.ca()];
    let plain = TestServer::start(&[]);
    let tls = TestServer::start(&folder.server_flags());
    let mutual = TestServer::start(&[&folder.server_flags()[..], &client_ca].concat());
    let known = ["--ca", folder.ca(), "--cert", member.certificate(), "--key", member.key()];
    let unknown = ["--ca", folder.ca(), "--cert", stranger.certificate(), "--key", stranger.key()];
    // An authority that was made anew: the same name, another key.
    let anew = Authority::new("ours");
    let namesake = Folder::new(&anew.client(Names::common(USER)), &anew);
    let refused_namesake =
        format!("the server refused our client certificate {}; check", namesake.certificate());
    let namesake = ["--ca", folder.ca(), "--cert", namesake.certificate(), "--key", namesake.key()];
    let untrusted = format!(
        "is from none of the authorities in {}; give its authority's certificate with --ca",
        stranger.ca()
    );
    let refused = format!("the server refused our client certificate {}; check", stranger.certificate());
    for (server, arguments, expected) in [
        (&tls, &["--ca", folder.ca()][..], None),
        (&tls, &["--ca", folder.ca(), "--server-name", "localhost"], None),
        (&tls, &known, None),
        (&mutual, &known, None),
        (&tls, &["--ca", stranger.ca()], Some(&*untrusted)),
        (
            &tls,
            &["--tls", "--ca", folder.ca(), "--server-name", "ticks.example.com"],
            Some("is not for ticks.example.com; give a name"),
        ),
        (
            &mutual,
            &["--ca", folder.ca()],
            Some("the server wants a client certificate; give --cert and --key"),
        ),
        (&mutual, &unknown, Some(&refused)),
        (&mutual, &namesake, Some(&*refused_namesake)),
        (&tls, &[], Some("the server speaks TLS: use --tls")),
        (&plain, &["--tls", "--ca", folder.ca()], Some("the server does not speak TLS; leave --tls away")),
    ] {
        let output = tickwire(server, &[&["subscribe", "--count", "1"], arguments].concat());
        let said = said(&output);
        match expected {
            None => assert!(
                output.status.success() && said.contains("1 ticks in 1 batches"),
                "{arguments:?}: {said}"
            ),
            Some(words) => {
                assert!(output.status.code() == Some(1) && said.contains(words), "{arguments:?}: {said}");
            }
        }
    }
}

#[test]
fn several_addresses_are_tried_in_turn_before_it_gives_up() {
    let server = TestServer::start(&[]);
    let nobody = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    let subscribe = |addresses: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
        command.args(["subscribe", "--count", "1", "--address", addresses]);
        command.env("STREAM_USER", USER).env("STREAM_PASS", PASSWORD);
        command.output().expect("the program runs")
    };
    let dead = nobody();
    let output = subscribe(&format!("{dead}, {}", server.addr));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&format!("cannot connect to {dead}")), "{}", said(&output));
    let output = subscribe(&format!("{dead},{}", nobody()));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is a server running there?"), "{}", said(&output));
}

#[test]
fn whoever_has_a_certificate_that_is_enough_needs_no_password() {
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.server(&["127.0.0.1"]), &authority);
    let member = Folder::new(&authority.client(Names::common(USER)), &authority);
    let flags = ["--tls-client-ca-file", folder.ca(), "--tls-client-identity", "sufficient"];
    let server = TestServer::start(&[&folder.server_flags()[..], &flags].concat());
    let subscribe = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
        command.args(["subscribe", "--count", "1", "--address", &server.addr.to_string(), "--user", USER]);
        command.args(["--ca", folder.ca()]).args(arguments).env_remove("STREAM_PASS");
        command.output().expect("the program runs")
    };
    let output = subscribe(&["--cert", member.certificate(), "--key", member.key()]);
    assert!(output.status.success(), "{}", said(&output));
    let output = subscribe(&[]);
    assert!(
        !output.status.success() && said(&output).contains("no password: set STREAM_PASS"),
        "{}",
        said(&output)
    );
}

#[test]
fn variables_that_are_set_to_nothing_are_not_set() {
    let server = TestServer::start(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(["subscribe", "--count", "1", "--address", &server.addr.to_string()]);
    command.env("STREAM_USER", USER).env("STREAM_PASS", PASSWORD);
    for name in ["TLS", "CA", "CERT", "KEY", "SERVER_NAME"] {
        command.env(format!("TICKWIRE_{name}"), "");
    }
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn an_address_with_a_scheme_is_refused_with_the_way_to_write_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(["subscribe", "--password", "x", "--address", "tls://ticks.example.com:21591"]);
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let expected = "has a scheme; write it without a scheme, as host:port, and use --tls to speak TLS";
    assert!(said(&output).contains(expected), "{}", said(&output));
}

/// Waits until the subscription is connected.
async fn connected(subscription: &mut Subscription) {
    loop {
        match subscription.next().await {
            Ok(Event::Connected { .. }) => return,
            // A server that is replaced numbers anew, so that ticks may be lost.
            Err(error) => assert!(!error.is_final(), "{error}"),
            Ok(_) => {}
        }
    }
}

/// Waits until TLS has failed. Answers why.
async fn refused(subscription: &mut Subscription) -> LinkError {
    loop {
        match subscription.next().await {
            Ok(Event::Disconnected { error: error @ LinkError::Tls { .. }, .. }) => return error,
            Err(error) => assert!(!error.is_final(), "{error}"),
            Ok(_) => {}
        }
    }
}

#[tokio::test]
async fn a_subscription_outlives_a_certificate_of_its_servers_that_is_bad_for_a_while() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = Folder::new(&ours.server(&["127.0.0.1"]), &ours);
    let bad = Folder::new(&theirs.server(&["127.0.0.1"]), &theirs);
    let server = TestServer::start(&good.server_flags());
    let at = server.addr.to_string();
    let tls = Tls::builder().ca_file(good.ca()).build().expect("the files are good");
    let quick = Duration::from_millis(50);
    let timing = Timing { min_backoff: quick, max_backoff: quick, ..Timing::default() };
    let client = server.client().tls(tls).timing(timing);
    let mut subscription = client.subscribe(Request::new(Mode::Tick));
    connected(&mut subscription).await;
    // Tickets of one server mean nothing to another: the certificate is looked at again.
    drop(server);
    let server = TestServer::start_on(&at, &bad.server_flags());
    let error = refused(&mut subscription).await;
    assert!(matches!(&error, LinkError::Tls { failure: TlsFailure::Untrusted { .. }, .. }), "{error}");
    assert!(error.is_final(), "as a first connection's it would be");
    drop(server);
    let _server = TestServer::start_on(&at, &good.server_flags());
    connected(&mut subscription).await;
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
