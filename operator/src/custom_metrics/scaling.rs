//! Whether an autoscaler gets to know how many clients the servers of a StreamServer have, and from whom.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use axum::http::Request;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::fleet::Fleet;

use super::brief::Brief;
use super::{GROUP, METRIC, VERSION, told};

/// For how long somebody else's answer counts.
const LIFETIME: Duration = Duration::from_secs(10);
/// Of how many StreamServers it is kept.
const MAX_ANSWERS: usize = 1024;
/// How long somebody else may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of the API as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This operator does not serve it: why.
    Off(String),
    /// It is not registered yet: why.
    Pending(String),
    /// It is registered, and the API server reaches it.
    Registered,
    /// Somebody else has it.
    Foreign(Foreign),
}

/// Somebody else who has the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The version that they serve.
    pub version: String,
    /// The Service that leads to them, as namespace and name; none where the API server answers itself.
    pub service: Option<(String, String)>,
}

impl Foreign {
    /// Whoever has registered this.
    #[must_use]
    pub fn of(version: &str, registration: &APIService) -> Self {
        let service = registration.spec.as_ref().and_then(|spec| spec.service.clone());
        let service =
            service.map(|service| (service.namespace.unwrap_or_default(), service.name.unwrap_or_default()));
        Self { version: version.to_owned(), service }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some((namespace, name)) => write!(formatter, "Service {namespace}/{name}")?,
            None => write!(formatter, "the API server itself")?,
        }
        write!(formatter, " (APIService {}.{GROUP})", self.version)
    }
}

/// Whether an autoscaler is served, for one StreamServer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// By the operator.
    Served,
    /// By somebody else, who answers: who.
    ServedByOthers(String),
    /// By somebody else, who does not answer.
    Unanswered {
        /// Who.
        by: String,
        /// What they say instead.
        why: String,
    },
    /// By nobody: why.
    Unavailable(String),
}

/// Finds out whether autoscalers are served.
pub struct Served {
    client: Client,
    standing: watch::Receiver<Standing>,
    /// By version and the StreamServer's UID: why not, where not.
    answers: Brief<(String, String), Result<(), String>>,
}

impl Served {
    /// Goes by what is known of the API.
    #[must_use]
    pub fn new(client: Client, standing: watch::Receiver<Standing>) -> Self {
        Self { client, standing, answers: Brief::new(LIFETIME, MAX_ANSWERS) }
    }

    /// Whether an autoscaler of this fleet, which has these pods, is served. Takes at most some seconds; cancel-safe.
    pub async fn of(&self, fleet: &Fleet, pods: &[Pod]) -> Scaling {
        let standing = self.standing.borrow().clone();
        match standing {
            Standing::Registered => Scaling::Served,
            Standing::Pending(why) => Scaling::Unavailable(why),
            Standing::Foreign(foreign) => match self.answer(&foreign.version, fleet, pods).await {
                Ok(()) => Scaling::ServedByOthers(foreign.to_string()),
                Err(why) => Scaling::Unanswered { by: foreign.to_string(), why },
            },
            Standing::Off(why) => {
                for version in [VERSION, "v1beta1"] {
                    if self.answer(version, fleet, pods).await.is_ok() {
                        return Scaling::ServedByOthers(format!(
                            "another than this operator ({version}.{GROUP})"
                        ));
                    }
                }
                Scaling::Unavailable(why)
            }
        }
    }

    /// Whether somebody answers for these pods; else what they say.
    async fn answer(&self, version: &str, fleet: &Fleet, pods: &[Pod]) -> Result<(), String> {
        let key = (version.to_owned(), fleet.uid.clone());
        if let Some(answer) = self.answers.get(&key) {
            return answer;
        }
        let answer = match timeout(TIMEOUT, self.client.request::<Value>(question(version, fleet)?)).await {
            Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
            Ok(Err(error)) => Err(told(&error)),
            Ok(Ok(list)) => speaks_of(&list, pods),
        };
        self.answers.put(key, answer.clone());
        answer
    }
}

/// What an autoscaler of this fleet asks.
fn question(version: &str, fleet: &Fleet) -> Result<Request<Vec<u8>>, String> {
    let selector = fleet.selector_text();
    let selector = utf8_percent_encode(&selector, NON_ALPHANUMERIC);
    let namespace = &fleet.namespace;
    let path =
        format!("/apis/{GROUP}/{version}/namespaces/{namespace}/pods/*/{METRIC}?labelSelector={selector}");
    Request::get(path).body(Vec::new()).map_err(|error| error.to_string())
}

/// Whether a MetricValueList, of whichever version, tells of one of the pods that run; where none does, any list will do.
fn speaks_of(list: &Value, pods: &[Pod]) -> Result<(), String> {
    let items = list["items"].as_array().ok_or("what it answers is no MetricValueList")?;
    let named: BTreeSet<_> =
        items.iter().filter_map(|item| item["describedObject"]["name"].as_str()).collect();
    let is_running =
        |pod: &&Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    let mut running =
        pods.iter().filter(is_running).filter_map(|pod| pod.metadata.name.as_deref()).peekable();
    if running.peek().is_none() || running.any(|pod| named.contains(pod)) {
        return Ok(());
    }
    Err(format!("its list of {} pods has none of the StreamServer's", items.len()))
}

#[cfg(test)]
mod tests;
