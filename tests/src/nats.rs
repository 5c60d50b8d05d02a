//! A real nats-server with JetStream, as a process of its own: it can be killed, and comes back with what it has stored.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::eventually;

/// How long it may take to say its first line on a connection.
const HELLO: Duration = Duration::from_secs(5);

/// A nats-server on a port of the loopback interface, until it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    /// `None`: it has been killed.
    child: Option<Child>,
    port: u16,
    configuration: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl NatsServer {
    /// One that anybody may use. It answers when this returns.
    ///
    /// # Panics
    ///
    /// Where it does not start, or TICKWIRE_NATS_SERVER does not say where the program is.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// As [`start`](Self::start), with these lines in its configuration: users, TLS.
    ///
    /// # Panics
    ///
    /// Where it does not start, or TICKWIRE_NATS_SERVER does not say where the program is.
    #[must_use]
    pub fn start_with(configuration: &str) -> Self {
        Self::start_program(program(), configuration)
    }

    /// As [`start_with`](Self::start_with), of this program.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    #[must_use]
    pub fn start_program(program: PathBuf, configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = (!configuration.is_empty()).then(|| {
            let file = folder.path().join("nats.conf");
            fs::write(&file, configuration).expect("the configuration is written");
            file
        });
        let mut server = Self { program, child: None, port: 0, configuration, folder };
        server.run();
        server
    }

    /// Where it is, as its clients write it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port; it stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process; `None`: it has been killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL. What it has acknowledged is in its folder.
    ///
    /// # Panics
    ///
    /// Where it cannot be waited for.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Where it has ended already, there is nothing to do.
            let _ended = child.kill();
            child.wait().expect("it can be waited for");
        }
    }

    /// Starts it again where it was, on the same port and with the same folder. It answers when this returns.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    fn run(&mut self) {
        let program = &self.program;
        let folder = self.folder.path();
        let log = folder.join("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a file for its log");
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--jetstream", "--store_dir"]).arg(folder.join("store"));
        // -1: a free one, which it tells in a file.
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        command.args(["--port", &port, "--ports_file_dir"]).arg(folder);
        if let Some(configuration) = &self.configuration {
            command.arg("--config").arg(configuration);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        let ports = folder.join(format!("nats-server_{}.ports", child.id()));
        let child = self.child.insert(child);
        let mut port = self.port;
        eventually("nats-server answers", || {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                let said = fs::read_to_string(&log).unwrap_or_default();
                panic!("nats-server ended with {status}:\n{said}");
            }
            if port == 0 {
                port = told_port(&ports).unwrap_or(0);
            }
            port != 0 && answers(port)
        });
        self.port = port;
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the program is.
fn program() -> PathBuf {
    let program = std::env::var_os("TICKWIRE_NATS_SERVER").filter(|value| !value.is_empty()).expect(
        "TICKWIRE_NATS_SERVER is not set: run `cargo xtask test tests`, or by hand \
         `export TICKWIRE_NATS_SERVER=$(cargo xtask nats-server)`",
    );
    program.into()
}

/// The port in `{"nats":["nats://127.0.0.1:4222"],…}`, once it is there.
fn told_port(file: &Path) -> Option<u16> {
    let text = fs::read_to_string(file).ok()?;
    let behind = text.split_once("://127.0.0.1:")?.1;
    behind.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Whether it says INFO, and has JetStream.
fn answers(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(HELLO)).expect("a socket has timeouts");
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    read.is_ok() && line.starts_with("INFO ") && line.contains("\"jetstream\":true")
}
