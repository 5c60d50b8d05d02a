//! The sixth step: makes the API server have what was built, by server-side apply under one field manager, and removes what is no longer
//! wanted. What a person adds beside stays.

use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::build::{Applied, Prepared, Resources};
use crate::course::Course;
use crate::fleet::{Fleet, MANAGER};
use crate::kinds::{self, Kinds};
use crate::scale_down::{CHOSEN_AT, DELETION_COST, LOWEST_COST};
use crate::status::Rollout;
use crate::validate::Validated;

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
    /// In one line, with what the API server said.
    fn full(&self) -> String {
        match self {
            Self::Taken { .. } => self.to_string(),
            // kube's own words repeat the answer in a form for programmers.
            Self::Api { source: kube::Error::Api(status), .. } => format!("{self}: {}", status.message),
            Self::Api { source, .. } => format!("{self}: {source}"),
        }
    }

    /// Whether it may well go the next time: somebody was faster, or the API server is busy or away.
    fn is_transient(&self) -> bool {
        match self {
            Self::Taken { .. } => false,
            Self::Api { source: kube::Error::Api(status), .. } => matches!(status.code, 409 | 429 | 500..),
            Self::Api { .. } => true,
        }
    }

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

/// What the API server has not taken. The rest was applied.
#[derive(Debug, thiserror::Error)]
#[error("{}", messages(.0))]
pub struct ApplyErrors(pub Vec<ApplyError>);

fn messages(errors: &[ApplyError]) -> String {
    errors.iter().map(ApplyError::full).collect::<Vec<_>>().join("; ")
}

impl ApplyErrors {
    /// One word for a condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.0.first().map_or("ApplyFailed", ApplyError::reason)
    }

    /// Whether all of it may well go the next time: nobody has to do anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.iter().all(ApplyError::is_transient)
    }
}

/// Applies everything, in the order in which one needs the other; what is refused does not keep the rest from being applied. Removes what is no longer
/// asked for, but what pods may need, only once no pod does. Cancelled, a part has been applied; applying again completes it.
///
/// # Errors
///
/// Everything that the API server refuses.
pub async fn apply(
    client: &Client,
    kinds: Kinds,
    validated: &Validated,
    course: &Course,
    resources: Resources<Prepared>,
) -> Result<Resources<Applied>, ApplyErrors> {
    // Without `..`: what is built is applied, or this does not compile.
    let Resources {
        service_account,
        operator_secret,
        credentials_secret,
        tls_secret,
        ca_config_map,
        certificate,
        certificate_secret,
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
    let fleet = &validated.fleet;
    let mut applier = Applier { client, fleet, errors: Vec::new() };
    let name = || fleet.name.clone();
    // What signs is written down before it is published, and that before it signs. First of all, so that no other error keeps a certificate from being
    // renewed.
    let operator_secret = applier.apply(operator_secret).await;
    let ca_config_map =
        if applier.errors.is_empty() { applier.apply_if_any(ca_config_map).await } else { ca_config_map };
    let tls_secret =
        if applier.errors.is_empty() { applier.apply_if_any(tls_secret).await } else { tls_secret };
    let service_account = applier.apply(service_account).await;
    let credentials_secret = applier.apply_if_any(credentials_secret).await;
    let service = applier.apply(service).await;
    let metrics_service = applier.apply(metrics_service).await;
    for pod in &course.choose {
        let cost = json!({ DELETION_COST: LOWEST_COST, CHOSEN_AT: course.decided_at.to_string() });
        applier.annotate(pod, cost).await;
    }
    for pod in &course.clear {
        applier.annotate(pod, json!({ DELETION_COST: null, CHOSEN_AT: null })).await;
    }
    let deployment = match deployment {
        Some(deployment) => Some(applier.apply(deployment).await),
        None => applier.scale(course.replicas).await,
    };
    let autoscaler = applier.apply_or_remove(autoscaler, name()).await;
    let network_policy = applier.apply_or_remove(network_policy, name()).await;
    let disruption_budget = applier.apply_or_remove(disruption_budget, name()).await;
    let certificate_secret = applier.adopt(certificate_secret).await;
    let service_monitor =
        applier.optional(kinds.service_monitor, kinds::service_monitor(), service_monitor).await;
    let prometheus_rule =
        applier.optional(kinds.prometheus_rule, kinds::prometheus_rule(), prometheus_rule).await;
    let certificate_is_needed = certificate.is_some();
    let certificate = applier.optional_if_any(kinds.certificate, kinds::certificate(), certificate).await;

    // What pods of before have mounted stays until there are none: they may have to start again.
    let is_complete = Rollout::of(deployment.as_ref(), validated.spec.replicas).is_complete();
    if applier.errors.is_empty() && validated.problems.is_empty() && is_complete {
        if credentials_secret.is_none() {
            applier.remove_named::<Secret>(fleet.credentials_secret()).await;
        }
        if tls_secret.is_none() {
            applier.remove_named::<Secret>(fleet.tls_secret()).await;
            applier.remove_named::<ConfigMap>(fleet.ca_config_map()).await;
        }
        if !certificate_is_needed {
            applier.optional(kinds.certificate, kinds::certificate(), None).await;
            applier.remove_named::<Secret>(fleet.certificate_secret()).await;
        }
    }
    if !applier.errors.is_empty() {
        return Err(ApplyErrors(applier.errors));
    }
    Ok(Resources {
        service_account,
        operator_secret,
        credentials_secret,
        tls_secret,
        ca_config_map,
        certificate,
        certificate_secret,
        service,
        metrics_service,
        network_policy,
        disruption_budget,
        deployment,
        autoscaler,
        service_monitor,
        prometheus_rule,
        state: PhantomData,
    })
}

/// Applies, and keeps what was refused. Where something was, what was built is answered in its place; nobody gets to see it, as errors are all that is told then.
struct Applier<'a> {
    client: &'a Client,
    fleet: &'a Fleet,
    errors: Vec<ApplyError>,
}

