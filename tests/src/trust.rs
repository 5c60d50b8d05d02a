//! What a raw TLS client believes, and shows.

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::pki::{Authority, Pair};

/// Trusts an authority, and shows a certificate if it has one. Tickets are kept as long as the configuration is.
///
/// # Panics
///
/// Where a certificate is none.
#[must_use]
pub fn trust(authority: &Authority, own: Option<&Pair>) -> Arc<ClientConfig> {
    let certificate =
        |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority.certificate())).expect("an authority's certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key in PEM");
            let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("certificates in PEM");
            builder.with_client_auth_cert(chain, key).expect("the key is the certificate's")
        }
    };
    config.alpn_protocols = vec![b"tickwire/1".to_vec()];
    Arc::new(config)
}
