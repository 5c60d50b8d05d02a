//! How connections end, and how all of them do when the server leaves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Error, ErrorCode};

use super::connection::Kind;
use super::session::Refusal;
use super::{DELIVERIES_PER_TURN, Phase, Shard};
use crate::close::CloseReason;
use crate::feed::mix;

/// How long a connection whose last frame has been written is kept for the client to read it and close. Closing at once would reset it
/// where the client is still sending, and take the last frame with it.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client's old connection is kept after its slot in a drain has come, so that it can open the new one first.
const HANDOVER: Duration = Duration::from_secs(1);

impl Shard {
    /// Tells the client why, and closes.
    pub(super) fn refuse(&mut self, key: usize, refusal: Refusal) {
        let reason = CloseReason::Refused(refusal.code);
        self.refuse_as(key, refusal, reason);
    }

    /// The same, where the reason says more than the code.
    pub(super) fn refuse_as(&mut self, key: usize, refusal: Refusal, reason: CloseReason) {
        let code = refusal.code;
        tracing::debug!(peer = %self.connections[key].up.peer, code = code.name(), message = refusal.message, "refused");
        let error = self.error(key, refusal);
        self.unsubscribe(key, None);
        // It is the last frame, however much waits before it.
        self.connections[key].enqueue(error, Kind::Control);
        self.finish(key, reason);
    }

    /// Sends what has been begun, and closes.
    pub(super) fn finish(&mut self, key: usize, reason: CloseReason) {
        self.unsubscribe(key, None);
        let until = self.now + LINGER.as_millis() as u64;
        let connection = &mut self.connections[key];
        connection.up.input.close();
        connection.up.arrival.over(reason.label());
        connection.up.lingering.get_or_insert((reason, until));
        self.write(key);
        self.arm(key);
    }

    /// Tells the peer that no more will be sent; when it can be told, if its socket is full.
    pub(super) fn hang_up(&mut self, key: usize) {
        let Shard { connections, metrics, now, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let was_blocked = connection.blocked.is_some();
        connection.hang_up(*now);
        if !was_blocked && connection.blocked.is_some() {
            metrics.lagging(1);
        }
    }

    /// Closes a connection whose client does not keep up; it is told so if its socket has any room left. It may be gone afterwards.
    pub(super) fn slow_consumer(&mut self, key: usize, why: &'static str) {
        let connection = &self.connections[key];
        if connection.up.lingering.is_some() {
            return;
        }
        connection.lift_send_limit();
        self.refuse(key, Refusal::new(ErrorCode::SlowConsumer, why));
        if let Some(connection) = self.connections.get(key)
            && connection.blocked.is_some()
        {
            connection.reset_on_close();
            self.close(key, CloseReason::Refused(ErrorCode::SlowConsumer));
        }
    }

    /// The connection is no more.
    pub(super) fn close(&mut self, key: usize, reason: CloseReason) {
        self.unsubscribe(key, None);
        let mut connection = self.connections.remove(key);
        Self::end_handshake(&mut self.handshakes, &mut connection);
        let left = matches!(reason, CloseReason::PeerClosed | CloseReason::ConnectionLost);
        let reason = match connection.up.lingering {
            Some((reason, _)) => reason,
            None if left && !connection.is_authenticated() => CloseReason::Abandoned,
            None => reason,
        };
        if connection.up.refused {
            self.acceptor.refused -= 1;
        }
        if connection.blocked.is_some() {
            self.metrics.lagging(-1);
        }
        self.metrics.closed(reason);
        connection.up.arrival.over(reason.label());
        if connection.up.address_counted {
            self.shared.addresses.leave(connection.up.peer.ip());
        }
        if connection.up.counted {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
        tracing::debug!(shard = self.number, peer = %connection.up.peer, key, reason = reason.label(), "closed");
    }

    /// An ERROR frame; its retry_after_ms is the refusal's and up to half as much again, so that those refused together do not come
    /// back together.
    pub(super) fn error(&self, key: usize, refusal: Refusal) -> Bytes {
        // Not rounded down: too early is in vain, and 0 would say that retrying makes no sense.
        let base = u64::try_from(refusal.retry_after.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let jitter = self.dice(key) % (base / 2 + 1);
        let retry_after_ms = u32::try_from(base + jitter).unwrap_or(u32::MAX);
        Error { code: refusal.code.into(), message: refusal.message, retry_after_ms }.to_frame()
    }

    /// A number that differs from connection to connection.
    pub(super) fn dice(&self, key: usize) -> u64 {
        let who = (self.number as u64) << 48 | u64::from(self.connections[key].up.generation);
        mix(mix(who ^ 0x5eed) ^ self.now)
    }

    /// Does what a change of phase asks for.
    pub(super) fn enter(&mut self, phase: Phase) {
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        match phase {
            Phase::Serving => {}
            Phase::Draining => {
                // Those who have connected already are served: closing the listener would reset them.
                self.accept_the_last();
                let mut keys: Vec<_> = self.connections.iter().map(|(key, _)| key).collect();
                // Their order is that of their arrival; their departure's is not to be.
                keys.sort_by_cached_key(|key| self.dice(*key));
                self.to_drain = keys;
                self.drain_total = self.to_drain.len();
                self.drain_window = self.drain_window().as_millis() as u64;
                self.draining_since = self.now;
            }
            Phase::Ending => {
                self.acceptor.close();
                let keys: Vec<_> = self.connections.iter().map(|(key, _)| key).collect();
                for key in keys {
                    self.close(key, CloseReason::Shutdown);
                }
            }
        }
    }

    /// Over how long the clients of all shards leave: DRAIN_WINDOW, or longer where DRAIN_RATE asks for that, but never longer than DRAIN_TIMEOUT.
    fn drain_window(&self) -> Duration {
        self.shared.config.drain.window_of(self.shared.open.load(Ordering::Relaxed))
    }

    /// Tells some of the clients that the server drains, each with its own time to leave.
    pub(super) fn drain_some(&mut self) {
        let window = self.drain_window;
        for _ in 0..DELIVERIES_PER_TURN {
            let Some(key) = self.to_drain.pop() else { return };
            if self.connections.get(key).is_none_or(|connection| connection.up.lingering.is_some()) {
                continue;
            }
            // The window is cut into as many slots as there are clients; each leaves at a moment of its own within its slot.
            let rank = self.to_drain.len() as u64;
            let (total, dice) = (self.drain_total.max(1) as u64, self.dice(key));
            let slot = (window * rank + dice % window.max(1)) / total;
            let leave_at = self.draining_since + slot;
            let retry_after = Duration::from_millis(leave_at.saturating_sub(self.now).max(1));
            let error = Error {
                code: ErrorCode::Draining.into(),
                message: "the server is about to leave; connect to another after retry_after_ms".into(),
                retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
            };
            self.connections[key].up.drain_at = Some(leave_at + HANDOVER.as_millis() as u64);
            self.enqueue(key, error.to_frame(), Kind::Control);
            self.write(key);
            self.arm(key);
        }
    }
}
