//! Which of several operators works: the one that holds a Lease (coordination.k8s.io/v1), as client-go's leaderelection has it.
//!
//! Whoever holds it renews it every two seconds; the others take it over when they have not seen it renewed for its whole duration. Each
//! goes by its own monotonic clock and by what it saw with it, never by the times in the Lease, so that clocks may differ; and
//! each writes by the resourceVersion that it saw, so that of two only one gets through. The holder gives up
//! [`LeaseConfig::renew_deadline`] after the last renewal was sent, which is before any other one may begin:
//!
//! ```text
//!  holder    renews · · · renews · · x · · x · · x  gives up (10 s after the last)
//!  another                       sees it · · · · · · · · · · · · · takes it over (15 s after it saw the last)
//! ```
//!
//! What that cannot exclude: a process that is halted (a suspended machine), and goes on afterwards with what it had begun. So what an
//! operator writes has to be such that two of them at once do no harm.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

pub mod candidate;
pub mod observed;

use candidate::{Attempt, AttemptError, Candidate};

/// Which Lease, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who this is: no other one may say the same at the same time. A pod's name is good, and with it a restarted container takes up
    /// again at once what it held.
    pub identity: String,
    /// For so long without a renewal the others leave it alone. Whole seconds; parts of one count as one.
    pub duration: Duration,
    /// For so long without a renewal the holder goes on.
    pub renew_deadline: Duration,
    /// How long to wait between renewals, and between attempts; the latter up to 2.2 times that.
    pub retry: Duration,
}

/// How a configuration cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseConfigError {
    /// Nobody would hold it.
    #[error("the identity is empty")]
    Identity,
    /// Two would hold it at once.
    #[error("the duration, {duration:?}, must be greater than the renew deadline, {renew_deadline:?}")]
    Duration {
        /// [`LeaseConfig::duration`].
        duration: Duration,
        /// [`LeaseConfig::renew_deadline`].
        renew_deadline: Duration,
    },
    /// One failure would be the end.
    #[error(
        "the renew deadline, {renew_deadline:?}, must be greater than 1.2 times the retry, {retry:?}, which must not be 0"
    )]
    Retry {
        /// [`LeaseConfig::renew_deadline`].
        renew_deadline: Duration,
        /// [`LeaseConfig::retry`].
        retry: Duration,
    },
}

/// What came of giving a Lease up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The next one can take it at once.
    GivenUp,
    /// It had been lost before.
    LostBefore,
}

/// Why a Lease could not be given up. The next one takes it when its duration is over.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The API did not take it.
    #[error("the lease cannot be given up")]
    Attempt(#[from] AttemptError),
    /// The task that kept it has failed.
    #[error("the lease's task has failed")]
    Task(#[from] JoinError),
}

/// The default of [`LeaseConfig::duration`], client-go's.
pub const DURATION: Duration = Duration::from_secs(15);

/// The default of [`LeaseConfig::renew_deadline`], client-go's.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// The default of [`LeaseConfig::retry`], client-go's.
pub const RETRY: Duration = Duration::from_secs(2);

/// By how much of it the wait between attempts is longer at most, so that those that wait do not come all at once; also how many times
/// it must fit into the renew deadline. client-go's `JitterFactor`.
const JITTER: f64 = 1.2;

impl LeaseConfig {
    /// A configuration with client-go's defaults: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: DURATION,
            renew_deadline: RENEW_DEADLINE,
            retry: RETRY,
        }
    }

    /// Whether it can work; the same conditions as client-go's.
    ///
    /// # Errors
    ///
    /// [`LeaseConfigError`].
    pub fn check(&self) -> Result<(), LeaseConfigError> {
        let Self { duration, renew_deadline, retry, .. } = *self;
        if self.identity.is_empty() {
            return Err(LeaseConfigError::Identity);
        }
        if duration <= renew_deadline {
            return Err(LeaseConfigError::Duration { duration, renew_deadline });
        }
        if retry.is_zero() || renew_deadline.as_secs_f64() <= retry.as_secs_f64() * JITTER {
            return Err(LeaseConfigError::Retry { renew_deadline, retry });
        }
        Ok(())
    }

    /// How long an attempt may take: half of the renew deadline, so that there is a second one.
    fn attempt_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }
}

