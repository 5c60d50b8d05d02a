//! Certificate, key and client CA: from files to what rustls works with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ALPN;
use crate::config::{ClientAuth, TlsConfig};

/// The largest of the files, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Tickets per handshake: a client comes back on one connection, and gets the next ticket there.
const TICKETS: usize = 1;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// One cannot be read.
    #[error("{variable} {} cannot be read", file.display())]
    Read {
        /// The setting.
        variable: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One does not hold what it should.
    #[error("{variable} {}: {problem}", file.display())]
    Content {
        /// The setting.
        variable: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
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
        let chain =
            certificates("TLS_CERT_FILE", &files.cert_file, &bytes("TLS_CERT_FILE", &files.cert_file)?)?;
        let content = |problem: String| MaterialError::Content {
            variable: "TLS_CERT_FILE",
            file: files.cert_file.clone(),
            problem,
        };
        let leaf = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        let (_, leaf) = X509Certificate::from_der(&leaf)
            .map_err(|error| content(format!("its first certificate does not parse: {error}")))?;
        let not_after = leaf.validity().not_after.timestamp();
        let key = key(&files.key_file, &bytes("TLS_KEY_FILE", &files.key_file)?)?;
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
                let mut roots = RootCertStore::empty();
                for certificate in certificates("TLS_CLIENT_CA_FILE", file, &self.client_ca)? {
                    roots.add(certificate).map_err(|error| MaterialError::Content {
                        variable: "TLS_CLIENT_CA_FILE",
                        file: file.clone(),
                        problem: format!("a certificate in it is no authority's: {error}"),
                    })?;
                }
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

fn bytes(variable: &'static str, file: &Path) -> Result<Vec<u8>, MaterialError> {
    let failed = |source| MaterialError::Read { variable, file: file.into(), source };
    let size = std::fs::metadata(file).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(failed(io::Error::other(format!(
            "it has {size} bytes; at most {MAX_FILE} are accepted"
        ))));
    }
    std::fs::read(file).map_err(failed)
}

fn key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let failed = |problem| MaterialError::Content { variable: "TLS_KEY_FILE", file: file.into(), problem };
    if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        let advice =
            "the key is encrypted, and there is nobody to ask; `openssl pkey -in … -out …` decrypts it";
        return Err(failed(advice.into()));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => failed("holds no private key in PEM".into()),
        error => failed(problem(&error)),
    })
}

/// What stands in an encrypted key, of either kind: in its first line, or in its header.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// What is wrong with a file in PEM.
fn problem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it has no END line; has it been cut?".into(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line of it is damaged".into(),
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64".into(),
        other => format!("is not PEM: {other}"),
    }
}

/// At least one.
fn certificates(
    variable: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let failed = |problem| MaterialError::Content { variable, file: file.into(), problem };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(problem(&error)))?;
    if all.is_empty() { Err(failed("holds no certificate in PEM".into())) } else { Ok(all) }
}
