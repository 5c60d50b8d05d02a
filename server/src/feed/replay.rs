//! A CSV of trades, replayed at the pace of its own times from the start of the process.
//!
//! Sequences are the rows' numbers (and go on counting where the file begins anew), so that servers that started at different
//! moments still mean the same trade by the same sequence.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::{FeedClock, Speed, wall_now};
use super::{
    Chunk, Feed, FeedError, Identity, MAX_CHUNK, MAX_SYMBOL_LEN, MAX_SYMBOLS, NANOS_PER_MINUTE, SymbolId, Symbols,
    Trade, decimal, end_of_second, epoch,
};

/// The header that the file must have.
pub const HEADER: [&str; 4] = ["time", "symbol", "price", "size"];

/// The most rows a file may have: 10,000,000 × 32 bytes = 320 MB of memory.
pub const MAX_ROWS: usize = 10_000_000;

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row is not a trade.
    #[error("{}, line {line}, column {column}: {value:?} is {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// From 1, the header's.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The file as a whole is not one of trades.
    #[error("{}, line {line}: {problem}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// From 1, the header's.
        line: u64,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

/// The file's trades.
#[derive(Debug)]
struct Recording {
    trades: Vec<Trade>,
    symbols: Symbols,
    epoch: u64,
}

impl Recording {
    fn open(path: &Path) -> Result<Self, ReplayError> {
        let failed = |source| ReplayError::Read { path: path.to_owned(), source };
        let mut content = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut content)).map_err(failed)?;
        Self::parse(path, &content)
    }

    fn parse(path: &Path, content: &[u8]) -> Result<Self, ReplayError> {
        let shape = |line, problem: String| ReplayError::Shape { path: path.to_owned(), line, problem };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content);
        let mut row = csv::StringRecord::new();
        let mut read = |row: &mut csv::StringRecord| {
            let more = reader.read_record(row);
            let line = row.position().map_or(1, csv::Position::line);
            more.map(|more| more.then_some(line)).map_err(|error| {
                let line = error.position().map_or(line, csv::Position::line);
                shape(line, "not UTF-8 text".into())
            })
        };

        let header = HEADER.join(",");
        if read(&mut row)?.is_none() || row.iter().ne(HEADER) {
            let found = row.iter().collect::<Vec<_>>().join(",");
            return Err(shape(1, format!("the header is {found:?}; it must be {header:?}")));
        }
        let mut trades: Vec<Trade> = Vec::new();
        let mut ids: HashMap<Arc<str>, SymbolId> = HashMap::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        while let Some(line) = read(&mut row)? {
            if row.len() != HEADER.len() {
                return Err(shape(
                    line,
                    format!("{} fields; there must be {}: {header}", row.len(), HEADER.len()),
                ));
            }
            if trades.len() == MAX_ROWS {
                return Err(shape(line, format!("more than {MAX_ROWS} rows")));
            }
            let bad = |column: usize, problem: &dyn std::fmt::Display| ReplayError::Row {
                path: path.to_owned(),
                line,
                column: HEADER[column],
                value: row[column].to_owned(),
                problem: problem.to_string(),
            };
            let time = time(&row[0]).map_err(|problem| bad(0, &problem))?;
            if trades.last().is_some_and(|last| last.time > time) {
                return Err(bad(0, &"earlier than the row before; rows must be in order of time"));
            }
            let name = &row[1];
            if !(1..=MAX_SYMBOL_LEN).contains(&name.len()) {
                return Err(bad(1, &format_args!("not a symbol; it must have 1 to {MAX_SYMBOL_LEN} bytes")));
            }
            let symbol = match ids.get(name) {
                Some(id) => *id,
                None if names.len() == MAX_SYMBOLS => {
                    return Err(bad(
                        1,
                        &format_args!("one symbol too many; at most {MAX_SYMBOLS} are possible"),
                    ));
                }
                None => {
                    let (name, id) = (Arc::<str>::from(name), names.len() as SymbolId);
                    names.push(name.clone());
                    ids.insert(name, id);
                    id
                }
            };
            let price = decimal::parse(&row[2]).map_err(|problem| bad(2, &problem))?;
            let size = decimal::parse(&row[3]).map_err(|problem| bad(3, &problem))?;
            let size = u64::try_from(size).map_err(|_| bad(3, &"negative; a size must be 0 or more"))?;
            trades.push(Trade { symbol, time, price, size });
        }
        if trades.is_empty() {
            return Err(shape(2, "no trades after the header".into()));
        }
        Ok(Self { trades, symbols: Symbols::new(names.into()), epoch: epoch(&[b"replay 1", content]) })
    }

    /// By how much each repetition is later than the one before: the file's span, up to the end of the minute in which it ends, so that
    /// no bar holds trades of two repetitions.
    fn period(&self) -> u64 {
        let first = self.trades.first().map_or(0, |trade| trade.time);
        let last = self.trades.last().map_or(0, |trade| trade.time);
        (last / NANOS_PER_MINUTE + 1) * NANOS_PER_MINUTE - first / NANOS_PER_MINUTE * NANOS_PER_MINUTE
    }
}

