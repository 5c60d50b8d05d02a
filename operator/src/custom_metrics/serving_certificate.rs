//! The certificate by which the API server knows who answers for the metrics: made by the operator that leads, kept in a Secret, shown by all.
//!
//! The authority is of the same make as a fleet's ([`crate::authority`]), and only the API server trusts it: its bundle stands in the registration.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{sleep, timeout};

use crate::authority::{Authority, GenerationError, ServerCertificate, SigningError};
use crate::certificate::{CERTIFICATE, Certificate, CertificateError, KEY, Wanted, pem};
use crate::fleet::{INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER};

use super::{Place, told};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// For how long the authority is good. Nobody but the API server trusts it, and that is told of a successor long before it signs.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(5 * 365);
/// For how long a certificate is good.
const LIFETIME: Duration = DAY.saturating_mul(90);
/// How long before its end it is replaced.
const RENEW_BEFORE: Duration = DAY.saturating_mul(30);

/// How often each operator looks whether there is another certificate.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same, while there is none.
const SOONER: Duration = Duration::from_secs(2);
/// How long the API server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// There is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The Secret cannot be read or written.
    #[error("cannot {verb} Secret {name}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The Secret.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The Secret is somebody else's.
    #[error("Secret {0} exists and is not the operator's; delete it, or have it elsewhere")]
    Taken(String),
    /// No authority could be made.
    #[error("cannot make an authority")]
    Authority(#[from] GenerationError),
    /// No certificate could be signed.
    #[error("cannot sign a certificate")]
    Certificate(#[from] SigningError),
    /// The API server does not answer.
    #[error("the API server has not answered within {TIMEOUT:?}")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

/// The authorities by which the certificate is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// In PEM.
    pub pem: String,
    /// Whether something was made just now, which not every operator can have taken up yet.
    pub is_new: bool,
}

/// What the Secret should hold.
#[derive(Debug, PartialEq)]
struct Kept {
    data: BTreeMap<String, ByteString>,
    bundle: String,
}

/// Makes what is missing or due of what the Secret holds.
fn renewed(present: &BTreeMap<String, ByteString>, host: &str, now: Timestamp) -> Result<Kept, KeepError> {
    let authority = Authority::read(present).unwrap_or_else(|error| {
        // Whom it concerns is told of the new one at once.
        tracing::warn!(%error, "the authority of the metrics API cannot be used; there will be a new one");
        None
    });
    let (authority, changes) = Authority::advance(authority, host, AUTHORITY_LIFETIME, now)?;
    for change in changes {
        tracing::info!(change = change.label(), "metrics API: {change}");
    }
    let request = ServerCertificate {
        common_name: host.to_owned(),
        dns_names: vec![host.to_owned()],
        ip_addresses: Vec::new(),
        lifetime: LIFETIME,
    };
    let wanted = Wanted { request: &request, authority: &authority, renew_before: RENEW_BEFORE };
    let entry = |key| present.get(key).map(|value: &ByteString| value.0.as_slice());
    let mut data = authority.write();
    let pair = match (entry(CERTIFICATE), entry(KEY), wanted.renewal(entry(CERTIFICATE), entry(KEY), now)) {
        (Some(certificate), Some(key), None) => (certificate.to_vec(), key.to_vec()),
        (_, _, reason) => {
            let issued = authority.sign(&request, now)?;
            let reason = reason.map(|reason| reason.label()).unwrap_or_default();
            tracing::info!(reason, until = %issued.not_after, "metrics API: signed a certificate");
            (issued.certificate.into_bytes(), issued.key.into_bytes())
        }
    };
    data.insert(CERTIFICATE.to_owned(), ByteString(pair.0));
    data.insert(KEY.to_owned(), ByteString(pair.1));
    Ok(Kept { data, bundle: authority.bundle() })
}

/// Sees to it that the Secret holds a certificate that is good, and goes with its owner. Answers the authorities by which it is known, in PEM; only once they
/// are written, so that nobody is told of one that is lost. Cancelled, all of it is written, or nothing.
///
/// # Errors
///
/// [`KeepError`]; what was there is as good as before.
pub async fn keep(
    client: &Client,
    place: &Place,
    owner: Option<&OwnerReference>,
    now: Timestamp,
) -> Result<Bundle, KeepError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let name = &place.service;
    let error = |verb| move |source| KeepError::Api { verb, name: name.clone(), source };
    let present = timeout(TIMEOUT, api.get_opt(name)).await?.map_err(error("read"))?;
    let is_ours = |secret: &Secret| {
        let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL));
        label.is_some_and(|label| label == MANAGER)
    };
    if present.as_ref().is_some_and(|present| !is_ours(present)) {
        return Err(KeepError::Taken(name.clone()));
    }
    let owners = owner.map(|owner| vec![owner.clone()]);
    let data = present.as_ref().and_then(|present| present.data.clone()).unwrap_or_default();
    let kept = renewed(&data, &place.host(), now)?;
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    let is_new = kept.data != data;
    match present {
        Some(present) if !is_new && (owners.is_none() || present.metadata.owner_references == owners) => {}
        // By the version that was read: of two that write, one gets through.
        Some(mut present) => {
            present.data = Some(kept.data);
            present.metadata.owner_references = owners.or(present.metadata.owner_references);
            timeout(TIMEOUT, api.replace(name, &params, &present)).await?.map_err(error("write"))?;
        }
        None => {
            let labels = [
                (MANAGED_BY_LABEL, MANAGER),
                (INSTANCE_LABEL, name),
                ("app.kubernetes.io/part-of", "tickwire"),
            ];
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                    owner_references: owners,
                    ..ObjectMeta::default()
                },
                type_: Some("kubernetes.io/tls".into()),
                data: Some(kept.data),
                ..Secret::default()
            };
            timeout(TIMEOUT, api.create(&params, &secret)).await?.map_err(error("create"))?;
        }
    }
    Ok(Bundle { pem: kept.bundle, is_new })
}

