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
    /// Connect, and say nothing.
    Silence,
    /// Send the first message of a handshake, and nothing more.
    Handshakes,
    /// Send half of an AUTH, and nothing more.
    HalfFrames,
    /// Guess one user's password, each time from another address.
    Passwords,
    /// Guess from one address; wait for no answer.
    OneAddress,
    /// Guess, each time another user's and from another address, so that a hash has to be checked each time; wait for no answer.
    Users,
    /// Connect, and reset.
    Resets,
    /// Announce a payload of 4 GiB.
    Lengths,
    /// Subscribe, with the right password, and read nothing.
    Readers,
}

impl Attack {
    /// How long a connection is held that waits for the server to act. Its deadlines are 2 s here; readers' sockets have to fill up first.
    fn hold(self) -> Duration {
        match self {
            Self::Silence | Self::Handshakes | Self::HalfFrames | Self::OneAddress | Self::Users => {
                Duration::from_secs(4)
            }
            Self::Readers => Duration::from_secs(20),
            Self::Passwords | Self::Resets | Self::Lengths => Duration::ZERO,
        }
    }

    /// Connections per second; `None`: as fast as it goes.
    fn pace(self) -> Option<u32> {
        match self {
            Self::Silence | Self::Handshakes | Self::OneAddress | Self::Users => Some(100),
            Self::HalfFrames | Self::Lengths => Some(50),
            Self::Readers => Some(10),
            Self::Passwords | Self::Resets => None,
        }
    }

    /// How often it is made in a minute at least, where it is made as fast as it goes. A guess whose hash is checked waits for its turn behind 128
    /// others.
    fn least(self) -> u64 {
        if self == Self::Passwords { 100 } else { 1_000 }
    }

    /// How many processes do it: where an answer is waited for, one is not enough.
    fn processes(self) -> u32 {
        if self == Self::Passwords { 4 } else { 1 }
    }
}

/// Where an attack is to be seen, and which part of its strokes at least: what is held at the end is not counted yet, and of guesses some are checked,
/// and found wrong. No other attack is counted there.
const ACCOUNTS: [(&[Attack], &[&str], f64); 8] = [
    (&[Attack::Silence], &["tickwire_connections_closed_total{reason=\"silent\"}"], 0.8),
    (
        &[Attack::Handshakes],
        &[
            "tickwire_connections_closed_total{reason=\"tls_timeout\"}",
            "tickwire_connections_closed_total{reason=\"tls_busy\"}",
        ],
        0.8,
    ),
    (&[Attack::HalfFrames], &["tickwire_connections_closed_total{reason=\"incomplete_frame\"}"], 0.8),
    (&[Attack::Passwords], &["tickwire_auth_failures_total{reason=\"user_limited\"}"], 0.5),
    // Where guesses of many users keep all checks busy, one address alone gets none either: busy counts both.
    (
        &[Attack::OneAddress, Attack::Users],
        &[
            "tickwire_auth_failures_total{reason=\"address_limited\"}",
            "tickwire_auth_failures_total{reason=\"address_busy\"}",
            "tickwire_auth_failures_total{reason=\"busy\"}",
        ],
        0.6,
    ),
    (&[Attack::Resets], &["tickwire_connections_closed_total{reason=\"abandoned\"}"], 0.8),
    (&[Attack::Lengths], &["tickwire_connections_closed_total{reason=\"frame_too_large\"}"], 0.8),
    // They are held for 20 s.
    (&[Attack::Readers], &["tickwire_connections_closed_total{reason=\"slow_consumer\"}"], 0.4),
];

/// The most memory that the server may ever have had, in MiB: the program and the rings some 30, the honest 4 (1,000 × 4 KiB), a check of a
/// password 19, stalled handshakes and half frames 6 (300 × 20 KiB), and the limiters' tables.
const MEMORY_BOUND: f64 = 64.0;

/// How much longer the honest may wait than on a quiet server.
const RATIO_BOUND: f64 = 1.5;

/// How many honest clients come in during the attack, and must get in, per second.
const NEWCOMERS: u32 = 5;

