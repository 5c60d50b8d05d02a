//! Where a StreamServer says how many clients may be sent away in a second, a rollout keeps to it: one server after another, each at that pace.

use std::time::Duration;

use crate::fleet::{Fleet, assert_whole, busiest_second};
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::StreamServer;

const CLIENTS: usize = 600;

/// So many may be sent away in a second.
const PACE: usize = 25;

#[test]
fn a_rollout_waits_for_each_server_to_drain_so_that_the_pace_holds_over_the_whole_fleet() {
    operator::installed();
    let namespace = Namespace::new("pace");
    let spec = format!(
        "
replicas: 3
feed: {{ synthetic: {{ rate: 2 }} }}
tls: {{ mode: Disabled }}
limits: {{ maxConnections: 2000 }}
drain: {{ delay: 2s, window: 1s, reconnectsPerSecond: {PACE} }}
resources: {{ requests: {{ cpu: 20m, memory: 32Mi }} }}
"
    );
    let server = StreamServer::apply(&namespace, "ticks", &spec).until_ready().until_complete();
    let fleet = Fleet::follow(&server.plain_client(), CLIENTS);
    let old = server.pods();
    let start = fleet.age();
    server.patch(r#"{"protocol":{"heartbeatInterval":"11s"}}"#);
    let (mut most, mut waited) = (0, false);
    crate::cluster::eventually_within(PATIENCE, "all have been replaced, and the last has drained", || {
        fleet.is_well();
        let pods = namespace.by_state("app.kubernetes.io/instance=ticks");
        most = most.max(pods.draining.len());
        let status = server.get()["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        waited |= conditions.iter().any(|one| one["type"] == "Progressing" && one["reason"] == "Draining");
        let is_over = pods.draining.is_empty()
            && pods.ended.is_empty()
            && !pods.living.iter().any(|pod| old.contains(pod));
        (is_over && pods.living.len() == 3).then_some(())
    });
    server.until_complete();
    let took = fleet.age() - start;
    let seen = fleet.finish();
    assert_whole(&seen);
    let (moves, busiest) = (seen.iter().map(|seen| seen.moves.len()).sum::<usize>(), busiest_second(&seen));
    println!(
        "{CLIENTS} clients of three servers, at {PACE} a second: {moves} moves within {:.0} s, {busiest} in the busiest second, {most} servers drained at once",
        took.as_secs_f64()
    );
    assert_eq!(most, 1, "one server after another");
    assert!(waited, "the status says what it waits for");
    assert!(moves >= CLIENTS, "all had to move");
    // A second of a busy machine may hold the moves of two.
    assert!(busiest <= PACE * 2, "{busiest} in one second");
    assert!(took >= Duration::from_secs((CLIENTS / PACE) as u64), "it cannot be over sooner at that pace");
}

/// At that pace it takes longer than others: moves of 600 clients, some of whom go to servers that are replaced later.
const PATIENCE: Duration = Duration::from_secs(400);
