//! Whether a certificate that the operator signed has to be made anew.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::validity::{earlier, signed};
use super::{Certificate, CertificateError};
use crate::authority::{Authority, ServerCertificate};

/// The certificate that there should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What it should be for.
    pub request: &'a ServerCertificate,
    /// Who should have signed it.
    pub authority: &'a Authority,
    /// How long before its end it is replaced. Where that is not less than the lifetime that is asked for, a third of that: otherwise
    /// it would be replaced again and again.
    pub renew_before: Duration,
}

/// Why a certificate has to be made anew.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Renewal {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// It cannot be used.
    #[error("it cannot be used: {0}")]
    Unreadable(CertificateError),
    /// Its time is over.
    #[error("it expired on {0}")]
    Expired(Timestamp),
    /// It was not signed by the authority that signs now: that has been renewed, or made anew. Who trusts the bundle has trusted
    /// the new one for long, so that there is no reason to wait, and the old one can go when it ends.
    #[error("it was not signed by the present authority")]
    OtherAuthority,
    /// It is for other names or addresses.
    #[error("it is for other names")]
    NamesDiffer,
    /// It is good for longer than is asked for now.
    #[error("it is good for longer than is asked for")]
    TooLong,
    /// It begins shortly from now: the clock by which it was made was ahead of this one.
    #[error("it is not valid before {0}")]
    NotYetValid(Timestamp),
    /// It ends soon.
    #[error("it ends on {0}")]
    Due(Timestamp),
}

impl Renewal {
    /// A stable name of the reason, for events and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Unreadable(_) => "Unreadable",
            Self::Expired(_) => "Expired",
            Self::OtherAuthority => "OtherAuthority",
            Self::NamesDiffer => "NamesDiffer",
            Self::TooLong => "TooLong",
            Self::NotYetValid(_) => "NotYetValid",
            Self::Due(_) => "Due",
        }
    }
}

impl Wanted<'_> {
    /// Why what is in a Secret has to be replaced, if it has to: its entries `tls.crt` and `tls.key`, where they are there.
    #[must_use]
    pub fn renewal(
        &self,
        certificate_pem: Option<&[u8]>,
        key_pem: Option<&[u8]>,
        now: Timestamp,
    ) -> Option<Renewal> {
        let (Some(certificate), Some(key)) = (certificate_pem, key_pem) else {
            return Some(Renewal::Missing);
        };
        match Certificate::read(certificate, key) {
            Ok(certificate) => certificate.needs_renewal(self, now),
            Err(error) => Some(Renewal::Unreadable(error)),
        }
    }
}

impl Certificate {
    /// Why it has to be made anew, if it has to.
    ///
    /// A clock that is behind makes nothing worse: a certificate that begins in the future is replaced only where it does so
    /// within the time before its end in which it would be replaced anyway, since then the new one outlasts the moment at which
    /// the clock is right again.
    #[must_use]
    pub fn needs_renewal(&self, wanted: &Wanted<'_>, now: Timestamp) -> Option<Renewal> {
        let validity = self.details.validity;
        if validity.ended(now) {
            return Some(Renewal::Expired(validity.not_after));
        }
        if !self.is_signed_by_any([wanted.authority.signer().der()]) {
            return Some(Renewal::OtherAuthority);
        }
        if !self.is_for_the_names_of(wanted.request) {
            return Some(Renewal::NamesDiffer);
        }
        // By its own dates, not by today's: so that no clock can be the reason.
        if validity.lifetime() > signed(wanted.request.lifetime) {
            return Some(Renewal::TooLong);
        }
        let margin = self.margin(wanted);
        if now < validity.not_before && validity.not_before.duration_since(now) <= margin {
            return Some(Renewal::NotYetValid(validity.not_before));
        }
        (earlier(validity.not_after, margin) <= now).then_some(Renewal::Due(validity.not_after))
    }

    /// When it will be due, if nothing else changes.
    #[must_use]
    pub fn due_at(&self, wanted: &Wanted<'_>) -> Timestamp {
        earlier(self.not_after(), self.margin(wanted))
    }

    /// How long before its end it is replaced. Where its signer's end cut it short, that is as much shorter: otherwise what is signed
    /// shortly before that end would be due at once, and again after it was replaced.
    fn margin(&self, wanted: &Wanted<'_>) -> SignedDuration {
        let (asked, has) = (signed(wanted.request.lifetime), self.details.validity.lifetime());
        let margin = signed(wanted.renew_before);
        let margin = if margin < asked { margin } else { asked / 3 };
        if has >= asked {
            return margin;
        }
        // As seconds in floating point: what is lost by that are fractions of a second.
        let share = (has.as_secs_f64() / asked.as_secs_f64()).clamp(0.0, 1.0);
        SignedDuration::try_from_secs_f64(margin.as_secs_f64() * share).unwrap_or(SignedDuration::ZERO)
    }

    /// Whether it is for these names and addresses, and no others.
    fn is_for_the_names_of(&self, request: &ServerCertificate) -> bool {
        let names: BTreeSet<_> = request.dns_names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let addresses: BTreeSet<_> = request.ip_addresses.iter().copied().collect();
        *self.dns_names() == names && *self.ip_addresses() == addresses
    }
}
