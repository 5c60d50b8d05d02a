//! What is known of a Lease, and what follows from it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// A Lease as it was seen last.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The object, with the resourceVersion to write by.
    lease: Lease,
    /// When it was first seen with what its spec says. Each renewal changes that.
    at: Instant,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// There is none: create it.
    Create,
    /// It is nobody's, or its holder has not renewed it in time: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// It is another one's.
    Wait,
}

impl Observed {
    /// What is known after it was seen again. Where its spec is the same, it has not been renewed, whatever else may have changed.
    #[must_use]
    pub fn seen(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        match before {
            Some(before) if before.lease.spec == lease.spec => Self { lease, at: before.at },
            _ => Self { lease, at: now },
        }
    }

    /// Who holds it, if anybody does.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// The Lease to write in place of it.
    #[must_use]
    pub(super) fn with(&self, spec: LeaseSpec) -> Lease {
        Lease { metadata: self.lease.metadata.clone(), spec: Some(spec) }
    }

    pub(super) fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.spec.as_ref()
    }

    /// For how long its holder has it without a renewal: what it says, or as long as ours where it does not say.
    fn duration(&self, ours: Duration) -> Duration {
        let said = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        said.and_then(|seconds| u64::try_from(seconds).ok()).map_or(ours, Duration::from_secs)
    }
}

/// What to do about a Lease: client-go's `tryAcquireOrRenew`.
#[must_use]
pub fn decide(observed: Option<&Observed>, identity: &str, duration: Duration, now: Instant) -> Action {
    let Some(observed) = observed else { return Action::Create };
    match observed.holder() {
        None => Action::Take,
        Some(holder) if holder == identity => Action::Renew,
        Some(_) if now.saturating_duration_since(observed.at) >= observed.duration(duration) => Action::Take,
        Some(_) => Action::Wait,
    }
}

/// What a Lease says when it is ours, after it said `before`. A holder's renewal leaves the time since when it holds it; whoever takes it
/// counts one transition more.
#[must_use]
pub(super) fn ours(
    before: Option<&LeaseSpec>,
    identity: &str,
    duration: Duration,
    now: Timestamp,
) -> LeaseSpec {
    let now = MicroTime(now);
    let is_ours = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(identity));
    let acquire_time = before.and_then(|spec| spec.acquire_time.clone()).filter(|_| is_ours);
    let transitions = before.map(|spec| spec.lease_transitions.unwrap_or(0));
    LeaseSpec {
        holder_identity: Some(identity.into()),
        lease_duration_seconds: Some(seconds(duration)),
        acquire_time: acquire_time.or_else(|| Some(now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(transitions.map_or(0, |count| count.saturating_add(i32::from(!is_ours)))),
        ..before.cloned().unwrap_or_default()
    }
}

/// What a Lease says when it was ours and is nobody's. The duration is the shortest that the API takes: client-go's `release`.
#[must_use]
pub(super) fn nobodys(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..before.clone()
    }
}

/// Whole seconds, of which there is at least one.
fn seconds(duration: Duration) -> i32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Duration = Duration::from_secs(15);

    fn lease(holder: Option<&str>, duration: Option<i32>, renewed: i64) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(Into::into),
            lease_duration_seconds: duration,
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn what_to_do_follows_from_the_holder_and_from_how_long_ago_it_was_seen_to_renew() {
        let cases: &[(Option<&str>, Option<i32>, u64, Action)] = &[
            (None, Some(15), 0, Action::Take),
            (Some(""), Some(15), 0, Action::Take),
            (Some("us"), Some(15), 0, Action::Renew),
            (Some("us"), Some(15), 1000, Action::Renew),
            (Some("them"), Some(15), 0, Action::Wait),
            (Some("them"), Some(15), 14_999, Action::Wait),
            (Some("them"), Some(15), 15_000, Action::Take),
            // Theirs counts, not ours.
            (Some("them"), Some(60), 59_999, Action::Wait),
            (Some("them"), Some(60), 60_000, Action::Take),
            (Some("them"), Some(5), 5_000, Action::Take),
            // They do not say.
            (Some("them"), None, 14_999, Action::Wait),
            (Some("them"), None, 15_000, Action::Take),
            (Some("them"), Some(-1), 14_999, Action::Wait),
        ];
        let start = Instant::now();
        for &(holder, duration, after, action) in cases {
            let observed = Observed::seen(None, lease(holder, duration, 0), start);
            let now = start + Duration::from_millis(after);
            assert_eq!(
                decide(Some(&observed), "us", OURS, now),
                action,
                "{holder:?}, {duration:?}, {after} ms"
            );
        }
        assert_eq!(decide(None, "us", OURS, start), Action::Create);
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_seen_whatever_time_it_says() {
        let start = Instant::now();
        let later = start + Duration::from_secs(14);
        let first = Observed::seen(None, lease(Some("them"), Some(15), 5_000), start);
        // Their clock has jumped backwards: it is a renewal nevertheless.
        let renewed = Observed::seen(Some(first.clone()), lease(Some("them"), Some(15), 10), later);
        assert_eq!(decide(Some(&renewed), "us", OURS, start + Duration::from_secs(28)), Action::Wait);
        assert_eq!(decide(Some(&renewed), "us", OURS, start + Duration::from_secs(29)), Action::Take);
        // A label is none.
        let mut labelled = lease(Some("them"), Some(15), 5_000);
        labelled.metadata.resource_version = Some("2".into());
        let labelled = Observed::seen(Some(first), labelled, later);
        assert_eq!(decide(Some(&labelled), "us", OURS, start + Duration::from_secs(15)), Action::Take);
        assert_eq!(labelled.lease.metadata.resource_version.as_deref(), Some("2"));
    }

    #[test]
    fn taking_a_lease_counts_a_transition_and_renewing_it_does_not() {
        let (first, second) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let created = ours(None, "us", Duration::from_millis(1500), first);
        assert_eq!(created.lease_transitions, Some(0));
        assert_eq!(created.lease_duration_seconds, Some(2));
        let renewed = ours(Some(&created), "us", OURS, second);
        assert_eq!(renewed.lease_transitions, Some(0));
        assert_eq!(renewed.acquire_time, Some(MicroTime(first)));
        assert_eq!(renewed.renew_time, Some(MicroTime(second)));
        let taken = ours(Some(&renewed), "them", OURS, second);
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(taken.acquire_time, Some(MicroTime(second)));
        let released = nobodys(&taken, second);
        assert_eq!(released.holder_identity.as_deref(), Some(""));
        assert_eq!(released.lease_duration_seconds, Some(1));
        assert_eq!(ours(Some(&released), "us", OURS, second).lease_transitions, Some(2));
    }
}
