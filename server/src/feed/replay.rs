//! A CSV of trades, replayed at the pace of its own times from the start of the process.
//!
//! Sequences are the rows' numbers (and go on counting where the file begins anew), so that servers that started at different
//! moments still mean the same trade by the same sequence.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tickwire_proto::trade;
use tickwire_proto::trade::csv::{Column, CsvError, Rows};

use super::clock::{FeedClock, Speed, wall_now};
use super::{
    Chunk, Feed, FeedError, Identity, MAX_CHUNK, MAX_SYMBOLS, NANOS_PER_MINUTE, SymbolId, Symbols, Trade,
    end_of_second, epoch,
};

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
    /// It is not a CSV of trades.
    #[error("{}, {problem}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where, what is wrong there, and what would be right.
        problem: CsvError,
    },
}

impl ReplayError {
    fn csv(path: &Path, error: CsvError) -> Self {
        let path = path.to_owned();
        match error {
            CsvError::Read(source) => Self::Read { path, source },
            problem => Self::Csv { path, problem },
        }
    }
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
        let csv = |error| ReplayError::csv(path, error);
        let shape = |line, problem| csv(CsvError::Shape { line, problem });
        let mut rows = Rows::new(content).map_err(csv)?;
        let mut trades: Vec<Trade> = Vec::new();
        let mut ids: HashMap<Arc<str>, SymbolId> = HashMap::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        while let Some(row) = rows.next_row().map_err(csv)? {
            if trades.len() == MAX_ROWS {
                return Err(shape(row.line, format!("more than {MAX_ROWS} rows")));
            }
            let bad = |column, problem: &dyn std::fmt::Display| csv(row.wrong(column, problem));
            let trade::Trade { symbol: ref name, time, price, size } = row.trade;
            if trades.last().is_some_and(|last| last.time > time) {
                return Err(bad(Column::Time, &"earlier than the row before; rows must be in order of time"));
            }
            let symbol = match ids.get(&**name) {
                Some(id) => *id,
                None if names.len() == MAX_SYMBOLS => {
                    return Err(bad(
                        Column::Symbol,
                        &format_args!("one symbol too many; at most {MAX_SYMBOLS} are possible"),
                    ));
                }
                None => {
                    let (name, id) = (Arc::<str>::from(&**name), names.len() as SymbolId);
                    names.push(name.clone());
                    ids.insert(name, id);
                    id
                }
            };
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
