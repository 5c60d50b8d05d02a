//! What is under way: taken from the source, and not acknowledged yet.

use std::collections::VecDeque;

use async_nats::Subject;
use bytes::Bytes;

use super::ack::Ack;

/// The most messages under way. NATS takes in at most 10,000 per stream before it refuses (max_buffered_msgs); two publishers are well
/// below that, and at a round trip of 40 ms this still is 100,000 a second.
pub(super) const WINDOW: usize = 4096;

/// A message that is to be stored.
#[derive(Clone, Debug)]
struct Entry {
    subject: Subject,
    payload: Bytes,
    /// It was sent on an earlier connection: whatever NATS has of it may be from then.
    again: bool,
    /// Its sequence, once NATS has it.
    stored: Option<u64>,
}

/// What has been stored so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Messages that NATS has, sent by this publisher.
    pub(super) stored: u64,
    /// Messages that NATS had before this publisher sent them first.
    pub(super) there_already: u64,
    /// The first and the last sequence of the stored ones.
    pub(super) sequences: Option<(u64, u64)>,
}

/// Messages by their rows' numbers, which count from 1.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The first is of row `done + 1`.
    entries: VecDeque<Entry>,
    done: u64,
    /// That row's sequence; 0: nothing is done.
    done_sequence: u64,
    /// How many of them, from the first on, have been sent on this connection.
    sent: usize,
    tally: Tally,
}

impl Outbox {
    /// The sequence of the last row before the first that is not acknowledged: what is under way may be behind it. 0: there is none.
    pub(super) fn done_sequence(&self) -> u64 {
        self.done_sequence
    }

    /// Whether there is room for another message.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < WINDOW
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// At most [`WINDOW`].
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// The next row's message.
    pub(super) fn push(&mut self, subject: Subject, payload: Vec<u8>) {
        let payload = payload.into();
        self.entries.push_back(Entry { subject, payload, again: false, stored: None });
    }

    /// The next message to be sent on this connection: its row, where it goes, and what it says.
    pub(super) fn next_unsent(&mut self) -> Option<(u64, Subject, Bytes)> {
        loop {
            let entry = self.entries.get(self.sent)?;
            self.sent += 1;
            if entry.stored.is_none() {
                let row = self.done + self.sent as u64;
                return Some((row, entry.subject.clone(), entry.payload.clone()));
            }
        }
    }

    /// The connection is lost: whatever is not acknowledged is to be sent again, in order.
    pub(super) fn lost(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        for entry in self.entries.iter_mut().take(sent) {
            entry.again = true;
        }
    }

    /// NATS has stored a row. One that was acknowledged before is nothing new.
    pub(super) fn acknowledge(&mut self, row: u64, ack: Ack) {
        let place = row.checked_sub(self.done + 1).and_then(|place| usize::try_from(place).ok());
        let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) else { return };
        if entry.stored.is_some() {
            return;
        }
        entry.stored = Some(ack.sequence);
        if ack.duplicate && !entry.again {
            self.tally.there_already += 1;
        } else {
            self.tally.stored += 1;
        }
        let (first, last) = self.tally.sequences.unwrap_or((ack.sequence, ack.sequence));
        self.tally.sequences = Some((first.min(ack.sequence), last.max(ack.sequence)));
        while let Some(sequence) = self.entries.front().and_then(|entry| entry.stored) {
            self.entries.pop_front();
            self.done += 1;
            self.done_sequence = sequence;
            self.sent = self.sent.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(messages: usize) -> Outbox {
        let mut outbox = Outbox::default();
        for _ in 0..messages {
            outbox.push("ticks.A".into(), b"x".to_vec());
        }
        outbox
    }

    fn send(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next_unsent()).map(|(row, ..)| row).collect()
    }

    fn ack(sequence: u64) -> Ack {
        Ack { sequence, duplicate: false }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order_and_counted_once() {
        let mut outbox = outbox(5);
        assert_eq!(send(&mut outbox), [1, 2, 3, 4, 5]);
        assert_eq!(send(&mut outbox), [0; 0]);
        outbox.acknowledge(1, ack(11));
        outbox.acknowledge(3, ack(13));
        outbox.lost();
        assert_eq!(send(&mut outbox), [2, 4, 5]);
        // NATS had stored it, and only its answer was lost.
        outbox.acknowledge(2, Ack { sequence: 12, duplicate: true });
        outbox.acknowledge(2, ack(12));
        outbox.acknowledge(4, ack(14));
        outbox.acknowledge(5, ack(15));
        assert!(outbox.is_empty());
        assert_eq!(outbox.tally(), Tally { stored: 5, there_already: 0, sequences: Some((11, 15)) });
        outbox.push("ticks.A".into(), b"x".to_vec());
        assert_eq!(send(&mut outbox), [6]);
    }

    #[test]
    fn what_nats_has_of_an_earlier_run_is_counted_apart() {
        let mut outbox = outbox(2);
        send(&mut outbox);
        outbox.acknowledge(1, Ack { sequence: 3, duplicate: true });
        outbox.acknowledge(2, ack(4));
        assert_eq!(outbox.tally(), Tally { stored: 1, there_already: 1, sequences: Some((3, 4)) });
    }

    #[test]
    fn an_answer_to_what_is_not_under_way_changes_nothing() {
        let mut outbox = outbox(2);
        send(&mut outbox);
        outbox.acknowledge(2, ack(8));
        assert_eq!(outbox.done_sequence(), 0, "the first row is not done");
        outbox.acknowledge(99, ack(99));
        outbox.acknowledge(0, ack(1));
        assert_eq!((outbox.len(), outbox.tally().stored), (2, 1));
        outbox.acknowledge(1, ack(7));
        assert_eq!((outbox.len(), outbox.done_sequence()), (0, 8));
    }

    #[test]
    fn no_more_than_a_window_is_under_way() {
        let mut outbox = outbox(WINDOW - 1);
        assert!(outbox.has_room());
        outbox.push("ticks.A".into(), Vec::new());
        assert!(!outbox.has_room());
    }
}
