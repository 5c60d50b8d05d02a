//! The second step: finds what a schema cannot see, and makes of what was read what the next steps work with. No client.
//!
//! A problem does not end the way of a reconcile: whatever does not depend on it goes on, such as the renewal of certificates, the number of servers, and
//! the Services. But pods are not made anew while there is one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tickwire_crd::{KeyReference, StreamServerSpec, TlsMode};

use crate::authority::Authority;
use crate::certificate::{self, CERTIFICATE, Certificate, KEY};
use crate::fleet::Fleet;
use crate::kinds::Kinds;
use crate::nats_secret::NatsSecret;
use crate::observe::Observed;
use crate::problem::Problem;

/// A StreamServer, and what is known of what it refers to. It has passwords and keys: so no Debug.
#[derive(Clone)]
pub struct Validated {
    /// Its identity.
    pub fleet: Fleet,
    /// What it says.
    pub spec: StreamServerSpec,
    /// Which of the kinds of others the cluster has.
    pub kinds: Kinds,
    /// The username and the password.
    pub credentials: Credentials,
    /// Where the certificate comes from, and what there is of it.
    pub certificate: CertificateSource,
    /// The data of the Secret with what only the operator needs.
    pub operator_data: BTreeMap<String, ByteString>,
    /// The version of that Secret that was read, where there is one: it is replaced only while it is still that.
    pub operator_version: Option<String>,
    /// The version of the Secret with the credentials that the operator has made up, as of that.
    pub credentials_version: Option<String>,
    /// The recording, for its digest; empty where there is none.
    pub recording: Vec<u8>,
    /// What servers show to NATS, where a Secret is named for that.
    pub nats: Option<NatsSecret>,
    /// What a person has to see to. While there is anything, the pods stay as they are.
    pub problems: Vec<Problem>,
}

/// The username and the password.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// Somebody keeps them in a Secret.
    Referenced(Pair),
    /// The operator has made them up.
    Generated(Pair),
    /// The operator is to make them up.
    Missing,
    /// Somebody should keep them in a Secret, which cannot be used.
    Unusable,
}

/// A username and a password.
#[derive(Clone, PartialEq)]
pub struct Pair {
    /// The username.
    pub username: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pair(..)")
    }
}

/// Where the servers' certificate comes from, and what there is of it.
#[derive(Clone)]
pub enum CertificateSource {
    /// There is none.
    Disabled,
    /// The operator signs.
    SelfSigned {
        /// The data of the Secret in which the certificate in use stands, if there is one.
        data: BTreeMap<String, ByteString>,
    },
    /// Somebody keeps it in a Secret.
    Referenced(Certificate),
    /// cert-manager makes it; `None`: it has not yet.
    CertManager(Option<Certificate>),
    /// From somewhere that cannot be used.
    Unusable,
}

/// Looks at everything that was read. Also answers the operator's authority, if there is one: it is not kept with the rest, as its keys are for one use.
#[must_use]
pub fn validate(observed: &Observed) -> (Validated, Option<Authority>) {
    let spec = &observed.server.spec;
    let mut problems = Vec::new();
    let mut keep = |problem| problems.push(problem);

    let credentials = credentials(observed).map_err(&mut keep).unwrap_or(Credentials::Unusable);
    let certificate = certificate_source(observed).map_err(&mut keep);
    let authority = authority(observed).map_err(&mut keep);
    if let Some(users) = &spec.auth.users {
        let found = key_of_secret(observed.users.as_ref(), &users.secret_ref, "spec.auth.users.secretRef");
        let _checked = found.map_err(&mut keep);
    }
    if let Some(clients) = &spec.tls.client_authentication {
        let _checked = client_authorities(observed, &clients.ca_secret_ref).map_err(&mut keep);
    }
    let recording = recording(observed).map_err(&mut keep).unwrap_or_default();

    let nats = nats(observed).map_err(&mut keep).unwrap_or_default();

    let version =
        |secret: Option<&Secret>| secret.and_then(|secret| secret.metadata.resource_version.clone());
    let is_made_up = spec.auth.secret_ref.is_none();
    let (certificate, authority) = match (certificate, authority) {
        (Ok(certificate), Ok(authority)) => (certificate, authority),
        _ => (CertificateSource::Unusable, None),
    };
    let validated = Validated {
        fleet: observed.fleet.clone(),
        spec: spec.clone(),
        kinds: observed.kinds,
        credentials,
        certificate,
        operator_data: data(observed.operator.as_ref()).into_owned(),
        operator_version: version(observed.operator.as_ref()),
        credentials_version: version(observed.credentials.as_ref().filter(|_| is_made_up)),
        recording: recording.unwrap_or_default(),
        nats,
        problems,
    };
    (validated, authority)
}

