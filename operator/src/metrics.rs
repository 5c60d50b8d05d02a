//! What the operator counts of itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// The operator's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: IntCounterVec,
    /// Seconds that a reconciliation took.
    pub reconciliation_seconds: Histogram,
    /// 1 in the operator that works, 0 in those that wait.
    pub leader: IntGauge,
    stream_servers: IntGaugeVec,
    fleets: FleetMetrics,
    /// Times that the moving of clients has begun.
    pub rebalances: IntCounter,
    /// Clients that servers were asked to send away.
    pub shed_connections: IntCounter,
    custom_metrics_requests: IntCounterVec,
    /// 1 in the operator that has registered custom.metrics.k8s.io, while the API server reaches it.
    pub custom_metrics_registered: IntGauge,
}

/// What is told of each StreamServer, by namespace and name: bounded by how many there are.
#[derive(Clone, Debug)]
struct FleetMetrics {
    connections: IntGaugeVec,
    replicas: IntGaugeVec,
    imbalance: GaugeVec,
    /// Of whom anything is told.
    told: Arc<Mutex<HashSet<FleetName>>>,
}

/// A StreamServer's namespace and name.
pub type FleetName = (String, String);

/// The labels of what is told of each StreamServer.
const FLEET_LABELS: [&str; 2] = ["namespace", "name"];

impl FleetMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let connections = IntGaugeVec::new(
            Opts::new(
                "tickwire_operator_connections",
                "Clients connected to all servers of a StreamServer together",
            ),
            &FLEET_LABELS,
        )?;
        let replicas = IntGaugeVec::new(
            Opts::new(
                "tickwire_operator_replicas",
                "Servers of a StreamServer, those included that are being replaced",
            ),
            &FLEET_LABELS,
        )?;
        let imbalance = GaugeVec::new(
            Opts::new(
                "tickwire_operator_imbalance_ratio",
                "Connections of the fullest server of a StreamServer over the mean of those that serve; 1: evenly spread",
            ),
            &FLEET_LABELS,
        )?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(replicas.clone()))?;
        registry.register(Box::new(imbalance.clone()))?;
        Ok(Self { connections, replicas, imbalance, told: Arc::default() })
    }

    fn forget(&self, (namespace, name): &FleetName) {
        let labels = [namespace.as_str(), name.as_str()];
        // What was never told of is not there.
        let _connections = self.connections.remove_label_values(&labels);
        let _replicas = self.replicas.remove_label_values(&labels);
        let _imbalance = self.imbalance.remove_label_values(&labels);
    }
}

/// From 10 ms, as a reconciliation is some twenty calls of the API server, to where somebody should look.
const SECONDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The values of the label `condition`.
const CONDITIONS: [&str; 3] = ["ready", "progressing", "degraded"];

/// The values of the label `code` of what is answered at custom.metrics.k8s.io; others, of which there are none, count as 500.
const CODES: [u16; 8] = [200, 400, 401, 403, 404, 405, 500, 503];

