//! The streams: one log per mode, and one more per symbol filter in use, shared by all shards.
//!
//! Feeding appends here under a lock; a shard takes the lock once per wake-up, to copy what is new into a log of its own. Everything that
//! encodes is on this side of the logs: batches as they come, filtered ones with them, and the one cut batch with which a
//! resumed subscription may have to begin.

mod view;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mio::Waker;
use tickwire_proto::message::Mode;

use crate::batch::{Batch, assemble};
use crate::config::RingBounds;
use crate::filter::Filter;
use crate::log::Log;
use view::View;

/// How far ahead of this server a resuming client may be, in this server's time: replicas are not in step to the millisecond. A
/// subscription from further ahead is from the future.
pub const AHEAD_TOLERANCE: Duration = Duration::from_secs(5);

/// How often a filter's past is gathered, the last time under the lock.
const PAST_ATTEMPTS: u32 = 3;

/// All streams of a server.
#[derive(Debug)]
pub struct Streams {
    /// In the order of [`MODES`].
    streams: [Stream; MODES.len()],
    /// One per shard.
    wakers: Vec<Arc<Waker>>,
}

/// The modes that there are streams for.
pub const MODES: [Mode; 3] = [Mode::Second, Mode::Minute, Mode::Tick];

impl Streams {
    /// Empty streams whose first entries will start after these sequences, in the order of [`MODES`].
    #[must_use]
    pub fn new(
        epoch: u64,
        floors: [u64; 3],
        complete: bool,
        bounds: RingBounds,
        max_filters: usize,
        wakers: Vec<Arc<Waker>>,
    ) -> Self {
        let stream = |floor| Stream::new(epoch, floor, complete, bounds, max_filters);
        Self { streams: floors.map(stream), wakers }
    }

    /// The stream of a mode; `None` for one that is none.
    #[must_use]
    pub fn get(&self, mode: Mode) -> Option<&Stream> {
        let at = MODES.iter().position(|known| *known == mode)?;
        self.streams.get(at)
    }

    /// Wakes every shard: something was appended, or the phase has changed.
    pub fn wake(&self) {
        for waker in &self.wakers {
            // An eventfd can only fail where it is closed, and with it the shard.
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "cannot wake a shard");
            }
        }
    }
}

/// One stream: its log, its filters' logs.
#[derive(Debug)]
pub struct Stream {
    epoch: u64,
    bounds: RingBounds,
    max_filters: usize,
    inner: Mutex<Inner>,
    /// Appends so far: lets a shard see without locking that nothing is new.
    appends: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    /// Every row.
    log: Log,
    /// By index from the log's base: what is in its entries.
    batches: VecDeque<Batch>,
    /// Whether nothing has ever been before the log's floor.
    complete: bool,
    views: HashMap<Filter, View>,
}

impl Inner {
    /// The batches that a view lacks to reach back to the sequence `after`, with when they were due.
    fn missing(&self, view: &View, after: u64) -> Option<Vec<(Batch, u64)>> {
        let floor = view.log.floor();
        if after >= floor {
            return None;
        }
        let from = self.log.index_after(after);
        let skip = usize::try_from(from - self.log.base()).ok()?;
        let held = self.batches.iter().skip(skip).zip(self.log.from(from));
        Some(
            held.take_while(|(batch, _)| batch.last <= floor)
                .map(|(batch, entry)| (batch.clone(), entry.due))
                .collect(),
        )
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The first sequence that will be covered.
    pub first: u64,
    /// The log's index to read from.
    pub index: u64,
    /// Whether the entry there may cover sequences before `first` and has to be cut ([`Stream::cut`]), or left out.
    pub skip: bool,
}

/// Why a subscription cannot begin where it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Another numbering.
    #[error("the position is of epoch {asked}; this server has epoch {epoch}")]
    Epoch {
        /// What the client asked for.
        asked: u64,
        /// What there is.
        epoch: u64,
    },
    /// The log does not reach back so far.
    #[error("sequence {first} is no longer kept; the log starts at {kept}")]
    Past {
        /// The first sequence wanted.
        first: u64,
        /// The first sequence held.
        kept: u64,
    },
    /// The position cannot have been reached yet.
    #[error("sequence {after} is in the future; the log ends at {head}")]
    Future {
        /// What the client says it has.
        after: u64,
        /// The last sequence held.
        head: u64,
    },
}

