//! Takes connections, by TLS, and answers what is asked on them.
//!
//! Whoever reaches the port may connect: a certificate is asked for, not demanded, so that who has none is told so in HTTP. But only the API server's front
//! proxy can stay; others have a few places of their own, for a short time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::api::{Peer, of_peer};
use super::front_proxy::FrontProxies;
use super::serving_certificate::Shown;

/// Handshakes under way; more wait in the kernel.
const MAX_HANDSHAKES: usize = 64;
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Connections of front proxies: each API server keeps a few.
const MAX_CONNECTIONS: usize = 256;
/// Connections of others.
const MAX_STRANGERS: usize = 32;
/// How long those last.
const STRANGERS_TIME: Duration = Duration::from_secs(10);
/// How long a connection may be quiet before and between requests: longer than the 90 s after which an API server closes it, so that it is not closed under
/// a request that is on its way.
const QUIET_TIME: Duration = Duration::from_secs(120);
/// The most that is kept of a request's head, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// How long requests that have come may take to end, when the operator is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// The wait after a connection could not be taken, such as for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `end`; then what is being answered is brought to its end. Cancelled, connections are cut.
pub async fn serve(
    listener: TcpListener,
    shown: &Arc<Shown>,
    front_proxies: &Arc<FrontProxies>,
    router: Router,
    end: CancellationToken,
) {
    let shared = match config(Arc::<Shown>::clone(shown)) {
        Ok(config) => Arc::new(Connecting {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            front_proxies: Arc::clone(front_proxies),
            router,
            front_places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            stranger_places: Arc::new(Semaphore::new(MAX_STRANGERS)),
            end: end.clone(),
        }),
        Err(error) => {
            tracing::error!(%error, "cannot serve metrics by TLS");
            return;
        }
    };
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            // Only takes away what has ended.
            Some(_) = connections.join_next() => {}
            // What was not taken yet waits in the kernel.
            (stream, permit) = accept(&listener, &handshakes) => {
                connections.spawn(Arc::clone(&shared).connection(stream, permit));
            }
        }
    }
    drop(listener);
    let ended = timeout(STOP_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!("some who asked for metrics have not got an answer in time");
    }
}

async fn accept(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let permit = Arc::clone(handshakes).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection of who asks for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every connection needs.
struct Connecting {
    acceptor: TlsAcceptor,
    front_proxies: Arc<FrontProxies>,
    router: Router,
    front_places: Arc<Semaphore>,
    stranger_places: Arc<Semaphore>,
    end: CancellationToken,
}

impl Connecting {
    async fn connection(self: Arc<Self>, stream: TcpStream, handshake: Option<OwnedSemaphorePermit>) {
        let stream = match timeout(HANDSHAKE_TIME, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a handshake has failed"),
            Err(_) => return tracing::debug!("a handshake has not come to its end in time"),
        };
        drop(handshake);
        let peer = Peer(stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec().into());
        let front_proxy = self.front_proxies.current();
        let is_known = front_proxy.is_some_and(|known| known.recognize(&peer.0, UnixTime::now()).is_ok());
        let places = if is_known { &self.front_places } else { &self.stranger_places };
        let Ok(_place) = Arc::clone(places).try_acquire_owned() else {
            return tracing::warn!(is_known, "too many ask for metrics at once: one was turned away");
        };
        let answering = self.answer(stream, peer);
        if is_known {
            answering.await;
        } else {
            let _too_long = timeout(STRANGERS_TIME, answering).await;
        }
    }

    async fn answer(&self, stream: TlsStream<TcpStream>, peer: Peer) {
        let service = TowerToHyperService::new(of_peer(&self.router, peer));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(QUIET_TIME)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = &mut connection => ended,
            // What has been asked is answered yet.
            () = self.end.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of who asks for metrics was lost");
        }
    }
}

/// TLS as the API server speaks it.
fn config(shown: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(AnyCertificate { algorithms }))
        .with_cert_resolver(shown);
    // Everybody shows a certificate each time.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Lets every certificate pass whose key the client has. Whose it is, is found out for each request: what is trusted may change while a connection lasts, and
/// who is not trusted gets an answer that says why.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
