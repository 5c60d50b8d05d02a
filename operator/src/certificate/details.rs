//! What a certificate says of itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};
use x509_parser::x509::{X509Name, X509Version};

use super::validity::Validity;

/// What a certificate says of itself (RFC 5280, section 4), as far as the operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) validity: Validity,
    /// In lower case.
    pub(crate) dns_names: BTreeSet<String>,
    pub(crate) ip_addresses: BTreeSet<IpAddr>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) authority_key_id: Option<Vec<u8>>,
    /// The SubjectPublicKeyInfo, in DER.
    pub(crate) public_key: Vec<u8>,
    /// The subject, for people.
    pub(crate) subject: String,
    /// The subject, where it is a common name in UTF-8 and nothing else: such as this operator gives to its authorities.
    pub(crate) sole_common_name: Option<String>,
    pub(crate) role: Role,
}

/// What a certificate is for, by its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It may sign others (RFC 5280, sections 4.2.1.3 and 4.2.1.9).
    Authority,
    /// It may not, but carries its own name as its issuer's, or is older than extensions: it can be trusted as it is.
    SelfIssued,
    /// It is signed by another one, and may sign none.
    EndEntity,
}

/// Why it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailsError {
    /// It is not DER, or damaged.
    #[error("is damaged: what stands between BEGIN and END is no certificate")]
    Damaged,
    /// An extension is damaged, or there twice.
    #[error("has an extension that is damaged, or has one twice")]
    Extension,
}

impl From<X509Error> for DetailsError {
    fn from(_: X509Error) -> Self {
        Self::Extension
    }
}

impl Details {
    /// Reads a certificate.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, DetailsError> {
        let (rest, x509) = X509Certificate::from_der(certificate).map_err(|_| DetailsError::Damaged)?;
        if !rest.is_empty() {
            return Err(DetailsError::Damaged);
        }
        let mut details = Self {
            validity: Validity {
                not_before: timestamp(x509.validity().not_before),
                not_after: timestamp(x509.validity().not_after),
            },
            dns_names: BTreeSet::new(),
            ip_addresses: BTreeSet::new(),
            subject_key_id: None,
            authority_key_id: None,
            public_key: x509.public_key().raw.to_vec(),
            subject: x509.subject().to_string(),
            sole_common_name: sole_common_name(x509.subject()),
            role: role(&x509)?,
        };
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => details.subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(issuer) => {
                    details.authority_key_id = issuer.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        let names = x509.subject_alternative_name()?;
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => _ = details.dns_names.insert(name.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => details.ip_addresses.extend(address(octets)),
                _ => {}
            }
        }
        Ok(details)
    }
}

/// What it is for.
fn role(x509: &X509Certificate<'_>) -> Result<Role, DetailsError> {
    let may_sign = x509.key_usage()?.is_none_or(|usage| usage.value.key_cert_sign());
    if x509.is_ca() && may_sign {
        return Ok(Role::Authority);
    }
    let self_issued = x509.subject().as_raw() == x509.issuer().as_raw();
    if self_issued || x509.version() != X509Version::V3 { Ok(Role::SelfIssued) } else { Ok(Role::EndEntity) }
}

/// A time of a certificate. Those in the last day of the year 9999 are beyond what a [`Timestamp`] can be.
fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX)
}

/// An address: 4 octets or 16 (RFC 5280, section 4.2.1.6).
fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
    v4().or_else(|_| v6()).ok()
}

/// A name that is a common name in UTF-8 and nothing else.
fn sole_common_name(name: &X509Name<'_>) -> Option<String> {
    let mut attributes = name.iter_attributes();
    let (only, None) = (attributes.next()?, attributes.next()) else { return None };
    let is_ours = *only.attr_type() == OID_X509_COMMON_NAME && only.attr_value().tag() == Tag::Utf8String;
    only.as_str().ok().filter(|_| is_ours).map(Into::into)
}
