//! What an operator sees of the server. The five names without a prefix are the specification's own.
//!
//! Shards count in locals of their own and add them up once per turn of their loop: nothing is shared per message. Labels come from closed
//! sets: reasons, modes and shards.

mod feed;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tickwire_proto::message::Mode;

use crate::close::CloseReason;
use crate::reload::Source;
use crate::stream::{MODES, Streams};
use crate::verifier::Verifier;

pub use feed::FeedMetrics;

/// Milliseconds, from well below a batch window to well beyond any write deadline.
const LATENCY_BUCKETS_MS: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0];

/// Seconds; a turn over 0.1 is felt by clients.
const TURN_BUCKETS_S: [f64; 10] = [0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// Why an AUTH was not accepted: the label's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// Wrong username or password.
    Credentials,
    /// The username is not in the certificate.
    Identity,
    /// The address had used its failures up.
    AddressLimited,
    /// The user had, from elsewhere.
    UserLimited,
    /// Too many passwords from the address were being checked.
    AddressBusy,
    /// Too many passwords were being checked, of all addresses.
    Busy,
    /// None came within the deadline.
    Timeout,
}

impl AuthFailure {
    const ALL: [Self; 7] = [
        Self::Credentials,
        Self::Identity,
        Self::AddressLimited,
        Self::UserLimited,
        Self::AddressBusy,
        Self::Busy,
        Self::Timeout,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Identity => "identity",
            Self::AddressLimited => "address_limited",
            Self::UserLimited => "user_limited",
            Self::AddressBusy => "address_busy",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
        }
    }
}

/// A stream's label.
#[must_use]
pub fn stream_label(mode: Mode) -> &'static str {
    match mode {
        Mode::Second => "second",
        Mode::Minute => "minute",
        Mode::Tick => "tick",
        Mode::Unspecified => "none",
    }
}

/// Every metric of the server.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    active_connections: IntGauge,
    messages_sent: IntCounter,
    bytes_sent: IntCounter,
    heartbeat_timeouts: IntCounter,
    publish_latency: Histogram,
    accepted: IntCounter,
    accept_errors: IntCounter,
    closed: IntCounterVec,
    shed: IntCounter,
    auth_failures: IntCounterVec,
    auth_checks_waiting: IntGauge,
    handshakes: IntCounterVec,
    handshakes_under_way: IntGaugeVec,
    handshakes_waiting: IntGaugeVec,
    reload: ReloadMetrics,
    subscriptions: IntGaugeVec,
    resumes: IntCounterVec,
    turns: HistogramVec,
    lag: GaugeVec,
    lagging: IntGaugeVec,
    feed: FeedMetrics,
    ring: RingMetrics,
    /// Whether the server is leaving.
    pub draining: IntGauge,
}

/// What comes of files that change.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    not_after: IntGauge,
}

impl ReloadMetrics {
    /// The certificate in use expires then, in seconds since 1970 (UTC).
    pub(crate) fn not_after(&self, seconds: i64) {
        self.not_after.set(seconds);
    }

    /// Something was read again, well or badly.
    pub(crate) fn reloaded(&self, source: &Source, well: bool) {
        let result = if well { "ok" } else { "error" };
        self.reloads.with_label_values(&[source.label(), result]).inc();
    }
}

/// What the rings hold, read when metrics are asked for.
#[derive(Clone, Debug)]
struct RingMetrics {
    batches: IntGaugeVec,
    bytes: IntGaugeVec,
    seconds: GaugeVec,
    filters: IntGaugeVec,
    sequence: GaugeVec,
}

