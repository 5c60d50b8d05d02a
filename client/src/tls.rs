//! TLS 1.3 to servers, and nothing older: whom to trust, who we are, and which name a server's certificate must be for.

mod failure;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use tickwire_proto::codec::CodecError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use failure::TlsFailure;

use crate::error::LinkError;

/// What client and server agree to speak, in TLS's own negotiation (ALPN). A server that speaks TLS but names no protocol is spoken to
/// nevertheless: it may be a proxy that ends TLS in front of one.
pub const ALPN: &[u8] = b"tickwire/1";

/// How to speak TLS. Cloning one is cheap; clones share the tickets by which a server knows a client again, so that a reconnect costs no
/// certificates and no signatures.
///
/// ```no_run
/// use tickwire_client::{Client, Credentials, Tls};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::builder().ca_file("ca.crt").client_certificate("tls.crt", "tls.key").build()?;
/// let client = Client::new(["ticks.example.com:21591"], Credentials::new("tickwire", "secret")).tls(tls);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// `None`: the host of the address.
    server_name: Option<ServerName<'static>>,
    has_certificate: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .field("has_certificate", &self.has_certificate)
            .finish_non_exhaustive()
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the {what} {} cannot be read", file.display())]
    Read {
        /// What it should be.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not, or not wholly, PEM.
    #[error("the {what} {} is not PEM: {problem}", file.display())]
    Pem {
        /// What it should be.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file has none.
    #[error("the {what} {} holds no certificate; it must be PEM, with BEGIN CERTIFICATE", file.display())]
    NoCertificate {
        /// What it should be.
        what: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// A file has none that can be read without a password.
    #[error("the client key {} holds no private key; it must be PEM, with BEGIN PRIVATE KEY, unencrypted", file.display())]
    NoPrivateKey {
        /// The file.
        file: PathBuf,
    },
    /// A certificate does not parse.
    #[error("the {what} {} holds a certificate that cannot be used", file.display())]
    Certificate {
        /// What it should be.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A key does not parse, or is of a kind that is not supported.
    #[error("the client key {} cannot be used; it must be ECDSA (P-256, P-384), Ed25519 or RSA", file.display())]
    PrivateKey {
        /// The file.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The key is another's.
    #[error("the client certificate {} and the client key {} do not belong together", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// Nobody would be trusted.
    #[error(
        "this system has no certificates of authorities{problems}; give the server's authority with --ca"
    )]
    NoSystemRoots {
        /// What went wrong when they were looked for, in brackets; empty where nothing did.
        problems: String,
    },
    /// The server name is none.
    #[error("the server name {name:?} is none; it must be a host name or an IP address, without a port")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// What rustls was built with does not do.
    #[error("TLS 1.3 cannot be set up")]
    Provider {
        /// Why.
        source: rustls::Error,
    },
}

/// Gathers what [`Tls`] is made of.
#[derive(Clone, Debug, Default)]
pub struct TlsBuilder {
    ca_file: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

/// What a file should be, as errors say it.
const CA_FILE: &str = "CA file";
const CLIENT_CERTIFICATE: &str = "client certificate";
const CLIENT_KEY: &str = "client key";

impl TlsBuilder {
    /// Trusts these authorities (PEM, any number of certificates) and no others; without it, those of the system.
    #[must_use]
    pub fn ca_file(self, file: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(file.into()), ..self }
    }

    /// Shows this certificate (PEM, with the chain behind it if there is one) to servers that ask for one. The key is PEM, unencrypted: PKCS #8,
    /// PKCS #1 or SEC 1.
    #[must_use]
    pub fn client_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { client_certificate: Some((certificate.into(), key.into())), ..self }
    }

    /// Has the server's certificate be for this host name or IP address; without it, for the host in the address that is connected to.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Reads the files, now and never again.
    ///
    /// # Errors
    ///
    /// [`TlsError`], which names the file.
    pub fn build(self) -> Result<Tls, TlsError> {
        let Self { ca_file, client_certificate, server_name } = self;
        let server_name = server_name
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName { name }))
            .transpose()?;
        let roots = match ca_file {
            Some(file) => roots_of(&file)?,
            None => system_roots()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certified = client_certificate
            .map(|(certificate, key)| certified(&certificate, &key, &provider))
            .transpose()?;
        let has_certificate = certified.is_some();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| TlsError::Provider { source })?
            .with_root_certificates(roots);
        let mut config = match certified {
            Some(certified) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Tls { config: Arc::new(config), server_name, has_certificate })
    }
}

