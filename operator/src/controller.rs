//! What is watched, and what a change of it is a reason to look at.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{ApiResource, DeserializeGuard, DynamicObject, PartialObjectMeta};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tickwire_crd::StreamServer;

use crate::fleet::{INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER, NAME, NAME_LABEL};
use crate::kinds::{self, Kinds};
use crate::observe::{refers_to_config_map, refers_to_secret};
use crate::reconcile::{Context, reconcile, try_again};

/// A StreamServer, or that there is one which cannot be read: it must not stop the others.
type Object = DeserializeGuard<StreamServer>;

/// Changes that come together are one reason to look: a rollout changes a Deployment and its pods many times a second.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// StreamServers looked at at once.
const CONCURRENCY: u16 = 16;

/// How long all watches rest after one of them has failed: kube has one pause for all. After a restart of the API server each of them fails, twice as a
/// rule; a pause that grew with each failure, as kube's own does, would leave the operator blind for many minutes.
const WATCH_PAUSE: Duration = Duration::from_millis(250);

/// The same pause each time.
struct WatchPause;

impl Iterator for WatchPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(WATCH_PAUSE)
    }
}

impl Backoff for WatchPause {
    fn reset(&mut self) {}
}

/// Where StreamServers are looked after.
#[derive(Clone)]
pub struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    /// One namespace; or all, where its name is empty.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: (!namespace.is_empty()).then(|| namespace.to_owned()) }
    }

    /// The API for a kind, here.
    #[must_use]
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn api_of(&self, kind: &ApiResource) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        }
    }
}

/// Looks after the StreamServers until told to stop; what has begun by then is brought to its end. Cancelled, it leaves what has begun half done:
/// whoever looks next completes it.
pub async fn run(
    scope: &Scope,
    kinds: Kinds,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let controller = Controller::new(scope.api::<Object>(), watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .trigger_backoff(WatchPause)
        .graceful_shutdown_on(stop);
    let controller = owned::<Deployment>(controller, scope);
    let controller = owned::<Service>(controller, scope);
    let controller = owned::<ServiceAccount>(controller, scope);
    let controller = owned::<HorizontalPodAutoscaler>(controller, scope);
    let controller = owned::<PodDisruptionBudget>(controller, scope);
    let controller = owned::<NetworkPolicy>(controller, scope);
    let controller = referenced::<Secret>(controller, scope, refers_to_secret);
    let controller = referenced::<ConfigMap>(controller, scope, refers_to_config_map);
    let mut controller = controller.watches(
        scope.api::<PartialObjectMeta<Pod>>(),
        watcher::Config::default().labels(&format!("{NAME_LABEL}={NAME},{MANAGED_BY_LABEL}={MANAGER}")),
        |pod| {
            let server = pod.labels().get(INSTANCE_LABEL)?;
            Some(ObjectRef::new(server).within(&pod.namespace()?))
        },
    );
    for (is_known, kind) in [
        (kinds.service_monitor, kinds::service_monitor()),
        (kinds.prometheus_rule, kinds::prometheus_rule()),
        (kinds.certificate, kinds::certificate()),
    ] {
        if is_known {
            controller = controller.owns_with(scope.api_of(&kind), kind, ours());
        }
    }
    let servers = controller.store();
    // Failures have been logged by `try_again`, and what is gone needs nothing.
    let looking = controller.run(reconcile, try_again, Arc::clone(&context)).for_each(|result| async {
        if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
            tracing::warn!(%error, "a watch has ended, and begins anew");
        }
    });
    let counting = async {
        // Before all have been listed, those that are not there yet are not gone.
        let _writer_is_there = servers.wait_until_ready().await;
        let mut interval = tokio::time::interval(CENSUS_INTERVAL);
        loop {
            interval.tick().await;
            context.take_census(&servers.state());
        }
    };
    // Counting never ends by itself, and is nothing that could be left half done.
    tokio::select! {
        () = looking => {}
        () = counting => {}
    }
}

/// How often the StreamServers are counted, and what is remembered of those that are gone is forgotten.
const CENSUS_INTERVAL: Duration = Duration::from_secs(10);

fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"))
}

/// A kind of which all that matter are made by the operator. Only metadata is kept.
fn owned<K>(controller: Controller<Object>, scope: &Scope) -> Controller<Object>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    controller.owns(scope.api::<PartialObjectMeta<K>>(), ours())
}

/// A kind of which some are made by the operator, and others are named by StreamServers. Only metadata is kept: nobody's Secrets stay in memory.
fn referenced<K>(
    controller: Controller<Object>,
    scope: &Scope,
    refers: fn(&StreamServer, &str) -> bool,
) -> Controller<Object>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let servers = controller.store();
    controller.watches(scope.api::<PartialObjectMeta<K>>(), watcher::Config::default(), move |object| {
        let concerned: Vec<_> = servers
            .state()
            .into_iter()
            .filter(|server| server.namespace() == object.namespace() && concerns(server, &object, refers))
            .map(|server| ObjectRef::from_obj(&*server))
            .collect();
        concerned
    })
}

fn concerns<K: Resource<DynamicType = ()>>(
    server: &Object,
    object: &PartialObjectMeta<K>,
    refers: fn(&StreamServer, &str) -> bool,
) -> bool {
    let owners = object.metadata.owner_references.iter().flatten();
    let is_owned = owners.into_iter().any(|owner| Some(&owner.uid) == server.meta().uid.as_ref());
    is_owned || server.0.as_ref().is_ok_and(|server| refers(server, &object.name_any()))
}
