//! The first step: reads whatever the others need. It decides nothing.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use tickwire_crd::{StreamServer, StreamServerSpec, TlsMode};

use crate::fleet::Fleet;
use crate::kinds::Kinds;

/// A StreamServer, and what there is around it. It has passwords and keys: so no Debug.
#[derive(Clone)]
pub struct Observed {
    /// The object.
    pub server: StreamServer,
    /// Its identity.
    pub fleet: Fleet,
    /// Which of the kinds of others the cluster has.
    pub kinds: Kinds,
    /// The Secret with the username and the password: the one referenced, else the operator's own.
    pub credentials: Option<Secret>,
    /// The Secret with further users, where one is referenced.
    pub users: Option<Secret>,
    /// The Secret with the servers' certificate.
    pub tls: Option<Secret>,
    /// The Secret with the authorities of clients' certificates, where one is referenced.
    pub client_ca: Option<Secret>,
    /// The ConfigMap with the recording, where one is referenced.
    pub recording: Option<ConfigMap>,
    /// The Secret with what NATS asks for, where one is referenced.
    pub nats: Option<Secret>,
    /// The Secret with what only the operator needs.
    pub operator: Option<Secret>,
    /// The Deployment as it is.
    pub deployment: Option<Deployment>,
    /// The Service for clients as it is.
    pub service: Option<Service>,
    /// The pods as they are, those that are ending included.
    pub pods: Vec<Pod>,
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub struct ObserveError {
    what: String,
    source: kube::Error,
}

/// Reads a StreamServer and what there is around it; `None` where it is gone. The watch is what tells that there is something to do, but it may lag behind
/// what the operator itself has written: seen again, yesterday's status would be news again. Cancel-safe: it writes nothing.
///
/// # Errors
///
/// Where the API server does not answer, or refuses. That something is not there is not an error here.
pub async fn observe(client: &Client, kinds: Kinds, fleet: Fleet) -> Result<Option<Observed>, ObserveError> {
    let namespace = &fleet.namespace;
    let servers: Api<StreamServer> = Api::namespaced(client.clone(), namespace);
    let server = match get(&servers, "StreamServer", Some(fleet.name.clone())).await? {
        Some(server) if server.metadata.uid.as_ref() == Some(&fleet.uid) => server,
        _ => return Ok(None),
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);

    let names = Names::of(&server.spec, &fleet);
    let selected = ListParams::default().labels(&fleet.selector_text());
    let (credentials, users, tls, client_ca, nats, operator, recording, deployment, service, pods) = tokio::try_join!(
        get(&secrets, "Secret", Some(names.credentials)),
        get(&secrets, "Secret", names.users),
        get(&secrets, "Secret", names.tls),
        get(&secrets, "Secret", names.client_ca),
        get(&secrets, "Secret", names.nats),
        get(&secrets, "Secret", Some(names.operator)),
        get(&config_maps, "ConfigMap", names.recording),
        get(&deployments, "Deployment", Some(fleet.name.clone())),
        get(&services, "Service", Some(fleet.name.clone())),
        async {
            let listed = pods.list(&selected).await;
            listed.map_err(|source| ObserveError { what: "the pods".into(), source })
        },
    )?;
    Ok(Some(Observed {
        credentials,
        users,
        tls,
        client_ca,
        recording,
        nats,
        operator,
        deployment,
        service,
        pods: pods.items,
        ..Observed::alone(server, fleet, kinds)
    }))
}

impl Observed {
    /// A StreamServer around which there is nothing: what the first look at it finds.
    #[must_use]
    pub fn alone(server: StreamServer, fleet: Fleet, kinds: Kinds) -> Self {
        Self {
            server,
            fleet,
            kinds,
            credentials: None,
            users: None,
            tls: None,
            client_ca: None,
            recording: None,
            nats: None,
            operator: None,
            deployment: None,
            service: None,
            pods: Vec::new(),
        }
    }
}

/// Which Secrets and ConfigMaps of its namespace a StreamServer is about.
struct Names {
    credentials: String,
    users: Option<String>,
    tls: Option<String>,
    client_ca: Option<String>,
    recording: Option<String>,
    nats: Option<String>,
    operator: String,
}

impl Names {
    fn of(spec: &StreamServerSpec, fleet: &Fleet) -> Self {
        Self {
            credentials: fleet.credentials_secret_of(spec),
            users: spec.auth.users.as_ref().map(|users| users.secret_ref.name.clone()),
            tls: fleet.tls_secret_of(spec),
            client_ca: spec
                .tls
                .client_authentication
                .as_ref()
                .map(|clients| clients.ca_secret_ref.name.clone()),
            recording: spec.feed.replay.as_ref().map(|replay| replay.config_map_ref.name.clone()),
            nats: nats_secret(spec).cloned(),
            operator: fleet.operator_secret(),
        }
    }
}

fn nats_secret(spec: &StreamServerSpec) -> Option<&String> {
    Some(&spec.feed.nats.as_ref()?.secret_ref.as_ref()?.name)
}

/// Whether a StreamServer goes by this Secret, which is not of the operator's making: a change of it is a reason to look again.
#[must_use]
pub fn refers_to_secret(server: &StreamServer, name: &str) -> bool {
    let spec = &server.spec;
    let made_by_cert_manager = spec.tls.mode == TlsMode::CertManager
        && Fleet::of(server).is_ok_and(|fleet| fleet.certificate_secret() == name);
    let auth = spec.auth.secret_ref.as_ref().map(|reference| &reference.name);
    let users = spec.auth.users.as_ref().map(|users| &users.secret_ref.name);
    let tls = spec.tls.secret_ref.as_ref().map(|reference| &reference.name);
    let clients = spec.tls.client_authentication.as_ref().map(|clients| &clients.ca_secret_ref.name);
    made_by_cert_manager
        || [auth, users, tls, clients, nats_secret(spec)]
            .into_iter()
            .flatten()
            .any(|referenced| referenced == name)
}

/// Whether a StreamServer names this ConfigMap.
#[must_use]
pub fn refers_to_config_map(server: &StreamServer, name: &str) -> bool {
    server.spec.feed.replay.as_ref().is_some_and(|replay| replay.config_map_ref.name == name)
}

/// Reads one object, if it is wanted and there.
async fn get<K>(api: &Api<K>, kind: &str, name: Option<String>) -> Result<Option<K>, ObserveError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let Some(name) = name else { return Ok(None) };
    api.get_opt(&name).await.map_err(|source| ObserveError { what: format!("{kind} {name}"), source })
}
