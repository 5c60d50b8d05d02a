//! The variables that say whether there are traces, and where they go.

use axum::http::Uri;
use opentelemetry_otlp::ExporterBuildError;

/// How many spans wait for their export where OTEL_BSP_MAX_QUEUE_SIZE says nothing: the standard's default. At some 500 bytes each, 1 MiB.
pub(super) const QUEUE: usize = 2048;

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

/// What the environment asks for, as far as the SDK does not read it by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The collector's host and port, for the log. What else an endpoint has may be a secret.
    pub(super) collector: String,
    /// How many spans may wait for their export.
    pub(super) queue: usize,
    /// A compression that is asked for, and not there.
    pub(super) compression: Option<String>,
}

impl Settings {
    /// Reads the variables; `None`: traces are off. What the SDK reads is looked at too: it passes over what it does not understand without a
    /// word, and has twice the spans, or none, then.
    pub(super) fn read(
        variable: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, TracesError> {
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
