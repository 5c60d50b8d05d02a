//! `cargo xtask bench`: the figures of docs/PERFORMANCE.md. Ratios within one run; runs of what is compared take turns.

mod feed;
pub(crate) mod floor;
pub(crate) mod hostile;
mod tls;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Auth, Mode, Subscribe};

use crate::process::{PASSWORD, Server, build, http_get};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Memory per idle connection, and whether a minute of SECOND bars reaches 15,000 clients.
    Idle,
    /// CPU per delivery against the floor, at 1,000 and at 10,000 subscribers.
    Delivery,
    /// The same with the server's core full, against a floor without a pause.
    Full,
    /// Latency of 1,000 readers with and without 200 that stop reading.
    Stalled,
    /// Latency of 1,000 TLS clients on a quiet server, and on one under nine attacks at once for a minute; the server's memory.
    Hostile,
    /// TLS: memory per idle connection, and connects per second of CPU.
    Tls,
    /// Trades through NATS to TICK clients of two servers: that all arrive, once and in order, how late, and the servers' CPU per tick.
    Feed,
}

/// How much of it.
pub(crate) struct Size {
    pub(crate) runs: usize,
    pub(crate) clients: Option<usize>,
    pub(crate) period: Option<Duration>,
    pub(crate) rate: u32,
    pub(crate) symbols: u32,
}

pub(crate) fn run(what: What, size: &Size) -> Result<()> {
    ensure!(size.runs > 0, "--runs must be at least 1");
    let folder = build("release")?;
    match what {
        What::Idle => idle(&folder, size),
        What::Delivery => delivery(&folder, size, &HALF, true),
        What::Full => delivery(&folder, size, &FULL, false),
        What::Stalled => stalled(&folder, size),
        What::Hostile => hostile::run(&folder, size),
        What::Tls => tls::run(&folder, size),
        What::Feed => feed::run(&folder, size),
    }
}

/// Nobody is sent away gently after a measurement.
const QUIT: [&str; 4] = ["--drain-delay", "0s", "--drain-window", "0s"];

fn idle(folder: &Path, size: &Size) -> Result<()> {
    let clients = size.clients.unwrap_or(15_000);
    let seconds = size.period.unwrap_or(Duration::from_secs(60)).as_secs();
    println!("{clients} clients in mode SECOND for {seconds} s");
    let server = Server::start(folder, &QUIT, &[])?;
    let report =
        bench(folder, &server, &["--mode", "second", "--ramp", "2000", "--sources", "8"], clients, seconds)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    server.stop(true)
}

/// What a server is to deliver in a measurement.
struct Load {
    subscribers: usize,
    /// Trades per second, and the batch window in milliseconds: together they make batches of about 512 bytes.
    rate: u32,
    window: u32,
    /// Sends of the floor to each of the subscribers, where it does not keep the server's pace.
    rounds: u32,
}

/// At which either is at work about half of the time.
const HALF: [Load; 2] = [
    Load { subscribers: 1_000, rate: 850, window: 9, rounds: 0 },
    Load { subscribers: 10_000, rate: 75, window: 124, rounds: 0 },
];

/// At which a core has nothing left.
const FULL: [Load; 2] = [
    Load { subscribers: 1_000, rate: 1_650, window: 3, rounds: 1_000 },
    Load { subscribers: 10_000, rate: 150, window: 60, rounds: 100 },
];

fn delivery(folder: &Path, size: &Size, loads: &[Load], paced: bool) -> Result<()> {
    let period = size.period.unwrap_or(Duration::from_secs(6));
    println!(
        "CPU per delivery in µs. The server (one shard) and the floor, a bare loop of sends, have one core, their reader, the same for both, has \
         the other. The floor {}.\n",
        if paced { "sends as often as the server" } else { "never pauses" }
    );
    println!("subscribers  batches/s  bytes   busy   server   floor   ratio");
    let hello = std::env::temp_dir().join(format!("tickwire-hello-{}", std::process::id()));
    std::fs::write(&hello, greeting())?;
    for load in loads {
        let mut ratios = Vec::new();
        for _ in 0..size.runs {
            let Delivered { cpu, busy, pace, bytes } = deliveries(folder, &hello, load, period)?;
            let rounds = if paced { (pace * period.as_secs_f64()) as u32 } else { load.rounds };
            let floor = floor::measure(load.subscribers, bytes as usize, paced.then_some(pace), rounds)?;
            println!(
                "{:>11}  {pace:>9.1}  {bytes:>5.0}  {:>4.0} %  {cpu:>7.2} {floor:>7.2} {:>7.2}",
                load.subscribers,
                busy * 100.0,
                cpu / floor
            );
            ratios.push(cpu / floor);
        }
        println!("{:>11}  median ratio {:.2}\n", load.subscribers, median(&mut ratios));
    }
    std::fs::remove_file(hello)?;
    Ok(())
}

/// AUTH, and SUBSCRIBE to all trades.
fn greeting() -> Vec<u8> {
    let auth = Auth { username: "tickwire".into(), password: PASSWORD.into() };
    let subscribe = Subscribe { mode: Mode::Tick.into(), resume: None, symbols: Vec::new() };
    [auth.to_frame(), subscribe.to_frame()].concat()
}

