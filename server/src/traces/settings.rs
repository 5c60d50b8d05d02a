//! The variables that say whether there are traces, and where they go.

use std::time::Duration;

use axum::http::Uri;
use opentelemetry_otlp::ExporterBuildError;

use crate::tls::{FileSetting, PemError};

/// How many spans wait for their export where OTEL_BSP_MAX_QUEUE_SIZE says nothing: the standard's default. At some 500 bytes each, 1 MiB.
pub(super) const QUEUE: usize = 2048;

/// How long an export may take where OTEL_EXPORTER_OTLP_TIMEOUT says nothing, in milliseconds: the standard's default.
const TIMEOUT: usize = 10_000;

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
    /// A certificate or a key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Nobody would be trusted.
    #[error(
        "this system has no certificates of authorities; name the collector's in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoSystemRoots,
    /// TLS cannot be set up: there are no random numbers.
    #[error("TLS to the collector cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client.
    #[error("cannot set the export of traces up")]
    Client(#[from] reqwest::Error),
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
    /// How long an export may take.
    pub(super) timeout: Duration,
    /// What TLS is made of, for an https:// endpoint.
    pub(super) tls: Option<TlsFiles>,
}

/// Whom to trust, and who we are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// The collector's authority; `None`: those of the system.
    pub(super) ca: Option<FileSetting>,
    /// A certificate, and its key.
    pub(super) client: Option<(FileSetting, FileSetting)>,
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
        let (collector, encrypted) =
            collector(&endpoint).map_err(|problem| invalid(endpoint_variable, problem))?;
        let file = |of_traces, of_all| {
            let (variable, file) = either(of_traces, of_all)?;
            Some(FileSetting { variable, file: file.into() })
        };
        let ca = file("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE");
        let certificate =
            file("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
        let key = file("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY");
        let client = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(FileSetting { variable, .. }), None) => {
                return Err(invalid(variable, "its key is missing: set OTEL_EXPORTER_OTLP_CLIENT_KEY too"));
            }
            (None, Some(FileSetting { variable, .. })) => {
                let problem = "its certificate is missing: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE too";
                return Err(invalid(variable, problem));
            }
        };
        let tls = encrypted.then_some(TlsFiles { ca, client });

        one_of(set("OTEL_TRACES_SAMPLER"), &SAMPLERS)?;
        if let Some((name, ratio)) = set("OTEL_TRACES_SAMPLER_ARG").filter(|_| {
            is("OTEL_TRACES_SAMPLER", "traceidratio") || is("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        }) && !ratio.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio))
        {
            return Err(invalid(name, format!("{ratio:?} is not a number from 0 to 1")));
        }
        for name in ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] {
            number(set(name))?;
        }
        let timeout = number(either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"))?
            .unwrap_or(TIMEOUT);
        let timeout = Duration::from_millis(timeout as u64);
        let queue = number(set("OTEL_BSP_MAX_QUEUE_SIZE"))?.unwrap_or(QUEUE);
        one_of(
            either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"),
            &["gzip", "none"],
        )?;
        Ok(Some(Self { collector, queue, timeout, tls }))
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

/// An endpoint's host and port, and whether it is spoken to by TLS.
fn collector(endpoint: &str) -> Result<(String, bool), &'static str> {
    let uri: Uri = endpoint.parse().unwrap_or_default();
    let (host, encrypted, default_port) = match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) => (host, false, 80),
        (Some("https"), Some(host)) => (host, true, 443),
        _ => return Err("it is no URL that begins with http:// or https://, such as http://localhost:4318"),
    };
    Ok((format!("{host}:{}", uri.port_u16().unwrap_or(default_port)), encrypted))
}
