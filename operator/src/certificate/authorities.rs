//! A bundle of authorities that clients' certificates are checked by.

use rustls::RootCertStore;

use super::details::{Details, DetailsError, Role};
use super::pem::{self, PemProblem};

/// Why a bundle of authorities cannot be used. The position of a certificate is counted from 1.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum AuthoritiesError {
    /// It is not PEM.
    #[error("{0}")]
    Pem(PemProblem),
    /// A certificate cannot be read.
    #[error("certificate {position} {problem}")]
    Details {
        /// Which one.
        position: usize,
        /// What is wrong with it.
        problem: DetailsError,
    },
    /// A certificate is one that servers would not take.
    #[error("certificate {position} cannot be used: {problem}")]
    Unusable {
        /// Which one.
        position: usize,
        /// What is wrong with it.
        problem: rustls::Error,
    },
    /// A certificate signs no others: it is a client's or a server's, put there by mistake.
    #[error("certificate {position}, {subject}, is not an authority's: it signs no others")]
    EndEntity {
        /// Which one.
        position: usize,
        /// Whose it is.
        subject: String,
    },
}

/// How many authorities a bundle in PEM holds; at least one, and each such that a server takes it.
///
/// Those that have expired are counted too: in bundles they are common, and servers pass over them. So is a client's
/// certificate that carries its own name as its issuer's, by which that one client is let in.
///
/// # Errors
///
/// [`AuthoritiesError`].
pub fn authorities(pem: &[u8]) -> Result<usize, AuthoritiesError> {
    let all = pem::certificates(pem).map_err(AuthoritiesError::Pem)?;
    let mut roots = RootCertStore::empty();
    for (position, certificate) in (1..).zip(all) {
        let details =
            Details::read(&certificate).map_err(|problem| AuthoritiesError::Details { position, problem })?;
        if details.role == Role::EndEntity {
            return Err(AuthoritiesError::EndEntity { position, subject: details.subject });
        }
        roots.add(certificate).map_err(|problem| AuthoritiesError::Unusable { position, problem })?;
    }
    Ok(roots.len())
}
