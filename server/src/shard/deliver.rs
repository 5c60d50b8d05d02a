//! New batches to subscribers: the shard walks them and writes straight into their sockets.

use std::time::Duration;

use super::connection::{Flush, Kind, Written};
use super::{DELIVERIES_PER_TURN, Shard};
use crate::close::CloseReason;
use crate::feed::clock::wall_now;

impl Shard {
    /// Copies what is new in the streams, and starts the walks that deliver it.
    pub(super) fn take_up_new_batches(&mut self) {
        for (key, topic) in &mut self.topics {
            let Some(stream) = self.shared.streams.get(topic.mode) else { continue };
            let appends = stream.appends();
            if appends != topic.appends {
                topic.appends = appends;
                let base = topic.log.base();
                stream.follow(&topic.filter, &mut topic.log, base);
            }
            // Not only what was copied here: a subscription that began has copied what it found, too.
            if topic.log.next_index() > topic.offered && topic.start_walk() {
                self.walks.push_back(key);
            }
        }
    }

    /// Goes on with the walks, each in its turn.
    pub(super) fn deliver(&mut self) {
        let mut budget = DELIVERIES_PER_TURN;
        while budget > 0 {
            let Some(topic) = self.walks.pop_front() else { return };
            // Half of it at a time: a walk over a hundred thousand leaves room for another over ten.
            let share = budget.min(DELIVERIES_PER_TURN / 2);
            budget -= self.walk(topic, share).max(1);
        }
    }

    /// Visits at most so many of the topic's subscribers. Answers how many.
    fn walk(&mut self, topic_key: usize, budget: usize) -> usize {
        for visited in 0..budget {
            // A visit may end a connection, and with the last one the topic.
            let Some(topic) = self.topics.get_mut(topic_key) else { return visited };
            let Some(walk) = &mut topic.walk else { return visited };
            walk.place = walk.place.min(topic.subscribers.len());
            if walk.place == 0 {
                self.end_walk(topic_key);
                return visited;
            }
            walk.place -= 1;
            let key = topic.subscribers[walk.place];
            self.visit(key);
            let Some(topic) = self.topics.get_mut(topic_key) else { return visited };
            if let (Some(walk), Some(connection)) = (&mut topic.walk, self.connections.get(key))
                && let Some(subscription) = &connection.subscription
                && subscription.topic == topic_key
            {
                walk.slowest = walk.slowest.min(subscription.next);
                if subscription.next < topic.log.next_index() {
                    walk.lag = walk.lag.max(connection.lag(&topic.log));
                }
            }
        }
        self.walks.push_back(topic_key);
        budget
    }

    fn visit(&mut self, key: usize) {
        let connection = &self.connections[key];
        if connection.blocked.is_none() {
            if !connection.write_pending {
                self.write(key);
            }
            return;
        }
        let Some(subscription) = &connection.subscription else { return };
        let log = &self.topics[subscription.topic].log;
        let fell = subscription.next < log.base();
        let over = !subscription.catching_up && connection.lag(log) > self.shared.config.limits.write_queue;
        if fell || over {
            self.slow_consumer(
                key,
                if fell { "fell out of the log" } else { "lags by more than WRITE_QUEUE_LIMIT" },
            );
        }
    }

    fn end_walk(&mut self, topic_key: usize) {
        let topic = &mut self.topics[topic_key];
        if let Some(walk) = topic.walk.take() {
            topic.lag = walk.lag;
            topic.log.drop_before(walk.slowest.min(topic.log.next_index().saturating_sub(1)));
        }
        if let Some(newest) = topic.log.back() {
            self.metrics.published(Duration::from_nanos(wall_now().saturating_sub(newest.due)));
        }
        if topic.again && topic.start_walk() {
            self.walks.push_back(topic_key);
        }
        self.metrics.lag(self.topics.iter().map(|(_, topic)| topic.lag).max().unwrap_or_default());
    }

    /// Writes what waits for a connection, as far as its socket takes it. It may be gone afterwards.
    pub(super) fn write(&mut self, key: usize) {
        self.resolve_skip(key);
        let Shard { connections, topics, metrics, now, .. } = self;
        let connection = &mut connections[key];
        if connection.overflowed && connection.up.lingering.is_none() {
            return self.slow_consumer(key, "asks for more than it reads");
        }
        let log = connection.subscription.as_ref().map(|subscription| &topics[subscription.topic].log);
        let was_blocked = connection.blocked.is_some();
        let mut written = Written::default();
        let flush = connection.flush(log, *now, &mut written);
        metrics.bytes_sent.inc_by(written.bytes);
        metrics.messages_sent.inc_by(written.batches);
        match (was_blocked, connection.blocked.is_some()) {
            (false, true) => metrics.lagging(1),
            (true, false) => {
                metrics.lagging(-1);
                // It has a heartbeat to look forward to again.
                self.arm(key);
            }
            _ => {}
        }
        let connection = &mut self.connections[key];
        match flush {
            Flush::Done => {
                if let Some(subscription) = &mut connection.subscription {
                    subscription.catching_up &= subscription.skip.is_some();
                }
                if connection.up.lingering.is_some() {
                    self.hang_up(key);
                }
            }
            Flush::More => {
                if !connection.write_pending {
                    connection.write_pending = true;
                    if !connection.up.read_pending {
                        self.pending.push_back(key);
                    }
                }
            }
            Flush::Waiting => {}
            Flush::Blocked => self.arm(key),
            Flush::Lost => self.close(key, CloseReason::ConnectionLost),
            Flush::Fell => self.slow_consumer(key, "fell out of the log"),
        }
    }

    /// Where a subscription waits for its start: finds it in the log, in the middle of a batch if need be.
    fn resolve_skip(&mut self, key: usize) {
        while let Some(subscription) = &mut self.connections[key].subscription
            && let Some(skip) = subscription.skip.as_deref().copied()
        {
            let topic = &self.topics[subscription.topic];
            let Some(entry) = topic.log.get(subscription.next) else { return };
            if entry.first > skip.after {
                subscription.skip = None;
                return;
            }
            if entry.last <= skip.after {
                subscription.next += 1;
                continue;
            }
            let stream = self.shared.streams.get(topic.mode);
            let Some(frame) = stream.and_then(|stream| stream.cut(&topic.filter, skip.after, entry.last))
            else {
                // It left the log at this very moment.
                return self.give_up_skip(key);
            };
            subscription.next += 1;
            subscription.skip = None;
            self.enqueue(key, frame, Kind::Batch);
        }
    }

    /// Has a frame of its own sent to a connection, after what has been begun. Where that makes too much wait there, the connection is
    /// closed when it is next written to, not here: the caller goes on with it.
    pub(super) fn enqueue(&mut self, key: usize, frame: bytes::Bytes, kind: Kind) {
        let connection = &mut self.connections[key];
        if connection.up.lingering.is_none() {
            if kind == Kind::Batch {
                self.metrics.messages_sent.inc();
            }
            connection.enqueue(frame, kind);
        }
    }
}
