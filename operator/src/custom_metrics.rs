//! custom.metrics.k8s.io: tells an autoscaler how many clients each server has, so that it needs no Prometheus.
//!
//! ```text
//! autoscaler ─► API server ─► listener ─► front_proxy ─► access ─► readings ─► the pods
//!                   ▲          (TLS)       (who asks?)   (may they?)
//!              registration, by the operator that leads
//! ```
//!
//! `api` is that line; `discovery` and `refusal` are what else it answers. Every operator serves, with the certificate of `serving_certificate`. The one
//! that leads keeps that, and registers the API where nobody else has it (`registration`). Whether an autoscaler is served at all, by whomever, is what
//! `scaling` finds for a StreamServer's condition.

pub mod access;
pub mod api;
pub mod brief;
pub mod discovery;
pub mod front_proxy;
pub mod listener;
pub mod readings;
pub mod refusal;
pub mod registration;
pub mod scaling;
pub mod serving_certificate;

#[cfg(test)]
mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connections;
use crate::metrics::Metrics;
use crate::settings::Settings;

use access::Access;
use api::Api;
use front_proxy::FrontProxies;
use readings::Readings;
use serving_certificate::Shown;

/// The API's group.
pub const GROUP: &str = "custom.metrics.k8s.io";
/// The version that is served.
pub const VERSION: &str = "v1beta2";
/// The metric that is served, of pods.
pub const METRIC: &str = "active_connections";

/// Where the API is reached, and to whom it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The operator's own namespace.
    pub namespace: String,
    /// The Service that leads to the operators; the Secret with their certificate is called the same.
    pub service: String,
    /// The ClusterRole with which the registration and the certificate are to go; none where the name is empty.
    pub owner: String,
}

impl Place {
    /// As the settings have it.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            namespace: settings.lease_namespace.clone(),
            service: settings.custom_metrics_service.clone(),
            owner: settings.custom_metrics_owner.clone(),
        }
    }

    /// The name by which the API server knows who answers.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// The address is taken, or not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "CUSTOM_METRICS_ADDR (--custom-metrics-addr) is {address}: cannot listen there; free it, choose another, or leave it empty"
)]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Listens, and has yet to learn how to answer. Connections wait meanwhile.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
}

impl Bound {
    /// Takes the address; none where the setting is empty.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub async fn new(settings: &Settings) -> Result<Option<Self>, ListenError> {
        let Some(address) = settings.custom_metrics_addr.0 else { return Ok(None) };
        let listener = TcpListener::bind(address).await.map_err(|source| ListenError { address, source })?;
        Ok(Some(Self { listener }))
    }

    /// Serves, in a task that ends soon after `end` is cancelled.
    ///
    /// # Errors
    ///
    /// Where no HTTP client for the servers can be made.
    pub fn serve(
        self,
        client: &Client,
        settings: &Settings,
        metrics: Metrics,
        end: CancellationToken,
    ) -> reqwest::Result<JoinHandle<()>> {
        let place = Place::of(settings);
        let http = connections::client()?;
        let ask = Arc::new(move |address: String| {
            let http = http.clone();
            async move { connections::ask(&http, &address).await.and_then(|count| i64::try_from(count).ok()) }
                .boxed()
        });
        let front_proxies = Arc::new(FrontProxies::default());
        let shown = Arc::new(Shown::default());
        let api = Api {
            front_proxies: Arc::clone(&front_proxies),
            access: Arc::new(Access::new(client.clone())),
            readings: Arc::new(Readings::new(client.clone(), &settings.watch_namespace, ask)),
            metrics,
        };
        let client = client.clone();
        Ok(tokio::spawn(async move {
            let following = async {
                tokio::join!(front_proxies.follow(&client), shown.follow(&client, &place));
            };
            let serving = listener::serve(self.listener, &shown, &front_proxies, api.router(), end.clone());
            tokio::select! {
                // Only reads: nothing is lost with it. It never ends by itself.
                () = following => {}
                () = serving => {}
            }
        }))
    }
}

/// Waits after a failure: twice as long each time.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

/// The first wait after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Pause {
    /// How long to wait now.
    fn after_failure(&mut self) -> Duration {
        let wait = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

/// What went wrong, with its sources, in one line; of the API server's answers the message alone.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    let mut said: Vec<String> = Vec::new();
    for error in errors {
        if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
            said.push(status.message.clone());
            break;
        }
        said.push(error.to_string());
    }
    said.join(": ")
}
