//! Certificate, key and client CA: from files to what rustls works with.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ALPN;
use super::client_chain::ShortChains;
use super::pem::{FileSetting, PemError, certified};
use crate::config::{ClientAuth, TlsConfig};

/// Tickets per handshake: a client comes back on one connection, and gets the next ticket there.
const TICKETS: usize = 1;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// One cannot be read, or does not hold what it should.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The new certificate is no better than none.
    #[error("{file}: the certificate has expired, at {not_after} seconds since 1970")]
    Expired {
        /// The certificate's file.
        file: FileSetting,
        /// When, in seconds since 1970 (UTC).
        not_after: i64,
    },
    /// The new certificate is not good yet, or this machine's clock is behind.
    #[error("{file}: the certificate is not valid before {not_before} seconds since 1970")]
    NotYetValid {
        /// The certificate's file.
        file: FileSetting,
        /// When it will be, in seconds since 1970 (UTC).
        not_before: i64,
    },
    /// No certificates of clients can be checked.
    #[error("{file} cannot be used")]
    ClientCa {
        /// The file.
        file: FileSetting,
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
    certified: CertifiedKey,
    /// The client CA's file; empty where there is none.
    pub(super) client_ca: Vec<u8>,
    /// From when on the certificate is valid, in seconds since 1970 (UTC).
    not_before: i64,
    /// When it expires, in seconds since 1970 (UTC).
    pub not_after: i64,
}

impl Material {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`MaterialError`].
    pub fn read(files: &TlsConfig) -> Result<Self, MaterialError> {
        let certificate = certificate_file(files);
        let key = FileSetting { variable: "TLS_KEY_FILE", file: files.key_file.clone() };
        let certified = certified(&certificate, &key, &rustls::crypto::ring::default_provider())?;
        let mut validity = (0, 0);
        for (number, one) in (1..).zip(&certified.cert) {
            let (_, one) = X509Certificate::from_der(one).map_err(|error| {
                certificate.wrong(format!("certificate {number} in it does not parse: {error}"))
            })?;
            let (not_before, not_after) =
                (one.validity().not_before.timestamp(), one.validity().not_after.timestamp());
            if number == 1 {
                validity = (not_before, not_after);
            } else if not_after <= now() {
                // There may be another way to a root.
                tracing::warn!(file = %certificate, number, not_after, "a certificate in the chain has expired");
            }
        }
        let (not_before, not_after) = validity;
        let client_ca = client_ca_file(files).map_or(Ok(Vec::new()), |file| file.bytes())?;
        Ok(Self { certified, client_ca, not_before, not_after })
    }

    /// Whether the certificate is good at this time.
    ///
    /// # Errors
    ///
    /// [`MaterialError::Expired`], [`MaterialError::NotYetValid`].
    pub fn check_validity(&self, files: &TlsConfig) -> Result<(), MaterialError> {
        let now = now();
        let (file, &Self { not_before, not_after, .. }) = (certificate_file(files), self);
        if not_after <= now {
            Err(MaterialError::Expired { file, not_after })
        } else if not_before > now {
            Err(MaterialError::NotYetValid { file, not_before })
        } else {
            Ok(())
        }
    }

    pub(super) fn into_config(
        self,
        files: &TlsConfig,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<ServerConfig, MaterialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(MaterialError::Tls)?;
        let builder = match client_ca_file(files) {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = file.roots(&self.client_ca)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match files.client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required => verifier,
                };
                let verifier = verifier.build().map_err(|source| MaterialError::ClientCa { file, source })?;
                builder.with_client_cert_verifier(Arc::new(ShortChains(verifier)))
            }
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(self.certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Tickets alone: a memory of sessions would grow with every client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer;
        config.send_tls13_tickets = TICKETS;
        Ok(config)
    }
}

/// In seconds since 1970 (UTC).
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}

fn certificate_file(files: &TlsConfig) -> FileSetting {
    FileSetting { variable: "TLS_CERT_FILE", file: files.cert_file.clone() }
}

fn client_ca_file(files: &TlsConfig) -> Option<FileSetting> {
    let file = files.client_ca_file.clone()?;
    Some(FileSetting { variable: "TLS_CLIENT_CA_FILE", file })
}
