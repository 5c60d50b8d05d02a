//! The HTTP client that takes spans to the collector.

use std::sync::Arc;

use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::settings::{Settings, TlsFiles, TracesError};
use crate::tls::pem::certified;

/// A client of the collector. Its files are read once, here.
///
/// # Errors
///
/// [`TracesError`], which names the file.
pub(super) fn client(settings: &Settings) -> Result<Client, TracesError> {
    let config = match &settings.tls {
        Some(files) => config(files)?,
        // It is asked for, and not used: there is nobody to be trusted.
        None => trusting(RootCertStore::empty(), None)?,
    };
    Ok(Client::builder()
        .timeout(settings.timeout)
        // Spans, and what the headers hold, are for the collector alone.
        .redirect(Policy::none())
        .tls_backend_preconfigured(config)
        .build()?)
}

/// Either version of TLS that is sound will do: how old a collector may be is not for its clients to say.
fn trusting(
    roots: RootCertStore,
    client: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<ClientConfig, TracesError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TracesError::Tls)?
        .with_root_certificates(roots);
    Ok(match client {
        Some(resolver) => builder.with_client_cert_resolver(resolver),
        None => builder.with_no_client_auth(),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn config(TlsFiles { ca, client }: &TlsFiles) -> Result<ClientConfig, TracesError> {
    let roots = match ca {
        Some(file) => file.roots(&file.bytes()?)?,
        None => system_roots()?,
    };
    let own = match client {
        Some((certificate, key)) => {
            let resolver = SingleCertAndKey::from(certified(certificate, key, &provider())?);
            Some(Arc::new(resolver) as Arc<dyn ResolvesClientCert>)
        }
        None => None,
    };
    trusting(roots, own)
}

fn system_roots() -> Result<RootCertStore, TracesError> {
    let mut roots = RootCertStore::empty();
    // Among a system's hundred there may be one that is older than the rules; the others are as good as before.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TracesError::NoSystemRoots) } else { Ok(roots) }
}
