//! Trades through NATS to the clients of two servers: every trade of the stream, as NATS counts them, against what each client has got.

mod readers;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::TryStreamExt as _;
use hdrhistogram::Histogram;
use tickwire_tests::NatsServer;

use super::{QUIT, SETTLE, Size, process_cpu};
use crate::process::Server;
use crate::tools;
use readers::{Readers, Reading};

/// How many servers there are.
const SERVERS: usize = 2;

/// Micro-batches are large: the cost of a tick is to be seen, not that of a send.
const BATCH_WINDOW: &str = "50";

/// What a stream keeps, in a measurement: all of it, so that it can be counted in the end.
const KEPT: &str = "1h";

/// Ids are remembered for no longer than a publisher needs them here: each takes memory.
const DUPLICATE_WINDOW: &str = "2s";

pub(super) fn run(folder: &Path, size: &Size) -> Result<()> {
    let clients = size.clients.unwrap_or(1_000);
    let period = size.period.unwrap_or(Duration::from_secs(60));
    ensure!(
        (1..=250).contains(&size.symbols),
        "--symbols must be 1 to 250: each is a filter of the servers'"
    );
    ensure!(clients > 0 && size.rate > 0, "--clients and --rate must be at least 1");
    // Both ends of the clients' connections are on this machine, and half of them in this process.
    let _limit = tickwire_server::file_limit::raise();
    println!(
        "{} trades a second for {} s through NATS (on disk) to {clients} TICK clients of {SERVERS} servers; {}",
        size.rate,
        period.as_secs(),
        if size.symbols == 1 {
            "each gets all".to_owned()
        } else {
            format!("each gets one of {} symbols", size.symbols)
        }
    );
    let nats = NatsServer::start_program(tools::nats_server()?, "");
    // So that there is a stream to begin with.
    publish(folder, &nats, size, 0)?;
    let symbols: Vec<_> = (1..=size.symbols).map(|n| format!("SYM{n:04}")).collect();
    let names = symbols.join(",");
    let servers = (0..SERVERS)
        .map(|_| {
            let url = nats.url();
            let mut flags = vec!["--feed", "nats", "--feed-nats-url", &url, "--feed-nats-stream", "TICKS"];
            flags.extend(["--feed-symbols", &names, "--batch-window-ms", BATCH_WINDOW]);
            flags.extend(QUIT);
            Server::start(folder, &flags, &[])
        })
        .collect::<Result<Vec<_>>>()?;
    let addresses = servers.iter().map(|server| server.address.clone()).collect();
    let wanted = if size.symbols == 1 { Vec::new() } else { symbols };
    let readers = Readers::start(addresses, wanted, clients)?;
    std::thread::sleep(SETTLE);

    let before = cpu(&servers)?;
    let began = Instant::now();
    publish(folder, &nats, size, u64::from(size.rate) * period.as_secs())?;
    let published = began.elapsed();
    let stream = Stream::look(&nats)?;
    let readings = readers.finish(|symbol| stream.of(symbol).last)?;
    let elapsed = began.elapsed();
    let spent = cpu(&servers)?.saturating_sub(before);
    for server in servers {
        server.stop(true)?;
    }

    let wrong: Vec<_> = readings.iter().filter_map(|reading| stream.differs(reading)).collect();
    let ticks: u64 = readings.iter().map(|reading| reading.rows).sum();
    let reconnects: u64 = readings.iter().map(|reading| reading.reconnects).sum();
    let mut latencies = readers::histogram()?;
    for reading in &readings {
        latencies.add(&reading.latencies)?;
    }
    println!("stored       {} trades in {:.1} s", stream.last, published.as_secs_f64());
    println!(
        "delivered    {ticks} ticks, the last {:.1} s after the last was stored; {:.0} a second",
        elapsed.saturating_sub(published).as_secs_f64(),
        ticks as f64 / elapsed.as_secs_f64()
    );
    println!(
        "continuity   {} clients of {clients} with a gap or a repeat, {reconnects} reconnects",
        wrong.len()
    );
    println!("latency      {}", Shown(&latencies));
    println!(
        "servers      {:.0} ns CPU per delivered tick, {:.1} s in all",
        spent.as_nanos() as f64 / ticks as f64,
        spent.as_secs_f64()
    );
    ensure!(wrong.is_empty(), "ticks are missing, or came twice: {}", wrong[..wrong.len().min(5)].join("; "));
    Ok(())
}

/// What the servers have spent on processors, together.
fn cpu(servers: &[Server]) -> Result<Duration> {
    servers.iter().map(|server| process_cpu(server.pid())).sum()
}

/// Sends so many trades, at the rate that is measured.
fn publish(folder: &Path, nats: &NatsServer, size: &Size, trades: u64) -> Result<()> {
    let mut command = Command::new(folder.join("tickwire"));
    command.args(["publish", "--server", &nats.url(), "--stream", "TICKS", "--create", "--storage", "file"]);
    command.args(["--max-age", KEPT, "--duplicate-window", DUPLICATE_WINDOW]);
    command.args(["--synthetic", &trades.to_string(), "--symbols", &size.symbols.to_string()]);
    command.args(["--rate", &size.rate.to_string()]).stdin(Stdio::null());
    let output = command.output().context("cannot run tickwire publish")?;
    ensure!(output.status.success(), "tickwire publish: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What NATS says that there is.
struct Stream {
    last: u64,
    symbols: BTreeMap<String, Traded>,
}

/// Of a symbol.
#[derive(Clone, Copy)]
struct Traded {
    trades: u64,
    /// The last trade's sequence.
    last: u64,
}

impl Stream {
    fn look(nats: &NatsServer) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = async_nats::connect(nats.url()).await?;
            let stream = async_nats::jetstream::new(client).get_stream("TICKS").await?;
            let state = &stream.cached_info().state;
            ensure!(state.first_sequence <= 1, "the stream has lost what came first");
            let last = state.last_sequence;
            let mut subjects = stream.info_with_subjects("ticks.>").await?;
            let mut symbols = BTreeMap::new();
            while let Some((subject, count)) = subjects.try_next().await? {
                let last = stream.get_last_raw_message_by_subject(&subject).await?.sequence;
                let symbol = subject.trim_start_matches("ticks.").to_owned();
                symbols.insert(symbol, Traded { trades: count as u64, last });
            }
            Ok(Self { last, symbols })
        })
    }

    /// What a client has to get.
    fn of(&self, symbol: Option<&str>) -> Traded {
        match symbol {
            Some(symbol) => self.symbols.get(symbol).copied().unwrap_or(Traded { trades: 0, last: 0 }),
            None => {
                Traded { trades: self.symbols.values().map(|symbol| symbol.trades).sum(), last: self.last }
            }
        }
    }

    /// In what a client's reading is not what is in the stream.
    fn differs(&self, reading: &Reading) -> Option<String> {
        let expected = self.of(reading.symbol.as_deref());
        let Reading { client, first, last, rows, faults, .. } = reading;
        // A range may go on behind the last trade, with what the client did not ask for.
        if *first == Some(1) && *last >= expected.last && *rows == expected.trades && faults.is_empty() {
            return None;
        }
        let Traded { trades, last: end } = expected;
        Some(format!(
            "client {client}: {rows} ticks of {trades}, sequences {first:?} to {last} of 1 to {end}, {faults:?}"
        ))
    }
}

/// A histogram of microseconds, in milliseconds.
struct Shown<'a>(&'a Histogram<u64>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), self.0.max() as f64 / 1000.0);
        write!(
            f,
            "p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms, from just before a trade is stored until it is received"
        )
    }
}
