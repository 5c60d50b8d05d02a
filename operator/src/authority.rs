//! The operator's own certificate authority, one for each StreamServer, from its making to the making of its successor.
//!
//! Clients trust what [`Authority::bundle`] says, and take it up when they please. So a successor is published long before it
//! signs, and what it replaced for as long as it is good:
//!
//! ```text
//!  signer     |==============================|=========|---------|          = signs
//!  successor                                 |---------|=================   - is in the bundle only
//!             0                             2/3       5/6        1          of the signer's lifetime
//! ```
//!
//! All of it is a state in a Secret and a function of the time, without a clock or a cluster of its own: who calls
//! [`Authority::advance`] writes the result back by the resourceVersion that was read, so that of two only one gets through,
//! and publishes the bundle before anything is signed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;

pub mod change;
pub mod server_certificate;
pub mod signing;

pub use change::Change;
pub use server_certificate::{Issued, ServerCertificate, SigningError};
pub use signing::{AuthorityError, GenerationError, Published, Signing};

use signing::Entries;

use crate::certificate::validity::{earlier, later, signed};

/// A certificate authority: who signs now, who will, and who did.
#[derive(Debug)]
pub struct Authority {
    signer: Signing,
    successor: Option<Signing>,
    /// The oldest first.
    predecessors: Vec<Published>,
}

/// The shortest lifetime of an authority. Below that there would be no time to publish a successor in.
pub const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// The most predecessors that are published. After one has been replaced a sixth of its lifetime is left, so there are two only where the
/// lifetime has been shortened to a sixth; four also where that was done again and again.
pub const MAX_PREDECESSORS: usize = 4;

/// When this part of its lifetime is left, a successor is published: a third.
const PUBLISHED_AT: i32 = 3;

/// Which part of the time from its publication to the signer's end a successor waits: a half, so that a sixth of the lifetime is left.
const WAITS: i32 = 2;

/// The entries of the Secret: who signs.
const SIGNER: Entries = Entries { certificate: "ca.crt", key: "ca.key" };

/// Who will.
const SUCCESSOR: Entries = Entries { certificate: "next-ca.crt", key: "next-ca.key" };

/// Who did, one after the other.
const PREDECESSORS: &str = "previous-ca.crt";

impl Authority {
    /// Reads what [`Authority::write`] wrote into a Secret. None where that holds nothing of it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]: what is there cannot be used. It is never replaced without being asked, as clients trust it: who deletes
    /// the Secret asks for that.
    pub fn read(secret: &BTreeMap<String, ByteString>) -> Result<Option<Self>, AuthorityError> {
        let signer = Signing::read(secret, SIGNER)?;
        let successor = Signing::read(secret, SUCCESSOR)?;
        let predecessors = match secret.get(PREDECESSORS) {
            Some(pem) => Published::read_all(PREDECESSORS, &pem.0)?,
            None => Vec::new(),
        };
        match signer {
            Some(signer) => Ok(Some(Self { signer, successor, predecessors })),
            None if successor.is_none() && predecessors.is_empty() => Ok(None),
            None => Err(AuthorityError::Missing { entry: SIGNER.certificate }),
        }
    }

    /// What a Secret has to hold so that [`Authority::read`] finds the same again. It holds private keys.
    #[must_use]
    pub fn write(&self) -> BTreeMap<String, ByteString> {
        let mut secret = BTreeMap::new();
        self.signer.write(SIGNER, &mut secret);
        if let Some(successor) = &self.successor {
            successor.write(SUCCESSOR, &mut secret);
        }
        if !self.predecessors.is_empty() {
            let all: String = self.predecessors.iter().map(Published::pem).collect();
            secret.insert(PREDECESSORS.into(), ByteString(all.into_bytes()));
        }
        secret
    }