impl Tls {
    /// TLS with the system's authorities, no client certificate, and the server name of the address, until something else is said.
    #[must_use]
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// The name that the certificate of the server at `address` must be for.
    pub(crate) fn name(&self, address: &str) -> Result<ServerName<'static>, LinkError> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let host = host(address);
        let name = ServerName::try_from(host).map_err(|_| LinkError::ServerName { host: host.to_owned() })?;
        Ok(name.to_owned())
    }

    /// Has the two agree. It may be dropped at any time, and with it the connection.
    pub(crate) async fn handshake(
        &self,
        address: &str,
        name: ServerName<'static>,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, LinkError> {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name, socket).await.map_err(|error| self.failed(address, error))
    }

    /// What an error of a TLS connection to `address` means.
    pub(crate) fn failed(&self, address: &str, error: io::Error) -> LinkError {
        // Only a handshake can end so; behind it, an end is an end.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return LinkError::Closed;
        }
        match error.downcast::<rustls::Error>() {
            Ok(source) => {
                let name = self.name(address);
                let name = name.map_or_else(|_| address.to_owned(), |name| name.to_str().into_owned());
                let failure = TlsFailure::new(&source, &name, self.has_certificate);
                LinkError::Tls { address: address.to_owned(), failure, source: Box::new(source) }
            }
            Err(error) => CodecError::Io(error).into(),
        }
    }
}

/// The host of `host:port`, as a certificate would name it.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // A zone ("%eth0") means something on this machine alone.
        Some(host) => host.split_once('%').map_or(host, |(host, _)| host),
        None => host,
    }
}

fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Read { what, file: file.into(), source })
}

/// What keeps a file from being PEM. rustls would print its bytes as numbers.
fn problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it has a BEGIN without its END; it may have been cut",
        pem::Error::IllegalSectionStart { .. } => {
            "a line that starts with BEGIN does not end with five dashes"
        }
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is not base64",
        _ => "it cannot be parsed",
    }
}

/// At least one.
fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, file)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem { what, file: file.into(), problem: problem(&error) })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { what, file: file.into() });
    }
    Ok(certificates)
}

fn roots_of(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA_FILE, file)? {
        roots.add(certificate).map_err(|source| TlsError::Certificate {
            what: CA_FILE,
            file: file.into(),
            source,
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Among a system's hundred there may be one that is older than the rules; the others are as good as before.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problems: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let problems =
            if problems.is_empty() { String::new() } else { format!(" ({})", problems.join("; ")) };
        return Err(TlsError::NoSystemRoots { problems });
    }
    Ok(roots)
}

fn certified(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(CLIENT_CERTIFICATE, certificate)?;
    let pem = read(CLIENT_KEY, key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoPrivateKey { file: key.into() },
        error => TlsError::Pem { what: CLIENT_KEY, file: key.into(), problem: problem(&error) },
    })?;
    let private = provider
        .key_provider
        .load_private_key(private)
        .map_err(|source| TlsError::PrivateKey { file: key.into(), source })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        // There are keys that do not tell; then the handshake does.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Pair { certificate: certificate.into(), key: key.into() })
        }
        Err(source) => {
            Err(TlsError::Certificate { what: CLIENT_CERTIFICATE, file: certificate.into(), source })
        }
    }
}

#[cfg(test)]
mod tests;
