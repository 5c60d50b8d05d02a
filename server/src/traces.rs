//! Traces by OpenTelemetry: where clients lose time on their way in, and how long a window takes from the feed into the streams.
//!
//! | span        | from                     | until                                 | within   | attributes |
//! |-------------|--------------------------|---------------------------------------|----------|------------|
//! | `accept`    | the accept               | its first subscription, or its end    |          | `network.transport`, `network.peer.address`, `network.peer.port` (a proxy's, where there is one), `client.address`, `client.port`, `error.type` |
//! | `tls`       | the handshake's beginning | its end                              | `accept` | `tls.protocol.name`, `tls.protocol.version`, `tls.resumed`, `error.type` |
//! | `auth`      | AUTH                     | the answer, with any wait for a check | `accept` | `user.name` of who was let in, `error.type` |
//! | `subscribe` | SUBSCRIBE                | its opening, or its refusal           | `accept`; a later one stands alone | `client.address`, `client.port`, `tickwire.mode`, `tickwire.symbols` (0: all), `tickwire.resumed`, `error.type` |
//! | `publish`   | a window's end           | the shards are woken                  |          | `tickwire.ticks`, `tickwire.batches` |
//! | `drain`     | no new clients           | the last has left, or DRAIN_TIMEOUT   |          | `tickwire.clients`, `tickwire.clients.left` |
//!
//! `error.type` is the label of a [`CloseReason`](crate::close::CloseReason), or the name of an `ErrorCode`; the span's status is an error
//! then. Other names are OpenTelemetry's semantic conventions.
//!
//! They are off until OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says where to send them. The protocol is OTLP as
//! `http/protobuf`, without TLS. The other variables are the standard's:
//!
//! | variable | meaning |
//! |----------|---------|
//! | OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER | `true`, or `none`: off whatever the rest says |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]PROTOCOL | `http/protobuf`; anything else is an error |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]HEADERS, …TIMEOUT | read by the exporter; a timeout is in milliseconds, 10000 by default |
//! | OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES | who sends them; `tickwire-server` by default |
//! | OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG | read by the SDK; `parentbased_always_on` by default |
//! | OTEL_BSP_SCHEDULE_DELAY, …MAX_QUEUE_SIZE, …MAX_EXPORT_BATCH_SIZE | every 5000 ms, or 512 spans; 2048 wait at most |
//! | OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT | read by the SDK |
//! | HTTP_PROXY, NO_PROXY | read by the HTTP client |
//!
//! Nothing here stalls or stops the server. A span that ends goes into a bounded queue, or is counted as lost; a thread takes them from
//! there to the collector. A collector that is away costs a line in the log, at most one a minute.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Uri;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanProcessor,
};
use rustls::ProtocolVersion;
use tracing::field::{Empty, display};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// The target of every span here. They are for the exporter alone: the log leaves this target out.
pub const TARGET: &str = "tickwire_trace";

/// The name of the service, where nobody gives it another.
const SERVICE: &str = "tickwire-server";

/// How long the last spans have to reach the collector when the server ends.
const FLUSH: Duration = Duration::from_secs(2);

/// How long nothing more is said about lost spans, once something has been.
const SILENCE: Duration = Duration::from_secs(60);

/// How many spans wait for their export where OTEL_BSP_MAX_QUEUE_SIZE says nothing: the standard's default. At some 500 bytes each, 1 MiB.
const QUEUE: usize = 2048;

/// The largest number that a variable may give: 1,000,000 spans are 500 MB, 1,000,000 ms a quarter of an hour. Zero would be worse: a
/// delay of zero has the exporter's thread spin.
const MAX_NUMBER: usize = 1_000_000;

/// Why there are no traces though they are asked for.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A variable's value cannot be right.
    #[error("{variable} cannot be used: {problem}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong. Not the value, where that may be a secret.
        problem: String,
    },
    /// The exporter.
    #[error("cannot set the export of traces up")]
    Exporter(#[from] ExporterBuildError),
}

