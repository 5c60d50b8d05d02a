//! A server that has too many clients sheds some, which go elsewhere without missing a tick.

use std::time::Duration;

use tickwire_client::{Client, Credentials, Event, Mode, Request};
use tickwire_tests::metrics::http;
use tickwire_tests::{PASSWORD, PATIENCE, TestServer, USER, eventually};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CLIENTS: usize = 1000;
const SHED: usize = 400;
const PER_SECOND: usize = 100;

/// What a client saw.
struct Seen {
    /// When it was told to go, if it was.
    told: Option<Instant>,
    first: u64,
    last: u64,
    ticks: u64,
}

/// Follows the stream until `stop`, and then to the next batch.
async fn follow(client: Client, stop: tokio::sync::watch::Receiver<bool>) -> Seen {
    let mut subscription = client.subscribe(Request::new(Mode::Tick));
    let mut seen = Seen { told: None, first: 0, last: 0, ticks: 0 };
    loop {
        let event = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something comes");
        match event.expect("no gap, no repeat, nothing lost") {
            Event::Connected { first, .. } if seen.first == 0 => (seen.first, seen.last) = (first, first - 1),
            Event::Connected { first, .. } => {
                assert_eq!(first, seen.last + 1, "it goes on right after what came")
            }
            Event::Batch(batch) => {
                assert_eq!(batch.first_sequence, seen.last + 1);
                seen.last = batch.last_sequence;
                seen.ticks += batch.len as u64;
                if *stop.borrow() {
                    return seen;
                }
            }
            Event::Draining { .. } => {
                assert!(seen.told.is_none(), "nobody is told twice");
                seen.told = Some(Instant::now());
            }
            Event::Disconnected { error, .. } => {
                panic!("the old connection was lost before the new one was there: {error}")
            }
        }
    }
}

#[test]
fn so_many_as_asked_for_go_elsewhere_at_the_pace_asked_for_and_nobody_misses_anything() {
    let full = TestServer::start(&["--feed-rate", "20"]);
    let empty = TestServer::start(&["--feed-rate", "20"]);
    let addresses = [full.addr.to_string(), empty.addr.to_string()];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (end, stop) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Client::new(addresses.clone(), Credentials::new(USER, PASSWORD));
        clients.spawn_on(follow(client, stop.clone()), runtime.handle());
    }
    let subscribed = |server: &TestServer| server.metric("tickwire_subscriptions{stream=\"tick\"}") as usize;
    eventually("all are subscribed", || subscribed(&full) == CLIENTS);

    let asked = format!("/shed?connections={SHED}&per_second={PER_SECOND}");
    assert_eq!(
        http(full.admin, "POST", &asked, ""),
        (202, format!("sheds {SHED} clients, {PER_SECOND} a second\n"))
    );
    eventually("they have moved", || subscribed(&empty) == SHED && subscribed(&full) == CLIENTS - SHED);
    assert_eq!(full.metric("tickwire_shed_connections_total") as usize, SHED);
    assert_eq!(http(full.admin, "GET", "/readyz", ""), (200, "ok\n".into()), "it goes on serving");

    end.send_replace(true);
    let seen = runtime.block_on(clients.join_all());
    for Seen { first, last, ticks, .. } in &seen {
        assert_eq!(*ticks, last - first + 1, "TICK has a tick for every sequence");
    }
    let mut told: Vec<_> = seen.iter().filter_map(|seen| seen.told).collect();
    told.sort();
    assert_eq!(told.len(), SHED);
    // However slow the machine is, nobody can have been told before its turn.
    let least = Duration::from_secs((SHED / PER_SECOND) as u64) * 9 / 10;
    assert!(told[SHED - 1] - told[0] >= least, "they were told over {:?}", told[SHED - 1] - told[0]);
}

#[test]
fn what_is_left_can_be_called_off_and_what_cannot_be_done_is_refused_with_what_would_be_right() {
    let server = TestServer::start(&["--drain-delay", "1h"]);
    let _raw: Vec<_> = (0..20).map(|_| tickwire_tests::Raw::authenticated(server.addr)).collect();
    let post = |query: &str| http(server.admin, "POST", &format!("/shed{query}"), "");
    assert_eq!(post("?connections=20&per_second=1").0, 202);
    eventually("the first has been told", || server.metric("tickwire_shed_connections_total") >= 1.0);
    assert_eq!(post("?connections=0&per_second=1").0, 202);
    assert!(server.metric("tickwire_shed_connections_total") < 20.0);
    // The next order is carried out whole, so no more than its clients come besides.
    let before = server.metric("tickwire_shed_connections_total");
    assert_eq!(post("?connections=3&per_second=1000").0, 202);
    eventually("three more have been told", || {
        server.metric("tickwire_shed_connections_total") >= before + 3.0
    });
    assert_eq!(server.metric("tickwire_shed_connections_total"), before + 3.0);

    for query in ["", "?connections=5", "?connections=-1&per_second=5", "?connections=5&per_second=0"] {
        let (status, body) = post(query);
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body.contains("write it like /shed?connections=500&per_second=100"), "{body}");
    }
    server.stop();
    eventually("it drains", || post("?connections=1&per_second=1").0 == 409);
}