/// What the server has to say about what it went through.
struct Outcome {
    p99: f64,
    memory: f64,
    metrics: String,
    /// How often each of the attacks was made.
    struck: Vec<u64>,
    /// Honest clients that came in meanwhile.
    newcomers: u32,
}

impl Outcome {
    /// Prints how often each attack was made, and how the server counts it.
    ///
    /// # Errors
    ///
    /// Where one was not made often enough to be one, or is not to be seen by its own reason.
    fn account(&self, seconds: u64) -> Result<()> {
        for (attacks, series, share) in ACCOUNTS {
            let mut struck = 0;
            for attack in attacks {
                let times = self.struck[*attack as usize];
                // A busy machine has better to do: a quarter of the pace will do.
                let wanted =
                    attack.pace().map_or(attack.least() * seconds / 60, |pace| u64::from(pace) * seconds / 4);
                println!("{times:>9} × {attack:?}");
                ensure!(times >= wanted, "{attack:?} struck {times} times only, where {wanted} were wanted");
                struck += times;
            }
            let mut counted = 0.0;
            for series in series {
                let count = metric(&self.metrics, series)?;
                println!("{count:>19} {series}");
                counted += count;
            }
            let least = struck as f64 * share;
            ensure!(
                counted >= least,
                "{attacks:?} are to be seen {counted} times only, where {least:.0} were expected"
            );
        }
        println!(
            "{} honest clients came in meanwhile; {} connections in all\n",
            self.newcomers,
            metric(&self.metrics, "tickwire_connections_accepted_total")?
        );
        Ok(())
    }
}

