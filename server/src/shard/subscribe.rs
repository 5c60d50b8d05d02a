//! SUBSCRIBE: from a mode, a filter and perhaps a position to a place in a log.

use tickwire_proto::SCHEMA_VERSION;
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{DataBatch, ErrorCode, Mode, Resume, Subscribe};

use super::Shard;
use super::connection::{Kind, Skip, Subscription};
use super::session::Refusal;
use super::topic::Topic;
use crate::feed::MAX_SYMBOL_LEN;
use crate::filter::Filter;
use crate::metrics::stream_label;
use crate::stream::{AHEAD_TOLERANCE, Depth, Opening, Stream, Unavailable};

impl Shard {
    pub(super) fn subscribe(&mut self, key: usize, request: &Subscribe) {
        let connection = &mut self.connections[key];
        connection.up.arrival.subscribe(connection.up.peer);
        if let Err(refusal) = self.try_subscribe(key, request) {
            self.connections[key].up.arrival.refused(refusal.code.name());
            self.tell(key, refusal);
        }
    }

    fn try_subscribe(&mut self, key: usize, request: &Subscribe) -> Result<(), Refusal> {
        let mode = Mode::try_from(request.mode).unwrap_or(Mode::Unspecified);
        if mode == Mode::Unspecified {
            let message =
                format!("mode {} is none; it must be 1 (SECOND), 2 (MINUTE) or 3 (TICK)", request.mode);
            return Err(Refusal::new(ErrorCode::BadMode, message));
        }
        let filter = Filter::new(&request.symbols, &self.shared.symbols).map_err(|name| {
            // The name is the client's own, but it need not have its whole length back.
            let shown: String = name.chars().take(MAX_SYMBOL_LEN).collect();
            Refusal::new(ErrorCode::UnknownSymbol, format!("the feed has no symbol {shown:?}"))
        })?;
        // First the new topic, which may be the old one, and then away from the old one.
        let topic = self.topic(mode, filter)?;
        self.unsubscribe(key, Some(topic));
        let streams = self.shared.streams.clone();
        let Some(stream) = streams.get(mode) else { return Ok(()) };
        let filter = &self.topics[topic].filter;
        let opening = match request.resume {
            None => Ok(stream.open_live(filter)),
            Some(Resume { epoch, after_sequence }) => stream.open_after(filter, epoch, after_sequence),
        };
        let resumed = request.resume.is_some() && opening.is_ok();
        let opening = match opening {
            Ok(opening) => opening,
            Err(why) => {
                self.resume_unavailable(key, why);
                stream.open_live(&self.topics[topic].filter)
            }
        };
        if resumed {
            self.metrics.resumed.inc();
        }
        let peer = self.connections[key].up.peer;
        tracing::debug!(%peer, ?mode, symbols = request.symbols.len(), first = opening.first, resumed, "subscribed");
        let place = self.topics[topic].subscribers.len();
        self.topics[topic].subscribers.push(key);
        self.metrics.subscribed(mode, true);
        let next = opening.index;
        let subscription = Subscription { topic, place, next, catching_up: resumed, skip: None };
        self.connections[key].subscription = Some(subscription);
        self.start_at(key, stream, &opening);
        self.connections[key].up.arrival.subscribed(stream_label(mode), request.symbols.len(), resumed);
        Ok(())
    }

    /// The shard's topic for a mode and filter, made where there is none; the caller puts a subscriber into it.
    fn topic(&mut self, mode: Mode, filter: Filter) -> Result<usize, Refusal> {
        if let Some(&topic) = self.by_filter.get(&(mode, filter.clone())) {
            return Ok(topic);
        }
        let Some(stream) = self.shared.streams.get(mode) else {
            return Err(Refusal::new(ErrorCode::BadMode, "there is no such stream"));
        };
        let appends = stream.appends();
        let log =
            stream.retain(&filter).map_err(|error| Refusal::new(ErrorCode::Overloaded, error.to_string()))?;
        let offered = log.next_index();
        let topic = Topic {
            mode,
            filter: filter.clone(),
            log,
            subscribers: Vec::new(),
            appends,
            offered,
            lag: 0,
            walk: None,
            again: false,
        };
        let key = self.topics.insert(topic);
        self.by_filter.insert((mode, filter), key);
        Ok(key)
    }

