//! The whole server: its parts put together, run, and taken apart in order.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::address::AddressLimit;
use crate::admin::Admin;
use crate::auth::Authenticator;
use crate::config::{Config, FeedConfig};
use crate::error_chain::chain;
use crate::feed::health::FeedHealth;
use crate::feed::nats::{self, Nats};
use crate::feed::replay::{Replay, ReplayError};
use crate::feed::synthetic::Synthetic;
use crate::feed::{Feed, FeedError, Identity};
use crate::listener::{ListenError, listen};
use crate::logs::LogControl;
use crate::metrics::Metrics;
use crate::publisher::{Publisher, floors};
use crate::reload::{Reloader, Source};
use crate::shard::{EventSource, Phase, PhaseCell, Pulse, Shard, Shared};
use crate::shed::Shedding;
use crate::stream::Streams;
use crate::tls::{MaterialError, TlsAcceptor};
use crate::traces::Draining;
use crate::users::UsersError;
use crate::verifier::Verifier;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The feed's file.
    #[error("cannot replay FEED_FILE")]
    Replay(#[from] ReplayError),
    /// The feed's stream.
    #[error(transparent)]
    Nats(#[from] nats::StartError),
    /// LISTEN_ADDR.
    #[error("LISTEN_ADDR cannot be used")]
    Listen(#[from] ListenError),
    /// ADMIN_ADDR.
    #[error("ADMIN_ADDR {address} cannot be used")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Epoll instances.
    #[error("cannot set the shards up")]
    Shards(#[source] io::Error),
    /// Threads.
    #[error("cannot start the threads")]
    Threads(#[source] io::Error),
    /// The certificate's files.
    #[error(transparent)]
    Tls(#[from] MaterialError),
    /// The users' file.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// A mistake of ours.
    #[error("cannot set the metrics up")]
    Metrics(#[from] prometheus::Error),
}

/// Why the server stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread ended.
    #[error("{thread} has failed")]
    Failed {
        /// The thread's name.
        thread: String,
        /// Why.
        source: io::Error,
    },
    /// The feed did, for good; the clients have been sent away.
    #[error("the feed has failed")]
    Feed(#[from] FeedError),
    /// A thread panicked; its message is in the log.
    #[error("{thread} has panicked")]
    Panicked {
        /// The thread's name.
        thread: String,
    },
}

/// Tells a running server to stop.
#[derive(Clone, Debug)]
pub struct Stopper(mpsc::UnboundedSender<()>);

impl Stopper {
    /// The first time: drain, then end. The second time: end at once. As SIGTERM does.
    pub fn stop(&self) {
        // A server that has ended needs no telling.
        let _told = self.0.send(());
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    local_addr: SocketAddr,
    admin_addr: SocketAddr,
    streams: Arc<Streams>,
    phase: Arc<PhaseCell>,
    metrics: Metrics,
    filled: watch::Receiver<bool>,
    /// Why the feed has failed for good; `None`: that has been taken up.
    feed_failed: Option<oneshot::Receiver<FeedError>>,
    stop: (mpsc::UnboundedSender<()>, mpsc::UnboundedReceiver<()>),
    /// Readiness is false from here on.
    stopping: CancellationToken,
    /// The admin port and the publisher end.
    ending: CancellationToken,
    admin: JoinHandle<()>,
    verifier: Arc<Verifier>,
    threads: Vec<Thread>,
}

/// What the feed tells of itself, beside its trades.
struct Vitals {
    metrics: Metrics,
    health: FeedHealth,
}

impl Vitals {
    fn new(config: &Config) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(config.shards.get())?;
        let health = FeedHealth::new(metrics.feed());
        Ok(Self { metrics, health })
    }
}

/// How long requests to the admin port that are under way at the end have for their answers.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// The name of the thread that publishes.
const PUBLISHER: &str = "publisher";

/// The name of the thread that reads files again. It may hang with their file system: nothing else is to hang with it, the server's end included.
const RELOADER: &str = "reloader";

/// What the names of shards' threads begin with.
const SHARD: &str = "shard-";

/// A thread of the server's, and how it ended.
#[derive(Debug)]
struct Thread {
    name: String,
    ended: oneshot::Receiver<io::Result<()>>,
    handle: thread::JoinHandle<()>,
}

impl Thread {
    fn spawn(name: String, body: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (tell, ended) = oneshot::channel();
        let handle = thread::Builder::new().name(name.clone()).spawn(move || {
            // Nobody is left to be told when the server has been dropped.
            let _told = tell.send(body());
        })?;
        Ok(Self { name, ended, handle })
    }

    /// What went wrong with it, if something did; a thread that says nothing at its end has panicked.
    fn failure(&self, ended: Result<io::Result<()>, oneshot::error::RecvError>) -> Option<RunError> {
        let thread = self.name.clone();
        match ended {
            Ok(Ok(())) => None,
            Ok(Err(source)) => Some(RunError::Failed { thread, source }),
            Err(_) => Some(RunError::Panicked { thread }),
        }
    }
}

impl Server {
    /// Starts everything; clients are accepted once this returns. Within a tokio runtime, which serves the admin port.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub async fn start(config: Config, log: LogControl) -> Result<Self, StartError> {
        let vitals = Vitals::new(&config)?;
        let retention = config.ring.retention;
        match config.feed.clone() {
            FeedConfig::Synthetic { seed, symbols, rate, speed } => {
                let feed = Synthetic::new(seed, symbols, rate, speed, retention);
                Self::start_parts(config, feed, vitals, log).await
            }
            FeedConfig::Replay { file, speed, repeat } => {
                let feed = Replay::open(&file, speed, repeat)?;
                Self::start_parts(config, feed, vitals, log).await
            }
            FeedConfig::Nats(nats) => {
                let feed = Nats::open(nats, retention, vitals.metrics.feed(), vitals.health.clone()).await?;
                Self::start_parts(config, feed, vitals, log).await
            }
        }
    }

    /// As [`start`](Self::start), with a feed of the caller's.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(
        config: Config,
        feed: impl Feed + Send + 'static,
        log: LogControl,
    ) -> Result<Self, StartError> {
        let vitals = Vitals::new(&config)?;
        Self::start_parts(config, feed, vitals, log).await
    }

    async fn start_parts(
        config: Config,
        feed: impl Feed + Send + 'static,
        Vitals { metrics, health }: Vitals,
        log: LogControl,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let shards = config.shards.get();
        let listeners = listen(config.listen, shards, &config.socket)?;
        let local_addr = listeners.first().map_or(Ok(config.listen), std::net::TcpListener::local_addr);
        let local_addr = local_addr.map_err(StartError::Shards)?;
        let admin_failed = |source| StartError::Admin { address: config.admin, source };
        let admin_listener = tokio::net::TcpListener::bind(config.admin).await.map_err(admin_failed)?;
        let admin_addr = admin_listener.local_addr().map_err(admin_failed)?;

        let identity = feed.identity().clone();
        let sources: Vec<_> =
            (0..shards).map(|_| EventSource::new()).collect::<Result<_, _>>().map_err(StartError::Shards)?;
        let streams = Arc::new(Streams::new(
            identity.epoch,
            floors(&identity),
            identity.complete,
            config.ring,
            config.limits.max_filters,
            sources.iter().map(EventSource::waker).collect(),
        ));
        let mut reloader = Reloader::new(metrics.reload());
        let tls = tls(&config, &metrics, &mut reloader)?;
        let authenticator = authenticator(&config, &mut reloader)?;
        let verifier = authenticator.verifier();
        let phase = Arc::new(PhaseCell::default());
        let shedding = Arc::new(Shedding::default());
        let shared = Shared {
            config: config.clone(),
            streams: streams.clone(),
            symbols: identity.symbols.clone(),
            tls,
            authenticator,
            addresses: Arc::new(AddressLimit::new(config.limits.max_connections_per_address)),
            open: Arc::new(AtomicUsize::new(0)),
            phase: phase.clone(),
            shedding: shedding.clone(),
        };
        let pulses: Arc<[_]> = (0..shards).map(|_| Pulse::new()).collect();
        let mut parts = Vec::with_capacity(shards);
        for (number, (source, listener)) in sources.into_iter().zip(listeners).enumerate() {
            let (metrics, pulse) = (metrics.shard(number), pulses[number].clone());
            let shard = Shard::new(number, source, listener, shared.clone(), metrics, pulse);
            parts.push(shard.map_err(StartError::Shards)?);
        }

        let ending = CancellationToken::new();
        let stopping = CancellationToken::new();
        let (fill, filled) = watch::channel(false);
        let admin = Admin {
            data_addr: local_addr,
            pulses,
            filled: filled.clone(),
            health,
            stopping: stopping.clone(),
            phase: phase.clone(),
            shedding,
            metrics: metrics.clone(),
            streams: streams.clone(),
            verifier: verifier.clone(),
            log,
        };
        let (fail, feed_failed) = oneshot::channel();
        // From here on something runs; where the rest does not come about, dropping the server ends it.
        let mut server = Self {
            admin: tokio::spawn(admin.serve(admin_listener, ending.clone())),
            verifier,
            config,
            local_addr,
            admin_addr,
            streams,
            phase,
            metrics,
            filled,
            feed_failed: Some(feed_failed),
            stop: mpsc::unbounded_channel(),
            stopping,
            ending,
            threads: Vec::with_capacity(shards + 1),
        };
        server.spawn_publisher(&identity, feed, fill, fail).map_err(StartError::Threads)?;
        for (number, shard) in parts.into_iter().enumerate() {
            let thread = Thread::spawn(format!("{SHARD}{number}"), move || shard.run());
            server.threads.push(thread.map_err(StartError::Threads)?);
        }
        if server.config.auth.users_file.is_some() {
            for number in 0..server.config.auth.threads.get() {
                let verifier = server.verifier.clone();
                let body = move || {
                    verifier.run();
                    Ok(())
                };
                server
                    .threads
                    .push(Thread::spawn(format!("auth-{number}"), body).map_err(StartError::Threads)?);
            }
        }
        if !reloader.is_idle() {
            server.spawn_reloader(reloader).map_err(StartError::Threads)?;
        }
        tracing::info!(
            listen = %local_addr,
            admin = %admin_addr,
            shards,
            epoch = identity.epoch,
            symbols = identity.symbols.len(),
            tls = server.config.tls.is_some(),
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        Ok(server)
    }

    fn spawn_publisher(
        &mut self,
        identity: &Identity,
        feed: impl Feed + Send + 'static,
        fill: watch::Sender<bool>,
        fail: oneshot::Sender<FeedError>,
    ) -> io::Result<()> {
        let protocol = &self.config.protocol;
        let (streams, metrics) = (self.streams.clone(), self.metrics.feed());
        let publisher =
            Publisher::new(identity, streams, protocol.batch_window, protocol.max_msg_size, metrics);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let end = self.ending.clone();
        self.threads.push(Thread::spawn(PUBLISHER.into(), move || {
            runtime.block_on(async {
                // Ending loses what waits for its window; other servers have it under the same sequences.
                tokio::select! {
                    ended = publisher.run(feed, fill) => {
                        if let Err(error) = ended {
                            // A server that ends already needs no further reason.
                            let _told = fail.send(error);
                        }
                        end.cancelled().await;
                    }
                    () = end.cancelled() => {}
                }
            });
            Ok(())
        })?);
        Ok(())
    }

    fn spawn_reloader(&mut self, reloader: Reloader) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let end = self.ending.clone();
        self.threads.push(Thread::spawn(RELOADER.into(), move || {
            runtime.block_on(reloader.run(end));
            Ok(())
        })?);
        Ok(())
    }

    /// Where clients connect; the port in use, where the configured one is 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the admin port is; the port in use, where the configured one is 0.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// What the server counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What stops the server.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.0.clone())
    }

    /// Waits until the rings hold the past that the feed begins with.
    pub async fn filled(&self) {
        // An error means that the publisher has ended; run() tells how.
        let mut filled = self.filled.clone();
        let _filled = filled.wait_for(|filled| *filled).await;
    }

    /// Runs until [`Stopper::stop`] is called, then drains.
    ///
    /// # Errors
    ///
    /// [`RunError`] where a part of it fails; the rest has then been ended.
    pub async fn run(mut self) -> Result<(), RunError> {
        let result = self.run_to_the_end().await;
        self.end();
        for thread in std::mem::take(&mut self.threads).into_iter().filter(|thread| thread.name != RELOADER) {
            // How it ended has been told already.
            let _joined = thread.handle.join();
        }
        // Whoever is still asking has a moment; dropping the server then ends it.
        let _answered = timeout(ADMIN_GRACE, &mut self.admin).await;
        tracing::info!("ended");
        result
    }

    /// Has every thread and task end.
    fn end(&self) {
        self.stopping.cancel();
        self.phase.advance(Phase::Ending);
        self.streams.wake();
        self.verifier.close();
        self.ending.cancel();
    }

    async fn run_to_the_end(&mut self) -> Result<(), RunError> {
        let failed = tokio::select! {
            _ = self.stop.1.recv() => None,
            failed = feed_failure(&mut self.feed_failed) => Some(failed),
            failed = first_failure(&mut self.threads) => return Err(failed),
        };
        if let Some(error) = &failed {
            let error = chain(error);
            tracing::error!(
                error,
                "the feed has failed for good: the clients are sent away, and the server ends"
            );
        }
        self.drain().await?;
        failed.map_or(Ok(()), |failed| Err(failed.into()))
    }

    async fn drain(&mut self) -> Result<(), RunError> {
        let drain = self.config.drain.clone();
        tracing::info!(delay = ?drain.delay, window = ?drain.window, timeout = ?drain.timeout, "stopping: not ready any more");
        self.stopping.cancel();
        self.metrics.draining.set(1);
        tokio::select! {
            () = sleep(drain.delay) => {}
            _ = self.stop.1.recv() => {
                self.cut_short();
                return Ok(());
            }
            failed = first_failure(&mut self.threads) => return Err(failed),
        }
        let clients = self.metrics.active_connections();
        tracing::info!(
            clients,
            window = ?drain.window_of(usize::try_from(clients).unwrap_or(0)),
            "draining: no new clients, and the connected are sent away"
        );
        let draining = Draining::begin(self.metrics.active_connections());
        self.phase.advance(Phase::Draining);
        self.streams.wake();
        tokio::select! {
            ended = shards_end(&mut self.threads) => ended?,
            () = sleep(drain.timeout) => {
                tracing::warn!(clients = self.metrics.active_connections(), "DRAIN_TIMEOUT is over; closing the clients that are left");
            }
            _ = self.stop.1.recv() => self.cut_short(),
        }
        draining.end(self.metrics.active_connections());
        Ok(())
    }

    fn cut_short(&self) {
        tracing::warn!(
            clients = self.metrics.active_connections(),
            "told to stop again: closing all clients at once"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        self.admin.abort();
    }
}

/// What connections are encrypted with, if they are; watched from now on.
fn tls(
    config: &Config,
    metrics: &Metrics,
    reloader: &mut Reloader,
) -> Result<Option<Arc<TlsAcceptor>>, MaterialError> {
    let Some(files) = &config.tls else { return Ok(None) };
    let all = [Some(&files.cert_file), Some(&files.key_file), files.client_ca_file.as_ref()];
    let look = Reloader::look(&all.into_iter().flatten().cloned().collect::<Vec<_>>());
    let acceptor = Arc::new(TlsAcceptor::new(files.clone())?);
    let source = Source::Tls(acceptor.clone());
    metrics.reload().not_after(acceptor.not_after());
    reloader.watch(source, look);
    Ok(Some(acceptor))
}

/// Who may come in; the users' file, if there is one, is watched from now on.
fn authenticator(config: &Config, reloader: &mut Reloader) -> Result<Arc<Authenticator>, UsersError> {
    let files: Vec<_> = config.auth.users_file.iter().cloned().collect();
    let look = Reloader::look(&files);
    let authenticator = Arc::new(Authenticator::new(&config.auth)?);
    if !files.is_empty() {
        reloader.watch(Source::Users(authenticator.clone()), look);
    }
    Ok(authenticator)
}

/// Waits for the feed to fail for good. Once it has ended otherwise, it cannot.
async fn feed_failure(failed: &mut Option<oneshot::Receiver<FeedError>>) -> FeedError {
    if let Some(waited_for) = failed {
        let told = waited_for.await;
        *failed = None;
        if let Ok(error) = told {
            return error;
        }
    }
    std::future::pending().await
}

/// Waits for a thread to end that should not.
async fn first_failure(threads: &mut [Thread]) -> RunError {
    std::future::poll_fn(|context| {
        for thread in &mut *threads {
            if let Poll::Ready(ended) = Pin::new(&mut thread.ended).poll(context) {
                let failed = thread.failure(ended);
                return Poll::Ready(failed.unwrap_or_else(|| RunError::Failed {
                    thread: thread.name.clone(),
                    source: io::Error::other("it ended before its time"),
                }));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for every shard to end; the others go on.
async fn shards_end(threads: &mut [Thread]) -> Result<(), RunError> {
    for thread in threads.iter_mut().filter(|thread| thread.name.starts_with(SHARD)) {
        let ended = (&mut thread.ended).await;
        thread.failure(ended).map_or(Ok(()), Err)?;
    }
    Ok(())
}
