//! `tickwire publish` against a real nats-server, whose stream is read back by NATS' own client.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull};
use futures_util::StreamExt as _;
use tickwire_proto::trade::{Message, Trade, parse};
use tickwire_tests::pki::{Authority, Folder};
use tickwire_tests::{NatsServer, eventually};

fn publish(nats: &NatsServer, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(["publish", "--server", &nats.url()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A recording of so many trades, a millisecond from each to the next, and what they are.
fn recording(trades: u64) -> (tempfile::NamedTempFile, Vec<Message<'static>>) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let mut messages = Vec::new();
    writeln!(file, "time,symbol,price,size").expect("it is written");
    for n in 0..trades {
        let symbol = ["BTCUSDT", "ETHUSDT", "BRK.B"][n as usize % 3];
        let time = 1_610_064_000_000_000_000 + n * 1_000_000;
        let price = 39_432_000_000_000 + n.cast_signed() * 10_000_000;
        let (second, milli) = (n / 1000, n % 1000);
        let (whole, cents) = (price / 1_000_000_000, price / 10_000_000 % 100);
        let (minute, second) = (second / 60, second % 60);
        writeln!(file, "2021-01-08T00:{minute:02}:{second:02}.{milli:03}Z,{symbol},{whole}.{cents:02},0.001")
            .expect("it is written");
        messages.push(Message::Trade(Trade { symbol: symbol.into(), time, price, size: 1_000_000 }));
    }
    file.flush().expect("it is written");
    (file, messages)
}

/// Everything in a stream, as it stands there: subjects, ids and payloads.
fn stored(nats: &NatsServer, stream: &str) -> Vec<(String, String, Vec<u8>)> {
    stored_by(nats, stream, ConnectOptions::new())
}

fn stored_by(nats: &NatsServer, stream: &str, options: ConnectOptions) -> Vec<(String, String, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = options.connect(nats.url()).await.expect("NATS is there");
        let context = jetstream::new(client);
        let stream = context.get_stream(stream).await.expect("the stream is there");
        let count = stream.cached_info().state.messages;
        let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
        let consumer = stream.create_consumer(config).await.expect("a consumer");
        let mut messages = consumer.messages().await.expect("messages");
        let mut found = Vec::new();
        while (found.len() as u64) < count {
            let next = tokio::time::timeout(tickwire_tests::PATIENCE, messages.next()).await;
            let message = next.expect("it comes").expect("there is more").expect("it is read");
            let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
            let id = id.map(ToString::to_string).unwrap_or_default();
            found.push((message.subject.to_string(), id, message.payload.to_vec()));
        }
        found
    })
}

fn messages(stored: &[(String, String, Vec<u8>)]) -> Vec<Message<'_>> {
    stored.iter().map(|(_, _, payload)| parse(payload).expect("a trade")).collect()
}

#[test]
fn a_recording_is_stored_whole_in_order_and_once_in_both_encodings() {
    let nats = NatsServer::start();
    let (file, trades) = recording(5_000);
    let path = file.path().to_str().expect("UTF-8");
    for (stream, encoding, first) in [("A", "protobuf", 0x0a), ("B", "json", b'{')] {
        let subject = format!("ticks-{encoding}");
        let arguments = ["--stream", stream, "--subject", &subject, "--create", "--encoding", encoding];
        let output = output(publish(&nats, &[&arguments[..], &["--id", "run", path]].concat()));
        assert!(output.status.success(), "{}", said(&output));
        let summary =
            format!("5000 messages stored in {stream}, 0 were there already, sequences 1 to 5000, ");
        assert!(said(&output).starts_with(&summary), "{}", said(&output));

        let found = stored(&nats, stream);
        assert_eq!(messages(&found), trades);
        assert_eq!(found[2].0, format!("{subject}.BRK.B"));
        assert_eq!(found[4_999].1, "run-5000");
        assert!(found.iter().all(|(_, _, payload)| payload[0] == first));
    }
}

#[test]
fn what_was_published_under_the_same_id_is_not_stored_again() {
    let nats = NatsServer::start();
    let (file, trades) = recording(300);
    let path = file.path().to_str().expect("UTF-8");
    let whole = std::fs::read_to_string(path).expect("a file");
    let arguments = ["--stream", "TICKS", "--create", "--id", "day-1"];
    let half: String = whole.lines().take(101).map(|line| format!("{line}\n")).collect();
    let mut child = publish(&nats, &arguments).stdin(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(half.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());

    let output = output(publish(&nats, &[&arguments[..], &[path]].concat()));
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("200 messages stored in TICKS, 100 were there already"),
        "{}",
        said(&output)
    );
    assert_eq!(messages(&stored(&nats, "TICKS")), trades);
}