/// The certificate that is shown at present; without one, every handshake fails.
#[derive(Debug, Default)]
pub struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

/// What a Secret holds cannot be shown.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("cannot read Secret {name}")]
    Api { name: String, source: kube::Error },
    #[error("the API server has not answered within {TIMEOUT:?}")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    #[error("the Secret cannot be used")]
    Certificate(#[from] CertificateError),
}

impl Shown {
    /// Shows this from now on.
    ///
    /// # Errors
    ///
    /// Where it is no certificate with its key, in PEM. What was shown before is shown yet.
    pub fn show(&self, certificate: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        // With words for what is wrong.
        Certificate::read(certificate, key)?;
        let wrong = |entry| move |problem| CertificateError::Pem { entry, problem };
        let chain = pem::certificates(certificate).map_err(wrong(CERTIFICATE))?;
        let key = pem::key(key).map_err(wrong(KEY))?;
        let key = any_supported_type(&key).map_err(|_| CertificateError::Key)?;
        let shown = Arc::new(CertifiedKey::new(chain, key));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(())
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows what the Secret holds, whenever that changes. Never ends; cancel-safe.
    pub async fn follow(&self, client: &Client, place: &Place) {
        let api: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
        let (mut version, mut said) = (None, String::new());
        loop {
            match self.load(&api, &place.service, &mut version).await {
                Ok(()) => said.clear(),
                Err(error) => {
                    let error = told(&error);
                    if said != error {
                        tracing::warn!(error, "cannot read the metrics API's certificate");
                        said = error;
                    }
                }
            }
            sleep(if self.current().is_some() { INTERVAL } else { SOONER }).await;
        }
    }

    async fn load(
        &self,
        api: &Api<Secret>,
        name: &str,
        version: &mut Option<String>,
    ) -> Result<(), LoadError> {
        let read = timeout(TIMEOUT, api.get_opt(name)).await?;
        let read = read.map_err(|source| LoadError::Api { name: name.to_owned(), source })?;
        // Whoever leads makes one.
        let Some(secret) = read else { return Ok(()) };
        if *version == secret.metadata.resource_version {
            return Ok(());
        }
        let data = secret.data.unwrap_or_default();
        let entry = |key: &str| data.get(key).map(|value| value.0.as_slice()).unwrap_or_default();
        self.show(entry(CERTIFICATE), entry(KEY))?;
        *version = secret.metadata.resource_version;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

#[cfg(test)]
mod tests;
