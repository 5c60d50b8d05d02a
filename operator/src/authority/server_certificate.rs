//! The certificate of a server, as it is asked for and as it is signed.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::DnsName;

use super::signing::{MAX_COMMON_NAME, Signing, set_common_name, set_validity};
use crate::certificate::validity::Validity;

/// What a server's certificate is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Its subject, for people; clients go by the names and addresses. Left out where it has more than 64 characters.
    pub common_name: String,
    /// The host names that it is for; `*.` stands for one label.
    pub dns_names: Vec<String>,
    /// The addresses that it is for.
    pub ip_addresses: Vec<IpAddr>,
    /// For how long it is good, unless its signer ends before that.
    pub lifetime: Duration,
}

/// A certificate with its key.
pub struct Issued {
    /// In PEM. Its signer's is not there: clients have that, or do not trust it.
    pub certificate: String,
    /// In PEM (PKCS #8).
    pub key: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Why a certificate was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// It would be for nobody.
    #[error("a certificate needs a host name or an address")]
    NoNames,
    /// A host name is none.
    #[error("`{name}` is not a host name")]
    Name {
        /// Which one.
        name: String,
    },
    /// Who should sign cannot any more.
    #[error("the certificate authority expired on {on}")]
    SignerExpired {
        /// When it did.
        on: Timestamp,
    },
    /// It could not be made.
    #[error("the certificate cannot be made")]
    Generation(#[from] rcgen::Error),
}

impl Signing {
    /// Makes a key (ECDSA P-256) and signs a certificate for it.
    pub(super) fn sign(&self, request: &ServerCertificate, now: Timestamp) -> Result<Issued, SigningError> {
        let signer = self.validity();
        if signer.ended(now) {
            return Err(SigningError::SignerExpired { on: signer.not_after });
        }
        let validity = Validity::of(request.lifetime, signer.not_after, now);
        let mut params = CertificateParams::default();
        set_validity(&mut params, validity)?;
        if request.common_name.chars().count() <= MAX_COMMON_NAME {
            set_common_name(&mut params, &request.common_name);
        } else {
            params.distinguished_name = DistinguishedName::new();
        }
        params.subject_alt_names = alternative_names(request)?;
        // Says that it is no authority's, and with that come the key identifiers (RFC 5280, sections 4.2.1.1 and 4.2.1.2).
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer())?;
        let not_after = validity.not_after;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), not_after })
    }
}

/// Without the key.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The names and addresses; at least one.
fn alternative_names(request: &ServerCertificate) -> Result<Vec<SanType>, SigningError> {
    let host = |name: &String| {
        let wrong = || SigningError::Name { name: name.clone() };
        DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).map_err(|_| wrong())?;
        name.as_str().try_into().map(SanType::DnsName).map_err(|_| wrong())
    };
    let mut names: Vec<_> = request.dns_names.iter().map(host).collect::<Result<_, _>>()?;
    names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
    if names.is_empty() { Err(SigningError::NoNames) } else { Ok(names) }
}
