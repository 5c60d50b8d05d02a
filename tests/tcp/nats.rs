//! Servers that are fed from one stream of a real NATS server.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::ConnectOptions;
use tickwire_proto::message::{DataBatch, ErrorCode, Mode, Resume, Tick};
use tickwire_proto::trade::{Message, Trade};
use tickwire_server::Server;
use tickwire_server::config::{Config, FeedConfig};
use tickwire_server::feed::Feed as _;
use tickwire_server::feed::health::FeedHealth;
use tickwire_server::feed::nats::Nats;
use tickwire_server::logs::LogControl;
use tickwire_server::metrics::Metrics;
use tickwire_tests::accounts::Accounts;
use tickwire_tests::jetstream::{RetentionPolicy, STREAM};
use tickwire_tests::metrics::http;
use tickwire_tests::pki::{Authority, Names};
use tickwire_tests::raw::subscribe;
use tickwire_tests::{JetStream, NatsServer, PATIENCE, Raw, TestServer, eventually};

const MODES: [Mode; 3] = [Mode::Tick, Mode::Second, Mode::Minute];
const SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const MILLISECOND: u64 = 1_000_000;
/// A whole minute in 2023: trades may be dated long before they are stored.
const T: u64 = 1_700_000_040_000 * MILLISECOND;

fn trade(symbol: &str, time: u64, price: i64) -> Message<'_> {
    Message::Trade(Trade { symbol: Cow::Borrowed(symbol), time, price, size: 7 })
}

/// So many messages from the `first` on, each 40 ms later than the one before, up to 200 ms out of order, in both encodings; with some that are late,
/// some that are of no symbol of ours, and some that are nothing at all.
fn messages(first: u64, count: u64) -> Vec<Vec<u8>> {
    (first..first + count)
        .map(|n| {
            let time = T + n * 40 * MILLISECOND - (n * 7 % 6) * 40 * MILLISECOND;
            let message = match n % 100 {
                13 => return b"no trade at all".to_vec(),
                17 => trade("GOLD", time, 1),
                // The second is over.
                23 if n > 100 => trade(SYMBOLS[0], time - 3_000 * MILLISECOND, 1),
                _ => trade(SYMBOLS[(n % 3 % 2) as usize], time, (n * 7919 % 500) as i64),
            };
            if n % 2 == 0 { message.to_protobuf() } else { message.to_json().into_bytes() }
        })
        .collect()
}

fn flags<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["--feed", "nats", "--feed-nats-url", url, "--feed-nats-stream", STREAM];
    flags.extend(["--feed-symbols", "BTCUSDT,ETHUSDT", "--feed-lateness", "250ms"]);
    flags.extend(more);
    flags
}

fn server(nats: &NatsServer) -> TestServer {
    TestServer::start(&flags(&nats.url(), &[]))
}

/// Batches of a mode after a position, until `last` is covered; contiguous.
fn read(server: &TestServer, mode: Mode, epoch: u64, after: u64, last: u64) -> Vec<DataBatch> {
    let mut raw = Raw::authenticated(server.addr);
    raw.send(&subscribe(mode, Some(Resume { epoch, after_sequence: after })));
    let mut batches = vec![raw.batch()];
    while batches[batches.len() - 1].last_sequence < last {
        let batch = raw.batch();
        assert_eq!(batch.first_sequence, batches[batches.len() - 1].last_sequence + 1);
        batches.push(batch);
    }
    batches
}

fn ticks(batches: &[DataBatch]) -> Vec<Tick> {
    batches.iter().flat_map(|batch| batch.ticks.clone()).collect()
}

/// The last sequence of a mode, once time has come to `end`.
fn last_of(mode: Mode, messages: u64, end: u64) -> u64 {
    match mode {
        Mode::Tick => messages,
        Mode::Second => end / 1_000_000_000 * SYMBOLS.len() as u64,
        _ => end / 60_000_000_000 * SYMBOLS.len() as u64,
    }
}

