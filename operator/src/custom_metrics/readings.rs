//! How many clients each pod has, asked of the pods themselves when somebody wants to know.
//!
//! An autoscaler takes a pod of which it hears nothing for one that may be full, and so does not remove others. So every pod that runs has an answer at once:
//! a new one, on whose first sign the kubelet still waits, has no clients; one that is silent for a moment has as many as before. One that stays silent has
//! none to be told of, and one that is ending does not count any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::connections::address;
use crate::fleet::{NAME, NAME_LABEL};

use super::brief::Brief;
use super::refusal::Refusal;
use super::told;

/// For how long what was read is new enough, so that many who ask cost as much as one.
const FRESH: Duration = Duration::from_secs(1);
/// For how long the last known number stands for a pod that is silent: four rounds of an autoscaler.
const LAST_KNOWN: Duration = Duration::from_secs(60);
/// How long the API server may take to list the pods.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all the pods together may take: those that have not answered by then are silent.
const TIMEOUT_OF_ALL: Duration = Duration::from_secs(3);
/// Of how many pods one answer tells. A StreamServer has 1,000 at most, and as many again in a rollout.
const MAX_PODS: u32 = 2000;
/// How many pods one question asks at once.
const AT_ONCE: usize = 32;
/// How many pods all questions together ask at once.
const AT_ONCE_OF_ALL: usize = 128;
/// How many answers are kept while they are new enough.
const MAX_ANSWERS: usize = 256;
/// Of how many pods the last known number is kept.
const MAX_KNOWN: usize = 16_384;

/// Asks a pod at an address for its connections: none where it does not answer.
pub type Ask = Arc<dyn Fn(String) -> BoxFuture<'static, Option<i64>> + Send + Sync>;

/// Of which pods the readings are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The pods' namespace.
    pub namespace: String,
    /// Which of them.
    pub pods: Selection,
}

/// Some pods of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// The one of this name.
    Named(String),
    /// Those that this label selector selects; all where it is empty.
    Labelled(String),
}

/// How many clients a pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The pod's name.
    pub pod: String,
    /// The number.
    pub connections: i64,
    /// When it was so.
    pub at: Timestamp,
}

type Answer = Result<Arc<[Reading]>, Refusal>;

/// Reads pods. Clones share what is known.
#[derive(Clone)]
pub struct Readings {
    client: Client,
    /// The only namespace that is read, where there is one.
    namespace: Option<String>,
    ask: Ask,
    known: Arc<Known>,
}

struct Known {
    answers: Brief<Wanted, Shared<BoxFuture<'static, Answer>>>,
    /// By UID.
    pods: Brief<String, (Instant, Reading)>,
    at_once: Semaphore,
}

impl Readings {
    /// Reads pods of fleets, in one namespace, or in all where its name is empty.
    #[must_use]
    pub fn new(client: Client, namespace: &str, ask: Ask) -> Self {
        let known = Known {
            answers: Brief::new(FRESH, MAX_ANSWERS),
            pods: Brief::new(LAST_KNOWN, MAX_KNOWN),
            at_once: Semaphore::new(AT_ONCE_OF_ALL),
        };
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        Self { client, namespace, ask, known: Arc::new(known) }
    }

    /// The readings of all pods that are wanted and run, by name. At most a second old, where the pods answer. Cancelled, it is taken up by who asks next.
    ///
    /// # Errors
    ///
    /// [`Refusal`], where the selector is none, the pod not there, or the API server away.
    pub async fn of(&self, wanted: Wanted) -> Answer {
        let reading = || {
            let (readings, wanted) = (self.clone(), wanted.clone());
            async move { readings.read(&wanted).await }.boxed().shared()
        };
        self.known.answers.get_or_put(wanted.clone(), reading).await
    }

    async fn read(&self, wanted: &Wanted) -> Answer {
        let pods = self.pods(wanted).await?;
        let running: Vec<_> = pods.into_iter().filter(is_running).collect();
        let answers = self.ask_all(&running).await;
        let mut readings: Vec<_> =
            running.iter().zip(answers).filter_map(|(pod, answer)| self.reading(pod, answer)).collect();
        if let (Selection::Named(name), true) = (&wanted.pods, readings.is_empty()) {
            return Err(Refusal::NotFound(format!(
                "pod {name:?} of namespace {:?} has no connections to tell of: it is no server of a StreamServer, does not run, or does not answer",
                wanted.namespace
            )));
        }
        readings.sort_by(|one, other| one.pod.cmp(&other.pod));
        Ok(readings.into())
    }

