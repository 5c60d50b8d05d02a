//! How many clients are connected: asked of each server, for the status.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use k8s_openapi::api::core::v1::Pod;

use crate::build::METRICS_PORT_NUMBER;
use crate::fleet::Fleet;

/// How long a server may take for an answer; those that do not answer are not counted.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long all of a fleet together may take.
const TIMEOUT_OF_ALL: Duration = Duration::from_secs(5);

/// How soon a fleet is asked again that has not answered yet.
const SOONER: Duration = Duration::from_secs(1);

/// How many servers are asked at once.
const AT_ONCE: usize = 32;

/// The longest answer that is read, in bytes; a server's metrics are some 30 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// Asks servers, at most once in a while per fleet, whatever else is a reason to look at it.
#[derive(Debug)]
pub struct Connections {
    http: reqwest::Client,
    interval: Duration,
    known: Mutex<HashMap<String, (Instant, Option<i64>)>>,
}

impl Connections {
    /// Asks each fleet at most once per `interval`.
    ///
    /// # Errors
    ///
    /// Where no HTTP client can be made.
    pub fn new(interval: Duration) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, interval, known: Mutex::default() })
    }

    /// The connections of all servers together, as they were when last all that run have answered in time; `None` where they never have.
    pub async fn of(&self, fleet: &Fleet, pods: &[Pod]) -> Option<i64> {
        let now = Instant::now();
        if let Some((asked, connections)) = self.known().get(&fleet.uid).copied()
            // What is not known yet is asked for sooner: a person may be waiting for a first fleet.
            && now.duration_since(asked) < connections.map_or(SOONER.min(self.interval), |_| self.interval)
        {
            return connections;
        }
        let addresses: Vec<_> = pods.iter().filter_map(address).collect();
        let asked = stream::iter(addresses).map(|address| self.ask(address)).buffer_unordered(AT_ONCE);
        // Of some alone the sum would tell of clients that went, and did not.
        let all = tokio::time::timeout(TIMEOUT_OF_ALL, asked.collect::<Vec<_>>()).await.unwrap_or_default();
        let sum = all
            .iter()
            .try_fold(0, |sum, answer| answer.map(|answer| sum + answer))
            .filter(|_| !all.is_empty());
        let before = self.known().get(&fleet.uid).and_then(|(_, connections)| *connections);
        let connections = sum.or(before.filter(|_| !pods.is_empty()));
        self.known().insert(fleet.uid.clone(), (now, connections));
        connections
    }

    /// Forgets all fleets but those with these UIDs.
    pub fn retain(&self, living: &HashSet<String>) {
        self.known().retain(|uid, _| living.contains(uid));
    }

    /// Asks one server; `None` where it does not answer in time, or with something else.
    pub(crate) async fn ask(&self, address: String) -> Option<i64> {
        let mut response = self.http.get(format!("http://{address}/metrics")).send().await.ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        active_connections(std::str::from_utf8(&body).ok()?)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Option<i64>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a pod that runs answers.
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
fn active_connections(text: &str) -> Option<i64> {
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