#[test]
fn servers_on_one_stream_send_the_same_under_the_same_sequences_and_clients_move_between_them() {
    const COUNT: u64 = 6_000;
    let nats = NatsServer::start();
    let jetstream = JetStream::of(&nats);
    jetstream.make_stream();
    // One from before there was anything, one in the middle, one that only fills its rings.
    let first = server(&nats);
    jetstream.publish(messages(0, COUNT / 2));
    let second = server(&nats);
    jetstream.publish(messages(COUNT / 2, COUNT / 2));
    let end = T + 300_000 * MILLISECOND;
    jetstream.publish([Message::Watermark(end).to_protobuf()]);
    let third = server(&nats);

    for mode in MODES {
        let last = last_of(mode, COUNT + 1, end);
        let whole = read(&first, mode, 0, 0, last);
        let epoch = whole[0].epoch;
        let all = ticks(&whole);
        assert_eq!(whole[0].first_sequence, 1, "{mode:?}: from the very beginning");
        for other in [&second, &third] {
            let theirs = read(other, mode, epoch, 0, last);
            assert_eq!(theirs[0].epoch, epoch);
            assert!(ticks(&theirs) == all, "{mode:?}: the same ticks");
        }
        // From one to the next, in the middle of whatever batches each has.
        let middle = last - (last_of(mode, COUNT, end) - last_of(mode, 0, T)) / 2;
        let begun = read(&second, mode, epoch, 0, middle);
        let reached = begun[begun.len() - 1].last_sequence;
        let rest = read(&third, mode, epoch, reached, last);
        assert!([ticks(&begun), ticks(&rest)].concat() == all, "{mode:?}: nothing missed, nothing twice");
        if mode == Mode::Tick {
            // Of each hundred one is nothing, and one of another symbol.
            assert_eq!(all.len() as u64, COUNT - COUNT / 100 * 2);
        } else {
            let trades: u64 = all.iter().map(|bar| bar.trades).sum();
            let late = if mode == Mode::Second { COUNT / 100 - 1 } else { 0 };
            assert!(trades <= COUNT - COUNT / 100 * 2 - late, "{mode:?}: {trades}");
            assert!(trades > COUNT * 9 / 10, "{mode:?}: {trades}");
        }
    }
    for server in [&first, &second, &third] {
        eventually("all are counted", || server.metric("tickwire_feed_last_sequence") == (COUNT + 1) as f64);
        assert_eq!(server.metric("tickwire_feed_late_trades_total"), (COUNT / 100 - 1) as f64);
        let rejected =
            |reason: &str| server.metric(&format!("tickwire_feed_rejected_total{{reason=\"{reason}\"}}"));
        assert_eq!(rejected("unknown_symbol"), (COUNT / 100) as f64);
        let malformed: f64 = ["length", "protobuf", "json", "missing", "field"].map(rejected).iter().sum();
        assert_eq!(malformed, (COUNT / 100) as f64);
        assert_eq!(server.metric("tickwire_feed_connected"), 1.0);
    }
}

#[test]
fn a_server_that_starts_where_a_stream_has_lost_its_beginning_agrees_on_every_bar_it_has() {
    const COUNT: u64 = 9_000;
    const LOST: u64 = 2_000;
    let nats = NatsServer::start();
    let jetstream = JetStream::of(&nats);
    jetstream.make_stream();
    let old = server(&nats);
    jetstream.publish(messages(0, COUNT));
    let end = T + 480_000 * MILLISECOND;
    jetstream.publish([Message::Watermark(end).to_json().into_bytes()]);
    eventually("the old one has all", || old.metric("tickwire_feed_last_sequence") == (COUNT + 1) as f64);
    jetstream.purge_before(LOST + 1);
    let young = server(&nats);

    // What is gone is told, not passed over.
    let mut raw = Raw::authenticated(young.addr);
    raw.send(&subscribe(Mode::Tick, Some(Resume { epoch: 0, after_sequence: LOST - 1 })));
    assert_eq!(raw.error().0, ErrorCode::ResumeUnavailable);
    // Message LOST is 80 s after T, more or less: minutes are whole from the next on.
    let begins = T + 120_000 * MILLISECOND;
    for (mode, after) in
        MODES.into_iter().zip([LOST, last_of(Mode::Second, 0, begins), last_of(Mode::Minute, 0, begins)])
    {
        let last = last_of(mode, COUNT + 1, end);
        let ours = read(&old, mode, 0, after, last);
        let theirs = read(&young, mode, ours[0].epoch, after, last);
        assert!(!ticks(&ours).is_empty() && ticks(&ours) == ticks(&theirs), "{mode:?}");
    }
}

