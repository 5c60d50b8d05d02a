//! A bounded log of frames. A subscriber is a position in one; the streams hold the logs, and each shard a copy of the end of
//! those that its connections read, so that nothing is locked while it delivers.

use std::collections::VecDeque;

use bytes::Bytes;

/// A frame in a log, and what it covers. Cloning one clones no bytes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The whole frame, as it goes onto the wire.
    pub frame: Bytes,
    /// The first sequence covered.
    pub first: u64,
    /// The last sequence covered.
    pub last: u64,
    /// How many bytes of frames stand before it, counted from an arbitrary point: differences tell how far a reader lags.
    pub start: u64,
    /// When it was due, by the clock on the wall; nanoseconds since 1970 (UTC).
    pub due: u64,
    /// What it takes of the log's bound, in bytes; at least the frame's length.
    pub cost: u64,
}

/// Where the first entry is numbered, and its bytes counted, from: far from 0, as a log may also grow at its front.
const ORIGIN: u64 = 1 << 40;

/// Frames in order, numbered by indices that only ever go up.
#[derive(Clone, Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// The index of the first entry.
    base: u64,
    /// The sequence before the first one held.
    floor: u64,
    /// Where the next entry's bytes start.
    end: u64,
    /// The sum of the entries' costs.
    cost: u64,
}

impl Log {
    /// A log whose first entry will start at the sequence after `floor`.
    #[must_use]
    pub fn new(floor: u64) -> Self {
        Self { entries: VecDeque::new(), base: ORIGIN, floor, end: ORIGIN, cost: 0 }
    }

    /// An empty copy that continues where this log ends.
    #[must_use]
    pub fn tail(&self) -> Self {
        Self { entries: VecDeque::new(), base: self.next_index(), floor: self.head(), end: self.end, cost: 0 }
    }

    /// Appends a frame that covers `first..=last`.
    pub fn push(&mut self, frame: Bytes, first: u64, last: u64, due: u64, cost: u64) {
        debug_assert_eq!(first, self.head() + 1, "ranges are contiguous");
        let start = self.end;
        self.end += frame.len() as u64;
        self.cost += cost;
        self.entries.push_back(Entry { frame, first, last, start, due, cost });
    }

    /// Puts entries in front, the last of which ends before the first one held. Their starts are set here.
    pub fn prepend(&mut self, entries: Vec<Entry>, floor: u64) {
        let mut start = self.entries.front().map_or(self.end, |entry| entry.start);
        for mut entry in entries.into_iter().rev() {
            start -= entry.frame.len() as u64;
            entry.start = start;
            self.cost += entry.cost;
            self.base -= 1;
            self.entries.push_front(entry);
        }
        self.floor = floor;
    }

    /// Drops the oldest entries while the log is over `max_cost` or its oldest was due before `oldest_due`. Answers how many.
    pub fn evict(&mut self, max_cost: u64, oldest_due: u64) -> usize {
        let over = |log: &Self, entry: &Entry| log.cost > max_cost || entry.due < oldest_due;
        let mut dropped = 0;
        // The newest stays, however large or old: its end is where the next one starts.
        while self.entries.len() > 1 && self.entries.front().is_some_and(|entry| over(self, entry)) {
            self.pop_front();
            dropped += 1;
        }
        dropped
    }

    /// Drops the entries before `index`.
    pub fn drop_before(&mut self, index: u64) {
        while self.base < index && !self.entries.is_empty() {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.base += 1;
            self.floor = entry.last;
            self.cost -= entry.cost;
        }
    }

    /// Makes this, a copy of the end of `source`, hold all of it from the index `from` on, or all there is.
    pub fn follow(&mut self, source: &Self, from: u64) {
        if self.next_index() < source.base {
            // The source has moved on without us: everything held is gone there.
            *self = Self {
                entries: VecDeque::new(),
                base: source.base,
                floor: source.floor,
                end: source.end,
                cost: 0,
            };
            if let Some(entry) = source.entries.front() {
                self.end = entry.start;
            }
        }
        self.drop_before(source.base);
        let wanted = from.clamp(source.base, self.base);
        for index in (wanted..self.base).rev() {
            if let Some(entry) = source.get(index) {
                self.cost += entry.cost;
                self.floor = entry.first - 1;
                self.base = index;
                self.entries.push_front(entry.clone());
            }
        }
        for index in self.next_index()..source.next_index() {
            if let Some(entry) = source.get(index) {
                self.cost += entry.cost;
                self.end = entry.start + entry.frame.len() as u64;
                self.entries.push_back(entry.clone());
            }
        }
    }

