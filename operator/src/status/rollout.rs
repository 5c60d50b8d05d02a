//! How far the Deployment has come.

use k8s_openapi::api::apps::v1::Deployment;
use tickwire_crd::ConditionType;

use super::{Outcome, Verdict};

/// The reason of Progressing when all servers are as specified.
pub(super) const COMPLETE: &str = "Complete";
/// The reason of Progressing while nothing is to be changed.
pub(super) const PAUSED: &str = "Paused";

/// How far the Deployment has come. Pods that are ending are in none of these counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub(super) wanted: i32,
    pub(super) replicas: i32,
    pub(super) updated: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
    /// Whether the numbers are about the Deployment as it is now.
    pub(super) is_current: bool,
    /// Whether it has made no progress for longer than it may.
    pub(super) is_stalled: bool,
    /// Why the cluster does not let pods be made.
    pub(super) refused: Option<String>,
}

impl Rollout {
    pub(crate) fn of(deployment: Option<&Deployment>, wanted: i32) -> Self {
        let Some(deployment) = deployment else { return Self { wanted, ..Self::default() } };
        let status = deployment.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |type_: &str, holds: &str| {
            conditions.iter().find(|condition| condition.type_ == type_ && condition.status == holds)
        };
        Self {
            wanted,
            replicas: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            is_current: status.observed_generation >= deployment.metadata.generation,
            is_stalled: condition("Progressing", "False").is_some(),
            refused: condition("ReplicaFailure", "True")
                .map(|condition| condition.message.clone().unwrap_or_default()),
        }
    }

    /// Whether all servers are as specified, and no others are left.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_current
            && self.updated == self.wanted
            && self.replicas == self.wanted
            && self.available == self.wanted
    }

    pub(super) fn ready(&self, outcome: &Outcome<'_>) -> Verdict {
        let Self { wanted, ready, .. } = self;
        let verdict = |holds, reason, message| Verdict::new(ConditionType::Ready, holds, reason, message);
        match outcome {
            _ if ready >= wanted && *wanted > 0 => {
                verdict(true, "Serving", format!("{ready} of {wanted} servers serve"))
            }
            _ if outcome.is_blocked() && *ready == 0 && *wanted > 0 => {
                verdict(false, "Blocked", "no server runs yet; the condition Degraded says why".into())
            }
            _ if *wanted == 0 => {
                verdict(true, "ScaledToZero", "no server is asked for: spec.replicas is 0".into())
            }
            _ => verdict(
                false,
                "TooFewServers",
                format!(
                    "{ready} of {wanted} servers serve; where that lasts, the condition Degraded says why"
                ),
            ),
        }
    }

    pub(super) fn progressing(&self, outcome: &Outcome<'_>, waits: Option<&str>) -> Verdict {
        let Self { wanted, updated, replicas, available, .. } = self;
        let verdict =
            |holds, reason, message| Verdict::new(ConditionType::Progressing, holds, reason, message);
        match outcome {
            Outcome::Paused => verdict(
                false,
                PAUSED,
                "spec.paused is true: nothing is changed until it is false again".into(),
            ),
            _ if outcome.is_blocked() => verdict(
                false,
                "Blocked",
                "no server is changed until what the condition Degraded says is mended".into(),
            ),
            _ if self.is_complete() => {
                verdict(false, COMPLETE, format!("all {wanted} servers are as specified"))
            }
            _ if let Some(waits) = waits => verdict(true, "Draining", waits.to_owned()),
            _ if self.is_stalled => verdict(
                false,
                "Stalled",
                format!("{updated} of {wanted} servers are as specified, and no more have come"),
            ),
            _ if replicas > wanted && updated == replicas => verdict(
                true,
                "ScalingDown",
                format!(
                    "{replicas} servers are there, and {wanted} are wanted; those with the fewest clients go first"
                ),
            ),
            _ => {
                let old = (replicas - updated).max(0);
                verdict(
                    true,
                    "RollingOut",
                    format!(
                        "{updated} of {wanted} servers are as specified, {available} serve; {old} older ones are still there"
                    ),
                )
            }
        }
    }
}
