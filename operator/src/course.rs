//! The fourth step: how far a fleet may go in this pass, as servers that drain send their clients to the others. No client; who has how many connections
//! is given, as is the time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tickwire_crd::StreamServerSpec;

use crate::load::Load;
use crate::observe::Observed;
use crate::scale_down::{Deployed, scale_down};

/// How often it is looked how many clients a server that drains has left, while something waits for it.
const DRAIN_INTERVAL: Duration = Duration::from_secs(5);

/// When to look again whether a rollout can be held: well within [`PACED_MIN_READY_SECONDS`], after which the next server would go.
const SOON: Duration = Duration::from_secs(1);

/// At a pace, a new server is ready for so many seconds at least before the next is replaced: in between it has to be seen that one drains.
pub(crate) const PACED_MIN_READY_SECONDS: i32 = 5;

/// The same while a rollout waits: no new server counts as ready for long enough. A Deployment that is paused removes what is old all the same once all of its new
/// pods do; so the last of the old servers would go while the one before still drains. A day is longer than any drain.
pub(crate) const HELD_MIN_READY_SECONDS: i32 = 86_400;

/// At a pace, so many servers are there besides: one is replaced at a time.
pub(crate) const PACED_SURGE: i32 = 1;

/// How far a fleet may go in this pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// How many servers the Deployment is asked for.
    pub replicas: i32,
    /// Whether its rollout waits.
    pub is_held: bool,
    /// The pods that are chosen now to go.
    pub choose: Vec<String>,
    /// The pods that are not to go after all.
    pub clear: Vec<String>,
    /// When this was decided.
    pub decided_at: Timestamp,
    /// What is waited for, in words.
    pub waits: Option<String>,
    /// When to look again, even if nothing happens.
    pub look_again: Option<Duration>,
}

impl Course {
    /// Straight to what is specified: as where there is no server yet.
    #[must_use]
    pub fn straight(spec: &StreamServerSpec, now: Timestamp) -> Self {
        Self {
            replicas: spec.replicas,
            is_held: false,
            choose: Vec::new(),
            clear: Vec::new(),
            decided_at: now,
            waits: None,
            look_again: None,
        }
    }

    /// As far as it may go, given who is there and who drains.
    #[must_use]
    pub fn of(spec: &StreamServerSpec, deployment: Option<&Deployment>, load: &Load, now: Timestamp) -> Self {
        let is_paced = spec.drain.reconnects_per_second.is_some();
        let present = deployment.map(|deployment| Present::of(deployment, spec));
        let down = scale_down(spec.replicas, present.map(Present::deployed), load, is_paced, now);
        let is_draining = is_paced && load.ending().next().is_some();
        let rolls_and_drains = is_draining && present.is_some_and(|present| present.has_older);
        // Paused sooner, the Deployment's controller would make up for the server that has gone by one of the old kind: it keeps as many there as a rollout
        // may have. Its successor needs some seconds to be ready, so there is time.
        let is_held = rolls_and_drains
            && present.is_some_and(|present| present.is_held || load.living_count() > present.replicas);
        let waits = (is_held || down.waits_for_drain).then(|| load.draining()).flatten();
        let hold_again = match (rolls_and_drains, is_held) {
            (true, false) => Some(SOON),
            (true, true) => Some(DRAIN_INTERVAL),
            _ => None,
        };
        let down_again = if down.waits_for_drain { Some(DRAIN_INTERVAL) } else { down.look_again };
        Self {
            replicas: down.replicas,
            is_held,
            choose: down.choose,
            clear: down.clear,
            decided_at: now,
            waits: waits
                .map(|draining| format!("waits until {draining}; spec.drain.reconnectsPerSecond has it so")),
            look_again: [hold_again, down_again].into_iter().flatten().min(),
        }
    }

    /// Whether the newest numbers of connections are needed to decide.
    #[must_use]
    pub fn needs_load(observed: &Observed) -> bool {
        let spec = &observed.server.spec;
        let replicas = observed.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref()?.replicas);
        let is_ending = || observed.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        replicas.is_some_and(|replicas| spec.replicas < replicas)
            || (spec.drain.reconnects_per_second.is_some() && is_ending())
    }
}

/// The Deployment, as far as this goes by it.
#[derive(Clone, Copy)]
struct Present {
    replicas: i32,
    surge: i32,
    is_held: bool,
    /// Whether there are servers of an older kind.
    has_older: bool,
    is_stalled: bool,
    is_current: bool,
}

impl Present {
    fn of(deployment: &Deployment, wanted: &StreamServerSpec) -> Self {
        let spec = deployment.spec.as_ref();
        // The API server's own default.
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.as_ref();
        let count = |count: Option<i32>| count.unwrap_or_default();
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        Self {
            replicas,
            surge: match wanted.drain.reconnects_per_second {
                Some(_) => PACED_SURGE,
                None => surge(&wanted.rollout.max_surge, replicas),
            },
            is_held: spec.and_then(|spec| spec.paused) == Some(true),
            has_older: status.is_some_and(|status| count(status.updated_replicas) < count(status.replicas)),
            is_stalled: conditions
                .into_iter()
                .any(|condition| condition.type_ == "Progressing" && condition.status == "False"),
            is_current: status.and_then(|status| status.observed_generation)
                >= deployment.metadata.generation,
        }
    }

