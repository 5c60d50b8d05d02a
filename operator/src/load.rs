//! How many clients each server of a fleet has.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::scale_down::CHOSEN_AT;

/// How long after its grace period a pod that is not gone yet counts as draining: it has been killed by then, or its node is lost.
const AFTER_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The servers of a fleet, those that are ending included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// In the order of their names.
    pub pods: Vec<PodLoad>,
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct PodLoad {
    /// The pod's name.
    pub name: String,
    /// Where its admin port answers, if it runs.
    pub address: Option<String>,
    /// Its connections; `None` where it has not said.
    pub connections: Option<u64>,
    /// Whether it serves.
    pub is_ready: bool,
    /// Whether it has been told to end, and drains.
    pub is_ending: bool,
    /// Since when it is chosen to go, where fewer servers are wanted.
    pub chosen_at: Option<Timestamp>,
}

impl Load {
    /// Of these pods, as of what is known of their connections. What has ended, or should have long ago, is none of them.
    pub(crate) fn of(
        pods: &[Pod],
        now: Timestamp,
        address: impl Fn(&Pod) -> Option<String>,
        connections: impl Fn(&Pod) -> Option<u64>,
    ) -> Self {
        let mut pods: Vec<_> = pods
            .iter()
            .filter(|pod| !has_ended(pod, now))
            .map(|pod| PodLoad {
                name: pod.name_any(),
                address: address(pod),
                connections: connections(pod),
                is_ready: is_ready(pod),
                is_ending: pod.metadata.deletion_timestamp.is_some(),
                chosen_at: pod.annotations().get(CHOSEN_AT).map(|moment| moment.parse().unwrap_or(now)),
            })
            .collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Self { pods }
    }

    /// The servers that are to stay, whether they serve yet or not.
    pub fn living(&self) -> impl Iterator<Item = &PodLoad> {
        self.pods.iter().filter(|pod| !pod.is_ending)
    }

    /// The servers that drain.
    pub fn ending(&self) -> impl Iterator<Item = &PodLoad> {
        self.pods.iter().filter(|pod| pod.is_ending)
    }

    /// How many are to stay.
    #[must_use]
    pub fn living_count(&self) -> i32 {
        i32::try_from(self.living().count()).unwrap_or(i32::MAX)
    }

    /// What is waited for where servers drain, such as `a has drained: 12 clients are left`; `None` where none does.
    #[must_use]
    pub fn draining(&self) -> Option<String> {
        let names: Vec<_> = self.ending().map(|pod| pod.name.as_str()).collect();
        let have = match names.len() {
            0 => return None,
            1 => "has",
            _ => "have",
        };
        let left = match self.ending().map(|pod| pod.connections).sum::<Option<u64>>() {
            Some(1) => "1 client is left".to_owned(),
            Some(count) => format!("{count} clients are left"),
            None => "how many clients are left is not known".to_owned(),
        };
        Some(format!("{} {have} drained: {left}", names.join(" and ")))
    }

    /// Those that serve, with their connections; `None` where one of those that are to stay does not serve, or has not said.
    #[must_use]
    pub fn serving(&self) -> Option<Vec<(&PodLoad, u64)>> {
        self.living().map(|pod| Some((pod, pod.connections.filter(|_| pod.is_ready)?))).collect()
    }

    /// How many times the mean the fullest server has; `None` where that is not known, 1 where there are no clients.
    #[must_use]
    pub fn imbalance(&self) -> Option<f64> {
        let counts: Vec<_> =
            self.living().filter(|pod| pod.is_ready).map(|pod| pod.connections).collect::<Option<_>>()?;
        let (fullest, sum) = (*counts.iter().max()?, counts.iter().sum::<u64>());
        if sum == 0 {
            return Some(1.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "a million connections are exact")]
        Some((fullest as f64) * (counts.len() as f64) / (sum as f64))
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether nothing of it runs any more. A pod's deletion timestamp is when its grace period is over.
fn has_ended(pod: &Pod, now: Timestamp) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|end| now > end.0 + AFTER_GRACE);
    overdue || matches!(phase, Some("Failed" | "Succeeded"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    fn pod(name: &str, metadata: Value, phase: &str, ready: bool) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": metadata,
            "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap();
        pod.metadata.name = Some(name.into());
        pod
    }

    fn load(pods: &[Pod], connections: u64) -> Load {
        Load::of(pods, now(), |_| None, |_| Some(connections))
    }

    #[test]
    fn a_pod_is_what_its_object_says_and_they_stand_by_name() {
        let chosen = json!({ "annotations": { CHOSEN_AT: "2026-01-01T00:00:59.5Z" } });
        let ending = json!({ "deletionTimestamp": "2026-01-01T00:01:30Z" });
        let pods = [
            pod("c", ending, "Running", false),
            pod("b", chosen, "Running", true),
            pod("a", json!({}), "Pending", false),
        ];
        let load = load(&pods, 7);
        let seen: Vec<_> = load
            .pods
            .iter()
            .map(|pod| (pod.name.as_str(), pod.is_ready, pod.is_ending, pod.chosen_at.is_some()))
            .collect();
        assert_eq!(seen, [("a", false, false, false), ("b", true, false, true), ("c", false, true, false)]);
        assert_eq!(load.pods[1].chosen_at, Some("2026-01-01T00:00:59.5Z".parse().unwrap()));
        assert_eq!(load.living_count(), 2);
        assert!(load.serving().is_none(), "a does not");
    }

    /// A rollout would wait for a lost node else, without an end.
    #[test]
    fn what_has_ended_or_should_have_long_ago_is_waited_for_by_nobody() {
        let until = |moment: &str| json!({ "deletionTimestamp": moment });
        let pods = [
            pod("evicted", json!({}), "Failed", false),
            pod("on-a-lost-node", until("2026-01-01T00:00:29Z"), "Running", true),
            pod("drains", until("2026-01-01T00:00:31Z"), "Running", true),
        ];
        let load = load(&pods, 7);
        assert_eq!(load.pods.len(), 1);
        assert_eq!(load.ending().next().unwrap().name, "drains");
    }

    #[test]
    fn who_drains_is_told_with_how_many_are_left() {
        let ending =
            |name| pod(name, json!({ "deletionTimestamp": "2026-01-01T00:01:30Z" }), "Running", true);
        let told = |pods: &[Pod], connections| load(pods, connections).draining();
        assert_eq!(told(&[pod("a", json!({}), "Running", true)], 7), None);
        assert_eq!(told(&[ending("a")], 1).unwrap(), "a has drained: 1 client is left");
        assert_eq!(
            told(&[ending("b"), ending("a")], 7).unwrap(),
            "a and b have drained: 14 clients are left"
        );
        let silent = Load::of(&[ending("a")], now(), |_| None, |_| None);
        assert_eq!(silent.draining().unwrap(), "a has drained: how many clients are left is not known");
    }

    #[test]
    fn imbalance_is_the_fullest_over_the_mean_of_those_that_serve() {
        let of = |counts: &[Option<u64>]| {
            let pods: Vec<_> =
                (0..counts.len()).map(|index| pod(&index.to_string(), json!({}), "Running", true)).collect();
            Load::of(&pods, now(), |_| None, |pod| counts[pod.name_any().parse::<usize>().unwrap()])
                .imbalance()
        };
        assert_eq!(of(&[Some(30), Some(10), Some(20)]), Some(1.5));
        assert_eq!(of(&[Some(0), Some(0)]), Some(1.0));
        assert_eq!(of(&[Some(3), None]), None);
        assert_eq!(of(&[]), None);
    }
}
