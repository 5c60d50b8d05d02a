//! `tickwire bench`: many clients at once, each of which proves its stream's continuity; latencies to a histogram.

mod process;
mod report;
mod worker;

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{ServerArgs, StreamArgs, duration};
use process::Process;
use report::{Report, Steady};
use worker::{Plan, Tally};

/// Connect many clients, and tell how the server does.
///
/// Latency is from a tick's own time (of a bar: its end) until its batch is received, by one clock: bench on the server's machine, or
/// on one whose clock is in step, with a feed that runs at speed 1. Ends with status 1 where a client missed or repeated a tick, lost its
/// connection, or was not connected at the end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// How many clients.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    clients: usize,
    /// How many of them connect per second.
    #[arg(long, value_name = "PER SECOND", default_value_t = 2000)]
    ramp: u32,
    /// How long to measure, once all are connected.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "10s")]
    period: Duration,
    /// Connect from so many addresses of 127.0.0.0/8 in turn: each has ports for some 28,000 connections. 0: as the system likes.
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=250))]
    sources: u16,
    /// So many further clients subscribe and then stop reading.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    stalled: usize,
    /// Threads to run the clients on.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// The server's process, if it is on this machine: tells its memory per connection and its CPU time per delivery.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// How long the clients have to be connected, beyond what the ramp takes.
const CONNECT_GRACE: Duration = Duration::from_secs(30);

/// Between connecting and measuring: what connecting left behind (buffers, acknowledgements) settles.
const SETTLE: Duration = Duration::from_secs(2);

/// Answers whether all went well.
pub(crate) fn run(args: Args) -> Result<bool> {
    ensure!(args.clients > 0, "--clients must be at least 1");
    ensure!(args.ramp > 0, "--ramp must be at least 1");
    let server = args.server_pid.map(Process::new).transpose()?;
    let files = raise_file_limit();
    let wanted = (args.clients + args.stalled) as u64 + 64;
    ensure!(
        files.is_none_or(|files| files >= wanted),
        "{wanted} open files are needed, and {} are allowed: use several benches, or raise the limit (ulimit -n)",
        files.unwrap_or_default()
    );

    let before = server.as_ref().map(Process::memory).transpose()?;
    let tally = Arc::new(Tally::default());
    let client = args.server.clone().client()?;
    let began = Instant::now();
    let workers: Vec<_> = (0..usize::from(args.threads))
        .map(|thread| {
            let share = |total: usize| (thread..total).step_by(args.threads.into()).len();
            let plan = Plan {
                client: client.clone(),
                mode: args.stream.mode.into(),
                symbols: args.stream.symbols.clone(),
                clients: share(args.clients),
                stalled: share(args.stalled),
                interval: Duration::from_secs(u64::from(args.threads)) / args.ramp,
                sources: sources(args.sources),
                tally: tally.clone(),
            };
            thread::Builder::new().name(format!("bench-{thread}")).spawn(move || worker::run(plan))
        })
        .collect::<Result<_, _>>()?;

    let total = args.clients + args.stalled;
    let ramp_limit = Duration::from_secs(total as u64) / args.ramp + CONNECT_GRACE;
    let bar = progress("connecting", total as u64);
    let all_connected = wait(&bar, ramp_limit, || {
        let connected = tally.connected.load(Ordering::Relaxed);
        bar.set_position(connected);
        connected >= total as u64 || tally.refused.load(Ordering::Relaxed) > 0
    });
    let ramp_time = began.elapsed();
    bar.finish_and_clear();
    // What is measured is the steady state.
    let mut steady = None;
    if all_connected && tally.refused.load(Ordering::Relaxed) == 0 {
        thread::sleep(SETTLE);
        let memory = server.as_ref().map(Process::memory).transpose()?;
        let cpu = server.as_ref().map(Process::cpu).transpose()?;
        let counts = tally.counts();
        tally.measuring.store(true, Ordering::Relaxed);
        let start = Instant::now();
        let bar = progress("measuring", args.period.as_secs());
        wait(&bar, args.period, || {
            bar.set_position(start.elapsed().as_secs());
            false
        });
        bar.finish_and_clear();
        tally.measuring.store(false, Ordering::Relaxed);
        steady = Some(Steady {
            elapsed: start.elapsed(),
            counts: tally.counts().since(&counts),
            server_memory: before.zip(memory),
            server_cpu: cpu
                .zip(server.as_ref().map(Process::cpu).transpose()?)
                .map(|(from, to)| to.saturating_sub(from)),
        });
    }
    let whole = tally.counts();
    tally.stop.cancel();
    let mut latencies = worker::histogram()?;
    for worker in workers {
        latencies.add(worker.join().map_err(|_| anyhow!("a bench thread has panicked"))??)?;
    }
    let report = Report::new(total, ramp_time, whole, steady, &latencies, tally.reasons());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.good())
}

/// Looks every 100 ms whether it is done, for at most so long. Answers whether it was.
fn wait(bar: &ProgressBar, limit: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(100).min(limit.saturating_sub(start.elapsed())));
        bar.tick();
    }
    done()
}

fn progress(what: &'static str, len: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(len), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:11} {wide_bar} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

fn sources(count: u16) -> Vec<IpAddr> {
    (1..=count).map(|n| Ipv4Addr::new(127, 0, 1, n.to_be_bytes()[1]).into()).collect()
}

/// Raises the soft limit of open files to the hard one; `None`: unlimited.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}