/// There are as many filters as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many different symbol filters are in use; use one of them, or subscribe to all symbols")]
pub struct TooManyFilters;

impl Stream {
    fn new(epoch: u64, floor: u64, complete: bool, bounds: RingBounds, max_filters: usize) -> Self {
        let inner = Inner { log: Log::new(floor), batches: [].into(), complete, views: HashMap::new() };
        Self { epoch, bounds, max_filters, inner: Mutex::new(inner), appends: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbering of its sequences.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How often something has been appended.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::Acquire)
    }

    /// Appends a batch that was due at `due`, to the log and to every filter's.
    pub fn append(&self, batch: Batch, due: u64) {
        let oldest = due.saturating_sub(u64::try_from(self.bounds.retention.as_nanos()).unwrap_or(u64::MAX));
        let mut inner = self.lock();
        let Inner { log, batches, complete, views } = &mut *inner;
        for (filter, view) in views.iter_mut() {
            view.append(filter, &batch, due, self.epoch);
            view.log.evict(u64::MAX, oldest);
        }
        limit_together(views, self.bounds.size);
        log.push(batch.frame.clone(), batch.first, batch.last, due, batch.cost());
        batches.push_back(batch);
        let dropped = log.evict(self.bounds.size, oldest);
        batches.drain(..dropped);
        *complete &= dropped == 0;
        drop(inner);
        self.appends.fetch_add(1, Ordering::Release);
    }

    /// Begins to read through `filter`: keeps its log alive until [`release`](Self::release). Answers an empty copy that continues
    /// at its end.
    ///
    /// # Errors
    ///
    /// [`TooManyFilters`].
    pub fn retain(&self, filter: &Filter) -> Result<Log, TooManyFilters> {
        let mut inner = self.lock();
        let Inner { log, views, .. } = &mut *inner;
        if *filter == Filter::All {
            return Ok(log.tail());
        }
        if !views.contains_key(filter) && views.len() >= self.max_filters {
            return Err(TooManyFilters);
        }
        let view = views.entry(filter.clone()).or_insert_with(|| View::new(log.head()));
        view.readers += 1;
        Ok(view.log.tail())
    }

    /// The end of what [`retain`](Self::retain) began.
    pub fn release(&self, filter: &Filter) {
        let mut inner = self.lock();
        if let Some(view) = inner.views.get_mut(filter) {
            view.readers -= 1;
            if view.readers == 0 {
                inner.views.remove(filter);
            }
        }
    }

    /// Brings a copy of the filter's log up to date; it reaches back to the index `from`, or as far as there is something.
    pub fn follow(&self, filter: &Filter, copy: &mut Log, from: u64) {
        let inner = self.lock();
        match filter {
            Filter::All => copy.follow(&inner.log, from),
            filter => {
                if let Some(view) = inner.views.get(filter) {
                    copy.follow(&view.log, from);
                }
            }
        }
    }

    /// Where a subscription through `filter`, which is retained, begins that starts with what comes next.
    #[must_use]
    pub fn open_live(&self, filter: &Filter) -> Opening {
        let mut inner = self.lock();
        let Inner { log, views, .. } = &mut *inner;
        let log = match views.get_mut(filter) {
            Some(view) => view.catch_up(log, self.epoch),
            None => log,
        };
        Opening { first: log.head() + 1, index: log.next_index(), skip: false }
    }

