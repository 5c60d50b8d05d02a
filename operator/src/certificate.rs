//! What the certificate in a Secret is: whose, until when, for which names, and whether it has to be made anew.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rustls::InconsistentKeys;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::default_provider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

pub mod authorities;
pub mod details;
pub mod pem;
pub mod renewal;
pub mod validity;

pub use authorities::{AuthoritiesError, authorities};
pub use renewal::{Renewal, Wanted};
pub use validity::Validity;

use details::{Details, DetailsError};
use pem::PemProblem;

/// The entry of a Secret of the type kubernetes.io/tls that holds the certificate, followed by its chain.
pub const CERTIFICATE: &str = "tls.crt";

/// The entry that holds its key.
pub const KEY: &str = "tls.key";

/// A server's certificate, its chain, and a key that belongs to it. The key itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The server's own first; never empty.
    chain: Vec<CertificateDer<'static>>,
    details: Details,
}

/// Why what a Secret holds is no certificate that a server could show.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// An entry is not PEM.
    #[error("{entry}: {problem}")]
    Pem {
        /// [`CERTIFICATE`] or [`KEY`].
        entry: &'static str,
        /// What is wrong, and what would be right.
        problem: PemProblem,
    },
    /// The server's own certificate cannot be read.
    #[error("{CERTIFICATE}: its first certificate {0}")]
    Details(DetailsError),
    /// The server's own certificate is one that no TLS library would take.
    #[error("{CERTIFICATE}: its first certificate cannot be used: {0}")]
    Unusable(rustls::Error),
    /// The key is of a kind that servers do not know, or damaged.
    #[error(
        "{KEY}: the key cannot be used; it must be ECDSA (P-256, P-384), Ed25519 or RSA (from 2048 bits)"
    )]
    Key,
    /// The key is another's.
    #[error("{KEY} does not belong to {CERTIFICATE}")]
    Pair,
    /// The key belongs to a certificate further down.
    #[error(
        "{KEY} belongs to certificate {position} of {CERTIFICATE}; the server's own must come first, then those that signed it"
    )]
    Order {
        /// Which one, counted from 1.
        position: usize,
    },
}

/// Why clients refuse a certificate at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidityError {
    /// Its time is over.
    #[error("{CERTIFICATE} expired on {on}")]
    Expired {
        /// When it ended.
        on: Timestamp,
    },
    /// Its time has not come.
    #[error("{CERTIFICATE} is not valid before {from}; is a clock wrong?")]
    NotYet {
        /// When it begins.
        from: Timestamp,
    },
}

impl Certificate {
    /// Reads a certificate with its chain, and the key, both in PEM.
    ///
    /// Whether it has expired is not looked at: see [`Certificate::valid_at`].
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn read(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, CertificateError> {
        let wrong = |entry| move |problem| CertificateError::Pem { entry, problem };
        let chain = pem::certificates(certificate_pem).map_err(wrong(CERTIFICATE))?;
        let own = chain.first().ok_or_else(|| wrong(CERTIFICATE)(PemProblem::NoCertificate))?;
        let details = Details::read(own).map_err(CertificateError::Details)?;
        let key = pem::key(key_pem).map_err(wrong(KEY))?;
        let key = any_supported_type(&key).map_err(|_| CertificateError::Key)?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            // There are keys that do not tell; then the handshake does.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self { chain: pair.cert, details })
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(other_key(&pair)),
            Err(error) => Err(CertificateError::Unusable(error)),
        }
    }

    /// From when until when it is good.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.details.validity
    }

    /// From when on it is good.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.details.validity.not_before
    }

    /// Until when it is good.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.details.validity.not_after
    }

    /// The host names that it is for (RFC 5280, section 4.2.1.6), in lower case.
    #[must_use]
    pub fn dns_names(&self) -> &BTreeSet<String> {
        &self.details.dns_names
    }

    /// The addresses that it is for.
    #[must_use]
    pub fn ip_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.details.ip_addresses
    }

    /// The identifier of the key by which it was signed, where it names one (RFC 5280, section 4.2.1.1).
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.details.authority_key_id.as_deref()
    }

    /// Whether clients take it at this time.
    ///
    /// # Errors
    ///
    /// [`ValidityError`], where they do not.
    pub fn valid_at(&self, now: Timestamp) -> Result<(), ValidityError> {
        let validity = self.details.validity;
        if validity.ended(now) {
            return Err(ValidityError::Expired { on: validity.not_after });
        }
        if now < validity.not_before {
            return Err(ValidityError::NotYet { from: validity.not_before });
        }
        Ok(())
    }

    /// Whether one of these authorities, in PEM, signed it as a server's: itself, or by way of its chain. False where they cannot be read.
    #[must_use]
    pub fn is_signed_by(&self, authorities_pem: &[u8]) -> bool {
        pem::certificates(authorities_pem).is_ok_and(|authorities| self.is_signed_by_any(authorities))
    }

    /// The same, for authorities that have been read.
    pub(crate) fn is_signed_by_any<'a>(
        &self,
        authorities: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        let Some((own, others)) = self.chain.split_first() else { return false };
        let Ok(own) = ParsedCertificate::try_from(own) else { return false };
        // Who signed it is asked, not whether it is good now: so at a time at which it was, whatever today's clock says.
        let then = u64::try_from(self.not_before().as_second()).unwrap_or(0);
        let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
        let algorithms = default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&own, &roots, others, then, algorithms).is_ok()
    }
}

/// Says of a key that does not belong to the first certificate whether it belongs to another one.
fn other_key(pair: &CertifiedKey) -> CertificateError {
    let belongs = |certificate: &CertificateDer<'_>| {
        let public = pair.key.public_key();
        Details::read(certificate).is_ok_and(|details| public.is_some_and(|key| *key == details.public_key))
    };
    match pair.cert.iter().position(belongs) {
        Some(index) => CertificateError::Order { position: index + 1 },
        None => CertificateError::Pair,
    }
}

#[cfg(test)]
mod tests;
