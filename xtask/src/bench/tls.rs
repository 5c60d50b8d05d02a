//! What TLS costs: memory per idle connection, and CPU per connect.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::Auth;
use tickwire_tests::pki::{Authority, Folder};
use tickwire_tests::trust::trust;

use super::{QUIT, Size, bench, median, metric, process_cpu};
use crate::process::{PASSWORD, Server, http_get};

/// The most that an idle connection may take, in bytes.
const MEMORY_BOUND: f64 = 12.0 * 1024.0;

/// Connects per measurement of CPU.
const CONNECTS: usize = 3_000;

/// How a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// A whole handshake: ECDSA over P-256, X25519.
    Full,
    /// By the ticket of the connection before.
    Resumed,
}

pub(super) fn run(folder: &Path, size: &Size) -> Result<()> {
    let authority = Authority::new("Tickwire bench");
    let files = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    memory(folder, size, &files)?;
    connects(folder, size, &authority, &files)
}

fn memory(folder: &Path, size: &Size, files: &Folder) -> Result<()> {
    let clients = size.clients.unwrap_or(5_000);
    let seconds = size.period.unwrap_or(Duration::from_secs(10)).as_secs();
    println!("memory per idle TLS connection, {clients} clients in mode SECOND, {seconds} s");
    let server = Server::start(folder, &[&files.server_flags()[..], &QUIT].concat(), &[])?;
    let arguments = ["--mode", "second", "--ramp", "500", "--sources", "8", "--ca", files.ca()];
    let report = bench(folder, &server, &arguments, clients, seconds)?;
    let bytes = report["steady"]["server"]["memory_per_connection_bytes"].as_f64().context("a figure")?;
    println!("{bytes:>8.0} bytes\n");
    ensure!(bytes <= MEMORY_BOUND, "that is over {MEMORY_BOUND} bytes");
    server.stop(true)
}

fn connects(folder: &Path, size: &Size, authority: &Authority, files: &Folder) -> Result<()> {
    println!(
        "connects with AUTH per second of the server's CPU, {CONNECTS} one after another; median of {}",
        size.runs
    );
    for kind in [Kind::Plain, Kind::Full, Kind::Resumed] {
        let mut rates = Vec::new();
        for _ in 0..size.runs {
            let mut flags = QUIT.to_vec();
            if kind != Kind::Plain {
                flags.extend(files.server_flags());
            }
            let server = Server::start(folder, &flags, &[])?;
            let config = trust(authority, None);
            if kind == Kind::Resumed {
                connect(&server, kind, &config)?;
            }
            let before = process_cpu(server.pid())?;
            for _ in 0..CONNECTS {
                connect(&server, kind, &config)?;
            }
            let cpu = process_cpu(server.pid())? - before;
            let metrics = http_get(&server.admin, "/metrics")?;
            let counted =
                |kind| metric(&metrics, &format!("tickwire_tls_handshakes_total{{kind=\"{kind}\"}}"));
            let expected = match kind {
                Kind::Plain => counted("full")? == 0.0,
                Kind::Full => counted("full")? == CONNECTS as f64,
                Kind::Resumed => counted("resumed")? == CONNECTS as f64,
            };
            ensure!(expected, "the handshakes were not all {kind:?}");
            server.stop(true)?;
            rates.push(CONNECTS as f64 / cpu.as_secs_f64());
        }
        println!("{:>8.0}  {kind:?}", median(&mut rates));
    }
    Ok(())
}

/// Connects, and is let in.
fn connect(server: &Server, kind: Kind, config: &Arc<ClientConfig>) -> Result<()> {
    let mut socket = TcpStream::connect(&server.address)?;
    socket.set_nodelay(true)?;
    let auth = Auth { username: "tickwire".into(), password: PASSWORD.into() }.to_frame();
    let mut answer = [0; 64];
    if kind == Kind::Plain {
        socket.write_all(&auth)?;
        ensure!(socket.read(&mut answer)? > 0, "the server closed");
        return Ok(());
    }
    let mut config = config.clone();
    if kind == Kind::Full {
        Arc::make_mut(&mut config).resumption = rustls::client::Resumption::disabled();
    }
    let session = ClientConnection::new(config, "localhost".try_into()?)?;
    let mut tls = StreamOwned::new(session, socket);
    tls.write_all(&auth)?;
    // With the answer comes the ticket for the next.
    ensure!(tls.read(&mut answer)? > 0, "the server closed");
    Ok(())
}