    /// The pods that are wanted, and are servers.
    async fn pods(&self, wanted: &Wanted) -> Result<Vec<Pod>, Refusal> {
        if self.namespace.as_ref().is_some_and(|only| *only != wanted.namespace) {
            return Err(Refusal::NotFound(format!(
                "the operator does not look after namespace {:?}",
                wanted.namespace
            )));
        }
        let servers = format!("{NAME_LABEL}={NAME}");
        let params = ListParams::default().limit(MAX_PODS);
        let params = match &wanted.pods {
            Selection::Named(name) => params.labels(&servers).fields(&format!("metadata.name={name}")),
            Selection::Labelled(selector) if selector.is_empty() => params.labels(&servers),
            // All that it can say is said of one label at a time, and all has to hold: so nothing in it lets more pods in.
            Selection::Labelled(selector) => params.labels(&format!("{servers},{selector}")),
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &wanted.namespace);
        let listed = timeout(LIST_TIMEOUT, api.list(&params)).await;
        let unavailable = |why: String| {
            tracing::warn!(
                namespace = wanted.namespace,
                error = why,
                "cannot list the pods whose metrics are asked for"
            );
            Refusal::Unavailable(format!("the pods cannot be listed: {why}"))
        };
        let listed = match listed {
            Err(_) => return Err(unavailable(format!("no answer within {LIST_TIMEOUT:?}"))),
            Ok(Err(kube::Error::Api(status))) if status.code == 400 => {
                return Err(Refusal::BadRequest(format!(
                    "labelSelector: {}; write it like app.kubernetes.io/instance=ticks, or zone in (a, b)",
                    status.message
                )));
            }
            Ok(Err(error)) => return Err(unavailable(told(&error))),
            Ok(Ok(listed)) => listed,
        };
        if listed.metadata.continue_.is_some_and(|more| !more.is_empty()) {
            return Err(Refusal::BadRequest(format!(
                "labelSelector: it selects more than {MAX_PODS} pods; choose fewer, such as those of one StreamServer by app.kubernetes.io/instance"
            )));
        }
        Ok(listed.items)
    }

    /// What each answers within the time, or has answered just now; none for those that do not.
    async fn ask_all(&self, pods: &[Pod]) -> Vec<Option<Reading>> {
        let asking = (0..pods.len()).map(|index| async move { (index, self.ask_one(&pods[index]).await) });
        let mut asking =
            stream::iter(asking).buffer_unordered(AT_ONCE).take_until(Box::pin(sleep(TIMEOUT_OF_ALL)));
        let mut answers = vec![None; pods.len()];
        while let Some((index, answer)) = asking.next().await {
            answers[index] = answer;
        }
        answers
    }

    async fn ask_one(&self, pod: &Pod) -> Option<Reading> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some((since, reading)) = self.known.pods.get(&uid)
            && since.elapsed() < FRESH
        {
            return Some(reading);
        }
        let address = address(pod)?;
        // The semaphore is never closed.
        let _permit = self.known.at_once.acquire().await.ok()?;
        let connections = (self.ask)(address).await?;
        let reading = Reading { pod: name(pod), connections, at: Timestamp::now() };
        self.known.pods.put(uid, (Instant::now(), reading.clone()));
        Some(reading)
    }

    /// What counts for a pod that runs, whether it has answered or not.
    fn reading(&self, pod: &Pod, answer: Option<Reading>) -> Option<Reading> {
        if answer.is_some() {
            return answer;
        }
        if !has_started(pod) {
            return Some(Reading { pod: name(pod), connections: 0, at: Timestamp::now() });
        }
        self.known.pods.get(&pod.metadata.uid.clone().unwrap_or_default()).map(|(_, reading)| reading)
    }
}

/// Whether a pod runs, and is to go on.
fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the kubelet has had an answer from its server. Before that, also after a crash, nobody can be connected.
fn has_started(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let mut containers = containers.into_iter().flatten();
    containers.any(|container| container.name == crate::build::CONTAINER && container.started == Some(true))
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;