/// What an object must be, to be applied.
trait Child: Resource + Clone + Debug + DeserializeOwned + Serialize {}
impl<T: Resource + Clone + Debug + DeserializeOwned + Serialize> Child for T {}

impl Applier<'_> {
    async fn apply<K>(&mut self, object: K) -> K
    where
        K: Child<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let applied = self.apply_by(&self.api(), &(), &object).await;
        self.kept(applied).unwrap_or(object)
    }

    async fn apply_if_any<K>(&mut self, object: Option<K>) -> Option<K>
    where
        K: Child<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match object {
            Some(object) => Some(self.apply(object).await),
            None => None,
        }
    }

    async fn apply_or_remove<K>(&mut self, object: Option<K>, name: String) -> Option<K>
    where
        K: Child<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if object.is_none() {
            self.remove_named::<K>(name).await;
        }
        self.apply_if_any(object).await
    }

    async fn remove_named<K>(&mut self, name: String)
    where
        K: Child<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let removed = self.remove(&self.api::<K>(), &(), &name).await;
        self.kept(removed);
    }

    /// An object of a kind that the cluster may not have.
    async fn optional(
        &mut self,
        is_known: bool,
        resource: ApiResource,
        object: Option<DynamicObject>,
    ) -> Option<DynamicObject> {
        if is_known && object.is_none() {
            let api = self.api_of(&resource);
            let removed = self.remove(&api, &resource, &self.fleet.name).await;
            self.kept(removed);
        }
        self.optional_if_any(is_known, resource, object).await
    }

    /// The same, but where there should be none, it is left for later.
    async fn optional_if_any(
        &mut self,
        is_known: bool,
        resource: ApiResource,
        object: Option<DynamicObject>,
    ) -> Option<DynamicObject> {
        let object = object.filter(|_| is_known)?;
        let applied = self.apply_by(&self.api_of(&resource), &resource, &object).await;
        self.kept(applied).or(Some(object))
    }

    /// The Deployment with this number of servers, and else as it is; none where there is none of ours.
    async fn scale(&mut self, replicas: i32) -> Option<Deployment> {
        let (api, name) = (self.api::<Deployment>(), self.fleet.name.clone());
        let error = |verb| error_of::<Deployment>(verb, &(), &name);
        let scaled = async {
            let present = api.get_opt(&name).await.map_err(error("read"))?;
            let Some(present) = present.filter(|present| self.fleet.may_have(&present.metadata)) else {
                return Ok(None);
            };
            if present.spec.as_ref().and_then(|spec| spec.replicas) == Some(replicas) {
                return Ok(Some(present));
            }
            let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
            let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            api.patch(&name, &params, &patch).await.map(Some).map_err(error("scale"))
        }
        .await;
        self.kept(scaled).flatten()
    }

    /// Annotates a pod of ours; one that is gone needs nothing.
    async fn annotate(&mut self, name: &str, annotations: serde_json::Value) {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let annotated = match self.api::<Pod>().patch_metadata(name, &params, &patch).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop).map_err(error_of::<Pod>("annotate", &(), name)),
        };
        self.kept(annotated);
    }

    /// Makes somebody else's Secret go with the StreamServer.
    async fn adopt(&mut self, secret: Option<Secret>) -> Option<Secret> {
        let secret = secret?;
        let name = secret.metadata.name.clone().unwrap_or_default();
        let patch = self.api::<Secret>().patch(&name, &forced(), &Patch::Apply(&secret)).await;
        let adopted = patch.map_err(error_of::<Secret>("adopt", &(), &name));
        self.kept(adopted).or(Some(secret))
    }

    fn kept<T>(&mut self, result: Result<T, ApplyError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.fleet.namespace)
    }

    fn api_of(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.fleet.namespace, resource)
    }

    async fn apply_by<K: Child>(
        &self,
        api: &Api<K>,
        kind: &K::DynamicType,
        object: &K,
    ) -> Result<K, ApplyError> {
        let name = object.meta().name.clone().unwrap_or_default();
        let error = |verb| error_of::<K>(verb, kind, &name);
        let present = api.get_metadata_opt(&name).await.map_err(error("read"))?;
        if let Some(present) = present {
            if !self.fleet.may_have(&present.metadata) {
                return Err(ApplyError::Taken { kind: K::kind(kind).into_owned(), name });
            }
            disown_updates(api, &name, &present.metadata).await.map_err(error("apply"))?;
        }
        match api.patch(&name, &forced(), &Patch::Apply(object)).await {
            Err(kube::Error::Api(status)) if has_twins(&status) => {
                let replaced = replace(api, &name, object).await;
                replaced.map_err(|other| match other {
                    // It is what was built that cannot be.
                    kube::Error::Api(other) if other.is_invalid() => error("apply")(kube::Error::Api(status)),
                    other => error("apply")(other),
                })
            }
            result => result.map_err(error("apply")),
        }
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
        if !self.fleet.may_have(&present.metadata) || present.metadata.deletion_timestamp.is_some() {
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
}

/// Somebody has changed the key of a list's entry, such as a port's number: merged by its keys, the list has both, which cannot be. So the lists are
/// replaced as a whole, once.
async fn replace<K: Child>(api: &Api<K>, name: &str, object: &K) -> kube::Result<K> {
    let whole = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let replaced = api.patch(name, &whole, &Patch::Merge(object)).await?;
    disown_updates(api, name, replaced.meta()).await?;
    api.patch(name, &forced(), &Patch::Apply(object)).await
}

/// Gives up what the operator owns by updates, besides what it has applied: what is owned twice is not given up when it is not applied any more. It comes
/// from `replace` and from `scale`, and is there yet where either was interrupted.
async fn disown_updates<K: Child>(api: &Api<K>, name: &str, metadata: &ObjectMeta) -> kube::Result<()> {
    let by_update = |entry: &ManagedFieldsEntry| {
        (entry.manager.as_deref(), entry.operation.as_deref()) == (Some(MANAGER), Some("Update"))
    };
    let mut fields = metadata.managed_fields.clone().unwrap_or_default();
    if !fields.iter().any(by_update) {
        return Ok(());
    }
    fields.retain(|entry| !by_update(entry));
    let metadata = json!({ "managedFields": fields, "resourceVersion": metadata.resource_version });
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({ "metadata": metadata }))).await.map(drop)
}

/// As the only owner of what it says, whatever others have said of it.
fn forced() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

/// Whether an object was refused as it would have had two entries where there may be one.
fn has_twins(status: &kube::core::Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "FieldValueDuplicate")
}

fn error_of<'a, K: Child>(
    verb: &'static str,
    kind: &'a K::DynamicType,
    name: &'a str,
) -> impl FnOnce(kube::Error) -> ApplyError + 'a {
    move |source| ApplyError::Api { verb, kind: K::kind(kind).into_owned(), name: name.to_owned(), source }
}

#[cfg(test)]
mod tests;