impl Metrics {
    /// New ones, all 0.
    ///
    /// # Errors
    ///
    /// Where two have the same name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let reconciliations = IntCounterVec::new(
            Opts::new(
                "tickwire_operator_reconciliations_total",
                "Reconciliations, by how they ended: ok, or error and to be tried again",
            ),
            &["result"],
        )?;
        let reconciliation_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "tickwire_operator_reconciliation_seconds",
                "Seconds that a reconciliation took",
            )
            .buckets(SECONDS.to_vec()),
        )?;
        let leader =
            IntGauge::new("tickwire_operator_leader", "1 in the operator that works, 0 in those that wait")?;
        let stream_servers = IntGaugeVec::new(
            Opts::new("tickwire_operator_streamservers", "StreamServers of which a condition holds"),
            &["condition"],
        )?;
        let rebalances = IntCounter::new(
            "tickwire_operator_rebalances_total",
            "Times that clients have begun to be moved from full servers to others",
        )?;
        let shed_connections = IntCounter::new(
            "tickwire_operator_shed_connections_total",
            "Clients that servers were asked to send away, so that others may have them",
        )?;
        registry.register(Box::new(rebalances.clone()))?;
        registry.register(Box::new(shed_connections.clone()))?;
        let fleets = FleetMetrics::new(&registry)?;
        let custom_metrics_requests = IntCounterVec::new(
            Opts::new(
                "tickwire_operator_custom_metrics_requests_total",
                "Requests for custom.metrics.k8s.io, by the status of the answer",
            ),
            &["code"],
        )?;
        let custom_metrics_registered = IntGauge::new(
            "tickwire_operator_custom_metrics_registered",
            "1 in the operator that has registered custom.metrics.k8s.io, while the API server reaches it",
        )?;
        registry.register(Box::new(reconciliations.clone()))?;
        registry.register(Box::new(reconciliation_seconds.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(stream_servers.clone()))?;
        registry.register(Box::new(custom_metrics_requests.clone()))?;
        registry.register(Box::new(custom_metrics_registered.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        for result in ["ok", "error"] {
            let _at_zero = reconciliations.with_label_values(&[result]);
        }
        for code in CODES {
            let _at_zero = custom_metrics_requests.with_label_values(&[code.to_string()]);
        }
        let metrics = Self {
            registry,
            reconciliations,
            reconciliation_seconds,
            leader,
            stream_servers,
            fleets,
            rebalances,
            shed_connections,
            custom_metrics_requests,
            custom_metrics_registered,
        };
        metrics.set_stream_servers([0; CONDITIONS.len()]);
        Ok(metrics)
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, is_ok: bool) {
        self.reconciliations.with_label_values(&[if is_ok { "ok" } else { "error" }]).inc();
    }

    /// Counts an answer at custom.metrics.k8s.io.
    pub fn custom_metrics_answered(&self, code: u16) {
        let code = if CODES.contains(&code) { code } else { 500 };
        self.custom_metrics_requests.with_label_values(&[code.to_string()]).inc();
    }

    /// Says how many StreamServers are ready, progressing, and degraded.
    pub fn set_stream_servers(&self, counts: [i64; CONDITIONS.len()]) {
        for (condition, count) in CONDITIONS.iter().zip(counts) {
            self.stream_servers.with_label_values(&[*condition]).set(count);
        }
    }

    /// Says how many servers a StreamServer has, how many clients, and how many times the mean the fullest server has of them; the last two where they are
    /// known.
    pub fn set_fleet(
        &self,
        fleet: FleetName,
        replicas: i32,
        connections: Option<i64>,
        imbalance: Option<f64>,
    ) {
        let labels = [fleet.0.as_str(), fleet.1.as_str()];
        self.fleets.replicas.with_label_values(&labels).set(replicas.into());
        if let Some(connections) = connections {
            self.fleets.connections.with_label_values(&labels).set(connections);
        }
        if let Some(imbalance) = imbalance {
            self.fleets.imbalance.with_label_values(&labels).set(imbalance);
        }
        self.told().insert(fleet);
    }

    /// Tells nothing any more of StreamServers but these.
    pub fn retain(&self, living: &HashSet<FleetName>) {
        self.told().retain(|fleet| {
            let is_there = living.contains(fleet);
            if !is_there {
                self.fleets.forget(fleet);
            }
            is_there
        });
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashSet<FleetName>> {
        self.fleets.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In Prometheus' text format.
    ///
    /// # Errors
    ///
    /// Where a metric has no samples.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stream_server_that_is_gone_nothing_is_told_any_more() {
        let metrics = Metrics::new().unwrap();
        let fleet = |name: &str| ("market".to_owned(), name.to_owned());
        metrics.set_fleet(fleet("a"), 2, Some(12), Some(1.25));
        metrics.set_fleet(fleet("b"), 3, None, None);
        let told = || String::from_utf8(metrics.render().unwrap()).unwrap();
        let both = told();
        assert!(
            both.contains("tickwire_operator_connections{name=\"a\",namespace=\"market\"} 12\n"),
            "{both}"
        );
        assert!(
            both.contains("tickwire_operator_imbalance_ratio{name=\"a\",namespace=\"market\"} 1.25\n"),
            "{both}"
        );
        assert!(both.contains("tickwire_operator_replicas{name=\"b\",namespace=\"market\"} 3\n"), "{both}");
        assert!(!both.contains("tickwire_operator_connections{name=\"b\""), "not known: {both}");
        metrics.retain(&[fleet("b")].into());
        let one = told();
        assert!(!one.contains("name=\"a\"") && one.contains("name=\"b\""), "{one}");
    }
}
