//! Which servers go where fewer are wanted: those with the fewest clients.
//!
//! A ReplicaSet takes pods that are not ready first, and of the others those whose annotation `pod-deletion-cost` is lowest. Its controller learns of pods and
//! of the number of them by different watches, so one that was told both at once may know the number and not the annotations. So there are two passes:
//! the first chooses, a later one lowers the number. Nothing of this is remembered but in the annotations: an operator that comes back goes on
//! from what it finds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::load::{Load, PodLoad};

/// The annotation by which a ReplicaSet knows which pods to take first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What it says of those that are chosen: less than whatever others may say.
pub const LOWEST_COST: &str = "-2147483648";

/// The annotation by which the operator knows those that it has chosen, and since when.
pub const CHOSEN_AT: &str = "tickwire.dev/chosen-to-go-at";

/// How long the annotations are left to be noticed before the number is lowered.
const NOTICE: SignedDuration = SignedDuration::from_secs(1);

/// When to look again whether they can have been.
const SOON: Duration = Duration::from_secs(1);

/// The Deployment, as far as this goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// How many servers it is asked for.
    pub replicas: i32,
    /// How many may be there besides, as a rollout is under way.
    pub surge: i32,
    /// Whether a rollout is under way, and comes forward.
    pub is_rolling: bool,
    /// Whether its controller has taken up what it was last told.
    pub is_current: bool,
}

/// What is to be done in this pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleDown {
    /// How many servers the Deployment is asked for now: as many as wanted, or as before.
    pub replicas: i32,
    /// The pods that are chosen now.
    pub choose: Vec<String>,
    /// The pods that are not to go after all.
    pub clear: Vec<String>,
    /// Whether it is servers that drain what is waited for.
    pub waits_for_drain: bool,
    /// When to look again, even if nothing happens.
    pub look_again: Option<Duration>,
}

impl ScaleDown {
    /// Nothing stands in the way of this number.
    fn to(replicas: i32) -> Self {
        Self { replicas, choose: Vec::new(), clear: Vec::new(), waits_for_drain: false, look_again: None }
    }
}

/// Decides how many servers the Deployment is asked for, and who is chosen. It is never asked for more than wanted, but where it was before; and never for what
/// a rollout has besides. With `is_paced` one server goes at a time, once nobody drains and no rollout is under way.
#[must_use]
pub fn scale_down(
    wanted: i32,
    deployed: Option<Deployed>,
    load: &Load,
    is_paced: bool,
    now: Timestamp,
) -> ScaleDown {
    let Some(deployed) = deployed else { return ScaleDown::to(wanted) };
    // Whether there is no pod more than there should be: what was lowered before has been carried out.
    let is_settled =
        deployed.is_current && load.living_count() <= deployed.replicas.saturating_add(deployed.surge);
    let chosen: Vec<_> = load.living().filter(|pod| pod.chosen_at.is_some()).collect();

    if deployed.replicas <= wanted {
        // Those that are still on their way out keep their mark; who stays loses it.
        let clear = if is_settled { names(&chosen) } else { Vec::new() };
        return ScaleDown { clear, ..ScaleDown::to(wanted) };
    }
    if wanted == 0 {
        // All go: there is nothing to choose, and nowhere to wait for.
        return ScaleDown::to(0);
    }
    let as_before = ScaleDown { look_again: Some(SOON), ..ScaleDown::to(deployed.replicas) };
    let next = if is_paced {
        if !is_settled || deployed.is_rolling {
            return as_before;
        }
        if load.ending().next().is_some() {
            return ScaleDown { waits_for_drain: true, ..as_before };
        }
        deployed.replicas - 1
    } else {
        wanted
    };

    // Pods that were never made, as where a quota is small, need not go.
    let stay = usize::try_from(next.saturating_add(deployed.surge)).unwrap_or_default();
    let needed = load.living().count().saturating_sub(stay);
    if let Some(missing) = needed.checked_sub(chosen.len()).filter(|missing| *missing > 0) {
        let mut others: Vec<_> = load.living().filter(|pod| pod.chosen_at.is_none()).collect();
        others.sort_by_key(|pod| turn(pod));
        others.truncate(missing);
        return ScaleDown { choose: names(&others), ..as_before };
    }
    let mut spared = chosen.clone();
    spared.sort_by_key(|pod| std::cmp::Reverse(turn(pod)));
    spared.truncate(chosen.len() - needed);
    let clear = names(&spared);
    if chosen.iter().any(|pod| pod.chosen_at.is_some_and(|moment| is_news(moment, now))) {
        return ScaleDown { clear, ..as_before };
    }
    ScaleDown { clear, ..ScaleDown::to(next) }
}

/// In which order pods go. One that is not ready goes first, whatever is chosen: Kubernetes has it so. One that does not say how many clients it has may have
/// many.
fn turn(pod: &PodLoad) -> (bool, u64, &str) {
    (pod.is_ready, pod.connections.unwrap_or(u64::MAX), &pod.name)
}

/// Whether an annotation may not have been noticed yet. One from the future was written by another clock.
fn is_news(moment: Timestamp, now: Timestamp) -> bool {
    (SignedDuration::ZERO..NOTICE).contains(&now.duration_since(moment))
}

fn names(pods: &[&PodLoad]) -> Vec<String> {
    pods.iter().map(|pod| pod.name.clone()).collect()
}

#[cfg(test)]
mod tests;