/// The export of traces, for as long as the process runs. Dropping it sends what is left, in two seconds at most, during which it blocks: it
/// is dropped after the runtime, not on it.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    settings: Settings,
    losses: Arc<Losses>,
}

impl Traces {
    /// Starts the export that the environment asks for; `None`: it asks for none.
    ///
    /// # Errors
    ///
    /// [`TracesError`]; nothing is left running then.
    pub fn from_env() -> Result<Option<Self>, TracesError> {
        Settings::read(&|name| std::env::var(name).ok())?.map(Self::start).transpose()
    }

    fn start(settings: Settings) -> Result<Self, TracesError> {
        let losses = Arc::new(Losses::default());
        let exporter = Reporting {
            exporter: SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?,
            collector: settings.collector.clone(),
            losses: losses.clone(),
            said: Mutex::default(),
        };
        let config = BatchConfigBuilder::default().with_max_queue_size(settings.queue).build();
        let processor = Bounded {
            processor: BatchSpanProcessor::new(exporter, config),
            queue: settings.queue,
            losses: losses.clone(),
        };
        let provider =
            SdkTracerProvider::builder().with_resource(resource()).with_span_processor(processor).build();
        Ok(Self { provider, settings, losses })
    }

    /// What takes the spans of [`TARGET`], and nothing else, to the exporter.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = |metadata: &tracing::Metadata<'_>| {
            metadata.target() == TARGET && *metadata.level() <= Level::INFO
        };
        // Spans are held, never entered: there is nothing to say about times within them, or about a current one. The thread's name tells
        // the shard.
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_threads(true)
            .with_location(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(ours).with_max_level_hint(LevelFilter::INFO))
    }

    /// Says in the log that there are traces, and where they go.
    pub fn announce(&self) {
        let Settings { collector, compression, .. } = &self.settings;
        tracing::info!(collector, protocol = "http/protobuf", "exporting traces");
        if let Some(compression) = compression {
            tracing::warn!(
                compression,
                "traces are not compressed: OTEL_EXPORTER_OTLP_COMPRESSION is not supported"
            );
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            let spans = self.losses.waiting.load(Ordering::Relaxed);
            tracing::warn!(%error, spans, "the last spans may not have reached the collector");
        }
        let (failed, dropped) = self.losses.take();
        if failed + dropped > 0 {
            tracing::warn!(failed, dropped, "spans were lost");
        }
    }
}

