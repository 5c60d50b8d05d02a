//! Who asks, as the API server says: it stands in front, shows a certificate of its own for that, and names the user in headers. What is trusted for it stands
//! in a ConfigMap, as for every aggregated API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::time::{sleep, timeout};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate::pem::{self, PemProblem};

use super::{Pause, told};

/// The ConfigMap's namespace.
const NAMESPACE: &str = "kube-system";
/// Its name.
const CONFIG_MAP: &str = "extension-apiserver-authentication";
/// Its key with the authorities that sign the front proxy's certificate.
const AUTHORITIES: &str = "requestheader-client-ca-file";
/// Its key with the names that the certificate may have; all, where the list is empty.
const NAMES: &str = "requestheader-allowed-names";
/// Its key with the headers that name the user.
const USER_HEADERS: &str = "requestheader-username-headers";
/// Its key with the headers that tell the user's UID.
const UID_HEADERS: &str = "requestheader-uid-headers";
/// Its key with the headers that name the groups.
const GROUP_HEADERS: &str = "requestheader-group-headers";
/// Its key with how the names of headers begin that tell what else there is to say.
const EXTRA_PREFIXES: &str = "requestheader-extra-headers-prefix";

/// How often the ConfigMap is read.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long reading it may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The group of all whom somebody has authenticated. The API server leaves it to whoever is asked to add it.
const AUTHENTICATED: &str = "system:authenticated";
/// The group of those whom nobody has.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The name.
    pub name: String,
    /// The UID, where the API server tells it.
    pub uid: Option<String>,
    /// The groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// What else is known, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why nobody knows who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// No certificate.
    #[error("no certificate was shown; ask by way of the API server, such as by kubectl get --raw")]
    NoCertificate,
    /// Not one that the authorities have signed, or it is over.
    #[error(
        "the certificate is not the API server's: {NAMESPACE}/{CONFIG_MAP} does not have its authority, or its time is over"
    )]
    Untrusted,
    /// One that others have of the same authorities.
    #[error(
        "the certificate is of {0:?}, which {NAMESPACE}/{CONFIG_MAP} does not have among the allowed names"
    )]
    Name(String),
    /// The API server names no user.
    #[error("the API server does not say who asks")]
    NoUser,
}

