//! What some of a shard's connections read: a stream through a filter, and the shard's own copy of that log's end.

use tickwire_proto::message::Mode;

use crate::filter::Filter;
use crate::log::Log;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) mode: Mode,
    pub(super) filter: Filter,
    /// Reaches back to the slowest subscriber.
    pub(super) log: Log,
    /// The connections' keys, in no order; each connection knows its place.
    pub(super) subscribers: Vec<usize>,
    /// The stream's count of appends when the log was last brought up to date.
    pub(super) appends: u64,
    /// The index up to which walks have been started: what is behind it is still to be offered.
    pub(super) offered: u64,
    /// The largest lag that the last walk saw, in bytes.
    pub(super) lag: u64,
    /// A walk over the subscribers that is under way.
    pub(super) walk: Option<Walk>,
    /// Something came while a walk was under way: another is to follow.
    pub(super) again: bool,
}

/// Goes from the last subscriber to the first, so that the list may change under way: one that leaves is replaced by the last one, which
/// has been visited, or is visited again; one that joins comes behind, and has been served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Those at this place and behind have been visited.
    pub(super) place: usize,
    /// The earliest index that any of them still needs.
    pub(super) slowest: u64,
    /// The largest lag seen, in bytes.
    pub(super) lag: u64,
}

impl Topic {
    /// Has every subscriber visited; after the walk that is under way, if one is. Answers whether a walk begins now.
    pub(super) fn start_walk(&mut self) -> bool {
        self.offered = self.log.next_index();
        if self.walk.is_some() {
            self.again = true;
            return false;
        }
        self.again = false;
        self.walk = Some(Walk { place: self.subscribers.len(), slowest: self.log.next_index(), lag: 0 });
        true
    }
}