/// Kills nats-server under a publisher, so often, and each time once some more has been stored; then waits for its end.
fn kill_under(nats: &mut NatsServer, mut child: Child, times: u64, away: impl Fn()) -> String {
    for kill in 1..=times {
        eventually("more has been stored", || count(nats) > kill * 500);
        nats.kill();
        away();
        nats.restart();
    }
    let status = child.wait().expect("it ends");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("a pipe"), &mut said).expect("text");
    assert!(status.success(), "{said}");
    said
}

/// How many messages TICKS has; 0 where it is not there.
fn count(nats: &NatsServer) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::connect(nats.url()).await.expect("NATS is there");
        let stream = jetstream::new(client).get_stream("TICKS").await;
        stream.map_or(0, |stream| stream.cached_info().state.messages)
    })
}

#[test]
fn a_nats_server_that_is_killed_again_and_again_ends_with_every_trade_once_and_in_order() {
    let mut nats = NatsServer::start();
    let (file, trades) = recording(10_000);
    let path = file.path().to_str().expect("UTF-8");
    // Faster than it is killed, and so with much under way each time.
    let arguments = ["--stream", "TICKS", "--create", "--rate", "2000", path];
    let child = publish(&nats, &arguments).spawn().expect("it runs");
    let said = kill_under(&mut nats, child, 3, || {});
    assert!(said.contains("trying until NATS is back") && said.contains("NATS is there"), "{said}");
    assert!(said.contains("10000 messages stored in TICKS, 0 were there already"), "{said}");
    assert_eq!(messages(&stored(&nats, "TICKS")), trades);
}

#[test]
fn what_was_stored_before_nats_forgot_its_ids_is_found_in_the_stream() {
    let mut nats = NatsServer::start();
    let (file, trades) = recording(60_000);
    let path = file.path().to_str().expect("UTF-8");
    // As fast as it goes: a whole window of messages is under way when nats-server is killed, and some of it is stored.
    let window = Duration::from_millis(200);
    let arguments = ["--stream", "TICKS", "--create", "--duplicate-window", "200ms", path];
    let child = publish(&nats, &arguments).spawn().expect("it runs");
    let said = kill_under(&mut nats, child, 1, || {
        let killed = SystemTime::now();
        eventually("the window is over", || killed.elapsed().is_ok_and(|elapsed| elapsed > 2 * window));
    });
    assert!(said.contains("60000 messages stored in TICKS, 0 were there already"), "{said}");
    assert_eq!(messages(&stored(&nats, "TICKS")), trades);
}

