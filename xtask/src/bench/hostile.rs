//! Honest clients while everything that strangers may do is done to their server at once.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Auth, Mode, Subscribe};
use tickwire_tests::pki::{Authority, Folder};

use super::{QUIT, Size, bench, median, metric};
use crate::process::{PASSWORD, Server, http_get};

/// What strangers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Send the first message of a handshake, and nothing more.
    Handshakes,
    /// Send half of an AUTH, and nothing more.
    HalfFrames,
    /// Guess passwords, each from another address.
    Passwords,
    /// Connect, and reset.
    Resets,
    /// Announce a payload of 4 GiB.
    Lengths,
    /// Subscribe, with the right password, and read nothing.
    Readers,
}

impl Attack {
    /// The series that counts it.
    fn series(self) -> &'static str {
        match self {
            Self::Handshakes => "tickwire_connections_closed_total{reason=\"tls_timeout\"}",
            Self::HalfFrames => "tickwire_connections_closed_total{reason=\"incomplete_frame\"}",
            Self::Passwords => "tickwire_auth_failures_total{reason=\"credentials\"}",
            Self::Resets => "tickwire_connections_closed_total{reason=\"abandoned\"}",
            Self::Lengths => "tickwire_connections_closed_total{reason=\"frame_too_large\"}",
            Self::Readers => "tickwire_connections_closed_total{reason=\"slow_consumer\"}",
        }
    }

    /// How long a connection is held that waits for the server's deadlines. Those are 2 s here, but for the readers, whose sockets have to fill up
    /// first.
    fn hold(self) -> Duration {
        match self {
            Self::Handshakes | Self::HalfFrames => Duration::from_secs(4),
            Self::Readers => Duration::from_secs(20),
            Self::Passwords | Self::Resets | Self::Lengths => Duration::ZERO,
        }
    }

    /// How many do it at once: an answer to a guess takes its time.
    fn processes(self) -> u32 {
        if self == Self::Passwords { 4 } else { 1 }
    }

    /// Connections per second; `None`: as fast as it goes.
    fn pace(self) -> Option<u32> {
        match self {
            Self::Handshakes => Some(200),
            Self::HalfFrames => Some(50),
            Self::Readers => Some(10),
            Self::Lengths => Some(50),
            Self::Passwords | Self::Resets => None,
        }
    }
}

/// The most memory that the server may ever have had, in MiB.
const MEMORY_BOUND: f64 = 64.0;

/// How much longer the honest may wait than on a quiet server.
const RATIO_BOUND: f64 = 1.5;

/// What the server has to say about what it went through.
struct Outcome {
    p99: f64,
    memory: f64,
    metrics: String,
}

pub(super) fn run(folder: &Path, size: &Size) -> Result<()> {
    let clients = size.clients.unwrap_or(1_000);
    let seconds = size.period.unwrap_or(Duration::from_secs(60)).as_secs();
    let authority = Authority::new("Tickwire bench");
    let files = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let users = std::env::temp_dir().join(format!("tickwire-users-{}", std::process::id()));
    std::fs::write(&users, user()?)?;
    println!(
        "p99 latency in ms of {clients} TLS clients in mode TICK, {seconds} s, quiet and under {} attacks at once\n",
        Attack::value_variants().len()
    );
    println!("   quiet   hostile   ratio   server's memory at most");
    let (mut ratios, mut last) = (Vec::new(), None);
    for _ in 0..size.runs {
        let quiet = one(folder, &files, &users, clients, seconds, false)?;
        let hostile = one(folder, &files, &users, clients, seconds, true)?;
        let ratio = hostile.p99 / quiet.p99;
        println!(
            "{:>8.1} {:>9.1} {ratio:>7.2}   {:.0} MiB (quiet {:.0})",
            quiet.p99, hostile.p99, hostile.memory, quiet.memory
        );
        ensure!(
            hostile.memory <= MEMORY_BOUND,
            "the server had {:.0} MiB, over {MEMORY_BOUND}",
            hostile.memory
        );
        ratios.push(ratio);
        last = Some(hostile);
    }
    std::fs::remove_file(&users)?;
    println!("\nattacks, as the server counts them:");
    let metrics = last.context("at least one run")?.metrics;
    for attack in Attack::value_variants() {
        let count = metric(&metrics, attack.series())?;
        println!("{count:>9}  {}", attack.series());
        ensure!(count > 0.0, "{attack:?} is not to be seen in the metrics");
    }
    for series in [
        "tickwire_auth_failures_total{reason=\"busy\"}",
        "tickwire_auth_failures_total{reason=\"rate_limited\"}",
        "tickwire_connections_accepted_total",
    ] {
        println!("{:>9}  {series}", metric(&metrics, series)?);
    }
    let ratio = median(&mut ratios);
    println!("\nmedian ratio {ratio:.2}");
    ensure!(
        ratio <= RATIO_BOUND,
        "the honest waited {ratio:.2} times as long; at most {RATIO_BOUND} is accepted"
    );
    Ok(())
}

/// A user whose password nobody knows: it is there to be guessed.
fn user() -> Result<String> {
    use argon2::PasswordHasher as _;
    let password = format!("{:?}", Instant::now());
    let hash = argon2::Argon2::default().hash_password(password.as_bytes());
    Ok(format!("victim:{}\n", hash.map_err(|error| anyhow::anyhow!("{error}"))?))
}

