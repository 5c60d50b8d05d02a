//! The fifth step: makes the API server have what was built, by server-side apply under one field manager, and removes what is no longer
//! wanted. What a person adds beside stays.

use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::{Applied, Prepared, Resources};
use crate::fleet::{Fleet, MANAGER};
use crate::kinds::{self, Kinds};

/// The API server does not have what it should.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is one of this name that is somebody else's.
    #[error(
        "{kind} {name} exists and does not belong to this StreamServer; delete it, or give the StreamServer another name"
    )]
    Taken {
        /// Of which kind.
        kind: String,
        /// What it is called.
        name: String,
    },
    /// The API server refused it, or did not answer.
    #[error("cannot {verb} {kind} {name}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// With an object of which kind.
        kind: String,
        /// What it is called.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
}

impl ApplyError {
    /// One word for a condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "NameTaken",
            Self::Api { source, .. } => match source {
                kube::Error::Api(status)
                    if status.is_forbidden() && status.message.contains("exceeded quota") =>
                {
                    "QuotaExceeded"
                }
                kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
                kube::Error::Api(status) if status.is_invalid() => "Refused",
                _ => "ApplyFailed",
            },
        }
    }
}

/// Applies everything, in the order in which one needs the other. Not cancel-safe in the sense that a part may have been applied; applying again
/// completes it.
///
/// # Errors
///
/// The first that the API server refuses. What comes after it is left as it was.
pub async fn apply(
    client: &Client,
    fleet: &Fleet,
    kinds: Kinds,
    resources: Resources<Prepared>,
) -> Result<Resources<Applied>, ApplyError> {
    // Without `..`: what is built is applied, or this does not compile.
    let Resources {
        service_account,
        operator_secret,
        credentials_secret,
        tls_secret,
        ca_config_map,
        certificate,
        service,
        metrics_service,
        network_policy,
        disruption_budget,
        deployment,
        autoscaler,
        service_monitor,
        prometheus_rule,
        state: _,
    } = resources;
    let applier = Applier { client, fleet };
    let name = || fleet.name.clone();
    Ok(Resources {
        service_account: applier.apply(service_account).await?,
        operator_secret: applier.apply(operator_secret).await?,
        credentials_secret: applier.apply_or_remove(credentials_secret, fleet.credentials_secret()).await?,
        // cert-manager's Secret of this name is not ours, and stays where it is.
        tls_secret: applier.apply_or_remove(tls_secret, fleet.tls_secret()).await?,
        ca_config_map: applier.apply_or_remove(ca_config_map, fleet.ca_config_map()).await?,
        certificate: applier.optional(kinds.certificate, kinds::certificate(), certificate).await?,
        service: applier.apply(service).await?,
        metrics_service: applier.apply(metrics_service).await?,
        network_policy: applier.apply_or_remove(network_policy, name()).await?,
        disruption_budget: applier.apply_or_remove(disruption_budget, name()).await?,
        deployment: applier.apply(deployment).await?,
        autoscaler: applier.apply_or_remove(autoscaler, name()).await?,
        service_monitor: applier
            .optional(kinds.service_monitor, kinds::service_monitor(), service_monitor)
            .await?,
        prometheus_rule: applier
            .optional(kinds.prometheus_rule, kinds::prometheus_rule(), prometheus_rule)
            .await?,
        state: PhantomData,
    })
}

struct Applier<'a> {
    client: &'a Client,
    fleet: &'a Fleet,
}

/// What an object must be, to be applied.
trait Child: Resource + Clone + Debug + DeserializeOwned + Serialize {}
impl<T: Resource + Clone + Debug + DeserializeOwned + Serialize> Child for T {}

impl Applier<'_> {
    async fn apply<K>(&self, object: K) -> Result<K, ApplyError>
    where
        K: Child<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.apply_by(&Api::namespaced(self.client.clone(), &self.fleet.namespace), &(), object).await
    }

    async fn apply_or_remove<K>(&self, object: Option<K>, name: String) -> Result<Option<K>, ApplyError>
    where
        K: Child<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api = Api::namespaced(self.client.clone(), &self.fleet.namespace);
        match object {
            Some(object) => self.apply_by(&api, &(), object).await.map(Some),
            None => self.remove(&api, &(), &name).await.map(|()| None),
        }
    }

    /// An object of a kind that the cluster may not have.
    async fn optional(
        &self,
        is_known: bool,
        resource: ApiResource,
        object: Option<DynamicObject>,
    ) -> Result<Option<DynamicObject>, ApplyError> {
        if !is_known {
            return Ok(None);
        }
        let api = Api::namespaced_with(self.client.clone(), &self.fleet.namespace, &resource);
        match object {
            Some(object) => self.apply_by(&api, &resource, object).await.map(Some),
            None => self.remove(&api, &resource, &self.fleet.name).await.map(|()| None),
        }
    }

    async fn apply_by<K: Child>(
        &self,
        api: &Api<K>,
        kind: &K::DynamicType,
        object: K,
    ) -> Result<K, ApplyError> {
        let name = object.meta().name.clone().unwrap_or_default();
        let error = |verb| error_of::<K>(verb, kind, &name);
        let present = api.get_metadata_opt(&name).await.map_err(error("read"))?;
        if present.is_some_and(|present| !self.is_ours(&present.metadata)) {
            return Err(ApplyError::Taken { kind: K::kind(kind).into_owned(), name });
        }
        let params = PatchParams::apply(MANAGER).force();
        match api.patch(&name, &params, &Patch::Apply(&object)).await {
            // Somebody has changed the key of a list's entry, such as a port's number: merged by its keys, the list has both, which cannot be. So
            // the lists are replaced as a whole, once.
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                let whole = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
                let replaced = api.patch(&name, &whole, &Patch::Merge(&object)).await;
                // Where that is refused too, it is what was built that cannot be.
                replaced.map_err(|_| error("apply")(kube::Error::Api(status)))?;
                api.patch(&name, &params, &Patch::Apply(&object)).await
            }
            result => result,
        }
        .map_err(error("apply"))
    }

    /// Removes what is no longer wanted, if it is there, and ours.
    async fn remove<K: Child>(
        &self,
        api: &Api<K>,
        kind: &K::DynamicType,
        name: &str,
    ) -> Result<(), ApplyError> {
        let error = |verb| error_of::<K>(verb, kind, name);
        let Some(present) = api.get_metadata_opt(name).await.map_err(error("read"))? else { return Ok(()) };
        if !self.is_ours(&present.metadata) || present.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        // Exactly the one that was looked at.
        let preconditions = Preconditions { uid: present.metadata.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match api.delete(name, &params).await {
            Ok(_) => {
                tracing::info!(kind = %K::kind(kind), name, "removed, as it is no longer asked for");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(error("remove")(source)),
        }
    }

    fn is_ours(&self, metadata: &ObjectMeta) -> bool {
        let owners = metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == self.fleet.uid)
    }
}

fn error_of<'a, K: Child>(
    verb: &'static str,
    kind: &'a K::DynamicType,
    name: &'a str,
) -> impl FnOnce(kube::Error) -> ApplyError + 'a {
    move |source| ApplyError::Api { verb, kind: K::kind(kind).into_owned(), name: name.to_owned(), source }
}
