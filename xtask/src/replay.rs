//! `cargo xtask replay FILE`: a recording of one's own through a server, and whether what comes out is what went in.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tickwire_proto::decimal;

use crate::process::{PASSWORD, Server, build};

/// How many times faster than its own time the file is replayed.
const SPEED: &str = "20";

pub(crate) fn run(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut expected = Vec::new();
    let mut bars = BTreeSet::new();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let [time, symbol, price, size] = fields[..] else { anyhow::bail!("{line:?} is no trade") };
        // The second that a time of RFC 3339 in UTC is in, and nothing finer.
        bars.insert((time.get(..19).context("a time")?.to_owned(), symbol.to_owned()));
        expected.push((symbol.to_owned(), decimal::parse(price)?, decimal::parse(size)?));
    }
    let folder = build("dev")?;
    let path = file.to_str().context("a path in UTF-8")?;
    let flags = ["--feed", "replay", "--feed-file", path, "--feed-speed", SPEED, "--drain-delay", "0s"];
    let server = Server::start(&folder, &flags, &[])?;

    let ticks = subscribe(&folder, &server, "tick", expected.len())?;
    let got: Vec<_> = ticks.iter().map(trade).collect::<Option<_>>().context("ticks are whole")?;
    ensure!(got == expected, "the ticks are not the file's trades");
    println!("TICK: {} trades, all of them, in order, prices and sizes exact", got.len());

    let bars_got = subscribe(&folder, &server, "second", bars.len())?;
    let volume: i64 = bars_got.iter().filter_map(|bar| bar["volume"].as_i64()).sum();
    let whole: i64 = expected.iter().map(|(_, _, size)| size).sum();
    ensure!(volume == whole, "the bars' volume is {volume}, the file's {whole} (in 1e-9 units)");
    println!(
        "SECOND: {} bars, whose volumes add up exactly to the file's, {whole} (in 1e-9 units)",
        bars_got.len()
    );
    server.stop(false)
}

fn trade(tick: &Value) -> Option<(String, i64, i64)> {
    Some((tick["symbol"].as_str()?.to_owned(), tick["close"].as_i64()?, tick["volume"].as_i64()?))
}

/// So many ticks of a mode, from the log's beginning.
fn subscribe(folder: &Path, server: &Server, mode: &str, count: usize) -> Result<Vec<Value>> {
    let mut command = Command::new(folder.join("tickwire"));
    command.args(["subscribe", "--json", "--quiet", "--after", "0", "--for", "10m", "--mode", mode]);
    command.args(["--count", &count.to_string(), "--address", &server.address]).env("STREAM_PASS", PASSWORD);
    let output = command.output()?;
    ensure!(output.status.success(), "tickwire subscribe: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