#[test]
fn nats_is_killed_twice_under_a_publisher_and_a_client_gets_every_message_once() {
    let mut nats = NatsServer::start();
    let jetstream = JetStream::of(&nats);
    jetstream.make_stream();
    // The client only reads.
    let server = TestServer::start(&flags(&nats.url(), &["--heartbeat-timeout", "1h"]));
    let mut raw = Raw::authenticated(server.addr);
    raw.send(&subscribe(Mode::Tick, None));
    let opening = raw.batch();
    assert_eq!(opening.first_sequence, 1);

    let message = |n: u64| trade("BTCUSDT", T + n * MILLISECOND, n as i64).to_protobuf();
    for n in 0..200 {
        jetstream.publish_stubbornly(n, &message(n));
    }
    nats.kill();
    eventually("readiness says that the feed is away", || {
        let (status, said) = http(server.admin, "GET", "/readyz", "");
        status == 503 && said.starts_with("the feed is away since ")
    });
    assert_eq!(server.metric("tickwire_feed_connected"), 0.0);
    // The second time under a publisher that goes on.
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(200));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                jetstream.publish_stubbornly(n, &message(n));
            }
        });
        let goes_on = || {
            let seen = next.load(Ordering::Relaxed);
            eventually("it goes on", || next.load(Ordering::Relaxed) > seen + 100);
        };
        nats.restart();
        goes_on();
        nats.kill();
        nats.restart();
        goes_on();
        stop.store(true, Ordering::Relaxed);
    });

    let stored = jetstream.contents();
    let last = stored[stored.len() - 1].0;
    let (mut position, mut got) = (0, Vec::new());
    while position < last {
        let batch = raw.batch();
        assert_eq!(batch.first_sequence, position + 1);
        position = batch.last_sequence;
        got.extend(batch.ticks);
    }
    let expected: Vec<_> = stored
        .iter()
        .map(|(_, payload)| match tickwire_proto::trade::parse(payload) {
            Ok(Message::Trade(trade)) => (trade.symbol.into_owned(), trade.price),
            other => panic!("{other:?}"),
        })
        .collect();
    let got: Vec<_> = got.into_iter().map(|tick| (tick.symbol, tick.close)).collect();
    assert!(got == expected, "{} of {}", got.len(), expected.len());
    assert_eq!(expected.len() as u64, next.load(Ordering::Relaxed), "everything was stored");
    eventually("it is ready again", || http(server.admin, "GET", "/readyz", "").0 == 200);
    assert!(server.metric("tickwire_feed_reconnects_total") >= 2.0);
    assert_eq!(server.metric("tickwire_feed_connected"), 1.0);
}

#[test]
fn a_stream_that_is_made_anew_ends_the_server_after_its_clients_were_sent_away() {
    let nats = NatsServer::start();
    let jetstream = JetStream::of(&nats);
    jetstream.make_stream();
    jetstream.publish(messages(0, 10));
    let server = TestServer::start(&flags(&nats.url(), &["--drain-window", "100ms"]));
    let mut raw = Raw::authenticated(server.addr);
    raw.send(&subscribe(Mode::Tick, Some(Resume { epoch: 0, after_sequence: 0 })));
    let before = raw.batch().epoch;
    jetstream.delete_stream();
    jetstream.make_stream();
    jetstream.publish(messages(0, 20));
    loop {
        match raw.frame() {
            Some((tickwire_proto::FrameType::Error, payload)) => {
                let error: tickwire_proto::message::Error = prost::Message::decode(&*payload).unwrap();
                assert_eq!(error.code(), ErrorCode::Draining);
                break;
            }
            Some(_) => {}
            None => panic!("no word before the end"),
        }
    }
    let ended = server.wait().unwrap_err();
    let said = error_chain(&ended);
    assert!(said.contains("stream TRADES was deleted and made anew"), "{said}");
    let next = TestServer::start(&flags(&nats.url(), &[]));
    let batches = read(&next, Mode::Tick, 0, 0, 20);
    assert_ne!(batches[0].epoch, before);
}

