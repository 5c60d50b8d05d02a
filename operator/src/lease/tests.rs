use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::Status;

use super::*;

/// An API server with one Lease, or none, which does what the real one does with resourceVersions.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
    /// Answers to give in place of the right ones, the first first. None: no answer ever.
    faults: VecDeque<Option<StatusCode>>,
    /// Whether all others are answered by an error.
    is_down: bool,
    /// How many requests have come.
    requests: usize,
}

impl Fake {
    fn client(&self) -> Client {
        let fake = self.clone();
        let answer = move |method: Method, body: Bytes| {
            let (status, body) = fake.0.lock().unwrap().answer(&method, &body);
            async move {
                match status {
                    Some(status) => (status, body),
                    None => std::future::pending().await,
                }
            }
        };
        Client::new(Router::new().fallback(answer), "default")
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn spec(&self) -> LeaseSpec {
        self.with(|state| state.lease.clone().unwrap().spec.unwrap())
    }

    fn holder(&self) -> Option<String> {
        self.with(|state| state.lease.clone()?.spec?.holder_identity)
    }

    /// Another one writes it, for 15 s.
    fn held_by(&self, holder: &str, renewed: Timestamp) {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            renew_time: Some(MicroTime(renewed)),
            ..LeaseSpec::default()
        };
        self.with(|state| state.store(Lease { spec: Some(spec), ..Lease::default() }));
    }

    /// Acquires as `us`, with the defaults and without end.
    async fn acquired(&self) -> Held {
        let config = LeaseConfig::new("default", "operator", "us");
        acquire(self.client(), config, &CancellationToken::new()).await.unwrap().unwrap()
    }
}

impl State {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (Option<StatusCode>, String) {
        self.requests += 1;
        let fault =
            if self.is_down { Some(Some(StatusCode::SERVICE_UNAVAILABLE)) } else { self.faults.pop_front() };
        let status = match fault {
            Some(fault) => fault,
            None => Some(self.handle(method, body)),
        };
        let body = match (status, &self.lease) {
            (Some(StatusCode::OK), Some(lease)) => serde_json::to_string(lease).unwrap(),
            (Some(status), _) => {
                // Such as NotFound: the client goes by it.
                let reason = status.canonical_reason().unwrap().replace(' ', "");
                let failure = Status::failure("as the test wants it", &reason).with_code(status.as_u16());
                serde_json::to_string(&failure).unwrap()
            }
            (None, _) => String::new(),
        };
        (status, body)
    }

    fn handle(&mut self, method: &Method, body: &[u8]) -> StatusCode {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        match (method, &self.lease) {
            (&Method::POST, Some(_)) => StatusCode::CONFLICT,
            (&Method::POST, None) => self.store(serde_json::from_slice(body).unwrap()),
            (_, None) => StatusCode::NOT_FOUND,
            (&Method::PUT, Some(there)) => {
                let new: Lease = serde_json::from_slice(body).unwrap();
                assert!(version(&new).is_some(), "nothing is written blindly");
                if version(&new) == version(there) { self.store(new) } else { StatusCode::CONFLICT }
            }
            _ => StatusCode::OK,
        }
    }

    fn store(&mut self, mut lease: Lease) -> StatusCode {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease);
        StatusCode::OK
    }
}

