//! A stream's log as a symbol filter sees it: a log of its own, with fewer rows and the same ranges.

use std::time::Duration;

use crate::batch::{Batch, assemble};
use crate::filter::Filter;
use crate::log::Log;

/// How long ranges without rows may stay unsaid. They then share one batch, so that a quiet filter costs a send a second and not one
/// per batch window, and its reader's position is at most so old.
const QUIET_RANGE: Duration = Duration::from_secs(1);

/// What an entry takes beyond its frame, in bytes: the entry itself, and what the allocator and reference counting add. Frames of one
/// tick are hardly larger.
const ENTRY_COST: u64 = 128;

/// One filter's log, fed as long as a shard reads it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) log: Log,
    /// How many shards read it.
    pub(super) readers: usize,
    /// When the first batch was due whose range is not in the log yet, as it had no rows for the filter.
    quiet_since: Option<u64>,
}

impl View {
    /// A log that will start after the sequence `floor`, at which a batch of the stream ends.
    pub(super) fn new(floor: u64) -> Self {
        Self { log: Log::new(floor), readers: 0, quiet_since: None }
    }

    /// Takes over what the filter wants of the stream's next batch.
    pub(super) fn append(&mut self, filter: &Filter, batch: &Batch, due: u64, epoch: u64) {
        let mut wanted = batch.select(0, |symbol| filter.wants(symbol)).peekable();
        if wanted.peek().is_none() {
            let since = *self.quiet_since.get_or_insert(due);
            if due.saturating_sub(since) < QUIET_RANGE.as_nanos() as u64 {
                return;
            }
        }
        self.push(assemble(epoch, self.log.head() + 1, batch.last, wanted), batch.last, due);
    }

    fn push(&mut self, frame: bytes::Bytes, last: u64, due: u64) {
        let (first, cost) = (self.log.head() + 1, frame.len() as u64 + ENTRY_COST);
        self.log.push(frame, first, last, due, cost);
        self.quiet_since = None;
    }

    /// Says what has been left unsaid, so that the log ends where the stream's own does; answers the log.
    pub(super) fn catch_up(&mut self, log: &Log, epoch: u64) -> &mut Log {
        let head = log.head();
        if self.log.head() < head {
            let due = log.back().map_or(0, |entry| entry.due);
            let frame = assemble(epoch, self.log.head() + 1, head, std::iter::empty());
            self.push(frame, head, due);
        }
        &mut self.log
    }

    /// The log as the filter saw it in the past: of consecutive batches, with when each was due.
    pub(super) fn of_past(filter: &Filter, batches: &[(Batch, u64)], epoch: u64) -> Self {
        let mut past = Self::new(batches.first().map_or(0, |(batch, _)| batch.first - 1));
        for (batch, due) in batches {
            past.append(filter, batch, *due, epoch);
        }
        if let Some((newest, due)) = batches.last()
            && past.log.head() < newest.last
        {
            let frame = assemble(epoch, past.log.head() + 1, newest.last, std::iter::empty());
            past.push(frame, newest.last, *due);
        }
        past
    }

    /// Makes the log reach back over the past, where it still starts at that one's end.
    pub(super) fn put_in_front(&mut self, past: Self) {
        if past.log.head() == self.log.floor() && !past.log.is_empty() {
            let (base, floor) = (past.log.base(), past.log.floor());
            self.log.prepend(past.log.from(base).cloned().collect(), floor);
        }
    }
}
