//! The third step: makes up what has to be made up, where it is missing or due: credentials, an authority, a certificate. No client; the time is
//! given. Here alone is chance.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use ring::hmac;
use tickwire_crd::{SelfSigned, StreamServerSpec};

use crate::authority::{Authority, Change, GenerationError, ServerCertificate, SigningError};
use crate::certificate::{CERTIFICATE, Certificate, CertificateError, KEY, Renewal, Validity, Wanted};
use crate::fleet::Fleet;
use crate::note::Note;
use crate::validate::{CertificateSource, Credentials, Pair, Validated};

/// What was made up, or kept as it was. It has passwords and keys: so no Debug.
#[derive(Clone)]
pub struct Issued {
    /// The data of the Secret with what only the operator needs.
    pub operator_data: BTreeMap<String, ByteString>,
    /// The credentials, where the operator makes them up.
    pub generated: Option<Pair>,
    /// The certificate, where the operator signs it.
    pub tls: Option<IssuedTls>,
    /// When the servers' certificate begins and ends, whoever signs it.
    pub certificate_validity: Option<Validity>,
    /// A digest of the credentials, of a recording, and of what servers log in to NATS with. It says nothing about them to who does not have the key.
    pub digest: String,
    /// When something of this is due again.
    pub look_again: Option<Timestamp>,
    /// What was made anew.
    pub notes: Vec<Note>,
}

/// A certificate that the operator signs.
#[derive(Clone)]
pub struct IssuedTls {
    /// The Secret's data: `tls.crt`, `tls.key`, and the authorities as `ca.crt`.
    pub data: BTreeMap<String, ByteString>,
    /// The authorities by which clients know the servers, in PEM.
    pub bundle: String,
}

