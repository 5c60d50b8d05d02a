//! TLS 1.3 to servers, and nothing older: whom to trust, who we are, and which name a server's certificate must be for.

mod failure;
mod files;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tickwire_proto::codec::CodecError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use failure::TlsFailure;

use crate::error::LinkError;
use files::{Files, Seen};

/// What client and server agree to speak, in TLS's own negotiation (ALPN). A server that speaks TLS but names no protocol is spoken to
/// nevertheless: it may be a proxy that ends TLS in front of one.
pub const ALPN: &[u8] = b"tickwire/1";

/// How to speak TLS. Cloning one is cheap; clones share the tickets by which a server knows a client again, so that a reconnect costs no
/// certificates and no signatures.
///
/// Certificates are renewed under way: before each connection the files are looked at, and read again where they have changed since. Where
/// they cannot be used, as while they are being written, what was read before stays in use, and the next connection looks again; an error of
/// TLS says so. Tickets
/// are kept until other files have been read.
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
    files: Arc<Files>,
    current: Arc<Mutex<Current>>,
    /// `None`: the host of the address.
    server_name: Option<ServerName<'static>>,
}

/// What the files held when they were read last.
struct Current {
    config: Arc<ClientConfig>,
    seen: Seen,
    /// Why they could not be read since, if they could not.
    problem: Option<String>,
}

impl Current {
    fn read(files: &Files) -> Result<Self, TlsError> {
        // Looked at first: what changes between the two is then read once more, instead of never.
        let seen = files.look();
        Ok(Self { config: Arc::new(files.read()?), seen, problem: None })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .field("server_name", &self.server_name)
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
    /// A file has none.
    #[error("the client key {} holds no private key; it must be PEM, with BEGIN PRIVATE KEY, unencrypted", file.display())]
    NoPrivateKey {
        /// The file.
        file: PathBuf,
    },
    /// A key wants a password.
    #[error(
        "the client key {} is encrypted; decrypt it with `openssl pkey -in {} -out decrypted.key`",
        file.display(),
        file.display()
    )]
    EncryptedKey {
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
    files: Files,
    server_name: Option<String>,
}

impl TlsBuilder {
    /// Trusts these authorities (PEM, any number of certificates) and no others; without it, those of the system.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.files.ca_file = Some(file.into());
        self
    }

    /// Shows this certificate (PEM, with the chain behind it if there is one) to servers that ask for one. The key is PEM, unencrypted: PKCS #8,
    /// PKCS #1 or SEC 1.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.files.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Has the server's certificate be for this host name or IP address; without it, for the host in the address that is connected to.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Reads the files. They must be good now; when they have changed later, [`Tls`] reads them again.
    ///
    /// # Errors
    ///
    /// [`TlsError`], which names the file.
    pub fn build(self) -> Result<Tls, TlsError> {
        let Self { files, server_name } = self;
        let server_name = server_name
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName { name }))
            .transpose()?;
        let current = Current::read(&files)?;
        Ok(Tls { files: Arc::new(files), current: Arc::new(Mutex::new(current)), server_name })
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

    /// What a connection is to be made with: what the files hold, as far as it can be used.
    fn config(&self) -> Arc<ClientConfig> {
        // Nothing is awaited beneath the lock: a look costs microseconds, and reading, which is rare, milliseconds at most.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be used may be half of a change; what was seen before is kept, so that the next connection reads again.
        if self.files.look() == current.seen {
            current.problem = None;
        } else {
            match Current::read(&self.files) {
                Ok(fresh) => *current = fresh,
                Err(error) => current.problem = Some(error.to_string()),
            }
        }
        current.config.clone()
    }

    /// Has the two agree. It may be dropped at any time, and with it the connection.
    pub(crate) async fn handshake(
        &self,
        address: &str,
        name: ServerName<'static>,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, LinkError> {
        let connector = TlsConnector::from(self.config());
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
                let failure = TlsFailure::new(&source, &name, &self.files);
                let problem = self.current.lock().unwrap_or_else(PoisonError::into_inner).problem.clone();
                LinkError::Tls { address: address.to_owned(), failure, problem, source: Box::new(source) }
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

#[cfg(test)]
mod tests;
