//! The operator as a whole: the admin port, the leadership, and the controller while it leads.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::build::Surroundings;
use crate::connections::Connections;
use crate::controller::{self, Scope};
use crate::custom_metrics::registration::Registrar;
use crate::custom_metrics::scaling::{Served, Standing};
use crate::custom_metrics::{Bound, ListenError, Place};
use crate::kinds::Kinds;
use crate::lease::{self, Held, LeaseConfig, LeaseConfigError};
use crate::metrics::Metrics;
use crate::reconcile::Context;
use crate::settings::Settings;

/// How often the API server is asked which kinds of others it has. A watch of one that has gone holds the others up.
const KINDS_INTERVAL: Duration = Duration::from_secs(10);

/// How long reconciliations that have begun may take to end, when the operator is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection to the API server may take to be there. How long its answers may take is bounded where they are waited for.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two attempts to reach the API server at the start.
const API_PAUSE: Duration = Duration::from_secs(1);

/// What is said where metrics are not served to autoscalers.
const NOT_SERVED: &str =
    "this operator does not, as its CUSTOM_METRICS_ADDR is empty (the chart's customMetrics.enabled)";

/// The operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A metric stands in the way of another.
    #[error("cannot set metrics up")]
    Metrics(#[from] prometheus::Error),
    /// The address is taken, or not there.
    #[error("ADMIN_ADDR (--admin-addr) is {address}: cannot listen there")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The address of the metrics for autoscalers is taken, or not there.
    #[error(transparent)]
    ListenCustomMetrics(#[from] ListenError),
    /// Neither in a pod, nor with a kubeconfig.
    #[error("no cluster is known: run it in a pod, or set KUBECONFIG")]
    Cluster(#[source] kube::config::InferConfigError),
    /// The cluster's settings cannot be used.
    #[error("cannot make a client of the API server")]
    Client(#[from] kube::Error),
    /// No HTTP client could be made.
    #[error("cannot make a client for the servers' metrics")]
    Http(#[from] reqwest::Error),
    /// The settings of the Lease cannot be used.
    #[error("cannot take part in the election of a leader")]
    Lease(#[from] LeaseConfigError),
    /// Another leads now, or may: this one must not change anything any more.
    #[error("the leadership is lost: the Lease could not be renewed in time, or another has taken it")]
    LeadershipLost,
}

/// Runs until told to stop.
///
/// # Errors
///
/// Where it cannot start, and where it loses the leadership: then the process must end, and may be started again.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let metrics = Metrics::new()?;
    let admin = Admin::new(metrics.clone());
    let address = settings.admin_addr;
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    let bound = Bound::new(&settings).await?;
    let end = CancellationToken::new();
    let serving = tokio::spawn(admin.clone().serve(listener, end.clone()));

    let result = work(&settings, &stop, &admin, &metrics, bound).await;

    admin.set_ready(false);
    end.cancel();
    if let Ok(Err(error)) = serving.await {
        tracing::warn!(%error, "the admin port has failed");
    }
    result
}

async fn work(
    settings: &Settings,
    stop: &CancellationToken,
    admin: &Admin,
    metrics: &Metrics,
    bound: Option<Bound>,
) -> Result<(), RunError> {
    let mut config = Config::infer().await.map_err(RunError::Cluster)?;
    config.connect_timeout = Some(API_TIMEOUT);
    let client = Client::try_from(config)?;
    if !reach(&client, stop).await {
        return Ok(());
    }
    let end = CancellationToken::new();
    let serving =
        bound.map(|bound| bound.serve(&client, settings, metrics.clone(), end.clone())).transpose()?;
    admin.set_ready(true);

    let result = take_turns(settings, client, stop, metrics, serving.is_some()).await;

    admin.set_ready(false);
    end.cancel();
    if let Some(serving) = serving
        && let Err(error) = serving.await
    {
        tracing::warn!(%error, "what serves metrics to autoscalers has failed");
    }
    result
}

/// In the proportions of the defaults: 15, 10 and 2 seconds; but who waits looks at a Lease at least as often as by default, so that one that is
/// given up is taken at once, however long it would have been good.
fn lease_config(settings: &Settings, identity: &str) -> LeaseConfig {
    LeaseConfig {
        duration: settings.lease_duration,
        renew_deadline: settings.lease_duration * 10 / 15,
        retry: (settings.lease_duration * 2 / 15).min(lease::RETRY),
        ..LeaseConfig::new(&settings.lease_namespace, &settings.lease_name, identity)
    }
}

/// Waits for the leadership, and leads.
async fn take_turns(
    settings: &Settings,
    client: Client,
    stop: &CancellationToken,
    metrics: &Metrics,
    serves_metrics: bool,
) -> Result<(), RunError> {
    let identity = settings.pod_name.clone().unwrap_or_else(host_name);
    let lease = lease_config(settings, &identity);
    tracing::info!(identity, lease = settings.lease_name, "waits for the leadership");
    let Some(held) = lease::acquire(client.clone(), lease, stop).await? else { return Ok(()) };
    metrics.leader.set(1);
    let (registrar, standing) = if serves_metrics {
        let place = Place::of(settings);
        let (registrar, standing) = Registrar::new(client.clone(), place, identity.clone(), metrics.clone());
        (Some(registrar), standing)
    } else {
        (None, watch::channel(Standing::Off(NOT_SERVED.to_owned())).1)
    };
    let served = Arc::new(Served::new(client.clone(), standing));
    let registering = async {
        match &registrar {
            Some(registrar) => registrar.run().await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = lead(settings, client, identity, &held, stop, metrics, served) => result,
        // Never ends. It may be cancelled between any two steps.
        never = registering => match never {},
    };
    metrics.leader.set(0);
    if result.is_ok() {
        if let Some(registrar) = &registrar {
            registrar.leave().await;
        }
        match held.release().await {
            Ok(_) => tracing::info!("has given the leadership up"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the next leader has to wait");
            }
        }
    }
    result
}

/// Waits until the API server answers. Says whether it did before the operator was told to stop.
async fn reach(client: &Client, stop: &CancellationToken) -> bool {
    loop {
        match client.apiserver_version().await {
            Ok(version) => {
                tracing::info!(version = version.git_version, "the API server answers");
                return true;
            }
            Err(error) => tracing::warn!(%error, "the API server does not answer yet"),
        }
        // Nothing is lost when the pause is cut short.
        tokio::select! {
            () = tokio::time::sleep(API_PAUSE) => {}
            () = stop.cancelled() => return false,
        }
    }
}

/// Looks after the StreamServers while it leads. When the cluster learns kinds of others, or forgets them, what is watched is set up anew.
async fn lead(
    settings: &Settings,
    client: Client,
    identity: String,
    held: &Held,
    stop: &CancellationToken,
    metrics: &Metrics,
    served: Arc<Served>,
) -> Result<(), RunError> {
    let scope = Scope::new(client.clone(), &settings.watch_namespace);
    let connections = Arc::new(Connections::new(settings.poll_interval)?);
    let around = Surroundings {
        server_image: settings.server_image.clone(),
        operator_namespace: settings.lease_namespace.clone(),
        operator_labels: settings.operator_pod_labels.clone(),
    };
    let mut kinds = known_kinds(&client, Kinds::default()).await;
    loop {
        tracing::info!(?kinds, namespace = settings.watch_namespace, "looks after StreamServers");
        let context = Context::new(
            client.clone(),
            kinds,
            around.clone(),
            identity.clone(),
            Arc::clone(&connections),
            settings.poll_interval,
            metrics.clone(),
        );
        let context = Arc::new(context.with_served(Arc::clone(&served)));
        let pause = CancellationToken::new();
        let mut looking =
            std::pin::pin!(controller::run(&scope, kinds, context, pause.clone().cancelled_owned()));
        let has_ended = tokio::select! {
            () = &mut looking => true,
            // Cancelled with the loop: whoever leads next completes what is half done.
            () = held.lost() => return Err(RunError::LeadershipLost),
            () = stop.cancelled() => false,
            // Asks only: nothing is lost with it.
            changed = other_kinds(&client, kinds) => {
                kinds = changed;
                false
            }
        };
        pause.cancel();
        tokio::select! {
            ended = tokio::time::timeout(STOP_TIMEOUT, looking), if !has_ended => {
                if ended.is_err() {
                    tracing::warn!("what has begun has not ended in time; it is completed the next time");
                }
            }
            () = held.lost() => return Err(RunError::LeadershipLost),
            else => {}
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Waits until the cluster has other kinds.
async fn other_kinds(client: &Client, kinds: Kinds) -> Kinds {
    loop {
        tokio::time::sleep(KINDS_INTERVAL).await;
        let now = known_kinds(client, kinds).await;
        if now != kinds {
            return now;
        }
    }
}

/// Which kinds of others the cluster has; as before, where it does not answer.
async fn known_kinds(client: &Client, before: Kinds) -> Kinds {
    Kinds::discover(client).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot ask which kinds the cluster has");
        before
    })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn whatever_a_lease_lasts_its_times_fit_and_one_that_is_given_up_is_soon_taken() {
        for duration in ["3s", "15s", "10m"] {
            let settings =
                Settings::try_parse_from(["tickwire-operator", "--lease-duration", duration]).unwrap();
            let config = lease_config(&settings, "one");
            assert_eq!(config.check(), Ok(()), "{duration}");
            assert!(config.retry <= Duration::from_secs(2), "{duration}: {config:?}");
        }
    }
}
