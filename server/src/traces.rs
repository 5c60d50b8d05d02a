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
//! They are off until OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says where to send them, `http://` or `https://`. The
//! protocol is OTLP as `http/protobuf`. The other variables are the standard's:
//!
//! | variable | meaning |
//! |----------|---------|
//! | OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER | `true`, or `none`: off whatever the rest says |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]PROTOCOL | `http/protobuf`; anything else is an error |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]HEADERS, …COMPRESSION | read by the exporter; `gzip`, or `none`, which is the default |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]TIMEOUT | how long an export may take, in milliseconds; 10000 by default |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]CERTIFICATE | whom to trust, in PEM, where the endpoint is `https://`; by default the system's authorities |
//! | OTEL_EXPORTER_OTLP_\[TRACES_\]CLIENT_CERTIFICATE, …CLIENT_KEY | who we are, in PEM; read at the start |
//! | OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES | who sends them; `tickwire-server` by default |
//! | OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG | read by the SDK; `parentbased_always_on` by default |
//! | OTEL_BSP_SCHEDULE_DELAY, …MAX_QUEUE_SIZE, …MAX_EXPORT_BATCH_SIZE | every 5000 ms, or 512 spans; 2048 wait at most |
//! | OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT | read by the SDK |
//! | HTTP_PROXY, HTTPS_PROXY, NO_PROXY | read by the HTTP client |
//!
//! Nothing here stalls or stops the server. A span that ends goes into a bounded queue, or is counted as lost; a thread takes them from
//! there to the collector. A collector that is away costs a line in the log, at most one a minute.

mod settings;
mod client;
mod export;
mod spans;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use export::{Bounded, Losses, Reporting};
use settings::Settings;
pub use settings::TracesError;
pub use spans::{Arrival, Draining, Publishing};

/// The target of every span here. They are for the exporter alone: the log leaves this target out.
pub const TARGET: &str = "tickwire_trace";

/// The name of the service, where nobody gives it another.
const SERVICE: &str = "tickwire-server";

/// How long the last spans have to reach the collector when the server ends.
const FLUSH: Duration = Duration::from_secs(2);

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
    ///
    /// # Panics
    ///
    /// Within a tokio runtime, as the HTTP client blocks.
    pub fn from_env() -> Result<Option<Self>, TracesError> {
        Settings::read(&|name| std::env::var(name).ok())?.map(Self::start).transpose()
    }

    fn start(settings: Settings) -> Result<Self, TracesError> {
        let losses = Arc::new(Losses::default());
        let exporter = Reporting {
            exporter: SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_http_client(client::client(&settings)?)
                .build()?,
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
        let Settings { collector, tls, .. } = &self.settings;
        tracing::info!(collector, protocol = "http/protobuf", tls = tls.is_some(), "exporting traces");
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

#[cfg(test)]
#[path = "traces/tests.rs"]
mod tests;
