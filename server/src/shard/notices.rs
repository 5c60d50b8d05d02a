//! What an operator is told of clients that are turned away: who, and why, so that a certificate that nobody can use, or somebody who guesses, is seen
//! without a look at the metrics. One line a minute for each reason, however many there are; each single one is in the log's debug output.

use std::fmt::Display;
use std::time::Duration;

use super::Shard;

/// How long nothing more is said of a reason.
const SILENCE: Duration = Duration::from_secs(60);

/// Why clients are turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Tls,
    Auth,
    ProxyHeader,
    ConnectionLimit,
}

/// When something was last said, and how often nothing was since.
#[derive(Debug, Default)]
pub(super) struct Notices([(Option<u64>, u64); 4]);

impl Notices {
    /// Whether something is to be said of it now: then how many there were since the last that was told.
    fn take(&mut self, notice: Notice, now: u64) -> Option<u64> {
        let (said, since) = &mut self.0[notice as usize];
        if said.is_some_and(|said| now < said + SILENCE.as_millis() as u64) {
            *since += 1;
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(since))
    }
}

impl Shard {
    /// Tells of a client that is turned away, and counts it for the next that is told.
    pub(super) fn notice(&mut self, key: usize, notice: Notice, why: &dyn Display) {
        let (shard, peer) = (self.number, self.connections[key].up.peer);
        tracing::debug!(shard, %peer, %why, "turned away");
        let Some(others) = self.notices.take(notice, self.now) else { return };
        tracing::info!(shard, %peer, %why, others, "a client was turned away; others: how many more since the last such line");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_one_is_told_a_minute_and_the_others_are_counted() {
        let mut notices = Notices::default();
        assert_eq!(notices.take(Notice::Tls, 0), Some(0));
        for now in 0..1000 {
            assert_eq!(notices.take(Notice::Tls, now), None);
        }
        assert_eq!(notices.take(Notice::Auth, 1000), Some(0), "each reason by itself");
        assert_eq!(notices.take(Notice::Tls, 60_000), Some(1000));
        assert_eq!(notices.take(Notice::Tls, 120_000), Some(0));
    }
}