#[test]
fn json_lines_from_standard_input_are_sent_as_they_come_with_the_current_time_and_an_end() {
    let nats = NatsServer::start();
    let mut child = publish(&nats, &["--stream", "TICKS", "--create", "--now", "--end", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    for price in 1..=2_u64 {
        writeln!(input, r#"{{"symbol":"A","time":"2021-01-08T00:00:00Z","price":"{price}","size":"1"}}"#)
            .expect("it reads");
        // The second is written only when the first is stored: nothing waits for more to come.
        eventually("it is stored", || count(&nats) == price);
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());
    let found = stored(&nats, "TICKS");
    let found = messages(&found);
    let [Message::Trade(one), Message::Trade(two), Message::Watermark(end)] = &found[..] else {
        panic!("two trades and an end: {found:?}")
    };
    assert!(one.time >= before && two.time > one.time);
    assert_eq!(*end, (two.time / 60_000_000_000 + 1) * 60_000_000_000);
}

#[test]
fn made_up_trades_come_at_a_rate_until_a_signal_and_all_are_stored() {
    let nats = NatsServer::start();
    let arguments = ["--stream", "TICKS", "--create", "--storage", "memory", "--synthetic"];
    let output = output(publish(&nats, &[&arguments[..], &["2000", "--symbols", "5"]].concat()));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(count(&nats), 2000);

    let child = publish(&nats, &[&arguments[..], &["forever", "--rate", "1000"]].concat()).spawn();
    let child = child.expect("it runs");
    eventually("some are stored", || count(&nats) > 2100);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "what has no end was told to stop: {}", said(&output));
    let new = count(&nats) - 2000;
    assert!(said(&output).starts_with(&format!("{new} messages stored in TICKS")), "{}", said(&output));
    let found = stored(&nats, "TICKS");
    let times: Vec<_> = messages(&found).iter().map(Message::time).collect();
    assert!(times.is_sorted());
}

#[test]
fn a_recording_that_is_cut_short_by_a_signal_is_not_a_success() {
    let nats = NatsServer::start();
    let (file, _) = recording(5_000);
    let path = file.path().to_str().expect("UTF-8");
    let child = publish(&nats, &["--stream", "TICKS", "--create", "--rate", "100", path]).spawn();
    let child = child.expect("it runs");
    eventually("some are stored", || count(&nats) > 3);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&format!("{} messages stored", count(&nats))), "{}", said(&output));
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let nats = NatsServer::start();
    let (file, _) = recording(3);
    let path = file.path().to_str().expect("UTF-8");
    let bad = tempfile::NamedTempFile::new().expect("a file");
    let mut text = std::fs::read_to_string(path).expect("a file");
    text += "2021-01-08T00:00:01Z,BTCUSDT,1;5,1\n";
    std::fs::write(bad.path(), text).expect("it is written");
    let bad_path = bad.path().to_str().expect("UTF-8");
    let made = output(publish(&nats, &["--stream", "TICKS", "--create", path]));
    assert!(made.status.success(), "{}", said(&made));
    for (arguments, expected) in [
        (
            &["--stream", "TICK", path][..],
            "NATS has no stream \"TICK\"; --create makes it, or `nats stream add TICK --subjects 'ticks.>'` does",
        ),
        (
            &["--stream", "TICKS", "--subject", "tick", path],
            "the stream TICKS keeps ticks.>, and not tick.BTCUSDT; --subject must be one that it keeps",
        ),
        (&["--stream", "OTHER", "--create", path], "subjects overlap with an existing stream"),
        (
            &["--stream", "TICKS", bad_path],
            "line 5, column price: \"1;5\" is not a decimal number; write it like 39432.48",
        ),
        (&["--stream", "TICKS", "/nowhere/trades.csv"], "cannot read /nowhere/trades.csv"),
        (&["--stream", "TICKS", "--ca-file", "/nowhere/ca.crt", path], "/nowhere/ca.crt cannot be read"),
        (&["--stream", "TICKS", "--creds", bad_path, path], "is no credentials file"),
        (&["--stream", "TICKS", "--speed", "2", "--pace", "10", path], "--speed is for --pace recorded"),
    ] {
        let output = output(publish(&nats, arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    // The rows before the bad one are there: it is told where to go on.
    assert_eq!(count(&nats), 6);
    for arguments in [&["--stream", "TI.CKS", path][..], &["--stream", "TICKS", "--subject", "ticks.*", path]]
    {
        assert_eq!(output(publish(&nats, arguments)).status.code(), Some(2), "{arguments:?}");
    }
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    let nobody = nobody.args(["publish", "--server", "nats://127.0.0.1:1", "--stream", "TICKS", path]);
    let output = nobody.output().expect("the program runs");
    assert!(
        said(&output)
            .contains("cannot connect to NATS at nats://127.0.0.1:1 (is nats-server running there?)"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_nats_server_that_asks_for_a_password_gets_it_and_a_wrong_one_is_said() {
    let nats = NatsServer::start_with("authorization { user: ann, password: secret }\n");
    let (file, trades) = recording(10);
    let path = file.path().to_str().expect("UTF-8");
    let arguments = ["--stream", "TICKS", "--create", "--user", "ann", path];
    let mut command = publish(&nats, &arguments);
    command.env("NATS_PASSWORD", "wrong");
    let wrong = output(command);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        said(&wrong).contains("(check --user and NATS_PASSWORD, --token, or --creds)"),
        "{}",
        said(&wrong)
    );
    let mut command = publish(&nats, &arguments);
    command.env("NATS_PASSWORD", "secret");
    let right = output(command);
    assert!(right.status.success(), "{}", said(&right));
    let options = ConnectOptions::with_user_and_password("ann".into(), "secret".into());
    assert_eq!(messages(&stored_by(&nats, "TICKS", options)), trades);
}

#[test]
fn a_nats_server_that_asks_for_a_certificate_is_spoken_to_by_tls() {
    let authority = Authority::new("NATS");
    let server = Folder::new(&authority.server(&["127.0.0.1"]), &authority);
    let client = Folder::new(&authority.client(&["publisher"]), &authority);
    let nats = NatsServer::start_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        server.certificate(),
        server.key(),
        server.ca()
    ));
    let (file, _) = recording(10);
    let path = file.path().to_str().expect("UTF-8");
    let arguments = ["--stream", "TICKS", "--create", "--ca-file", client.ca()];
    let without = output(publish(&nats, &[&arguments[..], &[path]].concat()));
    assert_eq!(without.status.code(), Some(1), "{}", said(&without));
    let pair = ["--cert-file", client.certificate(), "--key-file", client.key(), path];
    let with = output(publish(&nats, &[&arguments[..], &pair].concat()));
    assert!(with.status.success(), "{}", said(&with));
    assert!(said(&with).starts_with("10 messages stored in TICKS"), "{}", said(&with));
}