impl Metrics {
    /// All metrics, each at zero, for a server of so many shards.
    ///
    /// # Errors
    ///
    /// Where two have the same name; a mistake of ours.
    pub fn new(shards: usize) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let register = Register(&registry);
        let metrics = Self {
            active_connections: register.gauge("active_connections", "Connections that are open")?,
            messages_sent: register.counter("messages_sent_total", "DATA_BATCH frames written to clients")?,
            bytes_sent: register
                .counter("bytes_sent_total", "Bytes written to clients, of frames of any type")?,
            heartbeat_timeouts: register
                .counter("heartbeat_timeouts_total", "Connections closed as nothing came from the client")?,
            publish_latency: register.histogram(
                "publish_latency_ms",
                "Milliseconds from when a batch was due until a shard had offered it to its last subscriber",
                &LATENCY_BUCKETS_MS,
            )?,
            accepted: register.counter("tickwire_connections_accepted_total", "Connections accepted")?,
            accept_errors: register.counter(
                "tickwire_accept_errors_total",
                "Failed accepts, such as for a full file table; after one, a shard waits before the next",
            )?,
            closed: register.counters("tickwire_connections_closed_total", "Connections closed", &["reason"])?,
            shed: register.counter(
                "tickwire_shed_connections_total",
                "Clients that were told to connect again, so that another server may have them",
            )?,
            auth_failures: register.counters(
                "tickwire_auth_failures_total",
                "AUTHs not accepted",
                &["reason"],
            )?,
            auth_checks_waiting: register.gauge(
                "tickwire_auth_checks_waiting",
                "Passwords that wait to be checked against a hash",
            )?,
            handshakes: register.counters(
                "tickwire_tls_handshakes_total",
                "TLS handshakes that succeeded: full, or resumed by a ticket; others are among the closed connections",
                &["kind"],
            )?,
            handshakes_under_way: register.gauges(
                "tickwire_tls_handshakes_under_way",
                "TLS handshakes that have begun and are not over",
                "shard",
            )?,
            handshakes_waiting: register.gauges(
                "tickwire_tls_handshakes_waiting",
                "TLS handshakes that wait for their turn",
                "shard",
            )?,
            reload: ReloadMetrics {
                reloads: register.counters(
                    "tickwire_reloads_total",
                    "Files read again as they had changed; error: they could not be used, and what was in use stays so",
                    &["source", "result"],
                )?,
                not_after: register.gauge(
                    "tickwire_tls_certificate_expiry_timestamp_seconds",
                    "When the certificate in use expires, in seconds since 1970; 0: there is none",
                )?,
            },
            subscriptions: register.gauges(
                "tickwire_subscriptions",
                "Subscriptions that are active",
                "stream",
            )?,
            resumes: register.counters(
                "tickwire_resumes_total",
                "Subscriptions that asked to resume: ok, or unavailable and so started live",
                &["result"],
            )?,
            turns: register.histograms(
                "tickwire_shard_turn_seconds",
                "Seconds that one turn of a shard's loop took: how long its other connections waited",
                "shard",
                &TURN_BUCKETS_S,
            )?,
            lag: register.float_gauges(
                "tickwire_cursor_lag_bytes",
                "Bytes by which the shard's slowest subscriber lagged at its last delivery",
                "shard",
            )?,
            lagging: register.gauges(
                "tickwire_cursors_lagging",
                "Subscribers whose socket is full, so that something waits for them",
                "shard",
            )?,
            feed: FeedMetrics::new(&register)?,
            ring: RingMetrics {
                batches: register.gauges(
                    "tickwire_ring_batches",
                    "Batches that the stream keeps",
                    "stream",
                )?,
                bytes: register.gauges(
                    "tickwire_ring_bytes",
                    "Bytes that the stream keeps, its filters included",
                    "stream",
                )?,
                seconds: register.float_gauges(
                    "tickwire_ring_seconds",
                    "Seconds of its past that the stream keeps",
                    "stream",
                )?,
                filters: register.gauges(
                    "tickwire_ring_filters",
                    "Different symbol filters in use",
                    "stream",
                )?,
                sequence: register.float_gauges(
                    "tickwire_ring_last_sequence",
                    "The stream's last sequence",
                    "stream",
                )?,
            },
            draining: register.gauge("tickwire_draining", "1 while the server sends its clients away")?,
            registry: registry.clone(),
        };
        let build = register.gauges("tickwire_build_info", "1, with the version as a label", "version")?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;

