//! From when until when a certificate is good.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// From when until when a certificate is good (RFC 5280, section 4.1.2.5), to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second at which it is.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

/// How long before it is made a certificate begins: for clients whose clocks are behind.
pub const SKEW: SignedDuration = SignedDuration::from_mins(5);

impl Validity {
    /// That of a certificate made now which is to be good for so long, but for no longer than until then.
    #[must_use]
    pub(crate) fn of(lifetime: Duration, no_later_than: Timestamp, now: Timestamp) -> Self {
        let now = whole(now);
        let not_after = later(now, signed(lifetime)).min(no_later_than);
        Self { not_before: earlier(now, SKEW), not_after: whole(not_after) }
    }

    /// When it was made, if by this operator.
    #[must_use]
    pub(crate) fn made_at(self) -> Timestamp {
        later(self.not_before, SKEW)
    }

    /// For how long it has been good since then when it ends.
    #[must_use]
    pub(crate) fn lifetime(self) -> SignedDuration {
        self.not_after.duration_since(self.made_at()).max(SignedDuration::ZERO)
    }

    /// Whether it is over. A certificate is still good in its last second, but would not be by the time it is used.
    #[must_use]
    pub(crate) fn ended(self, now: Timestamp) -> bool {
        self.not_after <= now
    }
}

/// A duration for calculating with times; the longest there is where it is longer (292 billion years).
pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// So much later, but never beyond the year 9999, where certificates end (RFC 5280, section 4.1.2.5).
pub(crate) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// So much earlier.
pub(crate) fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Without what is less than a second.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_without_end_ends_with_the_year_9999() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let validity = Validity::of(Duration::MAX, Timestamp::MAX, now);
        assert_eq!(validity.not_after.to_string(), "9999-12-30T22:00:00Z");
        assert_eq!(validity.not_before.to_string(), "2025-12-31T23:55:00Z");
    }

    #[test]
    fn what_begins_in_the_past_has_the_lifetime_that_was_asked_for() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let validity = Validity::of(Duration::from_secs(60), Timestamp::MAX, now);
        assert_eq!(validity.made_at(), now);
        assert_eq!(validity.lifetime(), SignedDuration::from_mins(1));
        assert!(!validity.ended(now));
        assert!(validity.ended(validity.not_after));
    }
}
