//! A connection to NATS: who we are, whom we trust, and whether it is there.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ClientError, ConnectError, ConnectOptions, Event, jetstream};
use tokio::sync::watch;

use crate::bounded_file;
use crate::config::{NatsConfig, NatsLogin, NatsTls};
use crate::tls::pem::certified;
use crate::tls::{FileSetting, PemError};

/// What NATS knows a server of ours as.
const NAME: &str = concat!("tickwire-server ", env!("CARGO_PKG_VERSION"));

/// How long an attempt to connect may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long NATS may take to answer a request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// How often the connection is tried; two that are not answered end it.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to connect again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Messages that wait to be taken, at most: more than are asked for at a time, so that none is dropped.
const QUEUE: usize = 4 * super::link::BATCH;

/// The largest file of credentials: a JWT and a key.
const MAX_CREDENTIALS: u64 = 64 * 1024;

/// Why there is nothing to connect with.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A file in PEM cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The credentials cannot be used.
    #[error("FEED_NATS_CREDENTIALS_FILE {} cannot be used; it must hold a JWT and its key, as nsc makes it", file.display())]
    Credentials {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A URL is none.
    #[error("FEED_NATS_URL cannot be used")]
    Url(#[source] ConnectError),
}

/// How the connection is, told by what keeps it.
#[derive(Clone, Debug, Default)]
pub(super) struct Presence {
    pub(super) connected: bool,
    /// How often it has been lost: it may be back before somebody looks.
    pub(super) losses: u64,
    /// What went wrong last.
    pub(super) trouble: Option<String>,
}

/// A connection that comes back by itself whenever it is lost, until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) presence: watch::Receiver<Presence>,
}

impl Connection {
    /// Begins to connect, and goes on for as long as it takes. Its tasks are on the runtime that this is called on.
    pub(super) async fn lasting(config: &NatsConfig) -> Result<Self, OptionsError> {
        let (tell, presence) = watch::channel(Presence::default());
        let options = options(config)?.retry_on_initial_connect().event_callback(move |event| {
            tell.send_modify(|presence| presence.take(&event));
            std::future::ready(())
        });
        let client = options.connect(&config.servers).await.map_err(OptionsError::Url)?;
        let jetstream = jetstream(&client);
        Ok(Self { client, jetstream, presence })
    }
}

/// Connects once; each server is tried.
pub(super) async fn once(
    options: ConnectOptions,
    config: &NatsConfig,
) -> Result<jetstream::Context, ConnectError> {
    let client = options.connect(&config.servers).await?;
    Ok(jetstream(&client))
}

fn jetstream(client: &Client) -> jetstream::Context {
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(REQUEST_DEADLINE);
    jetstream
}

impl Presence {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.trouble = None;
            }
            Event::Disconnected | Event::Closed => {
                self.connected = false;
                self.losses += 1;
            }
            // While it is away: why connecting did not succeed. Otherwise such as a subject that may not be used.
            Event::ClientError(ClientError::Other(why)) => self.trouble = Some(why.clone()),
            Event::ClientError(error) => self.trouble = Some(error.to_string()),
            Event::ServerError(error) => self.trouble = Some(error.to_string()),
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }
}

/// What to connect with. Files are read here so that what is wrong with them is said by their settings' names; those in PEM are read again for
/// each connection.
pub(super) fn options(config: &NatsConfig) -> Result<ConnectOptions, OptionsError> {
    let mut options = ConnectOptions::new()
        .name(NAME)
        .connection_timeout(CONNECT_DEADLINE)
        .request_timeout(Some(REQUEST_DEADLINE))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(QUEUE)
        .reconnect_delay_callback(pause);
    options = match &config.login {
        NatsLogin::Nobody => options,
        NatsLogin::User { name, password } => {
            options.user_and_password(name.clone(), password.reveal().to_owned())
        }
        NatsLogin::Token(token) => options.token(token.reveal().to_owned()),
        NatsLogin::Credentials(file) => {
            let failed = |source| OptionsError::Credentials { file: file.clone(), source };
            let bytes = bounded_file::read(file, MAX_CREDENTIALS).map_err(failed)?;
            options.credentials(&String::from_utf8_lossy(&bytes)).map_err(failed)?
        }
    };
    let NatsTls { ca_file, own } = &config.tls;
    if let Some(file) = ca_file {
        let setting = FileSetting { variable: "FEED_NATS_CA_FILE", file: file.clone() };
        let _checked = setting.roots(&setting.bytes()?)?;
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = own {
        let setting = |variable, file: &PathBuf| FileSetting { variable, file: file.clone() };
        let _checked = certified(
            &setting("FEED_NATS_CERT_FILE", certificate),
            &setting("FEED_NATS_KEY_FILE", key),
            &rustls::crypto::ring::default_provider(),
        )?;
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

/// Before the attempt of this number to connect: nothing, then milliseconds, then up to [`LONGEST_PAUSE`].
fn pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    if doublings == 0 { Duration::ZERO } else { Duration::from_millis(1 << doublings).min(LONGEST_PAUSE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_seen_though_the_connection_is_back_at_once() {
        let mut presence = Presence::default();
        presence.take(&Event::Connected);
        assert!(presence.connected && presence.losses == 0);
        presence.take(&Event::Disconnected);
        presence.take(&Event::ClientError(ClientError::Other("IO error".into())));
        assert_eq!((presence.connected, presence.trouble.as_deref()), (false, Some("IO error")));
        presence.take(&Event::Connected);
        assert_eq!((presence.connected, presence.losses, presence.trouble), (true, 1, None));
    }

    #[test]
    fn pauses_grow_from_nothing_to_two_seconds() {
        assert_eq!([1, 2, 5].map(pause), [0, 2, 16].map(Duration::from_millis));
        assert_eq!([12, usize::MAX].map(pause), [LONGEST_PAUSE; 2]);
    }
}
