//! A certificate of an authority, with its key or without.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::ASN1Time;

use crate::certificate::details::{Details, DetailsError, Role};
use crate::certificate::pem::{self, PemProblem};
use crate::certificate::validity::Validity;

/// The certificate of an authority, as it is published.
#[derive(Clone, PartialEq, Eq)]
pub struct Published {
    /// With a line break at its end.
    pem: String,
    der: CertificateDer<'static>,
    validity: Validity,
}

/// The certificate of an authority and its private key.
pub struct Signing {
    published: Published,
    /// Its whole subject.
    common_name: String,
    /// Its subject key identifier.
    key_id: Vec<u8>,
    key: KeyPair,
}

/// The names of two entries of a Secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    pub(super) certificate: &'static str,
    pub(super) key: &'static str,
}

/// Why what a Secret holds cannot be used as an authority.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// An entry is not there, and others that need it are.
    #[error("{entry} is not there")]
    Missing {
        /// Which one.
        entry: &'static str,
    },
    /// An entry is not PEM.
    #[error("{entry}: {problem}")]
    Pem {
        /// Which one.
        entry: &'static str,
        /// What is wrong, and what would be right.
        problem: PemProblem,
    },
    /// An entry holds another number of certificates.
    #[error("{entry} holds {count} certificates; it must be one")]
    Count {
        /// Which one.
        entry: &'static str,
        /// How many.
        count: usize,
    },
    /// A certificate cannot be read.
    #[error("{entry}: its certificate {problem}")]
    Details {
        /// Which entry.
        entry: &'static str,
        /// What is wrong with it.
        problem: DetailsError,
    },
    /// A certificate may not sign others.
    #[error("{entry}: its certificate is not an authority's (basicConstraints CA, keyUsage keyCertSign)")]
    NotAuthority {
        /// Which entry.
        entry: &'static str,
    },
    /// A certificate was not made by this operator.
    #[error(
        "{entry}: its subject is not one that the operator gives, a common name alone; own certificates go into a Secret of the mode Secret"
    )]
    Subject {
        /// Which entry.
        entry: &'static str,
    },
    /// A key cannot be used.
    #[error("{entry}: the key cannot be used; it must be ECDSA (P-256) in PKCS #8")]
    Key {
        /// Which entry.
        entry: &'static str,
    },
    /// A key is another's.
    #[error("{key} does not belong to {certificate}")]
    Pair {
        /// The entry with the key.
        key: &'static str,
        /// The entry with the certificate.
        certificate: &'static str,
    },
}