/// Why a server with these flags does not start.
fn refused(flags: &[&str]) -> String {
    let all = [
        "tickwire-server",
        "--listen-addr",
        "127.0.0.1:0",
        "--admin-addr",
        "127.0.0.1:0",
        "--stream-pass",
        "x",
    ];
    let config = Config::from_flags(all.iter().chain(flags)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = runtime.block_on(Server::start(config, LogControl::fixed()));
    error_chain(&started.expect_err("it does not start"))
}

fn error_chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn who_is_not_let_in_is_told_which_settings_to_look_at_and_who_is_gets_the_stream() {
    // The reader may do what docs/OPERATIONS.md says that it has to, and nothing else.
    let nats = NatsServer::start_with(
        r#"authorization { users = [
            { user: feeder, password: s3cret },
            { user: reader, password: s3cret, permissions: {
                publish: ["$JS.API.STREAM.INFO.TRADES", "$JS.API.CONSUMER.CREATE.TRADES", "$JS.API.CONSUMER.MSG.NEXT.TRADES.>"],
                subscribe: ["_INBOX.>"] } } ] }"#,
    );
    let options = ConnectOptions::with_user_and_password("feeder".into(), "s3cret".into());
    let jetstream = JetStream::connect(&nats, options);
    jetstream.make_stream();
    jetstream.publish(messages(0, 10));
    let url = nats.url();
    let wrong = ["--feed-nats-user", "reader", "--feed-nats-password", "hunter2"];
    for (login, expected) in [
        (&wrong[..], "FEED_NATS_USER or FEED_NATS_PASSWORD is not right"),
        (&["--feed-nats-token", "hunter2"], "FEED_NATS_TOKEN is not right"),
        (&[], "FEED_NATS_CREDENTIALS_FILE are not set"),
    ] {
        let said = refused(&flags(&url, login));
        assert!(said.contains(&url) && said.contains(expected) && !said.contains("hunter2"), "{said}");
    }
    let right = ["--feed-nats-user", "reader", "--feed-nats-password", "s3cret"];
    let server = TestServer::start(&flags(&url, &right));
    assert!(!ticks(&read(&server, Mode::Tick, 0, 0, 10)).is_empty());
}

