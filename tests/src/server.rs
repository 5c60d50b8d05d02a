//! A server within the test's process.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tickwire_client::{Client, Credentials};
use tickwire_server::close::CloseReason;
use tickwire_server::config::Config;
use tickwire_server::logs::LogControl;
use tickwire_server::metrics::Metrics;
use tickwire_server::{RunError, Server, Stopper};

/// The user of every test server.
pub const USER: &str = "tester";
/// That user's password.
pub const PASSWORD: &str = "correct horse";

/// A server that runs on a free port of the loopback interface until it is dropped.
#[derive(Debug)]
pub struct TestServer {
    /// Where clients connect.
    pub addr: SocketAddr,
    /// Where the admin port is.
    pub admin: SocketAddr,
    metrics: Metrics,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl TestServer {
    /// A server with these flags besides those that make it quick and local. Its rings are filled when this returns.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    #[must_use]
    pub fn start(flags: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", flags)
    }

    /// As [`start`](Self::start), on this address.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    #[must_use]
    pub fn start_on(listen: &str, flags: &[&str]) -> Self {
        // Tests hold both ends of thousands of connections.
        let _limit = tickwire_server::file_limit::raise();
        let (tell, told) = std::sync::mpsc::channel();
        let mut all = vec!["tickwire-server", "--listen-addr", listen, "--admin-addr", "127.0.0.1:0"];
        all.extend([
            "--stream-user",
            USER,
            "--stream-pass",
            PASSWORD,
            "--shards",
            "2",
            "--ring-retention",
            "60s",
        ]);
        all.extend(["--drain-delay", "0s"]);
        // The last of several wins.
        all.extend(flags);
        let config = Config::from_flags(all).expect("the test's flags are right");
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = Server::start(config, LogControl::fixed()).await.expect("the server starts");
                server.filled().await;
                let parts =
                    (server.local_addr(), server.admin_addr(), server.metrics().clone(), server.stopper());
                tell.send(parts).expect("the test waits");
                server.run().await
            })
        });
        let (addr, admin, metrics, stopper) = told.recv().expect("the server has started");
        Self { addr, admin, metrics, stopper, thread: Some(thread) }
    }

    /// A library client of this server.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new([self.addr.to_string()], Credentials::new(USER, PASSWORD))
    }

    /// As one SIGTERM does.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Waits for the end of a server that was told to stop.
    ///
    /// # Panics
    ///
    /// Where it has panicked.
    ///
    /// # Errors
    ///
    /// What the server ended with.
    pub fn wait(mut self) -> Result<(), RunError> {
        self.thread.take().map_or(Ok(()), |thread| thread.join().expect("the server has not panicked"))
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.metrics.active_connections()
    }

    /// A metric's value, as /metrics tells it; `series` with its labels.
    #[must_use]
    pub fn metric(&self, series: &str) -> f64 {
        crate::metrics::value(self.admin, series)
    }

    /// Connections closed for the reason of this label; also after the server's end.
    ///
    /// # Panics
    ///
    /// Where there is no such reason.
    #[must_use]
    pub fn closed(&self, label: &str) -> u64 {
        let reason = CloseReason::all().find(|reason| reason.label() == label);
        self.metrics.closed(reason.unwrap_or_else(|| panic!("no reason is labelled {label}")))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stopper.stop();
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the server's is told by its message; a second one here would abort.
            let _ended = thread.join();
        }
    }
}
