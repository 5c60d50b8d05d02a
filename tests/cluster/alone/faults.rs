//! One thing after another fails, or is replaced, under thousands of clients: each ends with every tick of the stream, once.
//!
//! The feed is NATS JetStream, so that what should have come is known from elsewhere: the stream itself is read, and by no code of the server's.

use std::time::{Duration, Instant};

use crate::cluster::{eventually, kubectl_with, xtask_cluster};
use crate::fleet::Fleet;
use crate::namespace::Namespace;
use crate::nats::{Nats, SYMBOLS};
use crate::operator;
use crate::processes;
use crate::size::size;
use crate::stream_server::StreamServer;

/// Trades a second.
const RATE: u32 = 2;

const SPEC: &str = "
replicas: 3
tls: { mode: Disabled }
drain: { delay: 3s, window: 10s }
rollout: { maxSurge: 1, minReadySeconds: 2 }
resources: { requests: { cpu: 50m, memory: 64Mi } }
";

#[test]
fn every_client_ends_with_every_tick_of_the_stream_whatever_fails_meanwhile() {
    operator::installed();
    let clients = size(1500, 10_000);
    let namespace = Namespace::new("survival");
    let nats = Nats::deploy(&namespace);
    let publisher = nats.publish(RATE);
    let server = StreamServer::apply(&namespace, "ticks", &format!("{}{SPEC}", Nats::feed()))
        .until_ready()
        .until_complete();
    let fleet = Fleet::follow_whole(&server.plain_client(), clients);
    println!("{clients} clients, {RATE} trades a second of {SYMBOLS}");

    step(&fleet, "a server's process is killed", || {
        let pod = namespace.get("pod", &server.pods()[0]).expect("it is there");
        processes::kill(&pod, "tickwire-server");
    });
    server.until_all_serve(3);
    step(&fleet, "a pod is evicted", || {
        // Another than the one that has just lost all of its clients.
        let pod = server.pods()[1].clone();
        let eviction = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"{}"}}}}"#,
            namespace.name
        );
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", namespace.name);
        kubectl_with(&eviction, &["create", "--raw", &path, "--filename=-"]).expect("the eviction");
        eventually("the evicted pod has gone", || (!all_pods(&namespace).contains(&pod)).then_some(()));
    });
    server.until_all_serve(3);
    step(&fleet, "a rolling update runs", || {
        let before = server.pods();
        server.patch(r#"{"protocol":{"heartbeatInterval":"11s"}}"#);
        server.until_complete();
        eventually("the old pods have drained, and gone", || {
            let all = all_pods(&namespace);
            (!before.iter().any(|pod| all.contains(pod))).then_some(())
        });
    });
    step(&fleet, "the operator is killed", || {
        operator::kill_leader();
    });
    step(&fleet, "the API server is restarted", || {
        xtask_cluster(&["restart", "apiserver"]);
    });
    step(&fleet, "NATS is killed", || {
        nats.kill();
        nats.until_more_is_published();
    });
    step(&fleet, "the kubelet is restarted", || {
        xtask_cluster(&["restart", "kubelet"]);
    });
    server.until_ready();

    publisher.stop();
    let ledger = nats.read();
    let (moves, losses) = (fleet.moves(), fleet.losses());
    let seen = fleet.finish_at(ledger.last());
    ledger.assert_seen_by(&seen);
    println!(
        "each of {clients} clients has all of the stream's {} trades, once: {} in all; {moves} moves, {losses} times without a connection",
        ledger.last(),
        ledger.last() * clients as u64
    );
}

/// Does something to the fleet's surroundings, and waits until all clients are connected again.
fn step(fleet: &Fleet, what: &str, action: impl FnOnce()) {
    let (start, moves, losses) = (Instant::now(), fleet.moves(), fleet.losses());
    action();
    // A connection that was lost is found out within a moment.
    let mut steady = 0;
    eventually(&format!("all are connected again after: {what}"), || {
        fleet.is_well();
        steady = if fleet.connected() >= fleet.len() { steady + 1 } else { 0 };
        (steady > LOOKS).then_some(())
    });
    println!(
        "{what}: {} moves, {} times without a connection, all connected after {:.0} s",
        fleet.moves() - moves,
        fleet.losses() - losses,
        (start.elapsed() - LOOKING).as_secs_f64().max(0.0)
    );
}

/// So many looks in a row find all clients connected.
const LOOKS: usize = 10;
/// How long these take.
const LOOKING: Duration = Duration::from_secs(2);

fn all_pods(namespace: &Namespace) -> Vec<String> {
    namespace
        .names("pods")
        .iter()
        .filter_map(|name| name.strip_prefix("pod/").map(ToOwned::to_owned))
        .collect()
}
