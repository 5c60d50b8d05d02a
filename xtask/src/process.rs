//! Programs that the commands start: what they are, and that they end.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::generate::root;

/// The password of every server that these commands start. It guards nothing: they listen on the loopback interface alone.
pub(crate) const PASSWORD: &str = "demo";

/// Runs a command to its end, which must be a good one.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the server and the client. Answers the folder in which they are.
pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    println!("building tickwire-server and tickwire ({profile}) …");
    let mut command = cargo();
    command.args(["build", "--profile", profile]);
    match profile {
        // As everything else is built by: with the features of a part alone, dependencies would be built twice.
        "dev" => command.args(["--workspace", "--bins"]),
        _ => command.args(["--package", "tickwire-server", "--package", "tickwire-client"]),
    };
    succeed(&mut command)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join(if profile == "dev" { "debug" } else { profile }))
}

/// A server on free ports of the loopback interface.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) admin: String,
}

impl Server {
    /// Starts one with these flags, and waits until it serves and its rings are filled. Its log goes to `log`.
    pub(crate) fn start(folder: &std::path::Path, flags: &[&str], wrapper: &[&str]) -> Result<Self> {
        let program = folder.join("tickwire-server");
        let mut command = match wrapper {
            [] => Command::new(&program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        command
            .args(["--listen-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-format", "json"])
            .args(flags);
        command.env("STREAM_PASS", PASSWORD).stdin(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C at the terminal is for the one who asked; the server is told when its turn has come.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("its log is ours")?).lines();
        let mut said = Vec::new();
        let (address, admin) = loop {
            let Some(line) = lines.next().transpose()? else {
                bail!("the server did not start:\n{}", said.join("\n"));
            };
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let (Some(listen), Some(admin)) = (event["listen"].as_str(), event["admin"].as_str()) {
                break (listen.to_owned(), admin.to_owned());
            }
            said.push(line);
        };
        // Nobody reads on, but a full pipe would stop the server; the thread ends with it.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, address, admin };
        let start = Instant::now();
        while !http_get(&server.admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(start.elapsed() < Duration::from_secs(60), "the server is not ready after a minute");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM, once or twice, and waits for a good end.
    pub(crate) fn stop(mut self, at_once: bool) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        if at_once {
            kill_process(pid, Signal::TERM)?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to do.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The whole answer to a GET.
pub(crate) fn http_get(address: &str, path: &str) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
