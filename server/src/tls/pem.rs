//! Certificates and keys in PEM, with errors that name the setting and the file.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::bounded_file;

/// The largest file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{variable} {} cannot be read", file.display())]
    Read {
        /// The setting.
        variable: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{variable} {}: {problem}", file.display())]
    Content {
        /// The setting.
        variable: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl PemError {
    /// What a file holds is not what it should.
    pub(crate) fn content(variable: &'static str, file: &Path, problem: impl Into<String>) -> Self {
        Self::Content { variable, file: file.into(), problem: problem.into() }
    }
}

/// What a file holds.
///
/// # Errors
///
/// [`PemError::Read`], also where it is larger than 1 MiB.
pub(crate) fn bytes(variable: &'static str, file: &Path) -> Result<Vec<u8>, PemError> {
    bounded_file::read(file, MAX_FILE).map_err(|source| PemError::Read {
        variable,
        file: file.into(),
        source,
    })
}

/// The first private key of a file.
///
/// # Errors
///
/// [`PemError::Content`].
pub(crate) fn key(
    variable: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<PrivateKeyDer<'static>, PemError> {
    let failed = |problem| PemError::content(variable, file, problem);
    if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(failed(
            "the key is encrypted, and there is nobody to ask; `openssl pkey -in … -out …` decrypts it"
                .to_owned(),
        ));
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

/// The certificates of a file; at least one.
///
/// # Errors
///
/// [`PemError::Content`].
pub(crate) fn certificates(
    variable: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |problem| PemError::content(variable, file, problem);
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(problem(&error)))?;
    if all.is_empty() { Err(failed("holds no certificate in PEM".into())) } else { Ok(all) }
}

/// The certificates of a file, as authorities that are trusted.
///
/// # Errors
///
/// [`PemError::Content`].
pub(crate) fn roots(variable: &'static str, file: &Path, pem: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(variable, file, pem)? {
        roots.add(certificate).map_err(|error| {
            PemError::content(variable, file, format!("a certificate in it is no authority's: {error}"))
        })?;
    }
    Ok(roots)
}
