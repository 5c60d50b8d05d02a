//! Certificate, key and client CA: from files to what rustls works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ALPN;
use super::pem::{PemError, bytes, certificates, key, roots};
use crate::config::{ClientAuth, TlsConfig};

/// Tickets per handshake: a client comes back on one connection, and gets the next ticket there.
const TICKETS: usize = 1;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// One cannot be read, or does not hold what it should.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The key is another's.
    #[error("TLS_KEY_FILE {} does not belong to the certificate in TLS_CERT_FILE {}", key.display(), cert.display())]
    Pair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        cert: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The new certificate is no better than none.
    #[error("TLS_CERT_FILE {}: the certificate has expired, at {not_after} seconds since 1970", file.display())]
    Expired {
        /// The file.
        file: PathBuf,
        /// When, in seconds since 1970 (UTC).
        not_after: i64,
    },
    /// No certificates of clients can be checked.
    #[error("TLS_CLIENT_CA_FILE {} cannot be used", file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// Something else, such as no random numbers.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// What the files hold.
#[derive(Debug)]
pub struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The client CA's file; empty where there is none.
    pub(super) client_ca: Vec<u8>,
    /// When the certificate expires, in seconds since 1970 (UTC).
    pub not_after: i64,
}

impl Material {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`MaterialError`].
    pub fn read(files: &TlsConfig) -> Result<Self, MaterialError> {
        let cert = "TLS_CERT_FILE";
        let chain = certificates(cert, &files.cert_file, &bytes(cert, &files.cert_file)?)?;
        let leaf = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        let (_, leaf) = X509Certificate::from_der(&leaf)
            .map_err(|error| format!("its first certificate does not parse: {error}"))
            .map_err(|problem| PemError::content(cert, &files.cert_file, problem))?;
        let not_after = leaf.validity().not_after.timestamp();
        let key = key("TLS_KEY_FILE", &files.key_file, &bytes("TLS_KEY_FILE", &files.key_file)?)?;
        let client_ca = match &files.client_ca_file {
            Some(file) => bytes("TLS_CLIENT_CA_FILE", file)?,
            None => Vec::new(),
        };
        Ok(Self { chain, key, client_ca, not_after })
    }

    /// Whether the certificate is no longer valid.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        u64::try_from(self.not_after).unwrap_or_default() <= now
    }

    pub(super) fn into_config(
        self,
        files: &TlsConfig,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<ServerConfig, MaterialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |source| MaterialError::Pair {
            key: files.key_file.clone(),
            cert: files.cert_file.clone(),
            source,
        };
        let certified = CertifiedKey::from_der(self.chain, self.key, &provider).map_err(pair)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(MaterialError::Tls)?;
        let builder = match &files.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = roots("TLS_CLIENT_CA_FILE", file, &self.client_ca)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match files.client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required => verifier,
                };
                let failed = |source| MaterialError::ClientCa { file: file.clone(), source };
                builder.with_client_cert_verifier(verifier.build().map_err(failed)?)
            }
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Tickets alone: a memory of sessions would grow with every client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer;
        config.send_tls13_tickets = TICKETS;
        Ok(config)
    }
}
