//! The files that TLS is made of, and whether they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::{ALPN, TlsError};

/// Where whom to trust, and who we are, is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// `None`: the system's authorities, which are looked for when the others are read.
    pub(super) ca_file: Option<PathBuf>,
    /// The certificate, and its key.
    pub(super) client_certificate: Option<(PathBuf, PathBuf)>,
}

/// What tells one state of the files from another, a file each; `None` where there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen(Vec<Option<Stamp>>);

/// What changes with a file, however it is replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
}

impl Stamp {
    /// Links are followed: it is behind them that a Kubernetes volume changes.
    fn of(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        let mtime = (found.mtime(), found.mtime_nsec());
        Some(Self { dev: found.dev(), ino: found.ino(), size: found.size(), mtime })
    }
}

impl Files {
    /// Looks at the files, without reading them.
    pub(super) fn look(&self) -> Seen {
        let own = self.client_certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        Seen(self.ca_file.iter().chain(own).map(|file| Stamp::of(file)).collect())
    }

    /// Reads them all.
    pub(super) fn read(&self) -> Result<ClientConfig, TlsError> {
        let Self { ca_file, client_certificate } = self;
        let roots = match ca_file {
            Some(file) => roots_of(file)?,
            None => system_roots()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = client_certificate.as_ref();
        let certified = own.map(|(certificate, key)| certified(certificate, key, &provider)).transpose()?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| TlsError::Provider { source })?
            .with_root_certificates(roots);
        let mut config = match certified {
            Some(certified) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

/// What a file should be, as errors say it.
const CA_FILE: &str = "CA file";
const CLIENT_CERTIFICATE: &str = "client certificate";
const CLIENT_KEY: &str = "client key";

fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Read { what, file: file.into(), source })
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

/// Whether a key wants a password: in PKCS #8, or in the older way, with a header beneath its BEGIN. Source: RFC 7468, section 11; RFC 1421,
/// section 4.6.1.1.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let is_sign = |line: &str| {
        line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with("Proc-Type: 4,ENCRYPTED")
    };
    text.lines().any(is_sign)
}

fn certified(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(CLIENT_CERTIFICATE, certificate)?;
    let pem = read(CLIENT_KEY, key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        _ if is_encrypted(&pem) => TlsError::EncryptedKey { file: key.into() },
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