    /// Does what is due: makes an authority where there is none, a successor when a third of its lifetime is left, and has that sign when
    /// a sixth is left.
    ///
    /// Where nobody looked for so long that less than a third was left, the successor still waits for half of what is left. Where
    /// nothing is left, it signs at once, or a new one is made, which no client has heard of.
    ///
    /// A lifetime that has been lengthened is that of the next one; one that has been shortened says when that is published, too, so
    /// that it has not ended before it signs. The subject is the first part of the name that clients see, at most 55 characters
    /// of it; a part of the key's identifier follows, so that no two have the same name (RFC 5280, section 4.1.2.6).
    ///
    /// A clock that is behind does nothing: all that happens here happens when a time has come, and what has happened stays.
    ///
    /// # Errors
    ///
    /// [`GenerationError`], where no key could be made. What is in the Secret is as good as before.
    pub fn advance(
        current: Option<Self>,
        subject: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(Self, Vec<Change>), GenerationError> {
        let lifetime = lifetime.max(MIN_LIFETIME);
        let Some(mut authority) = current else {
            let signer = Signing::generate(subject, lifetime, now)?;
            let created = Change::Created { until: signer.not_after() };
            return Ok((Self { signer, successor: None, predecessors: Vec::new() }, vec![created]));
        };
        let mut changes = Vec::new();
        authority.successor.take_if(|successor| successor.validity().ended(now));
        if authority.rotates_at().is_some_and(|at| at <= now)
            && let Some(successor) = authority.successor.take()
        {
            changes.push(Change::Rotated { until: successor.not_after() });
            authority.sign_by(successor);
        }
        if authority.signer.validity().ended(now) {
            let signer = Signing::generate(subject, lifetime, now)?;
            let ended = authority.signer.not_after();
            changes.push(Change::Replaced { ended, until: signer.not_after() });
            authority.sign_by(signer);
        }
        if authority.successor.is_none() && authority.publishes_at(lifetime) <= now {
            let successor = authority.successor.insert(Signing::generate(subject, lifetime, now)?);
            let until = successor.not_after();
            let signs_from = authority.rotates_at().unwrap_or(until);
            changes.push(Change::SuccessorPublished { signs_from, until });
        }
        changes.extend(authority.drop_predecessors(now));
        Ok((authority, changes))
    }

    /// When [`Authority::advance`] has something to do next, if it is called with the same lifetime.
    #[must_use]
    pub fn next_change(&self, lifetime: Duration) -> Timestamp {
        let of_signer = self.rotates_at().unwrap_or_else(|| self.publishes_at(lifetime.max(MIN_LIFETIME)));
        let ends = self.predecessors.iter().map(|predecessor| predecessor.validity().not_after);
        ends.fold(of_signer, Timestamp::min)
    }

    /// Who signs now.
    #[must_use]
    pub fn signer(&self) -> &Signing {
        &self.signer
    }

    /// Who will sign next, where that has been published already.
    #[must_use]
    pub fn successor(&self) -> Option<&Signing> {
        self.successor.as_ref()
    }

    /// What clients should trust, in PEM: predecessors, signer, successor.
    #[must_use]
    pub fn bundle(&self) -> String {
        let now_and_next = [Some(&self.signer), self.successor.as_ref()].into_iter().flatten();
        self.predecessors.iter().chain(now_and_next.map(Signing::published)).map(Published::pem).collect()
    }

    /// Makes a key and signs a certificate for it, which ends no later than the signer.
    ///
    /// # Errors
    ///
    /// [`SigningError`].
    pub fn sign(&self, request: &ServerCertificate, now: Timestamp) -> Result<Issued, SigningError> {
        self.signer.sign(request, now)
    }

    /// When a successor is published, where there is none.
    fn publishes_at(&self, lifetime: Duration) -> Timestamp {
        let validity = self.signer.validity();
        earlier(validity.not_after, validity.lifetime().min(signed(lifetime)) / PUBLISHED_AT)
    }

    /// When the successor signs, where there is one: by its own dates, so that it has been published for long whenever it was made.
    fn rotates_at(&self) -> Option<Timestamp> {
        let end = self.signer.not_after();
        let made_at = self.successor.as_ref()?.validity().made_at();
        // One that was made by a clock far ahead still signs when nobody else can.
        Some(later(made_at, end.duration_since(made_at) / WAITS).min(end))
    }

    /// Has another one sign.
    fn sign_by(&mut self, signer: Signing) {
        let former = std::mem::replace(&mut self.signer, signer);
        self.predecessors.push(former.into_published());
    }

    /// Takes the predecessors away that have ended, and the oldest of too many.
    fn drop_predecessors(&mut self, now: Timestamp) -> Vec<Change> {
        let mut dropped: Vec<_> =
            self.predecessors.extract_if(.., |predecessor| predecessor.validity().ended(now)).collect();
        let surplus = self.predecessors.len().saturating_sub(MAX_PREDECESSORS);
        dropped.extend(self.predecessors.drain(..surplus));
        dropped.iter().map(|it| Change::PredecessorDropped { until: it.validity().not_after }).collect()
    }
}

#[cfg(test)]
mod tests;
