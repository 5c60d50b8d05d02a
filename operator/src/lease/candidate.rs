//! One that wants a Lease, or has it: looks at it, decides, and writes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::{Instant, timeout};

use super::observed::{Action, Observed, decide, nobodys, ours};
use super::{LeaseConfig, Release};

/// One that wants a Lease, or has it.
pub(super) struct Candidate {
    api: Api<Lease>,
    pub(super) config: LeaseConfig,
    /// None: there was no Lease when it was looked for.
    observed: Option<Observed>,
    /// Whether what was observed is what was written last. Then it is ours, and nobody has to be asked before the next write: if that is
    /// wrong, its resourceVersion is, too.
    is_as_written: bool,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is ours.
    Holds {
        /// When the request that made it so was sent. The others saw it later than that, if at all.
        since: Instant,
    },
    /// It is another one's.
    HeldBy {
        /// Whose.
        holder: String,
    },
}

/// Why an attempt came to nothing. Another one may follow.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The API refused it. Status 409: another one was faster.
    #[error("the API server refused")]
    Api(#[from] kube::Error),
    /// The API did not answer.
    #[error("the API server has not answered within {0:?}")]
    Timeout(Duration),
}

impl Candidate {
    pub(super) fn new(api: Api<Lease>, config: LeaseConfig) -> Self {
        Self { api, config, observed: None, is_as_written: false }
    }

    /// Takes it or renews it, if that may be done.
    pub(super) async fn attempt(&mut self, within: Duration) -> Result<Attempt, AttemptError> {
        let attempt = async {
            if !self.is_as_written {
                self.look().await?;
                return self.act().await;
            }
            match self.act().await {
                // Somebody else wrote to it: a label only, or there is a new holder. Waiting to find out could be too late.
                Err(error) if is_conflict(&error) => {
                    self.look().await?;
                    self.act().await
                }
                result => result,
            }
        };
        match timeout(within, attempt).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(AttemptError::Timeout(within)),
        }
    }

    /// Makes it nobody's, if it is ours.
    pub(super) async fn release(mut self) -> Result<Release, AttemptError> {
        let within = self.config.attempt_timeout();
        let release = async {
            if !self.is_as_written {
                self.look().await?;
            }
            match self.give_up().await {
                Err(error) if is_conflict(&error) => {
                    self.look().await?;
                    self.give_up().await
                }
                result => result,
            }
        };
        match timeout(within, release).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(AttemptError::Timeout(within)),
        }
    }

    /// Sees who holds it.
    async fn look(&mut self) -> Result<(), kube::Error> {
        let found = self.api.get_opt(&self.config.name).await?;
        // After the answer: so that its duration is counted from no earlier than it can have been renewed.
        let now = Instant::now();
        self.observed = found.map(|lease| Observed::seen(self.observed.take(), lease, now));
        Ok(())
    }

    /// Does what follows from what was seen.
    async fn act(&mut self) -> Result<Attempt, kube::Error> {
        let LeaseConfig { name, identity, duration, .. } = &self.config;
        let since = Instant::now();
        let before = self.observed.as_ref();
        let spec = ours(before.and_then(Observed::spec), identity, *duration, Timestamp::now());
        let lease = match (decide(before, identity, *duration, since), before) {
            (Action::Create, _) | (_, None) => {
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                Lease { metadata, spec: Some(spec) }
            }
            (Action::Take | Action::Renew, Some(before)) => before.with(spec),
            (Action::Wait, Some(before)) => {
                let holder = before.holder().unwrap_or_default().to_owned();
                return Ok(Attempt::HeldBy { holder });
            }
        };
        self.write(&lease).await?;
        Ok(Attempt::Holds { since })
    }

    /// Empties it, if it is ours.
    async fn give_up(&mut self) -> Result<Release, kube::Error> {
        let is_ours = |observed: &&Observed| observed.holder() == Some(&self.config.identity);
        let Some(before) = self.observed.as_ref().filter(is_ours) else { return Ok(Release::LostBefore) };
        let spec = nobodys(before.spec().unwrap_or(&LeaseSpec::default()), Timestamp::now());
        let lease = before.with(spec);
        self.write(&lease).await?;
        Ok(Release::GivenUp)
    }

    /// Creates it, or replaces what was seen: not what somebody else made of that since then.
    async fn write(&mut self, lease: &Lease) -> Result<(), kube::Error> {
        // It is not known any more what there is, until there is an answer: this may be cancelled, and have been done nevertheless.
        self.is_as_written = false;
        let params = PostParams::default();
        let written = if self.observed.is_some() {
            self.api.replace(&self.config.name, &params, lease).await?
        } else {
            self.api.create(&params, lease).await?
        };
        self.observed = Some(Observed::seen(None, written, Instant::now()));
        self.is_as_written = true;
        Ok(())
    }
}

/// Whether another one was faster.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}
