//! Connections do not move by themselves to servers that have come later: the operator has the fullest servers shed theirs.

use crate::cluster::PATIENCE;
use crate::cluster::eventually_within;
use crate::fleet::{Fleet, assert_whole, busiest_second};
use crate::namespace::Namespace;
use crate::operator;
use crate::size::size;
use crate::stream_server::StreamServer;

/// The fullest server's connections over the mean of all.
const TOLERANCE: f64 = 1.15;

/// How much longer than a usual wait it may take.
const PATIENT: u32 = 3;

#[test]
fn after_a_scale_up_the_fullest_server_sheds_at_the_pace_that_is_set_until_all_have_their_share() {
    operator::installed();
    let (clients, pace) = (size(1000, 4000), size(50, 100));
    let namespace = Namespace::new("rebalance");
    let spec = format!(
        "
replicas: 2
feed: {{ synthetic: {{ rate: 2 }} }}
tls: {{ mode: Disabled }}
drain: {{ delay: 3s, window: 5s }}
resources: {{ requests: {{ cpu: 20m, memory: 32Mi }} }}
rebalance: {{ mode: ScaleUp, tolerancePercent: 15, connectionsPerSecond: {pace} }}
"
    );
    let server = StreamServer::apply(&namespace, "ticks", &spec).until_ready().until_complete();
    let fleet = Fleet::follow(&server.plain_client(), clients);
    server.patch(r#"{"replicas":4}"#);
    server.until_all_serve(4);
    let loads = eventually_within(PATIENCE * PATIENT, "each server has its share", || {
        fleet.is_well();
        let loads = server.connections_by_pod();
        let balanced = server.get()["status"]["rebalance"]["phase"] == "Balanced";
        (balanced && loads.len() == 4 && spread(&loads) <= TOLERANCE).then_some(loads)
    });
    namespace.expect_events("ticks", "RebalanceStarted", 1);
    namespace.expect_events("ticks", "Rebalanced", 1);
    // It is over: nobody is sent about any more.
    let moves = fleet.moves();
    let seen = fleet.finish();
    assert_whole(&seen);
    let busiest = busiest_second(&seen);
    println!(
        "{clients} clients on 2, then 4 servers: {loads:?}, the fullest has {:.2} times the mean; {moves} moves, {busiest} in the busiest second at a pace of {pace}",
        spread(&loads)
    );
    // A second of a busy machine may hold the moves of two.
    assert!(busiest <= pace * 2, "{busiest} in a second");
    assert!(moves >= clients / 2 - clients / 8, "about half of the clients had to move: {moves}");
}

/// The fullest over the mean.
fn spread(loads: &[u64]) -> f64 {
    let sum: u64 = loads.iter().sum();
    let most = loads.iter().max().copied().unwrap_or_default();
    most as f64 * loads.len() as f64 / sum.max(1) as f64
}