fn credentials(observed: &Observed) -> Result<Credentials, Problem> {
    let Some(reference) = &observed.server.spec.auth.secret_ref else {
        // A made-up Secret of which a key was lost is made up anew.
        let data = data(observed.credentials.as_ref());
        return Ok(match (data.get("username"), data.get("password")) {
            (Some(username), Some(password)) if !username.0.is_empty() && !password.0.is_empty() => {
                Credentials::Generated(Pair { username: username.0.clone(), password: password.0.clone() })
            }
            _ => Credentials::Missing,
        });
    };
    let field = "spec.auth.secretRef";
    let value = |key: &str| {
        let reference = KeyReference { name: reference.name.clone(), key: key.to_owned() };
        key_of_secret(observed.credentials.as_ref(), &reference, field)
    };
    let (username, password) = (value("username")?, value("password")?);
    for (key, bytes) in [("username", &username), ("password", &password)] {
        if std::str::from_utf8(bytes).is_err() {
            return Err(Problem::configuration(
                "InvalidSecret",
                format!(
                    "key {key} of Secret {} ({field}) is not text in UTF-8; put the {key} itself there",
                    reference.name
                ),
            ));
        }
    }
    Ok(Credentials::Referenced(Pair { username, password }))
}

fn certificate_source(observed: &Observed) -> Result<CertificateSource, Problem> {
    let spec = &observed.server.spec.tls;
    let data = data(observed.tls.as_ref());
    let read = || Certificate::read(bytes(&data, CERTIFICATE), bytes(&data, KEY));
    match spec.mode {
        TlsMode::Disabled => Ok(CertificateSource::Disabled),
        TlsMode::SelfSigned => Ok(CertificateSource::SelfSigned { data: data.into_owned() }),
        TlsMode::Secret => {
            let name = spec.secret_ref.as_ref().map(|reference| reference.name.as_str()).unwrap_or_default();
            if observed.tls.is_none() {
                return Err(Problem::certificate(
                    "SecretNotFound",
                    format!("Secret {name} (spec.tls.secretRef) does not exist; create it, with the keys tls.crt and tls.key"),
                ));
            }
            let certificate = read().map_err(|error| {
                Problem::certificate(
                    "InvalidCertificate",
                    format!("Secret {name} (spec.tls.secretRef): {error}; put a certificate and its key there, in PEM"),
                )
            })?;
            Ok(CertificateSource::Referenced(certificate))
        }
        TlsMode::CertManager if !observed.kinds.certificate => Err(Problem::certificate(
            "CertManagerNotInstalled",
            "spec.tls.mode is CertManager, but the cluster does not have cert-manager's kind Certificate; install cert-manager, or \
             choose another mode"
                .to_owned(),
        )),
        TlsMode::CertManager if bytes(&data, CERTIFICATE).is_empty() => Ok(CertificateSource::CertManager(None)),
        TlsMode::CertManager => read().map(|certificate| CertificateSource::CertManager(Some(certificate))).map_err(|error| {
            Problem::certificate(
                "InvalidCertificate",
                format!(
                    "Secret {}: {error}; delete it, to have cert-manager make it anew",
                    observed.fleet.certificate_secret()
                ),
            )
        }),
    }
}