    /// The entry of this index, if it is held.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(self.base)?).ok()?)
    }

    /// The index of the first entry held.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The index that the next entry will have.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The index of the first entry that covers something after `sequence`; the next entry's where none does.
    #[must_use]
    pub fn index_after(&self, sequence: u64) -> u64 {
        self.base + self.entries.partition_point(|entry| entry.last <= sequence) as u64
    }

    /// The index of the first entry that was due at `due` or later; the next entry's where none was.
    #[must_use]
    pub fn index_due(&self, due: u64) -> u64 {
        self.base + self.entries.partition_point(|entry| entry.due < due) as u64
    }

    /// The last sequence covered.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.entries.back().map_or(self.floor, |entry| entry.last)
    }

    /// The sequence before the first one held.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Where the bytes end, on the scale of [`Entry::start`].
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What the entries cost together, in bytes.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// How many entries are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries from `index` on.
    pub fn from(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skip = usize::try_from(index.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.entries.range(skip.min(self.entries.len())..)
    }

    /// The oldest entry held.
    #[must_use]
    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The newest entry held.
    #[must_use]
    pub fn back(&self) -> Option<&Entry> {
        self.entries.back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: u64) -> Log {
        let mut log = Log::new(100);
        for n in 0..entries {
            log.push(Bytes::from(vec![0; 10]), 101 + 2 * n, 102 + 2 * n, n, 10);
        }
        log
    }

    fn ranges(log: &Log) -> Vec<(u64, u64)> {
        log.from(log.base()).map(|entry| (entry.first, entry.last)).collect()
    }

    #[test]
    fn eviction_keeps_to_both_bounds_but_never_drops_the_newest() {
        let mut log = filled(10);
        assert_eq!(log.evict(50, 0), 5);
        assert_eq!((log.floor(), log.head(), log.cost()), (110, 120, 50));
        assert_eq!(log.evict(50, 8), 3);
        assert_eq!(log.evict(0, u64::MAX), 1);
        assert_eq!(ranges(&log), [(119, 120)]);
    }

    #[test]
    fn positions_are_found_by_sequence() {
        let log = filled(3);
        let base = log.base();
        for (after, index) in [(0, 0), (100, 0), (101, 0), (102, 1), (103, 1), (106, 3), (999, 3)] {
            assert_eq!(log.index_after(after), base + index, "after {after}");
        }
    }

    #[test]
    fn a_copy_follows_reaches_back_and_gives_up_what_its_source_has() {
        let mut source = filled(5);
        let mut copy = source.tail();
        copy.follow(&source, copy.base());
        assert!(copy.is_empty());
        source.push(Bytes::from(vec![0; 10]), 111, 112, 5, 10);
        copy.follow(&source, copy.base());
        assert_eq!(ranges(&copy), [(111, 112)]);
        copy.follow(&source, source.base() + 3);
        assert_eq!(ranges(&copy), [(107, 108), (109, 110), (111, 112)]);
        assert_eq!((copy.floor(), copy.end(), copy.cost()), (106, source.end(), 30));
        source.evict(20, 0);
        copy.follow(&source, copy.base());
        assert_eq!(ranges(&copy), ranges(&source));
        // Left alone until nothing it held is there any more.
        for n in 0..4 {
            source.push(Bytes::from(vec![0; 10]), 113 + n, 113 + n, 6, 10);
        }
        source.evict(20, 0);
        copy.follow(&source, copy.base());
        assert_eq!((ranges(&copy), copy.base(), copy.end()), (ranges(&source), source.base(), source.end()));
    }

    #[test]
    fn what_is_put_in_front_is_numbered_backwards() {
        let mut log = filled(2).tail();
        let base = log.base();
        log.push(Bytes::from(vec![0; 10]), 105, 106, 9, 10);
        let older = filled(2).from(0).cloned().collect();
        log.prepend(older, 100);
        assert_eq!((log.base(), log.floor()), (base - 2, 100));
        assert_eq!(ranges(&log), [(101, 102), (103, 104), (105, 106)]);
        let starts: Vec<_> = log.from(0).map(|entry| log.end() - entry.start).collect();
        assert_eq!(starts, [30, 20, 10]);
    }
}