    fn deployed(self) -> Deployed {
        Deployed {
            replicas: self.replicas,
            surge: if self.has_older { self.surge } else { 0 },
            is_rolling: self.has_older && !self.is_stalled,
            is_current: self.is_current,
        }
    }
}

/// How many servers a rollout may have besides; a part is rounded up, as the Deployment's controller has it.
fn surge(max_surge: &IntOrString, replicas: i32) -> i32 {
    match max_surge {
        IntOrString::Int(count) => *count,
        IntOrString::String(part) => {
            let percent: i32 = part.trim_end_matches('%').parse().unwrap_or_default();
            (replicas.saturating_mul(percent).saturating_add(99)) / 100
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::load::PodLoad;

    fn spec(text: &str) -> StreamServerSpec {
        serde_saphyr::from_str(text).unwrap()
    }

    const PACED: &str = "{replicas: 3, drain: {reconnectsPerSecond: 100}}";

    fn deployment(spec: Value, status: Value) -> Deployment {
        let mut status = status;
        status["observedGeneration"] = json!(1);
        let template = json!({ "metadata": {}, "spec": { "containers": [] } });
        let mut whole = json!({ "selector": {}, "template": template });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({ "metadata": { "generation": 1 }, "spec": whole, "status": status }))
            .unwrap()
    }

    fn load(living: usize, ending: usize) -> Load {
        let pod = |index: usize, is_ending: bool| PodLoad {
            name: format!("ticks-{index}"),
            address: None,
            connections: Some(40),
            is_ready: !is_ending,
            is_ending,
            chosen_at: None,
        };
        Load { pods: (0..living + ending).map(|index| pod(index, index >= living)).collect() }
    }

    fn course(spec_text: &str, deployment: &Deployment, load: &Load) -> Course {
        Course::of(&spec(spec_text), Some(deployment), load, Timestamp::UNIX_EPOCH)
    }

    /// One of three is new, and an old one has been told to go.
    fn in_the_midst(paused: bool) -> Deployment {
        deployment(json!({ "replicas": 3, "paused": paused }), json!({ "replicas": 4, "updatedReplicas": 2 }))
    }

    #[test]
    fn at_a_pace_a_rollout_is_held_while_a_server_drains_and_goes_on_when_it_has() {
        let held = course(PACED, &in_the_midst(false), &load(4, 1));
        assert!(held.is_held);
        assert_eq!(
            held.waits.as_deref(),
            Some(
                "waits until ticks-4 has drained: 40 clients are left; spec.drain.reconnectsPerSecond has it so"
            )
        );
        assert_eq!(held.look_again, Some(DRAIN_INTERVAL));
        assert!(course(PACED, &in_the_midst(true), &load(4, 1)).is_held, "still");
        let gone = course(PACED, &in_the_midst(true), &load(4, 0));
        assert_eq!((gone.is_held, gone.waits, gone.look_again), (false, None, None));
    }

    #[test]
    fn it_is_not_held_before_the_next_server_is_there_but_looked_at_again_soon() {
        let not_yet = course(PACED, &in_the_midst(false), &load(3, 1));
        assert_eq!((not_yet.is_held, not_yet.look_again), (false, Some(SOON)));
        // One that was held, and has lost a server meanwhile, stays so.
        assert!(course(PACED, &in_the_midst(true), &load(3, 1)).is_held);
    }

    #[test]
    fn without_a_pace_or_a_rollout_nothing_is_held() {
        assert!(!course("{replicas: 3}", &in_the_midst(false), &load(4, 1)).is_held);
        let rolled_out = deployment(json!({ "replicas": 3 }), json!({ "replicas": 3, "updatedReplicas": 3 }));
        assert_eq!(
            course(PACED, &rolled_out, &load(3, 1)),
            Course::straight(&spec(PACED), Timestamp::UNIX_EPOCH)
        );
    }

    #[test]
    fn at_a_pace_fewer_servers_wait_for_who_drains() {
        let four = deployment(json!({ "replicas": 4 }), json!({ "replicas": 4, "updatedReplicas": 4 }));
        let waits = course(PACED, &four, &load(4, 1));
        assert_eq!((waits.replicas, waits.is_held, waits.look_again), (4, false, Some(DRAIN_INTERVAL)));
        assert!(waits.waits.unwrap().starts_with("waits until ticks-4 has drained"));
        let chooses = course(PACED, &four, &load(4, 0));
        assert_eq!((chooses.replicas, chooses.choose.len()), (4, 1));
    }

    #[test]
    fn a_part_of_a_surge_is_rounded_up() {
        let part = |text: &str| IntOrString::String(text.into());
        for (max_surge, replicas, expected) in
            [(IntOrString::Int(2), 5, 2), (part("25%"), 2, 1), (part("25%"), 8, 2), (part("100%"), 3, 3)]
        {
            assert_eq!(surge(&max_surge, replicas), expected, "{max_surge:?} of {replicas}");
        }
    }
}
