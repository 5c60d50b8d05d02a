//! AUTH: asking whether a client may come in, and telling it. Where a password is checked against a hash, the answer comes later.

use std::time::{Duration, Instant};

use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Auth, ErrorCode, Heartbeat};

use super::Shard;
use super::connection::{Connection, Kind};
use super::notices::Notice;
use super::session::{Refusal, Session};
use crate::auth::{Answer, Attempt, Denial};
use crate::metrics::AuthFailure;
use crate::tls;
use crate::verifier::{Asker, Verdict};

/// How many verdicts a turn takes up. What does not fit comes with the next.
const VERDICTS_PER_TURN: usize = 256;

impl Shard {
    pub(super) fn authenticate(&mut self, key: usize, auth: &Auth) {
        let Shard { shared, connections, inbox, .. } = self;
        let connection = &mut connections[key];
        connection.up.arrival.auth();
        // A certificate that says nothing has no names that the username could be among.
        let names = connection.transport.peer_certificate().map(|leaf| tls::names(leaf).unwrap_or_default());
        let attempt = Attempt {
            username: &auth.username,
            password: &auth.password,
            address: connection.up.peer.ip(),
            certificate: names.as_deref(),
        };
        let asker = Asker { key, generation: connection.up.generation };
        match shared.authenticator.begin(&attempt, asker, inbox, Instant::now()) {
            Answer::Accepted => self.let_in(key, &auth.username),
            Answer::Denied(denial) => self.deny(key, denial),
            Answer::Checking => {
                connection.up.input.enter(Session::Checking);
                self.arm(key);
            }
        }
    }

    /// Takes up what has been found out about passwords. Answers whether there may be more.
    pub(super) fn take_up_verdicts(&mut self) -> bool {
        for _ in 0..VERDICTS_PER_TURN {
            let Ok(verdict) = self.verdicts.try_recv() else { return false };
            self.conclude(&verdict);
        }
        true
    }

    fn conclude(&mut self, verdict: &Verdict) {
        let Verdict { asker: Asker { key, generation }, username, .. } = verdict;
        let answer = self.shared.authenticator.conclude(verdict, Instant::now());
        let waits = |connection: &&mut Connection| {
            connection.up.generation == *generation
                && connection.up.input.session() == Session::Checking
                && connection.up.lingering.is_none()
        };
        if self.connections.get_mut(*key).filter(waits).is_none() {
            // It has left; a guess is counted all the same.
            if let Answer::Denied(denial) = answer {
                self.metrics.auth_failed(reason(denial));
            }
            return;
        }
        match answer {
            Answer::Denied(denial) => self.deny(*key, denial),
            Answer::Accepted | Answer::Checking => {
                self.let_in(*key, username);
                self.connections[*key].up.unparsed = true;
            }
        }
        // It may have sent more meanwhile, or have left: nobody has looked.
        if self.connections.contains(*key) {
            self.read(*key);
        }
    }

    fn let_in(&mut self, key: usize, username: &str) {
        let connection = &mut self.connections[key];
        connection.up.input.enter(Session::Authenticated);
        connection.up.received = self.now;
        connection.up.arrival.authenticated(username);
        connection.enqueue(Heartbeat {}.to_frame(), Kind::Control);
        tracing::debug!(peer = %connection.up.peer, username, "authenticated");
        self.arm(key);
    }

    pub(super) fn deny(&mut self, key: usize, denial: Denial) {
        let limited =
            |message: &str, wait: Duration| Refusal::new(ErrorCode::RateLimited, message).retry_after(wait);
        let refusal = match denial {
            Denial::Credentials => Refusal::new(ErrorCode::AuthFailed, "username or password is wrong"),
            Denial::Identity => {
                let message = "the username is not in the certificate that was shown";
                Refusal::new(ErrorCode::AuthFailed, message)
            }
            Denial::AddressLimited(wait) => limited("too many failed AUTHs from this address", wait),
            Denial::UserLimited(wait) => limited("too many failed AUTHs by this name", wait),
            Denial::AddressBusy(wait) => {
                limited("too many passwords from this address are being checked", wait)
            }
            Denial::Busy(wait) => limited("too many passwords are being checked", wait),
        };
        self.metrics.auth_failed(reason(denial));
        // Not the name: it may be a password, in the wrong field.
        self.notice(key, Notice::Auth, &refusal.message);
        self.refuse(key, refusal);
    }
}

/// As metrics call it.
fn reason(denial: Denial) -> AuthFailure {
    match denial {
        Denial::Credentials => AuthFailure::Credentials,
        Denial::Identity => AuthFailure::Identity,
        Denial::AddressLimited(_) => AuthFailure::AddressLimited,
        Denial::UserLimited(_) => AuthFailure::UserLimited,
        Denial::AddressBusy(_) => AuthFailure::AddressBusy,
        Denial::Busy(_) => AuthFailure::Busy,
    }
}