/// The operator's own authority, where it signs, and has one already.
fn authority(observed: &Observed) -> Result<Option<Authority>, Problem> {
    if observed.server.spec.tls.mode != TlsMode::SelfSigned {
        return Ok(None);
    }
    let secret = observed.fleet.operator_secret();
    Authority::read(&data(observed.operator.as_ref())).map_err(|error| {
        Problem::certificate(
            "AuthorityUnusable",
            format!(
                "the authority in Secret {secret} cannot be used: {error}; restore the Secret, or delete it to have a new authority, which \
                 clients have to be given then"
            ),
        )
    })
}

fn client_authorities(observed: &Observed, reference: &KeyReference) -> Result<(), Problem> {
    let field = "spec.tls.clientAuthentication.caSecretRef";
    let pem = key_of_secret(observed.client_ca.as_ref(), reference, field)?;
    certificate::authorities(&pem).map(drop).map_err(|error| {
        Problem::configuration(
            "InvalidSecret",
            format!("key {} of Secret {} ({field}): {error}", reference.key, reference.name),
        )
    })
}

fn recording(observed: &Observed) -> Result<Option<Vec<u8>>, Problem> {
    let Some(replay) = &observed.server.spec.feed.replay else { return Ok(None) };
    let KeyReference { name, key } = &replay.config_map_ref;
    let field = "spec.feed.replay.configMapRef";
    let Some(config_map) = &observed.recording else {
        return Err(Problem::configuration(
            "ConfigMapNotFound",
            format!("ConfigMap {name} ({field}) does not exist; create it, with the key {key}"),
        ));
    };
    content(config_map, key).map(Some).ok_or_else(|| {
        Problem::configuration(
            "ConfigMapKeyMissing",
            format!("ConfigMap {name} ({field}) has no key {key}; add it"),
        )
    })
}

fn nats(observed: &Observed) -> Result<Option<NatsSecret>, Problem> {
    let Some(reference) = observed.server.spec.feed.nats.as_ref().and_then(|nats| nats.secret_ref.as_ref())
    else {
        return Ok(None);
    };
    let name = &reference.name;
    if observed.nats.is_none() {
        return Err(Problem::configuration(
            "SecretNotFound",
            format!(
                "Secret {name} (spec.feed.nats.secretRef) does not exist; create it, with the keys {}",
                crate::nats_secret::KEYS
            ),
        ));
    }
    NatsSecret::read(name, &data(observed.nats.as_ref())).map(Some)
}

fn content(config_map: &ConfigMap, key: &str) -> Option<Vec<u8>> {
    let text = config_map.data.as_ref().and_then(|data| data.get(key)).map(|text| text.clone().into_bytes());
    text.or_else(|| {
        config_map.binary_data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone())
    })
}

/// What a Secret has under a key, which must be there and not be empty.
fn key_of_secret(secret: Option<&Secret>, reference: &KeyReference, field: &str) -> Result<Vec<u8>, Problem> {
    let KeyReference { name, key } = reference;
    if secret.is_none() {
        return Err(Problem::configuration(
            "SecretNotFound",
            format!("Secret {name} ({field}) does not exist; create it, with the key {key}"),
        ));
    }
    match data(secret).get(key) {
        Some(value) if !value.0.is_empty() => Ok(value.0.clone()),
        Some(_) => Err(Problem::configuration(
            "SecretKeyMissing",
            format!("key {key} of Secret {name} ({field}) is empty; fill it"),
        )),
        None => Err(Problem::configuration(
            "SecretKeyMissing",
            format!("Secret {name} ({field}) has no key {key}; add it"),
        )),
    }
}

fn data(secret: Option<&Secret>) -> Cow<'_, BTreeMap<String, ByteString>> {
    match secret.and_then(|secret| secret.data.as_ref()) {
        Some(data) => Cow::Borrowed(data),
        None => Cow::Owned(BTreeMap::new()),
    }
}

fn bytes<'a>(data: &'a BTreeMap<String, ByteString>, key: &str) -> &'a [u8] {
    data.get(key).map(|value| value.0.as_slice()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
