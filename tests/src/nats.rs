//! A real NATS server with JetStream, and what a publisher does with it.

use std::ffi::OsString;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{self, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{PATIENCE, eventually};

/// The stream of a test, and of one subject only.
pub const STREAM: &str = "TRADES";
/// What trades are published on.
pub const SUBJECT: &str = "trades.all";

/// The program: as `cargo xtask test` has built it, or whichever is on the PATH.
fn program() -> OsString {
    std::env::var_os("TICKWIRE_NATS_SERVER").unwrap_or_else(|| "nats-server".into())
}

/// A NATS server on a port of the loopback interface, with files of its own that outlive its process, until it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    /// Where it is.
    pub addr: SocketAddr,
    folder: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
    runtime: Runtime,
}

impl NatsServer {
    /// A server that lets everybody in.
    ///
    /// # Panics
    ///
    /// Where it does not start, as where nats-server is not installed.
    #[must_use]
    pub fn start() -> Self {
        Self::configured("")
    }

    /// A server with further lines of configuration; `{folder}` in them is its folder, in which `files` lie.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn with_files(configuration: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("a file");
        }
        let path = folder.path().to_str().expect("a path").to_owned();
        std::fs::write(folder.path().join("nats.conf"), configuration.replace("{folder}", &path))
            .expect("a file");
        // Taken, and given back: nobody else asks for it meanwhile.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = free.local_addr().expect("an address");
        drop(free);
        let port = addr.port().to_string();
        let arguments = [
            "-a",
            "127.0.0.1",
            "-p",
            &port,
            "-js",
            "-sd",
            &format!("{path}/store"),
            "-c",
            &format!("{path}/nats.conf"),
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut server = Self { addr, folder, arguments, process: None, runtime };
        server.resume();
        server
    }

    /// The same, without files.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn configured(configuration: &str) -> Self {
        Self::with_files(configuration, &[])
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// As it is written in FEED_NATS_URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Ends it as a power cut does.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// Starts it again, with what it has stored.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn resume(&mut self) {
        let log =
            File::options().create(true).append(true).open(self.folder.path().join("log")).expect("a file");
        let mut command = Command::new(program());
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("nats-server is installed, or TICKWIRE_NATS_SERVER is its path");
        self.process = Some(process);
        let addr = self.addr;
        eventually("NATS accepts", || TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok());
    }

    /// JetStream as an anonymous client sees it; it connects again by itself.
    ///
    /// # Panics
    ///
    /// Where there is no connection.
    #[must_use]
    pub fn jetstream(&self) -> Context {
        self.jetstream_as(async_nats::ConnectOptions::new())
    }

    /// JetStream as this client sees it.
    ///
    /// # Panics
    ///
    /// As [`jetstream`](Self::jetstream).
    #[must_use]
    pub fn jetstream_as(&self, options: async_nats::ConnectOptions) -> Context {
        let client = self.runtime.block_on(options.connect(self.url())).expect("NATS lets us in");
        jetstream::new(client)
    }

    /// Makes the stream, stored in files and without limits.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn make_stream(&self, jetstream: &Context) {
        let config = stream::Config {
            name: STREAM.into(),
            subjects: vec!["trades.>".into()],
            storage: StorageType::File,
            ..Default::default()
        };
        // JetStream may take a moment longer than the port.
        eventually("the stream is made", || {
            self.runtime.block_on(jetstream.create_stream(config.clone())).is_ok()
        });
    }

    /// Deletes the stream.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn delete_stream(&self, jetstream: &Context) {
        self.runtime.block_on(jetstream.delete_stream(STREAM)).expect("the stream is deleted");
    }

    /// Removes the messages before this sequence.
    ///
    /// # Panics
    ///
    /// Where that fails.
    pub fn purge_before(&self, jetstream: &Context, sequence: u64) {
        self.runtime.block_on(async {
            let stream = jetstream.get_stream(STREAM).await.expect("the stream");
            stream.purge().sequence(sequence).await.expect("it is purged");
        });
    }

    /// Publishes messages, in order; answers when all are stored.
    ///
    /// # Panics
    ///
    /// Where one is not stored.
    pub fn publish(&self, jetstream: &Context, messages: impl IntoIterator<Item = Vec<u8>>) {
        self.runtime.block_on(async {
            let mut acks = Vec::new();
            for message in messages {
                acks.push(jetstream.publish(SUBJECT, message.into()).await.expect("it is sent"));
            }
            for ack in acks {
                ack.await.expect("it is stored");
            }
        });
    }

    /// Publishes one message, though NATS may be away: with an identity of its own, so that a second attempt stores it once.
    pub fn publish_stubbornly(&self, jetstream: &Context, id: u64, message: &[u8]) {
        self.runtime.block_on(async {
            loop {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Nats-Msg-Id", id.to_string());
                let sent = jetstream.publish_with_headers(SUBJECT, headers, message.to_vec().into()).await;
                if let Ok(ack) = sent
                    && tokio::time::timeout(Duration::from_secs(1), ack)
                        .await
                        .is_ok_and(|stored| stored.is_ok())
                {
                    return;
                }
            }
        });
    }

    /// What the stream holds: sequences and payloads.
    ///
    /// # Panics
    ///
    /// Where it cannot be read.
    #[must_use]
    pub fn contents(&self, jetstream: &Context) -> Vec<(u64, Vec<u8>)> {
        self.runtime.block_on(async {
            let stream = jetstream.get_stream(STREAM).await.expect("the stream");
            let count = stream.cached_info().state.messages as usize;
            let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
            let consumer = stream.create_consumer(config).await.expect("a consumer");
            let messages = consumer.stream().messages().await.expect("messages").take(count);
            let read = messages.map(|message| {
                let message = message.expect("a message");
                (message.info().expect("of JetStream").stream_sequence, message.payload.to_vec())
            });
            tokio::time::timeout(PATIENCE, read.collect()).await.expect("all come")
        })
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            let _killed = process.kill();
            let _ended = process.wait();
        }
    }
}