#[test]
fn by_tls_both_sides_show_who_they_are() {
    let (authority, stranger) = (Authority::new("NATS"), Authority::new("somebody else"));
    let own = authority.server(&["127.0.0.1"]);
    let client = authority.client(Names::common("feeder"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, content) in [
        ("ca.pem", authority.certificate()),
        ("cert.pem", &own.certificate),
        ("key.pem", &own.key),
        ("stranger.pem", stranger.certificate()),
        ("client.pem", &client.certificate),
        ("client.key", &client.key),
    ] {
        std::fs::write(path(name), content).unwrap();
    }
    let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    let nats = NatsServer::start_with(&format!(
        "tls {{ cert_file: '{cert}', key_file: '{key}', ca_file: '{ca}', verify: true }}"
    ));
    let options = ConnectOptions::new()
        .add_root_certificates(path("ca.pem").into())
        .add_client_certificate(path("client.pem").into(), path("client.key").into());
    let jetstream = JetStream::connect(&nats, options);
    jetstream.make_stream();
    jetstream.publish(messages(0, 10));
    let (url, cert, key) = (nats.url(), path("client.pem"), path("client.key"));
    let good = ["--feed-nats-ca-file", &ca, "--feed-nats-cert-file", &cert, "--feed-nats-key-file", &key];
    let server = TestServer::start(&flags(&url, &good));
    assert!(!ticks(&read(&server, Mode::Tick, 0, 0, 10)).is_empty());

    let strange = path("stranger.pem");
    let said = refused(&flags(
        &url,
        &["--feed-nats-ca-file", &strange, "--feed-nats-cert-file", &cert, "--feed-nats-key-file", &key],
    ));
    assert!(said.contains(&url) && said.contains("FEED_NATS_CA_FILE must have the authority"), "{said}");
    let missing = path("nowhere.pem");
    let said = refused(&flags(&url, &["--feed-nats-ca-file", &missing]));
    assert!(said.starts_with(&format!("FEED_NATS_CA_FILE {missing} cannot be read")), "{said}");
}

#[test]
fn a_message_that_was_removed_is_covered_and_the_loss_of_many_before_they_were_read_is_told() {
    let mut nats = NatsServer::start();
    let jetstream = JetStream::of(&nats);
    jetstream.make_stream();
    jetstream.publish(messages(0, 3));
    let url = nats.url();
    let given = [&["tickwire-server", "--stream-pass", "x"][..], &flags(&url, &[])].concat();
    let FeedConfig::Nats(config) = Config::from_flags(given).unwrap().feed else { panic!("not of NATS") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let metrics = Metrics::new(1).unwrap();
    let health = FeedHealth::new(metrics.feed());
    // As nobody asks it for anything meanwhile, it sees only what has come of it.
    let opened = Nats::open(config, Duration::from_secs(60), metrics.feed(), health);
    let mut feed = runtime.block_on(opened).unwrap();
    let mut next = || {
        let chunk = runtime.block_on(async { tokio::time::timeout(PATIENCE, feed.next()).await });
        chunk.expect("something comes").map(|chunk| chunk.expect("it goes on"))
    };
    let mut position = 0;
    while position < 3 {
        let chunk = next().unwrap();
        assert_eq!(chunk.first_sequence, position + 1);
        position = chunk.last_sequence;
    }
    nats.kill();
    nats.restart();
    jetstream.publish_stubbornly(3, &trade("BTCUSDT", T, 3).to_protobuf());
    jetstream.publish_stubbornly(4, &trade("BTCUSDT", T, 4).to_protobuf());
    jetstream.delete(4);
    let chunk = next().unwrap();
    assert_eq!((chunk.first_sequence, chunk.last_sequence), (4, 5));
    assert_eq!(chunk.trades.iter().map(|entry| entry.trade.price).collect::<Vec<_>>(), [4]);

    nats.kill();
    nats.restart();
    jetstream.publish_stubbornly(5, &trade("BTCUSDT", T, 5).to_protobuf());
    jetstream.publish(messages(6, 2));
    jetstream.purge_before(8);
    let said = error_chain(&next().unwrap_err());
    assert!(said.contains("messages 6 to 7 of stream TRADES were removed"), "{said}");
}

#[test]
fn a_stream_that_gives_each_message_to_one_reader_is_refused() {
    let nats = NatsServer::start();
    let jetstream = JetStream::of(&nats);
    jetstream.make_stream_of(RetentionPolicy::WorkQueue);
    let said = refused(&flags(&nats.url(), &[]));
    assert!(said.starts_with("FEED_NATS_STREAM TRADES: its retention is workqueue"), "{said}");
}

#[test]
fn a_file_of_credentials_lets_the_server_in() {
    let operator = Accounts::new();
    let nats = NatsServer::start_with(&operator.configuration());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user.creds");
    std::fs::write(&file, operator.credentials()).unwrap();
    let options = ConnectOptions::with_credentials(&operator.credentials()).unwrap();
    let jetstream = JetStream::connect(&nats, options);
    jetstream.make_stream();
    jetstream.publish(messages(0, 10));
    let (url, file) = (nats.url(), file.to_str().unwrap());
    let server = TestServer::start(&flags(&url, &["--feed-nats-credentials-file", file]));
    assert!(!ticks(&read(&server, Mode::Tick, 0, 0, 10)).is_empty());

    let stranger = folder.path().join("stranger.creds");
    std::fs::write(&stranger, Accounts::new().credentials()).unwrap();
    let said = refused(&flags(&url, &["--feed-nats-credentials-file", stranger.to_str().unwrap()]));
    assert!(said.contains("FEED_NATS_CREDENTIALS_FILE is not right"), "{said}");
    std::fs::write(&stranger, "nothing of the kind").unwrap();
    let said = refused(&flags(&url, &["--feed-nats-credentials-file", stranger.to_str().unwrap()]));
    assert!(said.contains("it must hold a JWT and its key"), "{said}");
}
