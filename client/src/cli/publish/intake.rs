//! Trades when they are due, as they are to be sent.

use tickwire_proto::trade::Message;
use tokio::time::{Instant, sleep_until};

use super::pace::Pacer;
use super::source::{Source, SourceError, wall_now};

/// Nanoseconds in a minute, the longest bar.
const MINUTE: u64 = 60_000_000_000;

/// What is left to be sent.
#[derive(Debug)]
pub(super) struct Intake {
    source: Source,
    pacer: Pacer,
    /// Whether times are replaced by the current one.
    now: bool,
    /// Whether the last minute's end is still to be told.
    end: bool,
    ended: bool,
    /// Whether it was told to stop before the source had ended.
    cut: bool,
    /// When the first trade was sent.
    start: Option<Instant>,
    /// What is not due yet, and when it is.
    waiting: Option<(Message<'static>, Instant)>,
    /// The latest time that was sent; 0: none.
    latest: u64,
    error: Option<SourceError>,
}

impl Intake {
    pub(super) fn new(source: Source, pacer: Pacer, now: bool, end: bool) -> Self {
        Self {
            source,
            pacer,
            now,
            end,
            ended: false,
            cut: false,
            start: None,
            waiting: None,
            latest: 0,
            error: None,
        }
    }

    /// Takes nothing more from the source; what was taken, and the end, are still to be sent.
    pub(super) fn stop(&mut self) {
        // What has no end is told to stop or goes on.
        self.cut |= !self.ended && !self.source.is_endless();
        self.ended = true;
        self.waiting = None;
    }

    /// Whether it was told to stop before everything was taken from the source.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Why the source ended before its end.
    pub(super) fn error(&mut self) -> Option<SourceError> {
        self.error.take()
    }

    /// Waits for the next message that is due; `None`: there is none left. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Message<'static>> {
        loop {
            if let Some((_, due)) = self.waiting {
                // At a high rate many are due at once, and a timer costs more than a look at the clock.
                if due > Instant::now() {
                    sleep_until(due).await;
                }
                let message = self.waiting.take().map(|(message, _)| message)?;
                return Some(self.stamped(message));
            }
            if self.ended {
                let end = std::mem::take(&mut self.end) && self.latest > 0;
                return end.then(|| Message::Watermark((self.latest / MINUTE + 1) * MINUTE));
            }
            match self.source.next().await {
                Some(Ok(message)) => {
                    let start = *self.start.get_or_insert_with(Instant::now);
                    match self.pacer.due(message.time()) {
                        Some(after) => self.waiting = Some((message, start + after)),
                        None => return Some(self.stamped(message)),
                    }
                }
                Some(Err(error)) => {
                    // What cannot be read has no end that could be told.
                    (self.error, self.ended, self.end) = (Some(error), true, false);
                }
                None => self.ended = true,
            }
        }
    }

    /// The message with the time that it is to have.
    fn stamped(&mut self, mut message: Message<'static>) -> Message<'static> {
        if self.now {
            // The clock on the wall may be set back; the feed's time is not.
            let now = wall_now().max(self.latest);
            match &mut message {
                Message::Trade(trade) => trade.time = now,
                Message::Watermark(time) => *time = now,
            }
        }
        self.latest = self.latest.max(message.time());
        message
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::publish::pace::{Pace, Speed};
    use tickwire_proto::trade::Trade;

    /// An intake of trades with these times, in milliseconds.
    fn intake(times: &[u64], pace: Option<Pace>, now: bool, end: bool) -> Intake {
        let (tell, told) = tokio::sync::mpsc::channel(times.len().max(1));
        for time in times {
            let trade = Trade { symbol: "A".into(), time: time * 1_000_000, price: 1, size: 1 };
            tell.try_send(Ok(Message::Trade(trade))).unwrap();
        }
        let speed: Speed = "1".parse().unwrap();
        Intake::new(Source::Read(told), Pacer::new(pace, speed), now, end)
    }

    #[tokio::test(start_paused = true)]
    async fn trades_come_when_they_are_due_also_after_a_wait_that_was_given_up() {
        let mut intake = intake(&[500, 600, 1500], Some(Pace::Recorded), false, false);
        let start = Instant::now();
        let mut came = Vec::new();
        loop {
            let limit = Duration::from_millis(70);
            match tokio::time::timeout(limit, intake.next()).await {
                Ok(Some(message)) => came.push((message.time() / 1_000_000, start.elapsed().as_millis())),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        // The clock of a paused test goes on by whole milliseconds, and a timer fires at the next.
        let due: Vec<_> = came.iter().map(|(time, at)| (*time, at / 10 * 10)).collect();
        assert_eq!(due, [(500, 0), (600, 100), (1500, 1000)]);
    }

    #[tokio::test]
    async fn the_end_of_the_last_minute_is_told_if_it_is_to_be() {
        let mut told = intake(&[119_999, 61_000], None, false, true);
        assert_eq!(told.next().await.unwrap().time(), 119_999_000_000);
        assert_eq!(told.next().await.unwrap().time(), 61_000_000_000);
        assert_eq!(told.next().await, Some(Message::Watermark(2 * MINUTE)));
        assert_eq!(told.next().await, None);
        assert_eq!(intake(&[], None, false, true).next().await, None, "nothing was traded");
    }

    #[tokio::test]
    async fn times_are_replaced_by_the_current_one_which_never_goes_back() {
        let mut intake = intake(&[1, 2, 3], None, true, false);
        let mut last = wall_now();
        while let Some(message) = intake.next().await {
            assert!(message.time() >= last && message.time() <= wall_now());
            last = message.time();
        }
        assert!(intake.error().is_none());
    }

    #[tokio::test]
    async fn what_was_told_to_stop_sends_the_end_and_no_more() {
        let mut intake = intake(&[1000, 2000, 3000], None, false, true);
        intake.next().await.unwrap();
        intake.stop();
        assert_eq!(intake.next().await, Some(Message::Watermark(MINUTE)));
        assert_eq!(intake.next().await, None);
        assert!(intake.is_cut());
    }
}