/// Who sends the spans. Later ones win: OTEL_SERVICE_NAME is said to win over OTEL_RESOURCE_ATTRIBUTES, which the SDK's own order of
/// detectors gets wrong.
fn resource() -> Resource {
    let ours =
        [KeyValue::new("service.name", SERVICE), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let resource = Resource::builder_empty()
        .with_attributes(ours)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// What the environment asks for, as far as the SDK does not read it by itself.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    /// The collector's host and port, for the log. What else an endpoint has may be a secret.
    collector: String,
    /// How many spans may wait for their export.
    queue: usize,
    /// A compression that is asked for, and not there.
    compression: Option<String>,
}

impl Settings {
    /// Reads the variables; `None`: traces are off. What the SDK reads is looked at too: it passes over what it does not understand without a
    /// word, and has twice the spans, or none, then.
    fn read(variable: &dyn Fn(&'static str) -> Option<String>) -> Result<Option<Self>, TracesError> {
        // Empty is as good as unset, says the standard.
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        let is = |name, value: &str| set(name).is_some_and(|(_, found)| found.eq_ignore_ascii_case(value));
        let either = |of_traces, of_all| set(of_traces).or_else(|| set(of_all));

        let endpoint = either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let Some((endpoint_variable, endpoint)) = endpoint else { return Ok(None) };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        one_of(set("OTEL_TRACES_EXPORTER"), &["otlp"])?;
        one_of(
            either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
            &["http/protobuf"],
        )?;
        let collector = collector(&endpoint).map_err(|problem| invalid(endpoint_variable, problem))?;

        one_of(set("OTEL_TRACES_SAMPLER"), &SAMPLERS)?;
        if let Some((name, ratio)) = set("OTEL_TRACES_SAMPLER_ARG").filter(|_| {
            is("OTEL_TRACES_SAMPLER", "traceidratio") || is("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        }) && !ratio.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio))
        {
            return Err(invalid(name, format!("{ratio:?} is not a number from 0 to 1")));
        }
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        ] {
            number(set(name))?;
        }
        let queue = number(set("OTEL_BSP_MAX_QUEUE_SIZE"))?.unwrap_or(QUEUE);
        let compression = either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
            .map(|(_, compression)| compression)
            .filter(|compression| compression != "none");
        Ok(Some(Self { collector, queue, compression }))
    }
}

/// The samplers that the SDK has.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

fn invalid(variable: &'static str, problem: impl Into<String>) -> TracesError {
    TracesError::Variable { variable, problem: problem.into() }
}

fn one_of(set: Option<(&'static str, String)>, known: &[&str]) -> Result<(), TracesError> {
    match set {
        Some((name, value)) if !known.contains(&value.as_str()) => {
            Err(invalid(name, format!("{value:?} is not supported; it may be {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn number(set: Option<(&'static str, String)>) -> Result<Option<usize>, TracesError> {
    let Some((name, value)) = set else { return Ok(None) };
    match value.parse() {
        Ok(number @ 1..=MAX_NUMBER) => Ok(Some(number)),
        _ => Err(invalid(name, format!("{value:?} is not a number from 1 to {MAX_NUMBER}"))),
    }
}

/// An endpoint's host and port.
fn collector(endpoint: &str) -> Result<String, &'static str> {
    let uri: Uri = endpoint.parse().unwrap_or_default();
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) => Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80))),
        (Some("https"), _) => Err(
            "traces are sent over http:// only; where they have to leave the network, have a collector near the server send them on",
        ),
        _ => Err("it is no URL that begins with http://, such as http://localhost:4318"),
    }
}

/// What becomes of spans on their way to the collector. The SDK counts too, but tells only where it is built to log, and the more the worse
/// things are.
#[derive(Debug, Default)]
struct Losses {
    /// Spans in the queue.
    waiting: AtomicUsize,
    /// Spans that the collector did not take, since that was last told.
    failed: AtomicU64,
    /// Spans that found the queue full, since that was last told.
    dropped: AtomicU64,
}

impl Losses {
    /// How many could not be sent, and how many found the queue full; they count as told.
    fn take(&self) -> (u64, u64) {
        (self.failed.swap(0, Ordering::Relaxed), self.dropped.swap(0, Ordering::Relaxed))
    }
}

/// Lets only so many spans into the processor's queue as it has room for, so that those it has none for can be counted.
#[derive(Debug)]
struct Bounded {
    processor: BatchSpanProcessor,
    queue: usize,
    losses: Arc<Losses>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut opentelemetry_sdk::trace::Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.losses.waiting.fetch_add(1, Ordering::Relaxed) < self.queue {
            self.processor.on_end(span);
        } else {
            self.losses.waiting.fetch_sub(1, Ordering::Relaxed);
            self.losses.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Tells of lost spans, now and then. It logs with the module's own target, so what it says cannot become a span or an event of one.
#[derive(Debug)]
struct Reporting {
    exporter: SpanExporter,
    collector: String,
    losses: Arc<Losses>,
    /// When something was last said.
    said: Mutex<Option<Instant>>,
}

impl Reporting {
    fn report(&self, result: &OTelSdkResult) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|said| said.elapsed() < SILENCE) {
            return;
        }
        let (failed, dropped) = self.losses.take();
        if failed + dropped > 0 {
            *said = Some(Instant::now());
            let (collector, error) = (&self.collector, result.as_ref().err().map(display));
            tracing::warn!(
                collector,
                failed,
                dropped,
                error,
                "spans are lost; the server goes on without them"
            );
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.losses.waiting.fetch_sub(spans, Ordering::Relaxed);
        let result = self.exporter.export(batch).await;
        if result.is_err() {
            self.losses.failed.fetch_add(spans as u64, Ordering::Relaxed);
        }
        self.report(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The spans of a client's way in, kept with its connection: `accept`, and the step under way within it. Eight bytes, and nothing behind
/// them where traces are off, or the client is in. Each step ends with the next, and dropping it ends all.
#[derive(Debug, Default)]
pub struct Arrival(Option<Box<Steps>>);

#[derive(Debug)]
struct Steps {
    /// Disabled, where a subscription stands alone.
    accept: Span,
    step: Span,
    client: SocketAddr,
}

impl Arrival {
    /// A client has been accepted; `peer` is what the kernel says of it.
    #[must_use]
    pub fn accept(peer: SocketAddr) -> Self {
        let accept = info_span!(
            target: TARGET,
            parent: None,
            "accept",
            otel.kind = "server",
            otel.status_code = Empty,
            error.type = Empty,
            network.transport = "tcp",
            network.peer.address = %ip(peer),
            network.peer.port = port(peer),
            client.address = Empty,
            client.port = Empty,
        );
        Self::of(accept, Span::none(), peer)
    }

    fn of(accept: Span, step: Span, client: SocketAddr) -> Self {
        let on = !(accept.is_disabled() && step.is_disabled());
        Self(on.then(|| Box::new(Steps { accept, step, client })))
    }

    /// A proxy has said who the client is.
    pub fn client(&mut self, client: SocketAddr) {
        if let Some(steps) = &mut self.0 {
            steps.client = client;
        }
    }

    /// The TLS handshake begins.
    pub fn tls(&mut self) {
        let Some(steps) = &mut self.0 else { return };
        steps.step = info_span!(
            target: TARGET,
            parent: steps.accept.id(),
            "tls",
            otel.status_code = Empty,
            error.type = Empty,
            tls.protocol.name = "tls",
            tls.protocol.version = Empty,
            tls.resumed = Empty,
        );
    }

    /// The handshake has succeeded.
    pub fn established(&mut self, version: Option<ProtocolVersion>, resumed: bool) {
        let Some(steps) = &mut self.0 else { return };
        let version = match version {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "unknown",
        };
        steps.step.record("tls.protocol.version", version);
        steps.step.record("tls.resumed", resumed);
        steps.step = Span::none();
    }

    /// AUTH has come.
    pub fn auth(&mut self) {
        let Some(steps) = &mut self.0 else { return };
        steps.step = info_span!(
            target: TARGET,
            parent: steps.accept.id(),
            "auth",
            otel.status_code = Empty,
            error.type = Empty,
            user.name = Empty,
        );
    }

    /// The client has been let in. Only now its name is told: what is wrong may be a password in the wrong field.
    pub fn authenticated(&mut self, username: &str) {
        let Some(steps) = &mut self.0 else { return };
        steps.step.record("user.name", username);
        steps.step = Span::none();
    }

    /// SUBSCRIBE has come, the first or another.
    pub fn subscribe(&mut self, client: SocketAddr) {
        let step = info_span!(
            target: TARGET,
            parent: self.0.as_ref().and_then(|steps| steps.accept.id()),
            "subscribe",
            otel.status_code = Empty,
            error.type = Empty,
            client.address = %ip(client),
            client.port = port(client),
            tickwire.mode = Empty,
            tickwire.symbols = Empty,
            tickwire.resumed = Empty,
        );
        match &mut self.0 {
            Some(steps) => steps.step = step,
            None => *self = Self::of(Span::none(), step, client),
        }
    }

    /// The subscription has begun, and the client is in: `mode` as metrics call it, how many `symbols` it named, and whether it goes on
    /// from where it was.
    pub fn subscribed(&mut self, mode: &'static str, symbols: usize, resumed: bool) {
        let Some(steps) = self.0.take() else { return };
        steps.step.record("tickwire.mode", mode);
        steps.step.record("tickwire.symbols", integer(symbols));
        steps.step.record("tickwire.resumed", resumed);
    }

    /// The step has failed, and the client may try again.
    pub fn refused(&mut self, error: &'static str) {
        let Some(steps) = &mut self.0 else { return };
        fail(&steps.step, error);
        steps.step = Span::none();
        if steps.accept.is_disabled() {
            self.0 = None;
        }
    }

    /// The connection is over, for a reason of this label. Nothing, where the client is in.
    pub fn over(&mut self, reason: &'static str) {
        let Some(steps) = self.0.take() else { return };
        fail(&steps.step, reason);
        fail(&steps.accept, reason);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // At the end, as a proxy may have said more than the kernel, and attributes that are given twice stay so.
        self.accept.record("client.address", display(ip(self.client)));
        self.accept.record("client.port", port(self.client));
    }
}

/// A window's way into the streams: the span `publish`, for as long as it is kept. Not for the past that is filled in at the start, whose
/// thousands of windows would take the queue's room from what comes then.
#[derive(Debug)]
pub struct Publishing(Span);

impl Publishing {
    /// A window of so many ticks is about to be encoded.
    #[must_use]
    pub fn begin(ticks: usize) -> Self {
        let ticks = integer(ticks);
        Self(
            info_span!(target: TARGET, parent: None, "publish", tickwire.ticks = ticks, tickwire.batches = Empty),
        )
    }

    /// It has been published, in so many batches.
    pub fn end(self, batches: usize) {
        self.0.record("tickwire.batches", integer(batches));
    }
}

/// The clients' departure: the span `drain`, for as long as it is kept.
#[derive(Debug)]
pub struct Draining(Span);

impl Draining {
    /// So many clients are to be sent away.
    #[must_use]
    pub fn begin(clients: i64) -> Self {
        let left = Empty;
        Self(
            info_span!(target: TARGET, parent: None, "drain", tickwire.clients = clients, tickwire.clients.left = left),
        )
    }

    /// It is over; so many were still there.
    pub fn end(self, left: i64) {
        self.0.record("tickwire.clients.left", left);
    }
}

fn fail(span: &Span, error: &'static str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error);
}

/// Numbers are given as i64, the one kind that OpenTelemetry has; others would arrive as text.
fn integer(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn port(address: SocketAddr) -> i64 {
    address.port().into()
}

fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Value;
    use opentelemetry::trace::{SpanId, Status};
    use tracing::subscriber::NoSubscriber;
    use tracing_subscriber::layer::SubscriberExt as _;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let value = |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.to_owned());
        Settings::read(&value).map_err(|error| error.to_string())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:4318/base");

    #[test]
    fn they_are_off_until_an_endpoint_is_set_and_can_be_turned_off_again() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        // What would be wrong is of no interest then.
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(None));
        let expected = Settings { collector: "collector:4318".into(), queue: QUEUE, compression: None };
        assert_eq!(read(&[ENDPOINT]), Ok(Some(expected)));
    }

    #[test]
    fn what_is_not_supported_is_named_without_its_secrets() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:secret@collector");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318/secret");
        for (variable, value, problem) in [
            (all.0, all.1, "http:// only"),
            (traces.0, traces.1, "begins with http://"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "it may be http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "it may be http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "it may be otlp"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "it may be always_on"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is not a number from 1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0", "is not a number from 1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999", "to 1000000"),
        ] {
            let error = read(&[(variable, value), ENDPOINT]).unwrap_err();
            assert!(error.starts_with(variable) && error.contains(problem), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let ratio = |ratio| {
            read(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)])
        };
        assert!(ratio("0.25").is_ok());
        assert!(ratio("25").unwrap_err().contains("from 0 to 1"));
    }

    /// Keeps what it is given.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl opentelemetry_sdk::trace::SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// The spans that are made meanwhile, in the order of their ends.
    fn spans(during: impl FnOnce()) -> Vec<SpanData> {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let settings = Settings { collector: String::new(), queue: 0, compression: None };
        let traces = Traces { provider, settings, losses: Arc::default() };
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        tracing::subscriber::with_default(subscriber, during);
        std::mem::take(&mut kept.0.lock().unwrap())
    }

    fn attribute<'a>(span: &'a SpanData, name: &str) -> Option<&'a Value> {
        let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == name);
        let value = found.next().map(|attribute| &attribute.value);
        assert!(found.next().is_none(), "{name} is given once");
        value
    }

    fn peer() -> SocketAddr {
        "[::ffff:10.0.0.1]:4000".parse().unwrap()
    }

    #[test]
    fn the_steps_of_an_arrival_are_within_it_and_end_with_the_subscription() {
        let spans = spans(|| {
            let mut arrival = Arrival::accept(peer());
            arrival.client("192.0.2.7:5000".parse().unwrap());
            arrival.tls();
            arrival.established(Some(ProtocolVersion::TLSv1_3), true);
            arrival.auth();
            arrival.authenticated("someone");
            arrival.subscribe(peer());
            arrival.subscribed("tick", 3, false);
            arrival.over("peer_closed");
        });
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["tls", "auth", "subscribe", "accept"]);
        let (accept, steps) = spans.split_last().unwrap();
        assert_eq!(accept.parent_span_id, SpanId::INVALID);
        assert!(steps.iter().all(|step| step.parent_span_id == accept.span_context.span_id()));
        assert!(
            spans.iter().all(|span| span.status == Status::Unset && attribute(span, "error.type").is_none())
        );
        assert_eq!(attribute(accept, "network.peer.address"), Some(&"10.0.0.1".into()));
        assert_eq!(attribute(accept, "client.address"), Some(&"192.0.2.7".into()));
        assert_eq!(attribute(accept, "client.port"), Some(&Value::I64(5000)));
        assert_eq!(attribute(&spans[0], "tls.protocol.version"), Some(&"1.3".into()));
        assert_eq!(attribute(&spans[0], "tls.resumed"), Some(&true.into()));
        assert_eq!(attribute(&spans[1], "user.name"), Some(&"someone".into()));
        assert_eq!(attribute(&spans[2], "tickwire.symbols"), Some(&Value::I64(3)));
    }

    #[test]
    fn what_fails_says_why_and_a_later_subscription_stands_alone() {
        let spans = spans(|| {
            let mut arrival = Arrival::accept(peer());
            arrival.auth();
            arrival.over("auth_failed");
            let mut arrival = Arrival::default();
            arrival.subscribe(peer());
            arrival.refused("bad_mode");
            assert!(arrival.0.is_none());
        });
        let failed = |error: &'static str| (Status::error(""), Some(Value::from(error)));
        let ends: Vec<_> =
            spans.iter().map(|span| (span.status.clone(), attribute(span, "error.type").cloned())).collect();
        assert_eq!(ends, [failed("auth_failed"), failed("auth_failed"), failed("bad_mode")]);
        assert_eq!(spans[2].parent_span_id, SpanId::INVALID);
    }

    #[test]
    fn windows_and_drains_are_spans_of_their_own() {
        let spans = spans(|| {
            Publishing::begin(100).end(3);
            Draining::begin(7).end(0);
        });
        assert_eq!(attribute(&spans[0], "tickwire.ticks"), Some(&Value::I64(100)));
        assert_eq!(attribute(&spans[0], "tickwire.batches"), Some(&Value::I64(3)));
        assert_eq!(attribute(&spans[1], "tickwire.clients.left"), Some(&Value::I64(0)));
    }

    #[test]
    fn where_they_are_off_an_arrival_is_eight_bytes_and_nothing_more() {
        // Said, as another test may have turned them on for its thread.
        tracing::subscriber::with_default(NoSubscriber::default(), || {
            let mut arrival = Arrival::accept(peer());
            arrival.subscribe(peer());
            assert!(arrival.0.is_none());
            assert_eq!(size_of_val(&arrival), 8);
        });
    }
}
