//! Where NATS is, who asks, and a connection that does not come back by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tickwire_client::Tls;
use tokio::sync::Notify;

use crate::cli::{filled, trimmed};

/// How long connecting to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing came is asked for a sign of life so often; after two without an answer it is lost.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Where NATS is, and who asks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "NATS")]
pub(super) struct NatsArgs {
    /// Where NATS is; several addresses, separated by commas, are those of one cluster. tls:// is with TLS.
    #[arg(
        long,
        env = filled("NATS_URL"),
        value_name = "URL",
        value_parser = trimmed,
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    server: Vec<String>,
    /// The user to authenticate as.
    #[arg(long, env = filled("NATS_USER"), value_name = "NAME", requires = "password")]
    user: Option<String>,
    /// That user's password; better given as NATS_PASSWORD, as flags can be seen in the process list.
    #[arg(long, env = filled("NATS_PASSWORD"), value_name = "SECRET", hide_env_values = true, requires = "user")]
    password: Option<String>,
    /// A token; better given as NATS_TOKEN.
    #[arg(long, env = filled("NATS_TOKEN"), value_name = "SECRET", hide_env_values = true, conflicts_with = "user")]
    token: Option<String>,
    /// A credentials file, as `nsc generate creds` writes it.
    #[arg(long, env = filled("NATS_CREDS"), value_name = "FILE", conflicts_with_all = ["user", "token"])]
    creds: Option<PathBuf>,
    /// Trust the authorities in this file (PEM) instead of the system's. This and --cert-file imply TLS.
    #[arg(long, env = filled("NATS_CA"), value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate (PEM, with its chain) to show.
    #[arg(long, env = filled("NATS_CERT"), value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// That certificate's private key (PEM, unencrypted).
    #[arg(long, env = filled("NATS_KEY"), value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// Why NATS cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum NatsError {
    /// The credentials file cannot be used.
    #[error("--creds {} is no credentials file", file.display())]
    Credentials { file: PathBuf, source: std::io::Error },
    /// There is no connection.
    #[error("cannot connect to NATS at {servers}{hint}")]
    Connect { servers: String, hint: &'static str, source: async_nats::ConnectError },
}

/// A connection, from its beginning to its end: it does not come back.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    lost: Arc<Notify>,
}

impl Connection {
    /// Waits until it is lost. Cancel-safe.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl NatsArgs {
    /// Looks at what can be looked at before there is a connection.
    pub(super) fn check(&self) -> Result<()> {
        for server in &self.server {
            let scheme = server.split_once("://").map(|(scheme, _)| scheme);
            ensure!(
                matches!(scheme, Some("nats" | "tls")) && server.parse::<ServerAddr>().is_ok(),
                "--server {server:?} is not a URL of NATS; write it like nats://127.0.0.1:4222 or tls://nats.example.com:4222"
            );
        }
        // The files are read by the NATS client; that they can be used is told here, and better.
        let mut tls = Tls::builder();
        if let Some(file) = &self.ca_file {
            tls = tls.ca_file(file);
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            tls = tls.client_certificate(cert, key);
        }
        if self.ca_file.is_some() || self.cert_file.is_some() {
            tls.build().context("TLS for NATS")?;
        }
        Ok(())
    }

    /// Connects to one of the servers.
    ///
    /// # Errors
    ///
    /// [`NatsError`], where none can be connected to.
    pub(super) async fn connect(&self) -> Result<Connection, NatsError> {
        let lost = Arc::new(Notify::new());
        let once = Arc::new(AtomicBool::new(false));
        let mut options = ConnectOptions::new()
            .name("tickwire publish")
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .event_callback({
                let lost = lost.clone();
                move |event| {
                    if matches!(event, Event::Disconnected | Event::Closed) {
                        lost.notify_one();
                    }
                    std::future::ready(())
                }
            })
            .reconnect_delay_callback({
                let once = once.clone();
                // What comes next is another connection, with a runtime of its own.
                move |_| if once.load(Ordering::Relaxed) { Duration::MAX } else { Duration::ZERO }
            });
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some(file) = &self.creds {
            let failed = |source| NatsError::Credentials { file: file.clone(), source };
            let text = std::fs::read_to_string(file).map_err(failed)?;
            options = options.credentials(&text).map_err(failed)?;
        }
        if let Some(file) = &self.ca_file {
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        let client = options.connect(self.server.as_slice()).await.map_err(|source| NatsError::Connect {
            servers: self.server.join(", "),
            hint: hint(source.kind()),
            source,
        })?;
        once.store(true, Ordering::Relaxed);
        Ok(Connection { client, lost })
    }
}

/// What to look at.
fn hint(kind: ConnectErrorKind) -> &'static str {
    match kind {
        ConnectErrorKind::Io | ConnectErrorKind::TimedOut | ConnectErrorKind::Dns => {
            " (is nats-server running there?)"
        }
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            " (check --user and NATS_PASSWORD, --token, or --creds)"
        }
        ConnectErrorKind::Tls => " (check --ca-file, --cert-file and --key-file)",
        ConnectErrorKind::ServerParse | ConnectErrorKind::MaxReconnects => "",
    }
}
