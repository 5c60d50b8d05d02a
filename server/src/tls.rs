//! TLS of the data port: version 1.3 and nothing older, by rustls; what it is configured with, and changing that under way.
//!
//! A certificate that is read anew is for new connections; those that are there keep the keys they have agreed upon.

mod client_chain;
mod identity;
mod material;
pub(crate) mod pem;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::ProducesTickets;

pub use client_chain::{MAX_CHAIN_BYTES, MAX_INTERMEDIATES};
pub use identity::{CertificateError, names};
pub use material::{Material, MaterialError};
pub use pem::{FileSetting, PemError};

use crate::config::TlsConfig;

/// What connections agree to speak, in TLS's own negotiation (ALPN). A client that offers protocols without it is refused, one that offers
/// none is not.
pub const ALPN: &[u8] = b"tickwire/1";

/// What new connections are offered.
#[derive(Debug)]
pub struct TlsAcceptor {
    files: TlsConfig,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    ticketer: Arc<dyn ProducesTickets>,
    /// The client CA's file as it was read.
    client_ca: Vec<u8>,
    not_after: i64,
}

impl TlsAcceptor {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], which names the file.
    pub fn new(files: TlsConfig) -> Result<Self, MaterialError> {
        let material = Material::read(&files)?;
        if let Err(error) = material.check_validity(&files) {
            tracing::warn!(%error, "clients that look will refuse the certificate");
        }
        let current = Current::new(&files, material, None)?;
        Ok(Self { files, current: Mutex::new(current) })
    }

    /// What a new connection is offered.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// When the certificate expires, in seconds since 1970 (UTC).
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// The files that it is made of.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let TlsConfig { cert_file, key_file, client_ca_file, .. } = &self.files;
        [Some(cert_file), Some(key_file), client_ca_file.as_ref()].into_iter().flatten().cloned().collect()
    }

    /// Reads the files again, for connections to come.
    ///
    /// # Errors
    ///
    /// [`MaterialError`]; what was in use stays so.
    pub fn reload(&self) -> Result<(), MaterialError> {
        let material = Material::read(&self.files)?;
        material.check_validity(&self.files)?;
        let lock = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (ticketer, client_ca) = {
            let current = lock();
            (current.ticketer.clone(), current.client_ca.clone())
        };
        // Not under the lock, which every new connection takes.
        let next = Current::new(&self.files, material, Some((ticketer, client_ca)))?;
        *lock() = next;
        Ok(())
    }
}

impl Current {
    fn new(
        files: &TlsConfig,
        material: Material,
        before: Option<(Arc<dyn ProducesTickets>, Vec<u8>)>,
    ) -> Result<Self, MaterialError> {
        // Tickets stay good when the certificate is renewed. Those of another client CA do not: they stand for certificates that it has found good.
        let ticketer = match before {
            Some((ticketer, client_ca)) if client_ca == material.client_ca => ticketer,
            _ => rustls::crypto::ring::Ticketer::new().map_err(MaterialError::Tls)?,
        };
        let not_after = material.not_after;
        let client_ca = material.client_ca.clone();
        let config = Arc::new(material.into_config(files, ticketer.clone())?);
        Ok(Self { config, ticketer, client_ca, not_after })
    }
}