/// Waits until the Lease is ours; None where a shutdown comes before that. Errors of the API are logged, and it is tried again.
///
/// Needs get, create and update on leases in the namespace.
///
/// # Errors
///
/// [`LeaseConfigError`].
///
/// # Cancel safety
///
/// Where it is dropped in the midst of an attempt, the Lease may be ours without anybody knowing: then the others wait for its duration.
/// A shutdown waits for an attempt's end, which is at most half of the renew deadline.
pub async fn acquire(
    client: Client,
    config: LeaseConfig,
    shutdown: &CancellationToken,
) -> Result<Option<Held>, LeaseConfigError> {
    config.check()?;
    let api = Api::<Lease>::namespaced(client, &config.namespace);
    let mut candidate = Candidate::new(api, config);
    let mut told = None;
    while !shutdown.is_cancelled() {
        match candidate.attempt(candidate.config.attempt_timeout()).await {
            Ok(Attempt::Holds { since }) => {
                info!(lease = candidate.config.name, "holds the lease");
                return Ok(Some(Held::new(candidate, since)));
            }
            Ok(Attempt::HeldBy { holder }) => {
                if told.as_ref() != Some(&holder) {
                    info!(lease = candidate.config.name, holder, "waits for the lease");
                    told = Some(holder);
                }
            }
            Err(error) => {
                warn!(
                    lease = candidate.config.name,
                    error = &error as &dyn std::error::Error,
                    "the lease cannot be taken"
                );
            }
        }
        let wait = candidate.config.retry.mul_f64(1.0 + rand::random_range(0.0..=JITTER));
        tokio::select! {
            // Nothing is under way in either.
            () = shutdown.cancelled() => {}
            () = sleep(wait) => {}
        }
    }
    Ok(None)
}

/// A Lease that is ours, and renewed by a task of its own until it is lost, given up, or dropped. Dropped, it is left to run out.
#[must_use = "the lease is renewed no more when this is dropped"]
pub struct Held {
    lost: CancellationToken,
    release: CancellationToken,
    task: JoinHandle<Result<Release, AttemptError>>,
}

impl Held {
    fn new(candidate: Candidate, since: Instant) -> Self {
        let (lost, release) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(keep(candidate, since, release.clone(), lost.clone().drop_guard()));
        Self { lost, release, task }
    }

    /// Resolves when the Lease is ours no more: it could not be renewed within the renew deadline, or another one holds it. What was
    /// begun has to end then, within what is left of the duration (5 s by default).
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.lost.clone().cancelled_owned()
    }

    /// Gives it up, so that the next one takes it at once. Call it after all that was begun has ended.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]. Takes at most as long as the renew deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have been given up or not.
    pub async fn release(mut self) -> Result<Release, ReleaseError> {
        self.release.cancel();
        Ok((&mut self.task).await??)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("lost", &self.lost.is_cancelled()).finish_non_exhaustive()
    }
}

/// Renews it until it is lost or is to be released. However this ends, `_lost` tells: also by a panic, or when it is aborted.
async fn keep(
    mut candidate: Candidate,
    since: Instant,
    release: CancellationToken,
    _lost: DropGuard,
) -> Result<Release, AttemptError> {
    let mut renewed = since;
    loop {
        let deadline = renewed + candidate.config.renew_deadline;
        tokio::select! {
            // Nothing is under way in either.
            () = release.cancelled() => return candidate.release().await,
            () = sleep_until(deadline.min(Instant::now() + candidate.config.retry)) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            warn!(lease = candidate.config.name, "the lease is lost: it could not be renewed in time");
            return Ok(Release::LostBefore);
        }
        match candidate.attempt(left.min(candidate.config.attempt_timeout())).await {
            Ok(Attempt::Holds { since }) => renewed = since,
            Ok(Attempt::HeldBy { holder }) => {
                warn!(lease = candidate.config.name, holder, "the lease is lost: another one holds it");
                return Ok(Release::LostBefore);
            }
            Err(error) => {
                warn!(
                    lease = candidate.config.name,
                    error = &error as &dyn std::error::Error,
                    "the lease cannot be renewed"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