/// Something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// An authority.
    #[error("cannot make an authority for certificates")]
    Authority(#[from] GenerationError),
    /// A certificate.
    #[error("cannot sign the servers' certificate")]
    Certificate(#[from] SigningError),
    /// What was just signed cannot be read.
    #[error("the servers' certificate that was just signed cannot be read")]
    Unreadable(#[from] CertificateError),
}

/// The key of the digest, in the Secret with what only the operator needs.
const DIGEST_KEY: &str = "digest.key";
/// Its length: that of SHA-256, as RFC 2104 (section 3) has it.
const DIGEST_KEY_LEN: usize = 32;
/// How much of a digest is shown: 64 bits, enough to tell one content from another.
const DIGEST_SHOWN: usize = 8;
/// The entry of a Secret, and of a ConfigMap, with the authorities that clients should trust.
pub(crate) const AUTHORITIES: &str = "ca.crt";
/// The user whose password is made up.
const USERNAME: &str = "tickwire";
/// How long a made-up password is: 32 letters and digits are 190 bits.
const PASSWORD_LEN: usize = 32;

/// Makes up what is missing or due.
///
/// # Errors
///
/// Where signing fails.
pub fn issue(
    validated: &Validated,
    authority: Option<Authority>,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    let mut notes = Vec::new();
    let digest_key = digest_key(validated);
    let (pair, generated) = match &validated.credentials {
        Credentials::Referenced(pair) => (Some(pair.clone()), None),
        Credentials::Generated(pair) => (Some(pair.clone()), Some(pair.clone())),
        // No pod is made anew meanwhile: a digest of nothing is as good as any.
        Credentials::Unusable => (None, None),
        Credentials::Missing => {
            let pair = make_up_credentials();
            let secret = validated.fleet.credentials_secret();
            notes.push(Note::normal(
                "CredentialsCreated",
                format!("made up a user and a password, in Secret {secret}"),
            ));
            (Some(pair.clone()), Some(pair))
        }
    };
    let (username, password) = pair.map_or_else(Default::default, |pair| (pair.username, pair.password));
    let mut digested: Vec<&[u8]> = vec![&username, &password, &validated.recording];
    digested.extend(validated.nats.iter().flat_map(|nats| nats.login.digested()));
    let digest = digest(&digest_key, &digested);

    // What is there is kept, also an authority that does not sign at present: clients know it.
    let mut operator_data = validated.operator_data.clone();
    let (mut tls, mut certificate_validity, mut look_again) = (None, None, None);
    match &validated.certificate {
        CertificateSource::Disabled | CertificateSource::CertManager(None) | CertificateSource::Unusable => {}
        CertificateSource::Referenced(certificate) | CertificateSource::CertManager(Some(certificate)) => {
            certificate_validity = Some(certificate.validity());
        }
        CertificateSource::SelfSigned { data } => {
            let signed = sign(validated, authority, data, now)?;
            operator_data = signed.authority.write();
            notes.extend(signed.notes);
            tls = Some(signed.tls);
            certificate_validity = Some(signed.validity);
            look_again = Some(signed.look_again);
        }
    }
    operator_data.insert(DIGEST_KEY.to_owned(), ByteString(digest_key));
    Ok(Issued { operator_data, generated, tls, certificate_validity, digest, look_again, notes })
}

fn digest_key(validated: &Validated) -> Vec<u8> {
    match validated.operator_data.get(DIGEST_KEY) {
        Some(key) if key.0.len() == DIGEST_KEY_LEN => key.0.clone(),
        _ => rand::rng().random::<[u8; DIGEST_KEY_LEN]>().to_vec(),
    }
}

fn make_up_credentials() -> Pair {
    let password = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LEN).collect();
    Pair { username: USERNAME.into(), password }
}

/// A keyed digest of several parts, in hexadecimal.
fn digest(key: &[u8], parts: &[&[u8]]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        // With the length before each, so that what ends one part cannot begin the next.
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    context.sign().as_ref().iter().take(DIGEST_SHOWN).map(|byte| format!("{byte:02x}")).collect()
}

struct Signed {
    authority: Authority,
    tls: IssuedTls,
    validity: Validity,
    look_again: Timestamp,
    notes: Vec<Note>,
}

fn sign(
    validated: &Validated,
    authority: Option<Authority>,
    present: &BTreeMap<String, ByteString>,
    now: Timestamp,
) -> Result<Signed, IssueError> {
    let (fleet, spec) = (&validated.fleet, &validated.spec);
    let settings = spec.tls.self_signed.clone().unwrap_or_default();
    let subject = format!("{}/{}", fleet.namespace, fleet.name);
    let lifetime = settings.ca_duration.get();
    let (authority, changes) = Authority::advance(authority, &subject, lifetime, now)?;
    let mut notes: Vec<_> = changes.iter().map(|change| authority_note(*change, fleet)).collect();

    let request = request(fleet, spec, &settings);
    let wanted =
        Wanted { request: &request, authority: &authority, renew_before: settings.renew_before.get() };
    let entry = |key| present.get(key).map(|value| value.0.as_slice());
    let (certificate, key) =
        match (entry(CERTIFICATE), entry(KEY), wanted.renewal(entry(CERTIFICATE), entry(KEY), now)) {
            (Some(certificate), Some(key), None) => (certificate.to_vec(), key.to_vec()),
            (_, _, renewal) => {
                let issued = authority.sign(&request, now)?;
                let until = shown(issued.not_after);
                let why = match renewal {
                    None | Some(Renewal::Missing) => String::new(),
                    Some(reason) => format!(", as of the one before: {reason}"),
                };
                notes.push(Note::normal(
                    "CertificateIssued",
                    format!("signed a certificate that is good until {until}{why}"),
                ));
                (issued.certificate.into_bytes(), issued.key.into_bytes())
            }
        };
    let read = Certificate::read(&certificate, &key)?;
    let bundle = authority.bundle();
    let data = [(CERTIFICATE, certificate), (KEY, key), (AUTHORITIES, bundle.clone().into_bytes())];
    Ok(Signed {
        look_again: authority.next_change(lifetime).min(read.due_at(&wanted)),
        validity: read.validity(),
        tls: IssuedTls {
            data: data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value))).collect(),
            bundle,
        },
        authority,
        notes,
    })
}

fn request(fleet: &Fleet, spec: &StreamServerSpec, wanted: &SelfSigned) -> ServerCertificate {
    let names = fleet.service_names().into_iter().chain(spec.tls.dns_names.iter().cloned());
    ServerCertificate {
        common_name: fleet.name.clone(),
        dns_names: names.collect(),
        // The schema lets nothing else pass.
        ip_addresses: spec.tls.ip_addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        lifetime: wanted.duration.get(),
    }
}

fn authority_note(change: Change, fleet: &Fleet) -> Note {
    let message = format!("{change}; the bundle is in ConfigMap {}", fleet.ca_config_map());
    if change.is_warning() {
        Note::warning(change.label(), message)
    } else {
        Note::normal(change.label(), message)
    }
}

/// A moment as people and machines read it, in whole seconds.
pub(crate) fn shown(moment: Timestamp) -> String {
    moment.round(jiff::Unit::Second).unwrap_or(moment).to_string()
}

/// For how long nothing of this is due.
#[must_use]
pub fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
