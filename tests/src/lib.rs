//! The harness: servers within the test's process, and clients that speak raw bytes.
//!
//! Waits are on conditions, with a limit that is far beyond what they take; a test that reaches it fails with what it waited for.

pub mod accounts;
pub mod jetstream;
pub mod metrics;
pub mod nats;
pub mod pki;
pub mod raw;
pub mod server;
pub mod trust;
pub mod witness;

use std::net::TcpListener;
use std::time::{Duration, Instant};

pub use jetstream::JetStream;
pub use nats::NatsServer;
pub use raw::Raw;
pub use server::{PASSWORD, TestServer, USER};
pub use witness::Witness;

/// How long a condition may take to come true: these machines are slow, and shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
///
/// # Panics
///
/// Where it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A port of the loopback interface that nobody has at the moment, for a program that cannot choose one itself.
///
/// # Panics
///
/// Where there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("an address").port()
}