pub(super) fn run(folder: &Path, size: &Size) -> Result<()> {
    let clients = size.clients.unwrap_or(1_000);
    let seconds = size.period.unwrap_or(Duration::from_secs(60)).as_secs();
    let authority = Authority::new("Tickwire bench");
    let files = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
    let mut users = tempfile::NamedTempFile::new()?;
    users.write_all(user()?.as_bytes())?;
    println!(
        "p99 latency in ms of {clients} TLS clients in mode TICK, {seconds} s, quiet and under {} attacks at once\n",
        Attack::value_variants().len()
    );
    println!("   quiet   hostile   ratio   server's memory at most");
    let mut ratios = Vec::new();
    for _ in 0..size.runs {
        let quiet = one(folder, &files, users.path(), clients, seconds, false)?;
        let hostile = one(folder, &files, users.path(), clients, seconds, true)?;
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
        hostile.account(seconds)?;
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
    // So few that it is met though most guesses wait for their turn.
    flags.extend(["--users-file", users, "--auth-user-failure-limit", "10"]);
    flags.extend(files.server_flags());
    flags.extend(["--auth-deadline", "2s", "--tls-handshake-deadline", "2s", "--write-deadline-ms", "2000"]);
    flags.extend(QUIT);
    let server = Server::start(folder, &flags, &[])?;
    let strangers = attack.then(|| {
        let (address, admin, ca) = (server.address.clone(), server.admin.clone(), files.ca().to_owned());
        std::thread::spawn(move || strangers(&address, &admin, &ca, clients, seconds))
    });
    let arguments = ["--mode", "tick", "--ramp", "500", "--sources", "4", "--ca", files.ca()];
    let report = bench(folder, &server, &arguments, clients, seconds)?;
    let (struck, newcomers) = match strangers {
        Some(strangers) => strangers.join().map_err(|_| anyhow::anyhow!("the attack has panicked"))??,
        None => Default::default(),
    };
    let metrics = http_get(&server.admin, "/metrics")?;
    let memory = peak_memory(server.pid())?;
    server.stop(true)?;
    let p99 = report["latency_ms"]["p99"].as_f64().context("a p99")?;
    Ok(Outcome { p99, memory, metrics, struck, newcomers })
}

/// All attacks at once, and honest clients that come in meanwhile: how often each was made, and how many came in.
fn strangers(address: &str, admin: &str, ca: &str, clients: usize, seconds: u64) -> Result<(Vec<u64>, u32)> {
    // The honest are there first.
    let all = |metrics: &str| {
        metric(metrics, "tickwire_subscriptions{stream=\"tick\"}").is_ok_and(|n| n >= clients as f64)
    };
    while !all(&http_get(admin, "/metrics")?) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let end = Instant::now() + Duration::from_secs(seconds + 2);
    let mut attackers = Vec::new();
    for (number, attack) in Attack::value_variants().iter().enumerate() {
        for _ in 0..attack.processes() {
            attackers.push((number, attacker(*attack, address, ca, seconds + 2)?));
        }
    }
    let config = trusting(Path::new(ca))?;
    let (start, mut newcomers) = (Instant::now(), 0);
    while Instant::now() < end {
        come_in(address.parse()?, &config).context("an honest client could not come in")?;
        newcomers += 1;
        let due = start + Duration::from_secs(newcomers.into()) / NEWCOMERS;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let mut struck = vec![0; Attack::value_variants().len()];
    for (number, mut attacker) in attackers {
        let (mut said, child) = (String::new(), &mut attacker.0);
        child.stdout.take().context("its output is ours")?.read_to_string(&mut said)?;
        ensure!(child.wait()?.success(), "an attacker has failed");
        struck[number] += said.trim().parse::<u64>()?;
    }
    Ok((struck, newcomers))
}

/// An honest client: AUTH, and its answer.
fn come_in(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<()> {
    let socket = TcpStream::connect_timeout(&address, IMPATIENCE)?;
    socket.set_read_timeout(Some(IMPATIENCE))?;
    let session = ClientConnection::new(config.clone(), "localhost".try_into()?)?;
    let mut tls = StreamOwned::new(session, socket);
    tls.write_all(&Auth { username: "tickwire".into(), password: PASSWORD.into() }.to_frame())?;
    let mut answer = [0; 12];
    tls.read_exact(&mut answer)?;
    ensure!(answer[3] == 3, "AUTH was not answered by a HEARTBEAT");
    Ok(())
}

/// The largest resident set that a process ever had, in MiB.
fn peak_memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// A process of its own, at the lowest priority: what is measured is the server, not a fight for this machine's cores.
fn attacker(attack: Attack, address: &str, ca: &str, seconds: u64) -> Result<Attacker> {
    let kind = attack.to_possible_value().context("it has a name")?;
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe()?);
    command.args(["attack", kind.get_name(), address, ca, &seconds.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(Attacker(command.spawn().context("cannot run nice")?))
}

/// Ends with whoever started it.
struct Attacker(Child);

impl Drop for Attacker {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to do.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// The body of such a process. It stops by itself, and prints how often it struck.
pub(crate) fn attack(attack: Attack, address: SocketAddr, ca: &Path, seconds: u64) -> Result<()> {
    ensure!(address.ip().is_loopback(), "{address} is not on this machine's loopback interface");
    let config = trusting(ca)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut made, mut struck) = (0, 0_u64);
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
            struck += 1;
            held.push_back((Instant::now(), victim));
        }
        while held.front().is_some_and(|(since, _)| since.elapsed() >= attack.hold()) {
            held.pop_front();
        }
    }
    println!("{struck}");
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
    let username = match attack {
        Attack::Users => format!("user {number}"),
        Attack::OneAddress => "nobody".to_owned(),
        _ => "victim".to_owned(),
    };
    let guess = Auth { username, password: format!("guess {number}") }.to_frame();
    match attack {
        Attack::Silence => return Ok(Victim::Plain(tls.sock)),
        Attack::Resets => {
            socket2::SockRef::from(&tls.sock).set_linger(Some(Duration::ZERO))?;
            return Ok(Victim::Plain(tls.sock));
        }
        Attack::Handshakes => {
            tls.conn.write_tls(&mut tls.sock)?;
            return Ok(Victim::Plain(tls.sock));
        }
        Attack::HalfFrames => tls.write_all(&guess[..guess.len() / 2])?,
        Attack::OneAddress | Attack::Users => tls.write_all(&guess)?,
        Attack::Passwords => {
            tls.write_all(&guess)?;
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

/// Connects, each time from another address, unless that is the point: of 127.K.0.0/16, K standing for the kind of attack.
fn connect(attack: Attack, address: SocketAddr, number: u64) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let [.., high, low] = if attack == Attack::OneAddress { [0; 8] } else { number.to_be_bytes() };
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
