//! Spans on their way to the collector, and what becomes of those that do not get there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};
use tracing::field::display;

/// How long nothing more is said about lost spans, once something has been.
const SILENCE: Duration = Duration::from_secs(60);

/// What becomes of spans on their way to the collector. The SDK counts too, but tells only where it is built to log, and the more the worse
/// things are.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Spans in the queue.
    pub(super) waiting: AtomicUsize,
    /// Spans that the collector did not take, since that was last told.
    pub(super) failed: AtomicU64,
    /// Spans that found the queue full, since that was last told.
    pub(super) dropped: AtomicU64,
}

impl Losses {
    /// How many could not be sent, and how many found the queue full; they count as told.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.failed.swap(0, Ordering::Relaxed), self.dropped.swap(0, Ordering::Relaxed))
    }
}

/// Lets only so many spans into the processor's queue as it has room for, so that those it has none for can be counted.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) processor: BatchSpanProcessor,
    pub(super) queue: usize,
    pub(super) losses: Arc<Losses>,
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
pub(super) struct Reporting {
    pub(super) exporter: SpanExporter,
    pub(super) collector: String,
    pub(super) losses: Arc<Losses>,
    /// When something was last said.
    pub(super) said: Mutex<Option<Instant>>,
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