/// What a server did under a load.
struct Delivered {
    /// CPU time per delivery, in microseconds.
    cpu: f64,
    /// The part of the time that it was at work.
    busy: f64,
    /// Batches per second.
    pace: f64,
    /// A batch's.
    bytes: f64,
}

fn deliveries(folder: &Path, hello: &Path, load: &Load, period: Duration) -> Result<Delivered> {
    let subscribers = load.subscribers;
    let (rate, window) = (load.rate.to_string(), load.window.to_string());
    let mut flags = vec!["--shards", "1", "--feed-symbols", "A,B,C,D", "--ring-retention", "1m"];
    // The reader only reads.
    flags.extend(["--heartbeat-timeout", "1h", "--feed-rate", &rate, "--batch-window-ms", &window]);
    flags.extend(QUIT);
    let server = Server::start(folder, &flags, &["taskset", "-c", floor::WRITER_CORE])?;
    let mut reader = floor::reader(&server.address, subscribers, Some(hello))?;
    let sample = || -> Result<_> {
        let metrics = http_get(&server.admin, "/metrics")?;
        let cpu = process_cpu(server.pid())?;
        Ok((metric(&metrics, "messages_sent_total")?, metric(&metrics, "bytes_sent_total")?, cpu))
    };
    let all = |metrics: &str| {
        metric(metrics, "tickwire_subscriptions{stream=\"tick\"}").is_ok_and(|n| n >= subscribers as f64)
    };
    while !all(&http_get(&server.admin, "/metrics")?) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(SETTLE);
    let (messages, bytes, cpu) = sample()?;
    let start = std::time::Instant::now();
    std::thread::sleep(period);
    let elapsed = start.elapsed();
    let (more_messages, more_bytes, more_cpu) = sample()?;
    server.stop(true)?;
    reader.wait()?;
    let delivered = more_messages - messages;
    ensure!(delivered > 0.0, "nothing was delivered");
    let (cpu, elapsed) = ((more_cpu - cpu).as_secs_f64(), elapsed.as_secs_f64());
    Ok(Delivered {
        cpu: cpu * 1e6 / delivered,
        busy: cpu / elapsed,
        pace: delivered / subscribers as f64 / elapsed,
        bytes: (more_bytes - bytes) / delivered,
    })
}

/// What connecting left behind is over by then.
const SETTLE: Duration = Duration::from_secs(1);

/// What a process' threads have spent on processors.
fn process_cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().context("a time in schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn stalled(folder: &Path, size: &Size) -> Result<()> {
    let readers = size.clients.unwrap_or(1_000);
    let stalled = readers / 5;
    let seconds = size.period.unwrap_or(Duration::from_secs(12)).as_secs();
    println!(
        "p99 latency in ms of {readers} readers in mode TICK, alone and beside {stalled} that stop reading\n"
    );
    println!("    alone   beside   ratio   closed as SLOW_CONSUMER");
    let mut ratios = Vec::new();
    for _ in 0..size.runs {
        let mut p99 = Vec::new();
        let mut closed = 0.0;
        for stalled in [0, stalled] {
            // 2,000 ticks a second fill a socket that is not read within a few seconds.
            let mut flags = vec!["--feed-rate", "2000", "--batch-window-ms", "20", "--ring-retention", "1m"];
            flags.extend(QUIT);
            let server = Server::start(folder, &flags, &[])?;
            let stalled = stalled.to_string();
            let clients = ["--mode", "tick", "--ramp", "4000", "--sources", "4", "--stalled", &stalled];
            let report = bench(folder, &server, &clients, readers, seconds)?;
            p99.push(report["latency_ms"]["p99"].as_f64().context("a p99")?);
            let metrics = http_get(&server.admin, "/metrics")?;
            closed = metric(&metrics, "tickwire_connections_closed_total{reason=\"slow_consumer\"}")?;
            server.stop(true)?;
        }
        println!("{:>9.1} {:>8.1} {:>7.2}   {closed:>6}", p99[0], p99[1], p99[1] / p99[0]);
        ratios.push(p99[1] / p99[0]);
    }
    println!("median ratio {:.2}", median(&mut ratios));
    Ok(())
}

/// Runs `tickwire bench` against the server; its report must be a good one.
fn bench(folder: &Path, server: &Server, arguments: &[&str], clients: usize, seconds: u64) -> Result<Value> {
    let mut command = Command::new(folder.join("tickwire"));
    command.args(["bench", "--json", "--address", &server.address]).args(arguments);
    command.args(["--clients", &clients.to_string(), "--for", &format!("{seconds}s")]);
    command
        .args(["--server-pid", &server.pid().to_string()])
        .env("STREAM_PASS", PASSWORD)
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot run tickwire bench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "tickwire bench ended with {}: {text}", output.status);
    Ok(serde_json::from_str(&text)?)
}

fn metric(metrics: &str, series: &str) -> Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {series}"))?.parse()?)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