        // Each series is there from the start: a rate over one that appears later misses its first event.
        CloseReason::all().for_each(|reason| drop(metrics.closed.with_label_values(&[reason.label()])));
        AuthFailure::ALL
            .iter()
            .for_each(|reason| drop(metrics.auth_failures.with_label_values(&[reason.label()])));
        MODES.iter().for_each(|mode| drop(metrics.subscriptions.with_label_values(&[stream_label(*mode)])));
        for (source, result) in Source::LABELS.iter().flat_map(|source| [(source, "ok"), (source, "error")]) {
            drop(metrics.reload.reloads.with_label_values(&[*source, result]));
        }
        ["full", "resumed"].iter().for_each(|kind| drop(metrics.handshakes.with_label_values(&[kind])));
        ["ok", "unavailable"].iter().for_each(|result| drop(metrics.resumes.with_label_values(&[result])));
        for shard in 0..shards {
            drop(metrics.shard(shard));
        }
        Ok(metrics)
    }

    /// What a shard counts with.
    #[must_use]
    pub fn shard(&self, number: usize) -> ShardMetrics {
        let number = number.to_string();
        let subscriptions = MODES.map(|mode| self.subscriptions.with_label_values(&[stream_label(mode)]));
        ShardMetrics {
            active_connections: self.active_connections.clone(),
            messages_sent: self.messages_sent.local(),
            bytes_sent: self.bytes_sent.local(),
            heartbeat_timeouts: self.heartbeat_timeouts.clone(),
            publish_latency: self.publish_latency.local(),
            accepted: self.accepted.local(),
            accept_errors: self.accept_errors.clone(),
            closed: CloseReason::all()
                .map(|reason| (reason, self.closed.with_label_values(&[reason.label()]).local()))
                .collect(),
            shed: self.shed.clone(),
            auth_failures: AuthFailure::ALL
                .iter()
                .map(|reason| (*reason, self.auth_failures.with_label_values(&[reason.label()])))
                .collect(),
            handshakes_full: self.handshakes.with_label_values(&["full"]),
            handshakes_resumed: self.handshakes.with_label_values(&["resumed"]),
            handshakes_under_way: self.handshakes_under_way.with_label_values(&[&number]),
            handshakes_waiting: self.handshakes_waiting.with_label_values(&[&number]),
            subscriptions: MODES.into_iter().zip(subscriptions).collect(),
            resumed: self.resumes.with_label_values(&["ok"]),
            resume_unavailable: self.resumes.with_label_values(&["unavailable"]),
            turns: self.turns.with_label_values(&[&number]).local(),
            lag: self.lag.with_label_values(&[&number]),
            lagging: self.lagging.with_label_values(&[&number]),
        }
    }

    /// What reloads are counted with.
    #[must_use]
    pub fn reload(&self) -> ReloadMetrics {
        self.reload.clone()
    }

    /// What the publisher counts with.
    #[must_use]
    pub fn feed(&self) -> FeedMetrics {
        self.feed.clone()
    }

    /// Trades that were too late for their bars so far.
    #[must_use]
    pub fn late_trades(&self) -> u64 {
        self.feed.late_trades()
    }

    /// Messages of the feed that were rejected for the reason of this label so far.
    #[must_use]
    pub fn rejected(&self, label: &str) -> u64 {
        self.feed.rejections(label)
    }

    /// Connections open at the moment.
    #[must_use]
    pub fn active_connections(&self) -> i64 {
        self.active_connections.get()
    }

    /// Connections closed for this reason so far.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed.with_label_values(&[reason.label()]).get()
    }

    /// All of it in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    ///
    /// Where the encoder fails; a mistake of ours.
    pub fn render(&self, streams: &Arc<Streams>, verifier: &Verifier) -> Result<Vec<u8>, prometheus::Error> {
        self.auth_checks_waiting.set(verifier.waiting() as i64);
        for mode in MODES {
            let Some(stream) = streams.get(mode) else { continue };
            let (depth, label) = (stream.depth(), [stream_label(mode)]);
            self.ring.batches.with_label_values(&label).set(depth.batches as i64);
            self.ring.bytes.with_label_values(&label).set(depth.bytes as i64);
            self.ring.seconds.with_label_values(&label).set(depth.span.as_secs_f64());
            self.ring.filters.with_label_values(&label).set(depth.filters as i64);
            self.ring.sequence.with_label_values(&label).set(depth.head as f64);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Each metric's name, type, labels and meaning, in the order of names: for docs/METRICS.md.
    #[must_use]
    pub fn describe(&self, streams: &Arc<Streams>) -> Vec<[String; 4]> {
        if self.render(streams, &Verifier::default()).is_err() {
            return Vec::new();
        }
        let families = self.registry.gather();
        let describe = |family: &prometheus::proto::MetricFamily| {
            let first = family.get_metric().first();
            let labels = first.map_or(vec![], |metric| {
                metric.get_label().iter().map(|label| format!("`{}`", label.name())).collect::<Vec<_>>()
            });
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            [family.name().into(), kind, labels.join(", "), family.help().into()]
        };
        families.iter().map(describe).collect()
    }
}

/// What a shard counts, in locals that [`flush`](Self::flush) adds up.
#[derive(Debug)]
pub struct ShardMetrics {
    active_connections: IntGauge,
    /// DATA_BATCH frames.
    pub messages_sent: LocalIntCounter,
    /// Of frames of any type.
    pub bytes_sent: LocalIntCounter,
    heartbeat_timeouts: IntCounter,
    publish_latency: LocalHistogram,
    accepted: LocalIntCounter,
    /// Failed accepts.
    pub accept_errors: IntCounter,
    closed: HashMap<CloseReason, LocalIntCounter>,
    shed: IntCounter,
    auth_failures: HashMap<AuthFailure, IntCounter>,
    handshakes_full: IntCounter,
    handshakes_resumed: IntCounter,
    handshakes_under_way: IntGauge,
    handshakes_waiting: IntGauge,
    subscriptions: HashMap<Mode, IntGauge>,
    /// Resumes that were possible.
    pub resumed: IntCounter,
    /// Resumes that were not.
    pub resume_unavailable: IntCounter,
    turns: LocalHistogram,
    lag: Gauge,
    lagging: IntGauge,
}

impl ShardMetrics {
    /// A connection was accepted.
    pub fn opened(&self) {
        self.accepted.inc();
        self.active_connections.inc();
    }

    /// A connection ended.
    pub fn closed(&self, reason: CloseReason) {
        self.active_connections.dec();
        if let Some(counter) = self.closed.get(&reason) {
            counter.inc();
        }
        if reason == CloseReason::Refused(tickwire_proto::message::ErrorCode::HeartbeatTimeout) {
            self.heartbeat_timeouts.inc();
        }
    }

    /// A client was told to connect again, so that another server may have it.
    pub fn shed(&self) {
        self.shed.inc();
    }

    /// An AUTH was not accepted.
    pub fn auth_failed(&self, why: AuthFailure) {
        if let Some(counter) = self.auth_failures.get(&why) {
            counter.inc();
        }
    }

    /// A TLS handshake succeeded.
    pub fn handshake(&self, resumed: bool) {
        if resumed { self.handshakes_resumed.inc() } else { self.handshakes_full.inc() }
    }

    /// So many TLS handshakes have begun and are not over, and so many wait for their turn.
    pub fn handshakes_under_way(&self, under_way: usize, waiting: usize) {
        self.handshakes_under_way.set(under_way as i64);
        self.handshakes_waiting.set(waiting as i64);
    }

    /// A subscription to this mode began, or ended.
    pub fn subscribed(&self, mode: Mode, began: bool) {
        if let Some(gauge) = self.subscriptions.get(&mode) {
            gauge.add(if began { 1 } else { -1 });
        }
    }

    /// A batch was offered to the shard's last subscriber so long after it was due.
    pub fn published(&self, after: Duration) {
        self.publish_latency.observe(after.as_secs_f64() * 1000.0);
    }

    /// The slowest subscriber's lag, in bytes.
    pub fn lag(&self, bytes: u64) {
        self.lag.set(bytes as f64);
    }

    /// A subscriber began, or ceased, to lag.
    pub fn lagging(&self, by: i64) {
        self.lagging.add(by);
    }

    /// A turn of the loop is over; adds up what it counted.
    pub fn flush(&mut self, turn: Duration) {
        self.turns.observe(turn.as_secs_f64());
        self.turns.flush();
        self.publish_latency.flush();
        self.messages_sent.flush();
        self.bytes_sent.flush();
        self.accepted.flush();
        self.closed.values().for_each(LocalIntCounter::flush);
    }
}

/// Makes metrics and registers them.
struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: M,
    ) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.add(Gauge::new(name, help)?)
    }

    fn float_gauges(&self, name: &str, help: &str, label: &str) -> Result<GaugeVec, prometheus::Error> {
        self.add(GaugeVec::new(Opts::new(name, help), &[label])?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label])?)
    }
}