/// RFC 3339, from 1970 on.
fn time(text: &str) -> Result<u64, &'static str> {
    let wrong = "not a time of RFC 3339 from 1970 to 2200; write it like 2021-01-08T00:00:00.278Z";
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong)?;
    let latest = jiff::Timestamp::constant(7_258_118_400, 0);
    if time > latest {
        return Err(wrong);
    }
    u64::try_from(time.as_nanosecond()).map_err(|_| wrong)
}

/// The recording as time passes.
#[derive(Debug)]
pub struct Replay {
    recording: Recording,
    identity: Identity,
    clock: FeedClock,
    repeat: bool,
    /// Trades yielded so far, over all repetitions.
    next: u64,
    /// Up to where the time has been told; `None`: the end has been told as well.
    told: Option<u64>,
}

impl Replay {
    /// Reads the whole file; its first trade falls at once.
    ///
    /// # Errors
    ///
    /// [`ReplayError`], for the first row that is not right.
    pub fn open(path: &Path, speed: Speed, repeat: bool) -> Result<Self, ReplayError> {
        Ok(Self::new(Recording::open(path)?, speed, repeat, wall_now()))
    }

    fn new(recording: Recording, speed: Speed, repeat: bool, now: u64) -> Self {
        let start = recording.trades.first().map_or(0, |trade| trade.time);
        // Where sequences go on counting after the end, a reader of a looping server and one of an ending one would disagree.
        let epoch = if repeat { epoch(&[b"loop", &recording.epoch.to_le_bytes()]) } else { recording.epoch };
        let identity =
            Identity { epoch, symbols: recording.symbols.clone(), first_sequence: 1, start, complete: true };
        let clock = FeedClock::new(now, start, speed);
        Self { recording, identity, clock, repeat, next: 0, told: Some(start) }
    }

    /// The trade with this number, counted over all repetitions.
    fn trade(&self, number: u64) -> Option<Trade> {
        let len = self.recording.trades.len() as u64;
        if number >= len && !self.repeat {
            return None;
        }
        let mut trade = self.recording.trades[(number % len) as usize];
        trade.time = trade.time.saturating_add((number / len).saturating_mul(self.recording.period()));
        Some(trade)
    }

    /// What has become due by `now`, by the clock on the wall; `None`: nothing.
    fn due(&mut self, now: u64) -> Option<Chunk> {
        let told = self.told?;
        let until = self.clock.feed_time(now);
        let first_sequence = self.next + 1;
        let mut trades = Vec::new();
        let watermark = loop {
            match self.trade(self.next) {
                Some(trade) if trade.time <= until && trades.len() < MAX_CHUNK => trades.push(trade),
                // None before it is left; and time is told only as far as it has come.
                Some(trade) => break trade.time.min(until + 1),
                // Nothing will follow: the last bars end now, not when their interval does.
                None => break u64::MAX,
            }
            self.next += 1;
        };
        if trades.is_empty() && watermark < end_of_second(told) {
            return None;
        }
        self.told = (watermark < u64::MAX).then_some(watermark);
        let due = trades.first().map_or(now, |trade| self.clock.wall_time(trade.time).min(now));
        let caught_up = trades.len() < MAX_CHUNK;
        Some(Chunk::in_order(first_sequence, trades, watermark, due, caught_up))
    }
}

impl Feed for Replay {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn next(&mut self) -> Result<Option<Chunk>, FeedError> {
        loop {
            if let Some(chunk) = self.due(wall_now()) {
                return Ok(Some(chunk));
            }
            let Some(told) = self.told else { return Ok(None) };
            let second = end_of_second(told);
            let next = self.trade(self.next).map_or(second, |trade| trade.time.min(second));
            self.clock.wait_until(next).await;
        }
    }
}

#[cfg(test)]
#[path = "replay/tests.rs"]
mod tests;
