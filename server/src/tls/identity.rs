//! Who a certificate says a client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Why a client's certificate says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is not X.509, though the handshake took it.
    #[error("the client's certificate does not parse")]
    Malformed,
    /// It was good when the ticket was made that the client came back with.
    #[error("the client's certificate has expired")]
    Expired,
}

/// The names in a certificate: its subject alternative names (DNS names, URIs such as spiffe://…, e-mail and IP addresses) if it has any,
/// else its common name. Source: RFC 5280, section 4.2.1.6; RFC 9525 is why the common name comes last.
///
/// # Errors
///
/// [`CertificateError`].
pub fn names(certificate: &[u8]) -> Result<Vec<String>, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default() < now {
        return Err(CertificateError::Expired);
    }
    let alternatives = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    if let Some(names) = alternatives {
        return Ok(names.value.general_names.iter().filter_map(name).collect());
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    Ok(common.take(1).map(str::to_owned).collect())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?)).to_string()),
            16 => Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?)).to_string()),
            _ => None,
        },
        _ => None,
    }
}
