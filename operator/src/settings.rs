//! What the operator is told, by environment variables and flags of the same names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Keeps a fleet of stream servers running for each StreamServer of the cluster, or of one namespace.
///
/// Every flag is also an environment variable; a flag wins. Durations are written like 15s. SIGTERM and SIGINT end it with status 0, and give
/// the leadership up; a second one ends it at once. A setting that cannot be right ends the start with status 64.
#[derive(Clone, Debug, Parser)]
#[command(name = "tickwire-operator", version, max_term_width = 110, args_override_self = true)]
pub struct Settings {
    /// The namespace whose StreamServers are looked after. Default: all.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub watch_namespace: String,
    /// The image of servers whose StreamServer names none: repository and tag.
    #[arg(long, env, value_name = "IMAGE", default_value = concat!("tickwire/server:", env!("CARGO_PKG_VERSION")), value_parser = image)]
    pub server_image: ServerImage,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:21592")]
    pub admin_addr: SocketAddr,
    /// The Lease by which operators agree on which of them works.
    #[arg(long, env, value_name = "NAME", default_value = "tickwire-operator")]
    pub lease_name: String,
    /// The Lease's namespace: the operator's own.
    #[arg(long, env, value_name = "NAME", default_value = "default")]
    pub lease_namespace: String,
    /// How long the Lease is good; another takes over when it has not been renewed for so long. At least 3s.
    #[arg(long, env, value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,
    /// Who this one is, in the Lease. Default: the host's name.
    #[arg(long, env, value_name = "NAME")]
    pub pod_name: Option<String>,
    /// The labels of the operator's own pods, as key=value,key=value: where a StreamServer has a NetworkPolicy, it lets them in to the metrics.
    #[arg(long, env, value_name = "LABELS", default_value = "app.kubernetes.io/name=tickwire-operator", value_parser = labels)]
    pub operator_pod_labels: Labels,
    /// How often the servers are asked for their connections.
    #[arg(long, env, value_name = "DURATION", default_value = "15s", value_parser = poll_interval)]
    pub poll_interval: Duration,
    /// Where custom.metrics.k8s.io is served by TLS, for autoscalers. Empty: nowhere.
    #[arg(long, env, value_name = "ADDR", default_value = "0.0.0.0:21593", value_parser = custom_metrics_addr)]
    pub custom_metrics_addr: CustomMetricsAddr,
    /// The Service that leads there, in the Lease's namespace; the Secret with the certificate has its name.
    #[arg(long, env, value_name = "NAME", default_value = "tickwire-operator-api")]
    pub custom_metrics_service: String,
    /// The ClusterRole with which the registration of custom.metrics.k8s.io, and that Secret, are deleted. Empty: none.
    #[arg(long, env, value_name = "NAME", default_value = "")]
    pub custom_metrics_owner: String,
    /// What is logged: error, warn, info, debug or trace, or directives such as info,kube=debug.
    #[arg(long, env, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
    /// How it is logged; auto: text on a terminal, else json.
    #[arg(long, env, value_enum, value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
    /// What else it can do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the operator's program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Ask an address by HTTP, and end with status 0 where it answers 200: for tests in images without a shell.
    Check {
        /// What is asked, such as http://tickwire-operator-metrics:21592/readyz.
        #[arg(long, value_name = "URL")]
        url: String,
        /// For how long it is asked again.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
        within: Duration,
    },
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// The image of servers whose StreamServer names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerImage {
    /// What stands before the tag.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

/// Where custom.metrics.k8s.io is served; none: nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomMetricsAddr(pub Option<SocketAddr>);

/// Labels, by key.
pub type Labels = BTreeMap<String, String>;

fn image(text: &str) -> Result<ServerImage, String> {
    // A colon before the last slash is that of a registry's port.
    match text.rsplit_once(':') {
        Some((repository, tag)) if !tag.is_empty() && !tag.contains('/') && !repository.is_empty() => {
            Ok(ServerImage { repository: repository.to_owned(), tag: tag.to_owned() })
        }
        _ => Err("not a repository and a tag; write it like tickwire/server:0.1.0".to_owned()),
    }
}

fn labels(text: &str) -> Result<Labels, String> {
    text.split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("{pair:?} is not a label; write it like key=value")),
        })
        .collect()
}

fn custom_metrics_addr(text: &str) -> Result<CustomMetricsAddr, String> {
    if text.is_empty() {
        return Ok(CustomMetricsAddr(None));
    }
    let address = text.parse().map_err(|_| {
        "not an address; write it like 0.0.0.0:21593, or leave it empty to serve no metrics to autoscalers"
    })?;
    Ok(CustomMetricsAddr(Some(address)))
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    at_least(text, Duration::from_secs(3))
}

fn poll_interval(text: &str) -> Result<Duration, String> {
    at_least(text, Duration::from_secs(1))
}

fn at_least(text: &str, least: Duration) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|_| "not a duration; write it like 15s".to_owned())?;
    if duration < least {
        return Err(format!("must be at least {}", humantime::format_duration(least)));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Settings, String> {
        let flags = std::iter::once(&"tickwire-operator").chain(flags);
        Settings::try_parse_from(flags).map_err(|error| error.to_string())
    }

    #[test]
    fn a_port_in_a_repository_is_not_a_tag() {
        let settings = parse(&["--server-image", "registry.example:5000/tickwire/server:1.2.3"]).unwrap();
        assert_eq!(settings.server_image.repository, "registry.example:5000/tickwire/server");
        assert_eq!(settings.server_image.tag, "1.2.3");
        let error = parse(&["--server-image", "registry.example:5000/tickwire/server"]).unwrap_err();
        assert!(error.contains("tickwire/server:0.1.0"), "{error}");
    }

    #[test]
    fn metrics_for_autoscalers_are_served_unless_the_address_is_empty() {
        let served = parse(&[]).unwrap().custom_metrics_addr;
        assert_eq!(served.0.unwrap().port(), 21593);
        assert_eq!(parse(&["--custom-metrics-addr="]).unwrap().custom_metrics_addr, CustomMetricsAddr(None));
    }

    #[test]
    fn what_cannot_be_right_is_said_with_what_would_be() {
        for (flags, expected) in [
            (["--lease-duration", "1s"], "must be at least 3s"),
            (["--poll-interval", "soon"], "write it like 15s"),
            (["--operator-pod-labels", "name"], "write it like key=value"),
            (["--custom-metrics-addr", "21593"], "write it like 0.0.0.0:21593"),
        ] {
            let error = parse(&flags).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
