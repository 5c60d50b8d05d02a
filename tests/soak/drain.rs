//! A server leaves, and its clients go to another without missing a tick.

use std::time::Duration;

use tickwire_client::{Client, Credentials, Event, Mode, Request};
use tickwire_tests::{PASSWORD, PATIENCE, TestServer, USER, eventually};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CLIENTS: usize = 2000;
const WINDOW: Duration = Duration::from_secs(10);

/// What a client saw of the drain.
struct Moved {
    /// When the server said that it would leave, and when the other one had taken over.
    told: Instant,
    at: Instant,
    /// From the first sequence to the last, all of which have come.
    first: u64,
    last: u64,
    ticks: u64,
}

/// Follows the stream through the drain, until `enough` batches have come from the other server.
async fn follow(client: Client, to: String, enough: usize) -> Moved {
    let mut subscription = client.subscribe(Request::new(Mode::Tick));
    let (mut first, mut last, mut ticks) = (0, 0, 0);
    let (mut told, mut at) = (None, None);
    let mut fresh = 0;
    while fresh < enough {
        let event = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something comes");
        match event.expect("no gap, no repeat, nothing lost") {
            Event::Connected { first: start, .. } if first == 0 => (first, last) = (start, start - 1),
            Event::Connected { address, first: start } => {
                assert_eq!(
                    (address, start),
                    (to.clone(), last + 1),
                    "it goes on there, right after what came here"
                );
                at = Some(Instant::now());
            }
            Event::Batch(batch) => {
                assert_eq!(batch.first_sequence, last + 1);
                last = batch.last_sequence;
                ticks += batch.len as u64;
                fresh += usize::from(at.is_some());
            }
            Event::Draining { leave_in } => {
                assert!(leave_in <= WINDOW);
                told = Some(Instant::now());
            }
            Event::Disconnected { error, .. } => {
                panic!("the old connection was lost before the new one was there: {error}")
            }
        }
    }
    Moved { told: told.expect("it was told"), at: at.expect("it moved"), first, last, ticks }
}

#[test]
fn two_thousand_clients_leave_a_draining_server_spread_over_the_window_and_miss_nothing() {
    let window = format!("{}s", WINDOW.as_secs());
    let old = TestServer::start(&["--drain-window", &window, "--drain-timeout", "20s", "--feed-rate", "20"]);
    let new = TestServer::start(&["--feed-rate", "20"]);
    let (from, to) = (old.addr.to_string(), new.addr.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Client::new([from.clone(), to.clone()], Credentials::new(USER, PASSWORD));
        clients.spawn_on(follow(client, to.clone(), 5), runtime.handle());
    }
    eventually("all are subscribed", || {
        old.metric("tickwire_subscriptions{stream=\"tick\"}") >= CLIENTS as f64
    });
    old.stop();
    let moved = runtime.block_on(clients.join_all());

    assert_eq!(moved.len(), CLIENTS);
    for Moved { first, last, ticks, .. } in &moved {
        assert_eq!(*ticks, last - first + 1, "TICK has a tick for every sequence");
    }
    let start = moved.iter().map(|moved| moved.told).min().unwrap();
    let mut tenths = [0; 10];
    for moved in &moved {
        let tenth = (moved.at - start).as_millis() * 10 / WINDOW.as_millis();
        // What arrives a moment after the window's end left within it.
        tenths[usize::try_from(tenth).unwrap().min(9)] += 1;
    }
    println!("arrivals in the tenths of the window: {tenths:?}");
    assert!(tenths.iter().all(|count| *count <= CLIENTS / 5), "{tenths:?}");
    assert_eq!(old.closed("shutdown"), 0, "none had to be closed at the end");
    old.wait().expect("a clean end");
    drop(runtime);
}
