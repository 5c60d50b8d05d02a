//! Certificates and keys in PEM, with errors that name the setting and the file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use crate::bounded_file;

/// The largest file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A file, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSetting {
    /// The setting.
    pub variable: &'static str,
    /// The file.
    pub file: PathBuf,
}

impl fmt::Display for FileSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.variable, self.file.display())
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{file} cannot be read")]
    Read {
        /// The file.
        file: FileSetting,
        /// Why.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{file}: {problem}")]
    Content {
        /// The file.
        file: FileSetting,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The key is another's.
    #[error("{key} does not belong to the certificate in {certificate}")]
    Pair {
        /// The key.
        key: FileSetting,
        /// The certificate.
        certificate: FileSetting,
    },
}

impl FileSetting {
    /// For what the file holds, and should not.
    pub(crate) fn wrong(&self, problem: impl Into<String>) -> PemError {
        PemError::Content { file: self.clone(), problem: problem.into() }
    }

    /// What the file holds.
    ///
    /// # Errors
    ///
    /// [`PemError::Read`], also where it is larger than 1 MiB.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, PemError> {
        bounded_file::read(&self.file, MAX_FILE)
            .map_err(|source| PemError::Read { file: self.clone(), source })
    }

    /// The certificates in what the file holds; at least one.
    ///
    /// # Errors
    ///
    /// [`PemError::Content`].
    pub(crate) fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| self.wrong(problem(&error)))?;
        if all.is_empty() { Err(self.wrong("holds no certificate in PEM")) } else { Ok(all) }
    }

    /// The same, as authorities that are trusted.
    ///
    /// # Errors
    ///
    /// [`PemError::Content`].
    pub(crate) fn roots(&self, pem: &[u8]) -> Result<RootCertStore, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(pem)? {
            roots
                .add(certificate)
                .map_err(|error| self.wrong(format!("a certificate in it cannot be used: {error}")))?;
        }
        Ok(roots)
    }

    /// The first private key in what the file holds.
    fn key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
        if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
            let advice =
                "the key is encrypted, and there is nobody to ask; `openssl pkey -in … -out …` decrypts it";
            return Err(self.wrong(advice));
        }
        PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => self.wrong("holds no private key in PEM"),
            error => self.wrong(problem(&error)),
        })
    }
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

/// A certificate, with its chain, and its key.
///
/// # Errors
///
/// [`PemError`].
pub(crate) fn certified(
    certificate: &FileSetting,
    key: &FileSetting,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PemError> {
    let chain = certificate.certificates(&certificate.bytes()?)?;
    let private = provider.key_provider.load_private_key(key.key(&key.bytes()?)?).map_err(|error| {
        key.wrong(format!("the key cannot be used; it must be ECDSA (P-256, P-384), Ed25519 or RSA: {error}"))
    })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        // There are keys that do not tell; then the handshake does.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(PemError::Pair { key: key.clone(), certificate: certificate.clone() })
        }
        Err(error) => Err(certificate.wrong(format!("its first certificate cannot be used: {error}"))),
    }
}
