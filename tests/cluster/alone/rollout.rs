//! A fleet is upgraded under two thousand clients, none of which misses a tick: by itself, and with everything around it failing meanwhile.

use std::time::Duration;

use crate::cluster::xtask_cluster;
use crate::fleet::{Fleet, Seen, assert_whole, busiest_second};
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::StreamServer;

const CLIENTS: usize = 2000;

/// Over how long a server's clients leave it.
const WINDOW: Duration = Duration::from_secs(20);

const SPEC: &str = "
replicas: 2
feed: { synthetic: { rate: 10 } }
drain: { delay: 5s, window: 20s }
rollout: { maxSurge: 1, minReadySeconds: 2 }
";

/// What the documentation has figures of.
fn report(what: &str, took: Duration, seen: &[Seen]) {
    let moves: usize = seen.iter().map(|seen| seen.moves.len()).sum();
    let ticks: u64 = seen.iter().map(|seen| seen.ticks).sum();
    println!(
        "{what}: complete after {:.0} s; {} clients moved {moves} times and got {ticks} ticks, none missed or repeated; {} reconnects in the busiest second",
        took.as_secs_f64(),
        seen.len(),
        busiest_second(seen)
    );
}

/// Each server's clients leave over the window: were they to go at once, a second would have them all.
fn assert_spread(seen: &[Seen]) {
    let even = CLIENTS as f64 / WINDOW.as_secs_f64();
    let busiest = busiest_second(seen);
    // A second of a busy machine may hold the moves of three.
    assert!((busiest as f64) < even * 3.0, "{busiest} in one second, {even} were even");
    assert!(seen.iter().all(|seen| !seen.moves.is_empty()), "all had to move");
}

#[test]
fn two_thousand_clients_live_through_a_new_image_and_then_a_changed_parameter() {
    operator::installed();
    let namespace = Namespace::new("rollout");
    let server = StreamServer::apply(&namespace, "ticks", SPEC).until_ready().until_complete();
    let next = format!("{}-next", env!("CARGO_PKG_VERSION"));
    for (what, patch) in [
        ("a new image", format!(r#"{{"image":{{"tag":"{next}"}}}}"#)),
        ("a changed parameter", r#"{"protocol":{"heartbeatInterval":"10s"}}"#.to_owned()),
    ] {
        let fleet = Fleet::follow(&server.client(), CLIENTS);
        let (pods, start) = (server.pods(), fleet.age());
        server.patch(&patch);
        let took = over(&fleet, server, &pods, start);
        let seen = fleet.finish();
        assert_whole(&seen);
        assert_spread(&seen);
        report(what, took, &seen);
    }
    assert_eq!(server.get()["status"]["version"], next.as_str());
}

#[test]
fn the_same_with_the_operator_killed_and_the_api_server_restarted_in_the_middle() {
    operator::installed();
    let namespace = Namespace::new("faults");
    let server = StreamServer::apply(&namespace, "ticks", SPEC).until_ready().until_complete();
    let fleet = Fleet::follow(&server.client(), CLIENTS);
    let (pods, start) = (server.pods(), fleet.age());
    server.patch(r#"{"protocol":{"heartbeatInterval":"11s"}}"#);
    crate::cluster::eventually("the rollout has begun", || {
        server.pods().iter().any(|pod| !pods.contains(pod)).then_some(())
    });
    let killed = operator::kill_leader();
    // For longer than a lease is good.
    xtask_cluster(&["restart", "apiserver", "--after", "10s"]);
    let renewed = || {
        let said = crate::cluster::kubectl_with(
            "",
            &[
                "--namespace",
                operator::NAMESPACE,
                "get",
                "lease",
                operator::RELEASE,
                "--output=jsonpath={.spec.renewTime}",
            ],
        );
        said.ok.then_some(said.out)
    };
    let before = crate::cluster::eventually("the API server answers", renewed);
    crate::cluster::eventually("an operator leads again", || renewed().filter(|now| *now != before));
    crate::cluster::eventually("one of them holds the lease", || {
        let leader = crate::cluster::kubectl_with(
            "",
            &[
                "--namespace",
                operator::NAMESPACE,
                "get",
                "lease",
                operator::RELEASE,
                "--output=jsonpath={.spec.holderIdentity}",
            ],
        );
        (leader.ok && !leader.out.is_empty()).then_some(())
    });
    let took = over(&fleet, server, &pods, start);
    let seen = fleet.finish();
    assert_whole(&seen);
    assert_spread(&seen);
    report(&format!("with {killed} killed and the API server restarted"), took, &seen);
    // Whoever leads now does what there is to do.
    server.patch(r#"{"replicas":1}"#);
    server.until_complete();
}

/// Waits until none of the old pods is there any more, so that all clients have moved. Answers how long it took until the rollout was complete.
fn over(fleet: &Fleet, server: StreamServer<'_>, old: &[String], start: Duration) -> Duration {
    server.until_complete();
    let took = fleet.age() - start;
    crate::cluster::eventually("the old pods have drained, and gone", || {
        fleet.is_well();
        let all = server.namespace.names("pods");
        (!all.iter().any(|pod| old.iter().any(|old| pod.ends_with(old.as_str())))).then_some(())
    });
    fleet.is_well();
    took
}
