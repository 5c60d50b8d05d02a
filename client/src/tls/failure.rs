//! Why TLS failed, said so that a person knows what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerMisbehaved};

use super::files::Files;

/// Why TLS was not agreed upon, or did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The server's certificate is from nobody that is trusted.
    #[error("the server's certificate is from {}", Trusted(ca_file.as_deref()))]
    Untrusted {
        /// Whom is trusted; `None`: the system's authorities.
        ca_file: Option<PathBuf>,
    },
    /// The server's certificate was good once.
    #[error(
        "the server's certificate has expired; it must be renewed at the server, if this machine's clock is right"
    )]
    Expired,
    /// The server's certificate will be good.
    #[error("the server's certificate is not valid yet; check this machine's clock, and the server's")]
    NotYetValid,
    /// The server's certificate is another's.
    #[error(
        "the server's certificate is not for {asked}; give a name that it is for with --server-name, if the server is the right one"
    )]
    WrongName {
        /// The name that was asked for.
        asked: String,
    },
    /// The server's certificate is not one that a server may show.
    #[error(
        "the server's certificate cannot be used; it must be one for server authentication, not revoked, and not an authority's own"
    )]
    Unfit,
    /// The server lets nobody in without a certificate.
    #[error("the server wants a client certificate; give --cert and --key")]
    CertificateRequired,
    /// The server does not like our certificate.
    #[error(
        "the server refused our client certificate {}; check that it is valid, and from an authority that the server trusts",
        certificate.display()
    )]
    CertificateRefused {
        /// Its file.
        certificate: PathBuf,
    },
    /// The two have no version, or no ciphers, in common.
    #[error(
        "the server does not offer TLS 1.3, the only version that is spoken here, or no cipher of it that is known here"
    )]
    NoCommonVersion,
    /// The server speaks something else within TLS.
    #[error("the server speaks TLS, but not Tickwire (tickwire/1); check the address")]
    NoCommonProtocol,
    /// The server does not speak TLS.
    #[error("the server does not speak TLS; leave --tls away, and what implies it")]
    NotTls,
    /// The server sent an alert.
    #[error("the server broke it off; its logs may say why")]
    BrokenOff,
    /// The server, or something on the way, is at fault.
    #[error("what came from the server is not as it should be; something on the way may have changed it")]
    Broken,
}

/// Who would have been trusted, and what to do about it.
struct Trusted<'a>(Option<&'a Path>);

impl fmt::Display for Trusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(file) => {
                let file = file.display();
                write!(f, "none of the authorities in {file}; give its authority's certificate with --ca")
            }
            None => f.write_str("no authority that is trusted here; give its authority's with --ca"),
        }
    }
}

impl TlsFailure {
    /// What the error means, where a certificate for the name `asked` was asked for, and `files` were read.
    pub(super) fn new(error: &Error, asked: &str, files: &Files) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error, asked, files.ca_file.as_deref()),
            Error::AlertReceived(alert) => Self::of_alert(*alert, asked, files),
            Error::PeerIncompatible(_) => Self::NoCommonVersion,
            Error::NoApplicationProtocol
            | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
                Self::NoCommonProtocol
            }
            // Whoever does not know TLS answers in his own tongue: a Tickwire server with a frame, which begins with "TW".
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            _ => Self::Broken,
        }
    }

    fn of_certificate(error: &CertificateError, asked: &str, ca_file: Option<&Path>) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName { asked: asked.to_owned() }
            }
            // A bad signature: the authority has the name of one that is trusted, but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::Untrusted { ca_file: ca_file.map(Path::to_owned) }
            }
            _ => Self::Unfit,
        }
    }

    fn of_alert(alert: AlertDescription, asked: &str, files: &Files) -> Self {
        match alert {
            // Servers differ in what they say where there is no certificate at all.
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // The authority has the name of one that is trusted, but another key.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => match &files.client_certificate {
                Some((certificate, _)) => Self::CertificateRefused { certificate: certificate.clone() },
                None => Self::CertificateRequired,
            },
            AlertDescription::UnrecognisedName => Self::WrongName { asked: asked.to_owned() },
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::NoCommonVersion,
            AlertDescription::NoApplicationProtocol => Self::NoCommonProtocol,
            _ => Self::BrokenOff,
        }
    }

    /// Whether trying the same again is in vain, in the sense of [`LinkError::is_final`](crate::LinkError::is_final). It is not where the server
    /// may have got another certificate by then, or where chance may have been at work.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Expired | Self::NotYetValid | Self::BrokenOff | Self::Broken => false,
            Self::Untrusted { .. }
            | Self::WrongName { .. }
            | Self::Unfit
            | Self::CertificateRequired
            | Self::CertificateRefused { .. }
            | Self::NoCommonVersion
            | Self::NoCommonProtocol
            | Self::NotTls => true,
        }
    }
}