fn one(
    folder: &Path,
    files: &Folder,
    users: &Path,
    clients: usize,
    seconds: u64,
    attack: bool,
) -> Result<Outcome> {
    let users = users.to_str().context("a path")?;
    // Enough bytes that a client which does not read them is found out: its socket takes 128 KiB and a little.
    let mut flags = vec!["--feed-rate", "200", "--batch-window-ms", "50", "--ring-retention", "1m"];
    flags.extend(["--users-file", users]);
    flags.extend(files.server_flags());
    flags.extend(["--auth-deadline", "2s", "--tls-handshake-deadline", "2s", "--write-deadline-ms", "2000"]);
    flags.extend(QUIT);
    let server = Server::start(folder, &flags, &[])?;
    let attackers = attack.then(|| {
        let (address, admin, ca) = (server.address.clone(), server.admin.clone(), files.ca().to_owned());
        std::thread::spawn(move || -> Result<()> {
            // Those who are honest are there first.
            let all = |metrics: &str| {
                metric(metrics, "tickwire_subscriptions{stream=\"tick\"}").is_ok_and(|n| n >= clients as f64)
            };
            while !all(&http_get(&admin, "/metrics")?) {
                std::thread::sleep(Duration::from_millis(50));
            }
            let mut children = Vec::new();
            for attack in Attack::value_variants() {
                for _ in 0..attack.processes() {
                    children.push(attacker(*attack, &address, &ca, seconds + 2)?);
                }
            }
            for mut child in children {
                ensure!(child.wait()?.success(), "an attacker has failed");
            }
            Ok(())
        })
    });
    let arguments = ["--mode", "tick", "--ramp", "500", "--sources", "4", "--ca", files.ca()];
    let report = bench(folder, &server, &arguments, clients, seconds)?;
    if let Some(attackers) = attackers {
        attackers.join().map_err(|_| anyhow::anyhow!("the attack has panicked"))??;
    }
    let metrics = http_get(&server.admin, "/metrics")?;
    let memory = peak_memory(server.pid())?;
    server.stop(true)?;
    Ok(Outcome { p99: report["latency_ms"]["p99"].as_f64().context("a p99")?, memory, metrics })
}

/// The largest resident set that a process ever had, in MiB.
fn peak_memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// A process of its own, at the lowest priority: what is measured is the server, not a fight for this machine's cores.
fn attacker(attack: Attack, address: &str, ca: &str, seconds: u64) -> Result<Child> {
    let kind = attack.to_possible_value().context("it has a name")?;
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe()?);
    command.args(["attack", kind.get_name(), address, ca, &seconds.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().context("cannot run nice")
}

/// The body of such a process. It stops by itself.
pub(crate) fn attack(attack: Attack, address: SocketAddr, ca: &Path, seconds: u64) -> Result<()> {
    ensure!(address.ip().is_loopback(), "{address} is not on this machine's loopback interface");
    let config = trusting(ca)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut made = 0;
    let mut held: VecDeque<(Instant, Victim)> = VecDeque::new();
    let start = Instant::now();
    // Several of a kind do not share addresses.
    let offset = u64::from(std::process::id()) * 10_007;
    while Instant::now() < end {
        if let Some(pace) = attack.pace() {
            let due = start + Duration::from_secs(made) / pace;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        made += 1;
        // A server that is busy, or has no room for strangers, is one.
        if let Ok(victim) = strike(attack, address, &config, offset + made) {
            held.push_back((Instant::now(), victim));
        }
        while held.front().is_some_and(|(since, _)| since.elapsed() >= attack.hold()) {
            held.pop_front();
        }
    }
    Ok(())
}

fn trusting(ca: &Path) -> Result<Arc<ClientConfig>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each handshake costs the server what a stranger's costs.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A connection that is held.
#[expect(dead_code, reason = "it is only held")]
enum Victim {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How long anything takes at most that is not held on purpose.
const IMPATIENCE: Duration = Duration::from_secs(10);

fn strike(attack: Attack, address: SocketAddr, config: &Arc<ClientConfig>, number: u64) -> Result<Victim> {
    let socket = connect(attack, address, number)?;
    let session = ClientConnection::new(config.clone(), "localhost".try_into()?)?;
    let mut tls = StreamOwned::new(session, socket);
    let victim = Auth { username: "victim".into(), password: format!("guess {number}") }.to_frame();
    match attack {
        Attack::Resets => {
            socket2::SockRef::from(&tls.sock).set_linger(Some(Duration::ZERO))?;
            return Ok(Victim::Plain(tls.sock));
        }
        Attack::Handshakes => {
            tls.conn.write_tls(&mut tls.sock)?;
            return Ok(Victim::Plain(tls.sock));
        }
        Attack::HalfFrames => tls.write_all(&victim[..victim.len() / 2])?,
        Attack::Passwords => {
            tls.write_all(&victim)?;
            let mut answer = [0; 512];
            while tls.read(&mut answer)? > 0 {}
        }
        Attack::Lengths => {
            tls.write_all(&[0x54, 0x57, 1, 1, 0xff, 0xff, 0xff, 0xff])?;
            let mut answer = [0; 512];
            while tls.read(&mut answer)? > 0 {}
        }
        Attack::Readers => {
            let auth = Auth { username: "tickwire".into(), password: PASSWORD.into() };
            let subscribe = Subscribe { mode: Mode::Tick.into(), resume: None, symbols: Vec::new() };
            tls.write_all(&[auth.to_frame(), subscribe.to_frame()].concat())?;
        }
    }
    Ok(Victim::Tls(Box::new(tls)))
}

/// Connects from an address of its own for each connection: 127.K.0.0/16, K standing for the kind of attack.
fn connect(attack: Attack, address: SocketAddr, number: u64) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let [.., high, low] = number.to_be_bytes();
    let source = Ipv4Addr::new(127, 10 + attack as u8, high, low);
    if attack == Attack::Readers {
        socket.set_recv_buffer_size(4096)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&address.into(), IMPATIENCE)?;
    socket.set_read_timeout(Some(IMPATIENCE))?;
    socket.set_write_timeout(Some(IMPATIENCE))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}
