//! Certificates and keys in PEM (RFC 7468), with problems that say what would be right.

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why something is not the PEM that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemProblem {
    /// There is no certificate.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// There is no key.
    #[error("holds no private key in PEM")]
    NoKey,
    /// What a Secret holds in `data` has been encoded once by hand, and once more by who made the Secret.
    #[error("is PEM in base64: encoded twice; `stringData` of a Secret takes it as it is")]
    EncodedTwice,
    /// The key needs a password.
    #[error("the key is encrypted, and there is nobody to ask; `openssl pkey -in … -out …` decrypts it")]
    Encrypted,
    /// A section does not end.
    #[error("a section of it has no END line; has it been cut?")]
    NoEnd,
    /// A section does not begin.
    #[error("a BEGIN line of it is damaged")]
    NoBegin,
    /// A section is not base64.
    #[error("what stands between BEGIN and END is not base64")]
    NotBase64,
    /// None of these.
    #[error("is not PEM")]
    Other,
}

impl From<pem::Error> for PemProblem {
    /// What the error quotes is left out: it may be of a key.
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::MissingSectionEnd { .. } => Self::NoEnd,
            pem::Error::IllegalSectionStart { .. } => Self::NoBegin,
            pem::Error::Base64Decode(_) => Self::NotBase64,
            _ => Self::Other,
        }
    }
}

/// What stands in an encrypted key, of either kind: in its first line, or in its header.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// The base64 of how PEM begins: of `-----BEGIN `, as far as it is the same whatever follows.
const ENCODED_BEGIN: &[u8] = b"LS0tLS1CRUdJTi";

/// All certificates in it; at least one.
///
/// # Errors
///
/// [`PemProblem`].
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemProblem> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(nothing(pem, PemProblem::NoCertificate)) } else { Ok(all) }
}

/// The first private key in it.
///
/// # Errors
///
/// [`PemProblem`].
pub(crate) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemProblem> {
    if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(PemProblem::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => nothing(pem, PemProblem::NoKey),
        error => error.into(),
    })
}

/// Why nothing was found.
fn nothing(pem: &[u8], otherwise: PemProblem) -> PemProblem {
    if pem.trim_ascii_start().starts_with(ENCODED_BEGIN) { PemProblem::EncodedTwice } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_pem_is_said() {
        let cases: &[(&str, PemProblem)] = &[
            ("", PemProblem::NoCertificate),
            ("hello", PemProblem::NoCertificate),
            ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1J", PemProblem::EncodedTwice),
            ("-----BEGIN CERTIFICATE-----\nMIIB\n", PemProblem::NoEnd),
            ("-----BEGIN CERTIFICATE\nMIIB\n-----END CERTIFICATE-----\n", PemProblem::NoBegin),
            ("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n", PemProblem::NotBase64),
        ];
        for (pem, problem) in cases {
            assert_eq!(certificates(pem.as_bytes()), Err(*problem), "{pem}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        let cases: &[(&str, PemProblem)] = &[
            ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", PemProblem::NoKey),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
                PemProblem::Encrypted,
            ),
            (
                "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END EC PRIVATE KEY-----\n",
                PemProblem::Encrypted,
            ),
            ("-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n", PemProblem::NotBase64),
        ];
        for (pem, problem) in cases {
            assert_eq!(key(pem.as_bytes()).err(), Some(*problem), "{pem}");
        }
    }
}
