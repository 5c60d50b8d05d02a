//! What the operator counts of itself.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
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
    custom_metrics_requests: IntCounterVec,
    /// 1 in the operator that has registered custom.metrics.k8s.io, while the API server reaches it.
    pub custom_metrics_registered: IntGauge,
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