    /// Sets where the connection's subscription begins, and tells it.
    fn start_at(&mut self, key: usize, stream: &Stream, opening: &Opening) {
        let Some(subscription) = &mut self.connections[key].subscription else { return };
        let topic = &mut self.topics[subscription.topic];
        // The log must reach from there on; and the walk, if one is under way, has gone past this subscriber.
        stream.follow(&topic.filter, &mut topic.log, opening.index);
        if let Some(walk) = &mut topic.walk {
            walk.slowest = walk.slowest.min(opening.index);
        }
        let until = self.now + AHEAD_TOLERANCE.as_millis() as u64;
        subscription.next = opening.index;
        subscription.skip = opening.skip.then(|| Box::new(Skip { after: opening.first - 1, until }));
        let frame = DataBatch {
            schema_version: SCHEMA_VERSION,
            ticks: Vec::new(),
            epoch: stream.epoch(),
            first_sequence: opening.first,
            last_sequence: opening.first - 1,
        };
        self.enqueue(key, frame.to_frame(), Kind::Batch);
        self.arm(key);
    }

    pub(super) fn resume_unavailable(&mut self, key: usize, why: Unavailable) {
        self.metrics.resume_unavailable.inc();
        self.tell(key, Refusal::new(ErrorCode::ResumeUnavailable, why.to_string()));
    }

    /// Begins with what comes next: the position that was waited for has not been reached, or is gone.
    pub(super) fn give_up_skip(&mut self, key: usize) {
        let Some(Subscription { topic, skip, .. }) = &mut self.connections[key].subscription else { return };
        let (Some(skip), topic) = (skip.take(), *topic) else { return };
        let streams = self.shared.streams.clone();
        let Some(stream) = streams.get(self.topics[topic].mode) else { return };
        let Depth { floor, head, .. } = stream.depth();
        let why = if skip.after < floor {
            Unavailable::Past { first: skip.after + 1, kept: floor + 1 }
        } else {
            Unavailable::Future { after: skip.after, head }
        };
        self.resume_unavailable(key, why);
        let opening = stream.open_live(&self.topics[topic].filter);
        self.start_at(key, stream, &opening);
    }

    /// Ends the connection's subscription, if it has one. What has been begun of it is still sent. Its topic goes with its last
    /// subscriber, unless it is the one to `keep`.
    pub(super) fn unsubscribe(&mut self, key: usize, keep: Option<usize>) {
        let connection = &mut self.connections[key];
        connection.drop_batches();
        let Some(Subscription { topic: topic_key, place, .. }) = connection.subscription.take() else {
            return;
        };
        let topic = &mut self.topics[topic_key];
        self.metrics.subscribed(topic.mode, false);
        topic.subscribers.swap_remove(place);
        if let Some(moved) = topic.subscribers.get(place)
            && let Some(moved) = &mut self.connections[*moved].subscription
        {
            moved.place = place;
        }
        if topic.subscribers.is_empty() && keep != Some(topic_key) {
            let Topic { mode, filter, .. } = self.topics.remove(topic_key);
            self.walks.retain(|walk| *walk != topic_key);
            if let Some(stream) = self.shared.streams.get(mode) {
                stream.release(&filter);
            }
            self.by_filter.remove(&(mode, filter));
        }
    }

    /// Sends an ERROR that closes nothing.
    pub(super) fn tell(&mut self, key: usize, refusal: Refusal) {
        let error = self.error(key, refusal);
        self.enqueue(key, error, Kind::Control);
    }
}
