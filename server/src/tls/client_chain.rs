//! Clients' certificates: looked at only where the chain that comes with them is short.
//!
//! Whether a certificate is good is found out by looking for a path to an authority, through whatever certificates the client sends along. They may be
//! made so that there are very many paths, none of which leads anywhere: 33 KiB of them keep a core busy for seconds, before the client has
//! shown that it has any key. Few have few paths. A session also keeps the chain for as long as the connection lives.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

/// How many certificates may come along: a root that need not be sent, and three levels between.
pub const MAX_INTERMEDIATES: usize = 4;

/// The most bytes that all of them have, the client's own included: five of RSA with 4,096 bits have some 10 KiB.
pub const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// There is more of it than is looked at.
#[derive(Clone, Copy, thiserror::Error)]
#[error(
    "the chain has more than {MAX_INTERMEDIATES} certificates besides the client's own, or more than {MAX_CHAIN_BYTES} bytes"
)]
struct TooLong;

/// rustls shows it so.
impl fmt::Debug for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Has another verifier look at chains that are short enough.
#[derive(Debug)]
pub(super) struct ShortChains(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for ShortChains {
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = own.len() + others.iter().map(|certificate| certificate.len()).sum::<usize>();
        if others.len() > MAX_INTERMEDIATES || bytes > MAX_CHAIN_BYTES {
            return Err(CertificateError::Other(OtherError(Arc::new(TooLong))).into());
        }
        self.0.verify_client_cert(own, others, now)
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, own, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, own, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
