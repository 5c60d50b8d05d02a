use super::*;
use crate::feed::Entry;

const GOOD: &str = "time,symbol,price,size\n\
    2021-01-08T00:00:00.278Z,BTCUSDT,39432.48,0.000263\n\
    2021-01-08T00:00:00.310Z,ETHUSDT,1225.5,2\n\
    2021-01-08T00:00:01.000Z,BTCUSDT,39439.22,0.000311\n";

fn parse(content: &str) -> Result<Recording, String> {
    Recording::parse(Path::new("trades.csv"), content.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn rows_are_read_exactly() {
    let recording = parse(GOOD).unwrap();
    assert_eq!(
        recording.trades[1],
        Trade { symbol: 1, time: 1_610_064_000_310_000_000, price: 1_225_500_000_000, size: 2_000_000_000 }
    );
    assert_eq!(recording.symbols.names().collect::<Vec<_>>(), ["BTCUSDT", "ETHUSDT"]);
}

#[test]
fn a_bad_row_is_reported_with_its_line_and_column() {
    let row = |row: &str| parse(&format!("{GOOD}{row}\n")).unwrap_err();
    for (bad, expected) in [
        (
            "yesterday,BTCUSDT,1,1",
            r#"trades.csv, line 5, column time: "yesterday" is not a time of RFC 3339 from 1970 to 2200; write it like 2021-01-08T00:00:00.278Z"#,
        ),
        (
            "2021-01-08T00:00:00Z,BTCUSDT,1,1",
            r#"trades.csv, line 5, column time: "2021-01-08T00:00:00Z" is earlier than the row before; rows must be in order of time"#,
        ),
        (
            "2021-01-08T00:00:02Z,,1,1",
            r#"trades.csv, line 5, column symbol: "" is not a symbol; it must have 1 to 32 bytes"#,
        ),
        (
            "2021-01-08T00:00:02Z,BTCUSDT,1e3,1",
            r#"trades.csv, line 5, column price: "1e3" is not a decimal number; write it like 39432.48"#,
        ),
        (
            "2021-01-08T00:00:02Z,BTCUSDT,1.0000000001,1",
            r#"trades.csv, line 5, column price: "1.0000000001" is more than 9 decimals; the wire's unit is 1e-9"#,
        ),
        (
            "2021-01-08T00:00:02Z,BTCUSDT,1,-1",
            r#"trades.csv, line 5, column size: "-1" is negative; a size must be 0 or more"#,
        ),
        (
            "2021-01-08T00:00:02Z,BTCUSDT,1",
            "trades.csv, line 5: 3 fields; there must be 4: time,symbol,price,size",
        ),
    ] {
        assert_eq!(row(bad), expected);
    }
    assert_eq!(
        parse("symbol,time,price,size\n").unwrap_err(),
        r#"trades.csv, line 1: the header is "symbol,time,price,size"; it must be "time,symbol,price,size""#
    );
    assert_eq!(
        parse("time,symbol,price,size\n").unwrap_err(),
        "trades.csv, line 2: no trades after the header"
    );
}

/// Everything due at each of the moments, as (sequence, milliseconds after the start), and the watermarks' ends.
fn run(replay: &mut Replay, start: u64, moments: &[u64]) -> Vec<(u64, u64)> {
    let mut got = Vec::new();
    for moment in moments {
        while let Some(chunk) = replay.due(moment * 1_000_000) {
            let after = |entry: &Entry| (entry.sequence, (entry.trade.time - start) / 1_000_000);
            got.extend(chunk.trades.iter().map(after));
            assert!(chunk.trades.iter().all(|entry| entry.trade.time < chunk.watermark));
        }
    }
    got
}

#[test]
fn trades_fall_at_their_own_pace_and_the_end_is_the_end() {
    let recording = parse(GOOD).unwrap();
    let start = recording.trades[0].time;
    let mut replay = Replay::new(recording, Speed::REAL, false, 0);
    assert_eq!(run(&mut replay, start, &[0]), [(1, 0)]);
    assert_eq!(run(&mut replay, start, &[31]), []);
    assert_eq!(run(&mut replay, start, &[32, 721]), [(2, 32)]);
    assert_eq!(run(&mut replay, start, &[722, 10_000]), [(3, 722)]);
    assert_eq!(replay.told, None, "the end has been told");
    assert_eq!(replay.due(u64::MAX), None);
}

#[test]
fn a_loop_goes_on_counting_and_its_time_goes_on() {
    let recording = parse(GOOD).unwrap();
    let start = recording.trades[0].time;
    let mut replay = Replay::new(recording, "1000".parse().unwrap(), true, 0);
    let got = run(&mut replay, start, &[0, 1, 61]);
    assert_eq!(got, [(1, 0), (2, 32), (3, 722), (4, 60_000), (5, 60_032), (6, 60_722)]);
}
