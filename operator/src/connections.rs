//! How many clients are connected to each server: asked of the servers themselves.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::build::METRICS_PORT_NUMBER;
use crate::fleet::Fleet;
use crate::load::Load;

/// How long a server may take for an answer; those that do not answer are not counted.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long all of a fleet together may take.
const TIMEOUT_OF_ALL: Duration = Duration::from_secs(5);

/// How soon a fleet is asked again that has not answered yet, or of which somebody waits for the newest numbers.
const SOONER: Duration = Duration::from_secs(1);

/// How many servers are asked at once.
pub(crate) const AT_ONCE: usize = 32;

/// The longest answer that is read, in bytes; a server's metrics are some 30 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// Asks servers, at most once in a while per fleet, whatever else is a reason to look at it.
#[derive(Debug)]
pub struct Connections {
    http: reqwest::Client,
    interval: Duration,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a fleet.
#[derive(Clone, Debug)]
struct Known {
    /// When it was asked.
    asked: Instant,
    /// The connections of all servers together, as they were when last all that run have answered in time.
    sum: Option<i64>,
    /// Those of each that has answered the last time, by the pod's UID.
    counts: HashMap<String, u64>,
}

impl Connections {
    /// Asks each fleet at most once per `interval`, unless somebody waits for newer numbers.
    ///
    /// # Errors
    ///
    /// Where no HTTP client can be made.
    pub fn new(interval: Duration) -> reqwest::Result<Self> {
        Ok(Self { http: client()?, interval, known: Mutex::default() })
    }

    /// The client by which servers are asked.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The connections of all servers together, as they were when last all that run have answered in time; `None` where they never have.
    #[must_use]
    pub fn of(&self, fleet: &Fleet) -> Option<i64> {
        self.known().get(&fleet.uid).and_then(|known| known.sum)
    }

    /// What is known of these pods, without asking.
    #[must_use]
    pub fn known_load(&self, fleet: &Fleet, pods: &[Pod], now: Timestamp) -> Load {
        let known = self.known();
        let counts = known.get(&fleet.uid).map(|known| &known.counts);
        let connections = |pod: &Pod| counts?.get(pod.metadata.uid.as_deref()?).copied();
        Load::of(pods, now, address, connections)
    }

    /// The connections of each server. They are asked anew where what is known is older than usual; or, where somebody is waiting (`is_urgent`), than a
    /// second.
    pub async fn load(&self, fleet: &Fleet, pods: &[Pod], is_urgent: bool, now: Timestamp) -> Load {
        let before = self.known().get(&fleet.uid).cloned();
        let is_fresh = before.as_ref().is_some_and(|known| {
            // What is not known yet is asked for sooner: a person may be waiting for a first fleet.
            let sooner = is_urgent || known.sum.is_none();
            known.asked.elapsed() < if sooner { SOONER.min(self.interval) } else { self.interval }
        });
        if !is_fresh {
            let asked = Instant::now();
            let (counts, sum) = self.ask_all(pods).await;
            // Of some alone the sum would tell of clients that went, and did not.
            let sum = sum.or(before.and_then(|known| known.sum).filter(|_| !pods.is_empty()));
            self.known().insert(fleet.uid.clone(), Known { asked, sum, counts });
        }
        self.known_load(fleet, pods, now)
    }

    /// What each that runs answers in time; and the sum, where all do.
    async fn ask_all(&self, pods: &[Pod]) -> (HashMap<String, u64>, Option<i64>) {
        let running: Vec<_> = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.uid.clone().unwrap_or_default(), address(pod)?)))
            .collect();
        let count = running.len();
        let ask =
            |(uid, address): (String, String)| async move { Some((uid, ask(&self.http, &address).await?)) };
        let mut asked = stream::iter(running).map(ask).buffer_unordered(AT_ONCE);
        let mut answers = Vec::new();
        let all = async {
            while let Some(answer) = asked.next().await {
                answers.extend(answer);
            }
        };
        // Those that have answered by then have.
        let _in_time = tokio::time::timeout(TIMEOUT_OF_ALL, all).await;
        let sum: u64 = answers.iter().map(|(_, count)| count).sum();
        let sum = i64::try_from(sum).ok().filter(|_| count > 0 && answers.len() == count);
        (answers.into_iter().collect(), sum)
    }

    /// Forgets all fleets but those with these UIDs.
    pub fn retain(&self, living: &HashSet<String>) {
        self.known().retain(|uid, _| living.contains(uid));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client by which servers are asked: none of them is behind a proxy, and an answer comes in time or not at all.
///
/// # Errors
///
/// Where none can be made.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
    builder.redirect(reqwest::redirect::Policy::none()).build()
}

/// Asks one server for its connections; `None` where it does not say. How long that may take is the client's matter.
pub(crate) async fn ask(http: &reqwest::Client, address: &str) -> Option<u64> {
    let mut response = http.get(format!("http://{address}/metrics")).send().await.ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    active_connections(std::str::from_utf8(&body).ok()?)
}

/// Where the admin port of a pod that runs answers.
pub(crate) fn address(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
    let ip = status.pod_ip.as_ref().filter(|ip| !ip.is_empty())?;
    Some(if ip.contains(':') {
        format!("[{ip}]:{METRICS_PORT_NUMBER}")
    } else {
        format!("{ip}:{METRICS_PORT_NUMBER}")
    })
}

/// The value of `active_connections` in Prometheus' text format.
fn active_connections(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("active_connections "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_is_found_among_others() {
        let text = "# HELP active_connections Connections that are open\n# TYPE active_connections gauge\n\
                    active_connections 12\nactive_connections_more 7\n";
        assert_eq!(active_connections(text), Some(12));
        assert_eq!(active_connections("another 1\n"), None);
    }

    #[test]
    fn only_pods_that_run_are_asked_and_addresses_of_both_kinds_are_written_right() {
        let pod = |phase: &str, ip: &str| -> Pod {
            serde_json::from_value(
                serde_json::json!({ "metadata": {}, "status": { "phase": phase, "podIP": ip } }),
            )
            .unwrap()
        };
        assert_eq!(address(&pod("Running", "10.0.0.1")).as_deref(), Some("10.0.0.1:21592"));
        assert_eq!(address(&pod("Running", "fd00::1")).as_deref(), Some("[fd00::1]:21592"));
        assert_eq!(address(&pod("Pending", "10.0.0.1")), None);
        assert_eq!(address(&pod("Running", "")), None);
    }
}
