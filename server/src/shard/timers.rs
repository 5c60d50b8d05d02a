//! What is due on a connection, and when to look. Source: docs/PROTOCOL.md, "Heartbeats" and "Slow clients".

use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{ErrorCode, Heartbeat};

use super::Shard;
use super::connection::{Connection, Kind, Stage};
use super::notices::Notice;
use super::session::{Refusal, Session};
use super::wheel::{Timer, Wheel};
use crate::auth::{BUSY_RETRY, Denial};
use crate::close::CloseReason;
use crate::config::{Config, HEARTBEAT_GRACE};
use crate::metrics::AuthFailure;

/// How many timers a turn looks at. What is left is looked at in the next.
const TIMERS_PER_TURN: usize = 1024;

/// How long a client waits at most for its password to be checked; it is not read meanwhile, and so may not seem silent. 128 checks of the
/// costliest hash that is accepted take some minutes.
const MAX_CHECKING: std::time::Duration = std::time::Duration::from_secs(600);

/// When the things that may happen to a connection by themselves are due; in milliseconds of the shard's clock.
struct Deadlines {
    /// The PROXY header, the TLS handshake or AUTH must have come, whichever is next.
    entry: Option<u64>,
    /// A frame must have come.
    silence: u64,
    /// The socket must have taken something.
    write: Option<u64>,
    /// A HEARTBEAT is sent.
    heartbeat: Option<u64>,
}

impl Deadlines {
    fn of(connection: &Connection, config: &Config) -> Self {
        let ms = |duration: std::time::Duration| duration.as_millis() as u64;
        let protocol = &config.protocol;
        let entry = match (connection.up.stage, connection.up.input.session()) {
            (Stage::ProxyHeader, _) | (Stage::Open, Session::AwaitingAuth) => Some(protocol.auth_deadline),
            (Stage::Handshake, _) => config.tls.as_ref().map(|tls| tls.handshake_deadline),
            // Checking takes the server's time, not the client's.
            (Stage::Open, Session::Checking | Session::Authenticated) => None,
        };
        let silence = match connection.up.input.session() {
            Session::Checking => MAX_CHECKING,
            _ => protocol.heartbeat_timeout + HEARTBEAT_GRACE,
        };
        Self {
            entry: entry.map(|deadline| connection.up.received + ms(deadline)),
            silence: connection.up.received + ms(silence),
            write: connection.blocked.map(|since| since + ms(config.limits.write_deadline)),
            heartbeat: (connection.is_authenticated() && connection.blocked.is_none())
                .then(|| connection.sent + ms(protocol.heartbeat_interval)),
        }
    }

    fn earliest(connection: &Connection, config: &Config) -> u64 {
        if let Some((_, until)) = connection.up.lingering {
            return until;
        }
        let Self { entry, silence, write, heartbeat } = Self::of(connection, config);
        let skip = connection.subscription.as_ref().and_then(|subscription| subscription.skip.as_deref());
        let others = [entry, write, heartbeat, connection.up.drain_at, skip.map(|skip| skip.until)];
        others.into_iter().flatten().fold(silence, u64::min)
    }
}

impl Shard {
    /// Sees to it that the connection is looked at when its earliest deadline comes. To be called when one has moved forward; one that
    /// has moved back is found out when it comes.
    pub(super) fn arm(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let due = Wheel::tick(Deadlines::earliest(connection, &self.shared.config));
        if due < connection.up.armed {
            connection.up.armed = due;
            self.wheel.insert(Timer { key, generation: connection.up.generation, due });
        }
    }

    pub(super) fn expire_timers(&mut self) {
        self.wheel.expire(self.now, &mut self.due);
        for _ in 0..TIMERS_PER_TURN {
            let Some(timer) = self.due.pop() else { return };
            let Some(connection) = self.connections.get_mut(timer.key) else { continue };
            if connection.up.generation != timer.generation || connection.up.armed != timer.due {
                continue;
            }
            connection.up.armed = u64::MAX;
            self.on_deadline(timer.key);
            self.arm(timer.key);
        }
    }

    fn on_deadline(&mut self, key: usize) {
        let (now, connection) = (self.now, &self.connections[key]);
        let passed = |deadline: Option<u64>| deadline.is_some_and(|deadline| now >= deadline);
        if let Some((reason, until)) = connection.up.lingering {
            if now >= until {
                self.close(key, reason);
            }
            return;
        }
        let config = &self.shared.config;
        let Deadlines { entry, silence, write, heartbeat } = Deadlines::of(connection, config);
        let skip = connection.subscription.as_ref().and_then(|subscription| subscription.skip.as_deref());
        if passed(entry) {
            self.on_entry_deadline(key);
        } else if passed(Some(silence)) && connection.up.input.session() == Session::Checking {
            self.deny(key, Denial::Busy(BUSY_RETRY));
        } else if passed(Some(silence)) {
            let timeout = config.protocol.heartbeat_timeout + HEARTBEAT_GRACE;
            let message = format!("no frame from the client for {}", shown(timeout));
            self.refuse(key, Refusal::new(ErrorCode::HeartbeatTimeout, message));
        } else if passed(write) {
            self.slow_consumer(key, "took nothing for WRITE_DEADLINE_MS");
        } else if passed(connection.up.drain_at) {
            self.finish(key, CloseReason::Drained);
        } else if passed(skip.map(|skip| skip.until)) {
            self.give_up_skip(key);
            self.write(key);
        } else if passed(heartbeat) {
            self.enqueue(key, Heartbeat {}.to_frame(), Kind::Control);
            self.write(key);
        }
    }

    fn on_entry_deadline(&mut self, key: usize) {
        let (connection, deadline) = (&self.connections[key], self.shared.config.protocol.auth_deadline);
        match connection.up.stage {
            Stage::ProxyHeader => {
                self.notice(key, Notice::ProxyHeader, &format!("no PROXY header within {}", shown(deadline)));
                self.close(key, CloseReason::ProxyHeader);
            }
            Stage::Handshake if connection.up.handshaking => self.close(key, CloseReason::TlsTimeout),
            Stage::Handshake if connection.up.in_line => self.close(key, CloseReason::TlsBusy),
            Stage::Handshake => self.close(key, CloseReason::Silent),
            Stage::Open => {
                self.metrics.auth_failed(AuthFailure::Timeout);
                let begun = connection.up.input.held() > 0;
                let what = if begun { "whole AUTH, only its beginning," } else { "AUTH" };
                let message = format!("no {what} within {}", shown(deadline));
                let refusal = Refusal::new(ErrorCode::AuthTimeout, message);
                if begun {
                    self.refuse_as(key, refusal, CloseReason::IncompleteFrame);
                } else {
                    self.refuse(key, refusal);
                }
            }
        }
    }
}

fn shown(duration: std::time::Duration) -> String {
    humantime::format_duration(duration).to_string()
}