    /// Where a subscription through `filter`, which is retained, begins that has everything up to `after`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub fn open_after(&self, filter: &Filter, epoch: u64, after: u64) -> Result<Opening, Unavailable> {
        if epoch != 0 && epoch != self.epoch {
            return Err(Unavailable::Epoch { asked: epoch, epoch: self.epoch });
        }
        let mut inner = self.lock();
        let (floor, head) = (inner.log.floor(), inner.log.head());
        let after = if inner.complete { after.max(floor) } else { after };
        if after < floor {
            return Err(Unavailable::Past { first: after + 1, kept: floor + 1 });
        }
        if after == u64::MAX || after > head && after - head > reachable(&inner.log) {
            return Err(Unavailable::Future { after, head });
        }
        for attempt in 1.. {
            let Some(missing) = inner.views.get(filter).and_then(|view| inner.missing(view, after)) else {
                break;
            };
            // Gathering the past takes its time: without the lock, which the publisher waits for. Another shard may do the same for another
            // position meanwhile, and what is gathered here fit no more; the last attempt keeps the lock.
            let older = if attempt < PAST_ATTEMPTS {
                drop(inner);
                let older = View::of_past(filter, &missing, self.epoch);
                inner = self.lock();
                older
            } else {
                View::of_past(filter, &missing, self.epoch)
            };
            if let Some(view) = inner.views.get_mut(filter) {
                view.put_in_front(older);
            }
            if attempt == PAST_ATTEMPTS {
                break;
            }
        }
        let Inner { log, views, .. } = &mut *inner;
        let log = match views.get_mut(filter) {
            Some(view) => view.catch_up(log, self.epoch),
            None => log,
        };
        if after < log.floor() {
            return Err(Unavailable::Past { first: after + 1, kept: log.floor() + 1 });
        }
        let index = log.index_after(after);
        let starts_there = log.get(index).map_or(log.head(), |entry| entry.first - 1);
        Ok(Opening { first: after + 1, index, skip: starts_there != after })
    }

    /// The part after the sequence `after` of the batch, in the filter's log, that ends at `last`; `None`: it is no longer kept.
    #[must_use]
    pub fn cut(&self, filter: &Filter, after: u64, last: u64) -> Option<Bytes> {
        let inner = self.lock();
        let log = &inner.log;
        if after < log.floor() || last > log.head() {
            return None;
        }
        let (from, to) = (log.index_after(after), log.index_after(last - 1));
        let span = usize::try_from(from - log.base()).ok()?..=usize::try_from(to - log.base()).ok()?;
        let ticks =
            inner.batches.range(span).flat_map(|batch| batch.select(after, |symbol| filter.wants(symbol)));
        Some(assemble(self.epoch, after + 1, last, ticks))
    }

    /// How much is held, for metrics.
    #[must_use]
    pub fn depth(&self) -> Depth {
        let inner = self.lock();
        let bytes = inner.log.cost() + inner.views.values().map(|view| view.log.cost()).sum::<u64>();
        let ends = inner.log.back().zip(inner.log.front());
        let span = ends.map_or(0, |(last, first)| last.due.saturating_sub(first.due));
        Depth {
            batches: inner.log.len(),
            bytes,
            span: Duration::from_nanos(span),
            filters: inner.views.len(),
            floor: inner.log.floor(),
            head: inner.log.head(),
        }
    }
}

/// How much a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Entries of the log.
    pub batches: usize,
    /// What they take, the filters' included, in bytes.
    pub bytes: u64,
    /// From the oldest to the newest.
    pub span: Duration,
    /// Filters in use.
    pub filters: usize,
    /// The sequence before the first one kept.
    pub floor: u64,
    /// The last sequence.
    pub head: u64,
}

/// All filters together keep at most `size`: the costliest gives up its oldest first. A small one loses nothing to a large one.
fn limit_together(views: &mut HashMap<Filter, View>, size: u64) {
    let mut total: u64 = views.values().map(|view| view.log.cost()).sum();
    while total > size
        && let Some(costliest) = views.values_mut().max_by_key(|view| view.log.cost())
    {
        let before = costliest.log.cost();
        // By an eighth, so that one pays for many.
        costliest.log.evict(before.saturating_sub((before / 8).max(total - size)), 0);
        if costliest.log.cost() == before {
            return;
        }
        total -= before - costliest.log.cost();
    }
}

/// How many sequences a replica in step may be ahead of this log: twice what came in the last [`AHEAD_TOLERANCE`], as rates vary; any
/// number while the log is younger.
fn reachable(log: &Log) -> u64 {
    let (Some(front), Some(back)) = (log.front(), log.back()) else { return u64::MAX };
    let since = back.due.saturating_sub(AHEAD_TOLERANCE.as_nanos() as u64);
    if front.due > since {
        return u64::MAX;
    }
    let recent = log.get(log.index_due(since)).map_or(0, |entry| log.head() - entry.first + 1);
    2 * recent.max(1)
}

#[cfg(test)]
mod tests;
