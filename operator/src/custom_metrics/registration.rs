//! Registers the API with the API server (APIService), and keeps it so: while it is served, and while nobody else has it.
//!
//! The operator that leads looks every ten seconds. What is there and is not its own it leaves alone, and withdraws what it has registered itself: an
//! autoscaler asks the group's preferred version, so that one beside another's would take that over.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::fleet::{INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER};
use crate::metrics::Metrics;

use super::scaling::{Foreign, Standing};
use super::serving_certificate::{KeepError, keep};
use super::{GROUP, Pause, Place, VERSION, told};

/// The versions of the group that an autoscaler knows.
const VERSIONS: [&str; 2] = ["v1beta1", VERSION];
/// The label that says of which operator's namespace a registration is: there may be several operators of one name.
const NAMESPACE_LABEL: &str = "tickwire.dev/operator-namespace";
/// The port of the Service.
const PORT: i32 = 443;
/// How the group is sorted among others: behind all that Kubernetes has itself. The API server insists on a number.
const GROUP_PRIORITY: i32 = 100;
/// How the version is sorted among those of the group.
const VERSION_PRIORITY: i32 = 100;
/// The label by which a Service's EndpointSlices are found.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// How often is looked, where all is as it should be.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same, until it is.
const SOONER: Duration = Duration::from_secs(2);
/// How long a look may take: some seven calls.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to withdraw, when the operator stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// It cannot be seen to that the API is registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The API server refuses, or does not answer.
    #[error("cannot {verb} {what}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The registration is to go with something that is not there.
    #[error(
        "ClusterRole {0}, with which the registration is to go, is not there; is the chart being uninstalled?"
    )]
    NoOwner(String),
    /// There is no certificate.
    #[error("there is no certificate for it")]
    Certificate(#[from] KeepError),
    /// The API server does not answer.
    #[error("the API server has not answered within {TIMEOUT:?}")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

/// Keeps the API registered, for the operator that leads.
pub struct Registrar {
    client: Client,
    place: Place,
    /// The operator's own name, as its pod has it.
    identity: String,
    metrics: Metrics,
    standing: watch::Sender<Standing>,
}

impl Registrar {
    /// For the operator of this name. Tells by the second what is known of the API.
    #[must_use]
    pub fn new(
        client: Client,
        place: Place,
        identity: String,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, told) = watch::channel(Standing::Pending("the operator has just begun".to_owned()));
        (Self { client, place, identity, metrics, standing }, told)
    }

    /// Looks again and again, and puts right what is not as it should be. Never ends. Cancelled, a step has been taken or not; the next look finds it.
    pub async fn run(&self) -> Infallible {
        let mut pause = Pause::default();
        loop {
            let wait = match timeout(TIMEOUT, self.look()).await.map_err(Into::into).flatten() {
                Ok(standing) => {
                    pause = Pause::default();
                    let wait = if let Standing::Pending(_) = standing { SOONER } else { INTERVAL };
                    if self.tell(standing.clone()) {
                        log(&standing);
                    }
                    wait
                }
                Err(error) => {
                    let error = told(&error);
                    if self.tell(Standing::Pending(error.clone())) {
                        tracing::warn!(error, "cannot see to it that {VERSION}.{GROUP} is registered");
                    }
                    pause.after_failure()
                }
            };
            sleep(wait).await;
        }
    }

    /// Withdraws the registration, where no other operator is ready to answer. What fails is logged: who reads the group then finds it unavailable, until an
    /// operator is there again, or its owner has gone.
    pub async fn leave(&self) {
        let leaving = async {
            if self.endpoints().await?.others_are_ready {
                return Ok(());
            }
            match self.find(VERSION).await? {
                Some(present) if is_ours(&present, &self.place) => self.withdraw(&present).await,
                _ => Ok(()),
            }
        };
        match timeout(LEAVE_TIMEOUT, leaving).await.map_err(Into::into).flatten() {
            Ok(()) => self.metrics.custom_metrics_registered.set(0),
            Err(error) => tracing::warn!(error = told(&error), "cannot withdraw the metrics API"),
        }
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// [`RegistrationError`]; what was there is as it was.
    pub async fn look(&self) -> Result<Standing, RegistrationError> {
        let mut present = None;
        let mut foreign = None;
        for version in VERSIONS {
            match self.find(version).await? {
                Some(found) if is_ours(&found, &self.place) => present = Some(found),
                Some(found) => foreign = Some(Foreign::of(version, &found)),
                None => {}
            }
        }
        if let Some(foreign) = foreign {
            if let Some(present) = present {
                self.withdraw(&present).await?;
            }
            return Ok(Standing::Foreign(foreign));
        }
        let owner = self.owner().await?;
        let bundle = keep(&self.client, &self.place, owner.as_ref(), Timestamp::now()).await?;
        if !self.endpoints().await?.any_is_ready {
            if let Some(present) = present {
                self.withdraw(&present).await?;
            }
            return Ok(Standing::Pending(format!(
                "no operator is ready behind Service {}/{}",
                self.place.namespace, self.place.service
            )));
        }
        if present.is_none() && bundle.is_new {
            return Ok(Standing::Pending("its certificate has just been made".to_owned()));
        }
        let wanted = api_service(&self.place, owner, &bundle.pem);
        let registered = match present {
            Some(present) if is_as(&present, &wanted) => present,
            present => self.apply(present, wanted).await?,
        };
        Ok(match unavailable(&registered) {
            None => Standing::Registered,
            Some(why) => Standing::Pending(format!("the API server does not reach it yet: {why}")),
        })
    }

    /// Says what is known now. Answers whether that is news.
    fn tell(&self, standing: Standing) -> bool {
        self.metrics.custom_metrics_registered.set(i64::from(standing == Standing::Registered));
        self.standing.send_if_modified(|before| {
            let is_news = *before != standing;
            *before = standing;
            is_news
        })
    }

    fn api_services(&self) -> Api<APIService> {
        Api::all(self.client.clone())
    }

    async fn find(&self, version: &str) -> Result<Option<APIService>, RegistrationError> {
        let name = format!("{version}.{GROUP}");
        self.api_services().get_opt(&name).await.map_err(error("read", "APIService", &name))
    }

    /// With what the registration and the certificate are to go.
    async fn owner(&self) -> Result<Option<OwnerReference>, RegistrationError> {
        let name = &self.place.owner;
        if name.is_empty() {
            return Ok(None);
        }
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        let found = api.get_metadata_opt(name).await.map_err(error("read", "ClusterRole", name))?;
        let uid = found.and_then(|found| found.metadata.uid);
        let uid = uid.ok_or_else(|| RegistrationError::NoOwner(name.clone()))?;
        Ok(Some(OwnerReference {
            api_version: ClusterRole::api_version(&()).into_owned(),
            kind: ClusterRole::kind(&()).into_owned(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        }))
    }

    async fn endpoints(&self) -> Result<Endpoints, RegistrationError> {
        let service = &self.place.service;
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let params = ListParams::default().labels(&format!("{SERVICE_LABEL}={service}"));
        let slices = api.list(&params).await.map_err(error("list", "EndpointSlices of Service", service))?;
        Ok(Endpoints::of(&slices.items, &self.identity))
    }

    async fn apply(
        &self,
        present: Option<APIService>,
        mut wanted: APIService,
    ) -> Result<APIService, RegistrationError> {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let mut params = PatchParams::apply(MANAGER);
        if let Some(present) = present {
            // The very one that was looked at, whatever others have said of it.
            wanted.metadata.uid = present.metadata.uid;
            params = params.force();
        }
        // Otherwise not by force: where somebody has been faster, it is theirs.
        let applied = self.api_services().patch(&name, &params, &Patch::Apply(&wanted)).await;
        let applied = applied.map_err(error("register", "APIService", &name))?;
        tracing::info!(name, "metrics API: registered");
        Ok(applied)
    }

    async fn withdraw(&self, present: &APIService) -> Result<(), RegistrationError> {
        let name = present.metadata.name.clone().unwrap_or_default();
        let preconditions = Preconditions { uid: present.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.api_services().delete(&name, &params).await {
            Ok(_) => {
                tracing::info!(name, "metrics API: withdrawn");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(error("withdraw", "APIService", &name)(source)),
        }
    }
}

fn log(standing: &Standing) {
    match standing {
        Standing::Registered => tracing::info!("autoscalers are served: {VERSION}.{GROUP} is registered"),
        Standing::Foreign(foreign) => {
            tracing::warn!("{GROUP} is served by {foreign}: that is left alone, and autoscalers ask there");
        }
        Standing::Pending(why) | Standing::Off(why) => {
            tracing::info!(why, "autoscalers are not served yet");
        }
    }
}

fn error(verb: &'static str, kind: &str, name: &str) -> impl FnOnce(kube::Error) -> RegistrationError {
    let what = format!("{kind} {name}");
    move |source| RegistrationError::Api { verb, what, source }
}

/// Who is ready to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Endpoints {
    any_is_ready: bool,
    /// Others than this operator.
    others_are_ready: bool,
}

impl Endpoints {
    fn of(slices: &[EndpointSlice], identity: &str) -> Self {
        let ready = slices.iter().flat_map(|slice| &slice.endpoints).filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            // What is not said is meant to be so (discovery.k8s.io/v1).
            conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        ready.fold(Self::default(), |found, endpoint| {
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
            Self { any_is_ready: true, others_are_ready: found.others_are_ready || pod != Some(identity) }
        })
    }
}

/// The registration as it should be.
fn api_service(place: &Place, owner: Option<OwnerReference>, bundle: &str) -> APIService {
    APIService {
        metadata: ObjectMeta {
            name: Some(format!("{VERSION}.{GROUP}")),
            labels: Some(labels(place)),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(APIServiceSpec {
            group: Some(GROUP.into()),
            version: Some(VERSION.into()),
            group_priority_minimum: GROUP_PRIORITY,
            version_priority: VERSION_PRIORITY,
            ca_bundle: Some(ByteString(bundle.as_bytes().to_vec())),
            insecure_skip_tls_verify: None,
            service: Some(ServiceReference {
                namespace: Some(place.namespace.clone()),
                name: Some(place.service.clone()),
                port: Some(PORT),
            }),
        }),
        status: None,
    }
}

/// The labels by which a registration is known as this operator's.
fn labels(place: &Place) -> BTreeMap<String, String> {
    [(MANAGED_BY_LABEL, MANAGER), (INSTANCE_LABEL, &place.service), (NAMESPACE_LABEL, &place.namespace)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Whether a registration is this operator's, or of one that was here before.
fn is_ours(present: &APIService, place: &Place) -> bool {
    let found = present.metadata.labels.as_ref();
    labels(place).iter().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
}

/// Whether there is nothing to change.
fn is_as(present: &APIService, wanted: &APIService) -> bool {
    let owners = |service: &APIService| service.metadata.owner_references.clone().unwrap_or_default();
    let present_owners = owners(present);
    present.spec == wanted.spec && owners(wanted).iter().all(|owner| present_owners.contains(owner))
}

/// Why the API server does not pass anything on, where it does not.
fn unavailable(registered: &APIService) -> Option<String> {
    let conditions = registered.status.as_ref().and_then(|status| status.conditions.as_ref());
    match conditions.into_iter().flatten().find(|condition| condition.type_ == "Available") {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(condition.message.clone().unwrap_or_default()),
        None => Some("it has not looked yet".to_owned()),
    }
}

#[cfg(test)]
mod tests;