/// Lets so many seconds pass of the test's clock, which goes on whenever all have done what they had to: nobody waits.
async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// How long it took, in whole seconds of the test's clock.
async fn seconds<T>(future: impl Future<Output = T>) -> (T, u64) {
    let start = Instant::now();
    let result = future.await;
    (result, start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_there_is_created_and_renewed() {
    let fake = Fake::default();
    let (held, waited) = seconds(fake.acquired()).await;
    assert_eq!(waited, 0);
    let first = fake.spec();
    assert_eq!(first.holder_identity.as_deref(), Some("us"));
    assert_eq!(first.lease_transitions, Some(0));
    assert_eq!(first.lease_duration_seconds, Some(15));
    let (by, requests) = (fake.with(|state| state.version), fake.with(|state| state.requests));
    // 61 s hold 30 renewals, one request each.
    assert!(tokio::time::timeout(Duration::from_secs(61), held.lost()).await.is_err());
    assert_eq!(fake.with(|state| state.version) - by, 30);
    assert_eq!(fake.with(|state| state.requests) - requests, 30);
    let later = fake.spec();
    assert_eq!(later.acquire_time, first.acquire_time);
    assert!(later.renew_time > first.renew_time);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_one_renews_is_left_alone_until_it_stops() {
    let fake = Fake::default();
    fake.held_by("them", Timestamp::MIN);
    let others = async {
        // Its clock goes backwards; what counts is that something changes.
        for n in 0..20 {
            fake.held_by("them", Timestamp::from_second(1_000_000 - n).unwrap());
            pass(10).await;
            assert_eq!(fake.holder().as_deref(), Some("them"), "after {n} renewals");
        }
        Instant::now()
    };
    let ours = async {
        let held = fake.acquired().await;
        (held, Instant::now())
    };
    let (stopped, (_held, acquired)) = tokio::join!(others, ours);
    // From its last renewal on: 15 s, of which 10 had gone, and as long as it takes to see the renewal and to look again (4.4 s each).
    let waited = acquired - stopped;
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    assert!(waited <= Duration::from_secs(15), "{waited:?}");
    assert_eq!(fake.spec().lease_transitions, Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_gives_up_before_another_one_may_begin() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    fake.with(|state| state.is_down = true);
    let ((), waited) = seconds(held.lost()).await;
    assert_eq!(waited, 10);
    assert_eq!(held.release().await.unwrap(), Release::LostBefore);
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_requests_are_not_answered_gives_up_in_time() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    fake.with(|state| state.faults = [None; 100].into());
    let ((), waited) = seconds(held.lost()).await;
    assert_eq!(waited, 10);
}

#[tokio::test(start_paused = true)]
async fn failures_that_end_in_time_are_outlived() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    for fault in [Some(StatusCode::INTERNAL_SERVER_ERROR), Some(StatusCode::FORBIDDEN), None] {
        fake.with(|state| state.faults = [fault].into());
        assert!(tokio::time::timeout(Duration::from_secs(30), held.lost()).await.is_err(), "{fault:?}");
        assert!(fake.with(|state| state.faults.is_empty()));
    }
    assert_eq!(fake.spec().lease_transitions, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_another_one_has_replaced_gives_up_at_the_next_renewal() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    fake.held_by("them", Timestamp::UNIX_EPOCH);
    let ((), waited) = seconds(held.lost()).await;
    assert_eq!(waited, 2);
    assert_eq!(held.release().await.unwrap(), Release::LostBefore);
    assert_eq!(fake.holder().as_deref(), Some("them"));
}

#[tokio::test(start_paused = true)]
async fn a_label_that_somebody_sets_and_a_lease_that_somebody_deletes_are_no_loss() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    fake.with(|state| {
        let mut lease = state.lease.clone().unwrap();
        lease.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        state.store(lease)
    });
    assert!(tokio::time::timeout(Duration::from_secs(20), held.lost()).await.is_err());
    assert!(fake.with(|state| state.lease.clone().unwrap().metadata.labels.is_some()), "it is still there");
    fake.with(|state| state.lease = None);
    assert!(tokio::time::timeout(Duration::from_secs(20), held.lost()).await.is_err());
    assert_eq!(fake.holder().as_deref(), Some("us"));
    assert_eq!(held.release().await.unwrap(), Release::GivenUp);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_up_is_taken_without_waiting_for_its_end() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    let config = LeaseConfig::new("default", "operator", "them");
    let next = tokio::spawn(acquire_owned(fake.client(), config));
    assert!(tokio::time::timeout(Duration::from_secs(60), held.lost()).await.is_err());
    assert!(!next.is_finished());
    assert_eq!(held.release().await.unwrap(), Release::GivenUp);
    assert_eq!(fake.holder().as_deref(), Some(""));
    let (theirs, waited) = seconds(next).await;
    assert!(waited < 5, "{waited} s: an attempt's wait, at most 4.4");
    assert_eq!(fake.holder().as_deref(), Some("them"));
    assert_eq!(fake.spec().lease_transitions, Some(1));
    drop(theirs);
}

async fn acquire_owned(client: Client, config: LeaseConfig) -> Option<Held> {
    acquire(client, config, &CancellationToken::new()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_up_although_somebody_wrote_to_it_meanwhile() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    fake.with(|state| {
        let lease = state.lease.clone().unwrap();
        state.store(lease)
    });
    assert_eq!(held.release().await.unwrap(), Release::GivenUp);
    assert_eq!(fake.holder().as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_given_up_says_so() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    fake.with(|state| state.faults = [None].into());
    let (result, waited) = seconds(held.release()).await;
    assert!(matches!(result, Err(ReleaseError::Attempt(AttemptError::Timeout(_)))), "{result:?}");
    assert_eq!(waited, 5);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_come_at_once_one_holds_it() {
    let fake = Fake::default();
    let them = tokio::spawn(acquire_owned(fake.client(), LeaseConfig::new("default", "operator", "them")));
    let us = tokio::spawn(acquire_owned(fake.client(), LeaseConfig::new("default", "operator", "us")));
    // Longer than a lease lasts: it is renewed, so that the other one does not get it.
    let both = async { tokio::join!(them, us) };
    assert!(tokio::time::timeout(Duration::from_secs(120), both).await.is_err());
    assert_eq!(fake.spec().lease_transitions, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_dropped_renews_no_more_and_says_that_it_is_lost() {
    let fake = Fake::default();
    let held = fake.acquired().await;
    let lost = held.lost();
    drop(held);
    lost.await;
    let version = fake.with(|state| state.version);
    pass(60).await;
    assert_eq!(fake.with(|state| state.version), version);
    assert_eq!(fake.holder().as_deref(), Some("us"), "it runs out");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_holder_of_the_same_name_takes_it_up_at_once() {
    let fake = Fake::default();
    fake.held_by("us", Timestamp::UNIX_EPOCH);
    let (_held, waited) = seconds(fake.acquired()).await;
    assert_eq!(waited, 0);
    assert_eq!(fake.spec().lease_transitions, Some(3));
}

#[tokio::test(start_paused = true)]
async fn who_is_shut_down_waits_no_longer() {
    let fake = Fake::default();
    fake.held_by("them", Timestamp::UNIX_EPOCH);
    let shutdown = CancellationToken::new();
    let config = LeaseConfig::new("default", "operator", "us");
    let waiting = acquire(fake.client(), config, &shutdown);
    let stop = async {
        pass(5).await;
        shutdown.cancel();
    };
    let ((acquired, waited), ()) = tokio::join!(seconds(waiting), stop);
    assert!(acquired.unwrap().is_none());
    assert_eq!(waited, 5);
    assert_eq!(fake.holder().as_deref(), Some("them"));
}

#[test]
fn a_configuration_by_which_two_could_hold_it_at_once_is_refused() {
    let seconds = Duration::from_secs;
    let with = |duration, renew_deadline, retry| LeaseConfig {
        duration,
        renew_deadline,
        retry,
        ..LeaseConfig::new("default", "operator", "us")
    };
    assert_eq!(with(DURATION, RENEW_DEADLINE, RETRY).check(), Ok(()));
    assert!(matches!(
        with(seconds(10), seconds(10), seconds(2)).check(),
        Err(LeaseConfigError::Duration { .. })
    ));
    assert!(matches!(
        with(seconds(15), seconds(10), Duration::from_millis(8_400)).check(),
        Err(LeaseConfigError::Retry { .. })
    ));
    assert!(matches!(
        with(seconds(15), seconds(10), Duration::ZERO).check(),
        Err(LeaseConfigError::Retry { .. })
    ));
    assert_eq!(LeaseConfig::new("default", "operator", "").check(), Err(LeaseConfigError::Identity));
}
