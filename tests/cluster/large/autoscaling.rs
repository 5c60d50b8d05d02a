//! A fleet grows and shrinks with its clients, by the operator's own metrics API, and no client misses a tick.

use std::time::{Duration, Instant};

use crate::cluster::{PATIENCE, kubectl};
use crate::fleet::{Fleet, Losses, Seen, assert_whole};
use crate::namespace::Namespace;
use crate::operator;
use crate::size::size;
use crate::stream_server::StreamServer;
use crate::timeline::Timeline;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);

/// How much longer than a usual wait the whole fleet may take to grow, or to shrink.
const PATIENT: u32 = 5;

#[test]
fn a_fleet_follows_its_clients_up_and_down_and_nobody_misses_a_tick() {
    operator::installed();
    let (clients, target) = (size(600, 12_000), size(150, 1_000));
    let most = clients / target;
    // So many come, or go, between two looks.
    let step = clients / 40;
    let namespace = Namespace::new("autoscaling");
    let spec = format!(
        "
feed: {{ synthetic: {{ rate: 2 }} }}
tls: {{ mode: Disabled }}
drain: {{ delay: 3s, window: 5s }}
resources: {{ requests: {{ cpu: 20m, memory: 32Mi }} }}
autoscaling:
  minReplicas: 1
  maxReplicas: {most}
  targetActiveConnections: {target}
  scaleDown: {{ stabilizationWindow: 10s, podsPerDrain: {} }}
rebalance: {{ mode: Always, connectionsPerSecond: {} }}
",
        most.div_ceil(4),
        clients / 60
    );
    let server = StreamServer::apply(&namespace, "ticks", &spec).until_ready().until_complete();
    server.condition("ScalingActive", "True", "MetricsServed");
    let mut fleet = Fleet::new(&server.plain_client(), Losses::Forbidden, false);
    let mut watch = Watch::new(server);
    let mut seen: Vec<Seen> = Vec::new();

    let start = Instant::now();
    while fleet.len() < clients {
        fleet.grow(step.min(clients - fleet.len()), clients);
        watch.look(&fleet);
    }
    watch.until(&fleet, "it has grown", |now| now.ready as usize == most && now.replicas as usize == most);
    println!("{clients} clients, {most} servers after {:.0} s", start.elapsed().as_secs_f64());
    fleet.until_connected();
    // It is our API that has told.
    let api = kubectl(&[
        "get",
        "apiservice",
        "v1beta2.custom.metrics.k8s.io",
        "--output=jsonpath={.spec.service.namespace}",
    ]);
    assert_eq!(api, operator::NAMESPACE);

    let start = Instant::now();
    while fleet.len() > step {
        seen.extend(fleet.shrink(step));
        watch.look(&fleet);
    }
    watch.until(&fleet, "it has shrunk", |now| now.replicas == 1.0);
    println!("back to one server after {:.0} s", start.elapsed().as_secs_f64());
    fleet.until_connected();
    let moves = fleet.moves();
    seen.extend(fleet.finish());
    assert_whole(&seen);
    watch.timeline.write();
    let ticks: u64 = seen.iter().map(|seen| seen.ticks).sum();
    println!(
        "{} clients got {ticks} ticks, none missed or repeated; {moves} moves, {:.0} in the busiest second",
        seen.len(),
        watch.busiest
    );
    assert_eq!(seen.len(), clients);
}

/// What there is at a moment.
struct Now {
    replicas: f64,
    ready: f64,
}

/// Looks at the fleet and its servers once a second.
struct Watch<'a> {
    server: StreamServer<'a>,
    timeline: Timeline,
    moves: usize,
    last: Instant,
    busiest: f64,
}

impl<'a> Watch<'a> {
    fn new(server: StreamServer<'a>) -> Self {
        let timeline =
            Timeline::new("autoscaling", &["clients", "connected", "replicas", "ready", "moves per second"]);
        Self { server, timeline, moves: 0, last: Instant::now(), busiest: 0.0 }
    }

    /// Waits until the next second, and looks.
    fn look(&mut self, fleet: &Fleet) -> Now {
        std::thread::park_timeout(LOOK.saturating_sub(self.last.elapsed()));
        fleet.is_well();
        let object = self.server.get();
        let number = |field: &str| object["status"][field].as_f64().unwrap_or_default();
        let now = Now { replicas: number("replicas"), ready: number("readyReplicas") };
        let moves = fleet.moves();
        let per_second = (moves - self.moves) as f64 / self.last.elapsed().as_secs_f64();
        (self.moves, self.last) = (moves, Instant::now());
        self.busiest = self.busiest.max(per_second);
        let clients = fleet.len() as f64;
        self.timeline.add(
            fleet.age().as_secs_f64(),
            &[clients, fleet.connected() as f64, now.replicas, now.ready, per_second],
        );
        now
    }

    fn until(&mut self, fleet: &Fleet, what: &str, is_so: impl Fn(&Now) -> bool) {
        let start = Instant::now();
        while !is_so(&self.look(fleet)) {
            assert!(start.elapsed() < PATIENCE * PATIENT, "still not so: {what}");
        }
    }
}