/// A certificate of an authority could not be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate authority cannot be made")]
pub struct GenerationError(#[from] rcgen::Error);

/// The longest common name, in characters (RFC 5280, appendix A.1, ub-common-name).
pub(super) const MAX_COMMON_NAME: usize = 64;

/// How many bytes of the key's identifier a name ends in: 4 billion different ones, where a handful are trusted at once.
const DISTINGUISHING: usize = 4;

/// What the subject may be long, in characters: 64 less a space and 8 hexadecimal digits, 55.
const MAX_SUBJECT: usize = MAX_COMMON_NAME - 1 - 2 * DISTINGUISHING;

/// What a certificate in PEM ends in.
const END: &str = "-----END CERTIFICATE-----";

impl Published {
    /// Reads all of an entry.
    pub(super) fn read_all(entry: &'static str, pem: &[u8]) -> Result<Vec<Self>, AuthorityError> {
        Self::read_with_details(entry, pem).map(|all| all.into_iter().map(|(it, _)| it).collect())
    }

    fn read_with_details(entry: &'static str, pem: &[u8]) -> Result<Vec<(Self, Details)>, AuthorityError> {
        let all = pem::certificates(pem).map_err(|problem| AuthorityError::Pem { entry, problem })?;
        let text =
            str::from_utf8(pem).map_err(|_| AuthorityError::Pem { entry, problem: PemProblem::Other })?;
        let texts = text.split_inclusive(END);
        let read = |(der, text): (CertificateDer<'static>, &str)| {
            let details =
                Details::read(&der).map_err(|problem| AuthorityError::Details { entry, problem })?;
            if details.role != Role::Authority {
                return Err(AuthorityError::NotAuthority { entry });
            }
            let pem = format!("{}\n", text.trim_start());
            Ok((Self { pem, der, validity: details.validity }, details))
        };
        all.into_iter().zip(texts).map(read).collect()
    }

    /// In PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// From when until when it is good.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

impl Signing {
    /// Reads what [`Signing::write`] wrote. None where neither entry is there.
    pub(super) fn read(
        secret: &BTreeMap<String, ByteString>,
        entries: Entries,
    ) -> Result<Option<Self>, AuthorityError> {
        let Entries { certificate: entry, key: key_entry } = entries;
        let (pem, key_pem) = match (secret.get(entry), secret.get(key_entry)) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(AuthorityError::Missing { entry }),
            (Some(_), None) => return Err(AuthorityError::Missing { entry: key_entry }),
            (Some(pem), Some(key_pem)) => (pem, key_pem),
        };
        let mut all = Published::read_with_details(entry, &pem.0)?;
        let count = all.len();
        let (Some((published, details)), 1) = (all.pop(), count) else {
            return Err(AuthorityError::Count { entry, count });
        };
        let key =
            pem::key(&key_pem.0).map_err(|problem| AuthorityError::Pem { entry: key_entry, problem })?;
        let key = KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| AuthorityError::Key { entry: key_entry })?;
        if key.subject_public_key_info() != details.public_key {
            return Err(AuthorityError::Pair { key: key_entry, certificate: entry });
        }
        let common_name = details.sole_common_name.ok_or(AuthorityError::Subject { entry })?;
        let key_id = details.subject_key_id.unwrap_or_else(|| key_id(&key));
        Ok(Some(Self { published, common_name, key_id, key }))
    }

    /// Puts it into a Secret.
    pub(super) fn write(&self, entries: Entries, secret: &mut BTreeMap<String, ByteString>) {
        let certificate = self.published.pem.as_bytes().to_vec();
        secret.insert(entries.certificate.into(), ByteString(certificate));
        secret.insert(entries.key.into(), ByteString(self.key.serialize_pem().into_bytes()));
    }

    /// Makes a new one, which signs itself: ECDSA P-256, and certificates of servers only (a path length of 0, RFC 5280,
    /// section 4.2.1.9).
    pub(super) fn generate(
        subject: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, GenerationError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key_id = key_id(&key);
        let common_name = common_name(subject, &key_id);
        let validity = Validity::of(lifetime, Timestamp::MAX, now);
        let mut params = CertificateParams::default();
        set_validity(&mut params, validity)?;
        set_common_name(&mut params, &common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.self_signed(&key)?;
        let published = Published { pem: certificate.pem(), der: certificate.into(), validity };
        Ok(Self { published, common_name, key_id, key })
    }

    /// Its certificate.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// From when until when it is good.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.published.validity
    }

    /// When it ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.published.validity.not_after
    }

    /// Its name: a common name.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Its certificate, in DER.
    pub(crate) fn der(&self) -> CertificateDer<'_> {
        CertificateDer::from_slice(&self.published.der)
    }

    /// Without its key.
    pub(super) fn into_published(self) -> Published {
        self.published
    }

    /// For signing by it: under the same name and key identifier as are in its certificate, or no chain could be built.
    pub(super) fn issuer(&self) -> Issuer<'static, &KeyPair> {
        let mut params = CertificateParams::default();
        set_common_name(&mut params, &self.common_name);
        params.key_identifier_method = KeyIdMethod::PreSpecified(self.key_id.clone());
        Issuer::new(params, &self.key)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// Without the key.
impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing")
            .field("common_name", &self.common_name)
            .field("validity", &self.validity())
            .finish_non_exhaustive()
    }
}

/// Sets from when until when a certificate is good.
pub(super) fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), rcgen::Error> {
    let date = |time: Timestamp| ASN1Time::from_timestamp(time.as_second()).map_err(|_| rcgen::Error::Time);
    params.not_before = date(validity.not_before)?.to_datetime();
    params.not_after = date(validity.not_after)?.to_datetime();
    Ok(())
}

/// Makes the subject this common name and nothing else.
pub(super) fn set_common_name(params: &mut CertificateParams, common_name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
}

/// The identifier of a key: a part of its hash (RFC 7093, section 2, method 1).
fn key_id(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().key_identifier(key)
}

/// A name that no other authority of the same subject has.
fn common_name(subject: &str, key_id: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut name: String = subject.chars().take(MAX_SUBJECT).collect();
    name.push(' ');
    for byte in key_id.iter().take(DISTINGUISHING) {
        // Writing into a String does not fail.
        _ = write!(name, "{byte:02x}");
    }
    name
}