/// The ConfigMap cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontProxyError {
    /// It lacks a key.
    #[error(
        "{NAMESPACE}/{CONFIG_MAP} has no {0}: the API server is not set up for aggregated APIs (its flags --requestheader-*)"
    )]
    Missing(&'static str),
    /// Its authorities cannot be read.
    #[error("{NAMESPACE}/{CONFIG_MAP}: {AUTHORITIES} {0}")]
    Pem(PemProblem),
    /// Its authorities are none.
    #[error("{NAMESPACE}/{CONFIG_MAP}: {AUTHORITIES} has no authority that can be used")]
    Authorities,
    /// A list is none.
    #[error("{NAMESPACE}/{CONFIG_MAP}: {0} is not a list of texts in JSON")]
    List(&'static str),
}

/// What is trusted to say who asks.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    verifier: Arc<dyn ClientCertVerifier>,
    names: BTreeSet<String>,
    user_headers: Vec<String>,
    uid_headers: Vec<String>,
    group_headers: Vec<String>,
    /// In lower case, as HTTP's names are kept.
    extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// Reads the ConfigMap.
    ///
    /// # Errors
    ///
    /// [`FrontProxyError`].
    pub fn read(config_map: &ConfigMap) -> Result<Self, FrontProxyError> {
        let value = |key: &str| config_map.data.as_ref().and_then(|data| data.get(key));
        let list = |key: &'static str| match value(key) {
            Some(text) => serde_json::from_str::<Vec<String>>(text).map_err(|_| FrontProxyError::List(key)),
            None => Ok(Vec::new()),
        };
        let authorities = value(AUTHORITIES).ok_or(FrontProxyError::Missing(AUTHORITIES))?;
        let user_headers = list(USER_HEADERS)?;
        if user_headers.is_empty() {
            return Err(FrontProxyError::Missing(USER_HEADERS));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            pem::certificates(authorities.as_bytes()).map_err(FrontProxyError::Pem)?,
        );
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| FrontProxyError::Authorities)?;
        Ok(Self {
            verifier,
            names: list(NAMES)?.into_iter().collect(),
            user_headers,
            uid_headers: list(UID_HEADERS)?,
            group_headers: list(GROUP_HEADERS)?,
            extra_prefixes: list(EXTRA_PREFIXES)?.into_iter().map(|it| it.to_ascii_lowercase()).collect(),
        })
    }

    /// Whether a chain of certificates, the peer's own first, is a front proxy's.
    ///
    /// # Errors
    ///
    /// [`Stranger`].
    pub fn recognize(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Stranger> {
        let (own, others) = chain.split_first().ok_or(Stranger::NoCertificate)?;
        self.verifier.verify_client_cert(own, others, now).map_err(|_| Stranger::Untrusted)?;
        let name = common_name(own);
        if self.names.is_empty() || self.names.contains(&name) { Ok(()) } else { Err(Stranger::Name(name)) }
    }

    /// Whom the headers of a front proxy name.
    ///
    /// # Errors
    ///
    /// [`Stranger::NoUser`], also where the name is not UTF-8.
    pub fn user(&self, headers: &HeaderMap) -> Result<User, Stranger> {
        let text = |value: &axum::http::HeaderValue| str::from_utf8(value.as_bytes()).map(str::to_owned).ok();
        let all = |names: &[String]| -> Vec<String> {
            let values = names.iter().flat_map(|name| headers.get_all(name.as_str()));
            values.filter_map(text).filter(|value| !value.is_empty()).collect()
        };
        let name = all(&self.user_headers).into_iter().next().ok_or(Stranger::NoUser)?;
        let mut groups = all(&self.group_headers);
        if !groups.iter().any(|group| [AUTHENTICATED, UNAUTHENTICATED].contains(&group.as_str())) {
            groups.push(AUTHENTICATED.to_owned());
        }
        let mut extra = BTreeMap::<_, Vec<_>>::new();
        for (header, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| header.as_str().strip_prefix(prefix));
            if let (Some(key), Some(value)) = (key, text(value)) {
                let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                extra.entry(key).or_default().push(value);
            }
        }
        Ok(User { name, uid: all(&self.uid_headers).into_iter().next(), groups, extra })
    }
}

/// The common name of a certificate; empty where it has none.
fn common_name(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return String::new() };
    let name = certificate.subject().iter_common_name().last();
    name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

/// What is trusted at present: as the ConfigMap had it when it was read last.
#[derive(Debug, Default)]
pub struct FrontProxies(RwLock<Option<Arc<FrontProxy>>>);

impl FrontProxies {
    /// What is trusted; none where the ConfigMap has not been read yet.
    #[must_use]
    pub fn current(&self) -> Option<Arc<FrontProxy>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Trusts this from now on.
    pub fn trust(&self, front_proxy: FrontProxy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(front_proxy));
    }

    /// Reads the ConfigMap again and again. Where that fails, what was read before counts. Never ends; cancel-safe.
    pub async fn follow(&self, client: &Client) {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        let (mut pause, mut said) = (Pause::default(), String::new());
        loop {
            let wait = match read(&api).await {
                Ok(front_proxy) => {
                    self.trust(front_proxy);
                    (pause, said) = (Pause::default(), String::new());
                    INTERVAL
                }
                Err(error) => {
                    let error = told(&error);
                    if said != error {
                        tracing::warn!(error, "cannot read how the API server says who asks for metrics");
                        said = error;
                    }
                    pause.after_failure()
                }
            };
            sleep(wait).await;
        }
    }
}

/// The ConfigMap could not be read, or not be used.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read ConfigMap {NAMESPACE}/{CONFIG_MAP}")]
    Api(#[from] kube::Error),
    #[error("ConfigMap {NAMESPACE}/{CONFIG_MAP} has not come within {TIMEOUT:?}")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Content(#[from] FrontProxyError),
}

async fn read(api: &Api<ConfigMap>) -> Result<FrontProxy, ReadError> {
    Ok(FrontProxy::read(&timeout(TIMEOUT, api.get(CONFIG_MAP)).await??)?)
}

#[cfg(test)]
mod tests;
