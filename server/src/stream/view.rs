//! A stream's log as a symbol filter sees it: a log of its own, with fewer rows and the same ranges.

use std::collections::VecDeque;
use std::time::Duration;

use crate::batch::{Batch, assemble};
use crate::filter::Filter;
use crate::log::Log;

/// How long ranges without rows may stay unsaid. They then share one batch, so that a quiet filter costs a send a second and not one
/// per batch window, and its reader's position is at most so old.
const QUIET_RANGE: Duration = Duration::from_secs(1);

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
        let (first, cost) = (self.log.head() + 1, frame.len() as u64);
        self.log.push(frame, first, last, due, cost);
        self.quiet_since = None;
    }

    /// Makes the log reach back to the sequence `after`, from the stream's own log and batches, which do.
    pub(super) fn reach_back(
        &mut self,
        filter: &Filter,
        log: &Log,
        batches: &VecDeque<Batch>,
        after: u64,
        epoch: u64,
    ) {
        let floor = self.log.floor();
        if after >= floor {
            return;
        }
        let from = log.index_after(after);
        let Some(start) = log.get(from).map(|entry| entry.first - 1) else { return };
        let mut older = Self::new(start);
        let skip = usize::try_from(from - log.base()).unwrap_or(usize::MAX);
        for (entry, batch) in
            log.from(from).zip(batches.iter().skip(skip)).take_while(|(entry, _)| entry.last <= floor)
        {
            older.append(filter, batch, entry.due, epoch);
            if entry.last == floor && older.log.head() < floor {
                // What is left unsaid here is said here: the next entry starts after it.
                let frame = assemble(epoch, older.log.head() + 1, floor, std::iter::empty());
                older.push(frame, floor, entry.due);
            }
        }
        let base = older.log.base();
        self.log.prepend(older.log.from(base).cloned().collect(), start);
    }
}
