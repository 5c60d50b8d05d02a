//! A recording, replayed: every trade once, in order, and bars that add up to it.

use std::fmt::Write as _;

use tickwire_proto::message::{DataBatch, Mode, Resume, Tick};
use tickwire_tests::raw::subscribe;
use tickwire_tests::{Raw, TestServer};

/// Five hundred trades of two symbols over 25 seconds, with a pause of four seconds among them; with what they are.
fn recording() -> (String, Vec<(u64, &'static str, i64, u64)>) {
    let start = 1_610_064_000_278;
    let (mut text, mut trades) = ("time,symbol,price,size\n".to_owned(), Vec::new());
    for n in 0..500_u64 {
        let millis = start + n * 42 + if n > 200 { 4000 } else { 0 };
        let symbol = if n % 3 == 0 { "ETHUSDT" } else { "BTCUSDT" };
        let (cents, size) = (3_943_248 + (n * 7919) % 500, 263 + n);
        let (second, rest) = (millis / 1000 - 1_610_064_000, millis % 1000);
        writeln!(
            text,
            "2021-01-08T00:00:{second:02}.{rest:03}Z,{symbol},{}.{:02},0.{size:06}",
            cents / 100,
            cents % 100
        )
        .unwrap();
        trades.push((millis * 1_000_000, symbol, cents as i64 * 10_000_000, size * 1000));
    }
    (text, trades)
}

/// The whole log of a mode, from its very first tick, until `done`.
fn read(server: &TestServer, mode: Mode, done: impl Fn(&[Tick]) -> bool) -> (DataBatch, Vec<Tick>) {
    let mut raw = Raw::authenticated(server.addr);
    raw.send(&subscribe(mode, Some(Resume { epoch: 0, after_sequence: 0 })));
    let opening = raw.batch();
    let (mut position, mut ticks) = (opening.last_sequence, Vec::new());
    while !done(&ticks) {
        let batch = raw.batch();
        assert_eq!(batch.first_sequence, position + 1);
        position = batch.last_sequence;
        ticks.extend(batch.ticks);
    }
    (opening, ticks)
}

#[test]
fn every_trade_comes_once_in_order_and_bars_add_up_to_them() {
    let (text, trades) = recording();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let server = TestServer::start(&["--feed", "replay", "--feed-file", path, "--feed-speed", "20"]);

    let (opening, ticks) = read(&server, Mode::Tick, |ticks| ticks.len() >= 500);
    assert_eq!(opening.first_sequence, 1);
    let got: Vec<_> =
        ticks.iter().map(|tick| (tick.time_unix_nano, &*tick.symbol, tick.close, tick.volume)).collect();
    assert_eq!(got, trades);

    let total: u64 = trades.iter().map(|trade| trade.3).sum();
    let volume = |ticks: &[Tick]| ticks.iter().map(|tick| tick.volume).sum::<u64>();
    for (mode, length) in [(Mode::Second, 1_000_000_000), (Mode::Minute, 60_000_000_000)] {
        let (_, bars) = read(&server, mode, |bars| volume(bars) >= total);
        assert_eq!(volume(&bars), total, "{mode:?}");
        for bar in &bars {
            let own: Vec<_> = trades
                .iter()
                .filter(|(time, symbol, ..)| {
                    *symbol == bar.symbol && time / length + 1 == bar.time_unix_nano / length
                })
                .collect();
            assert_eq!(bar.trades, own.len() as u64);
            assert_eq!((bar.open, bar.close), (own[0].2, own[own.len() - 1].2));
            assert_eq!(Some(bar.high), own.iter().map(|trade| trade.2).max());
            assert_eq!(Some(bar.low), own.iter().map(|trade| trade.2).min());
        }
    }
}
