use proptest::prelude::*;

use super::*;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

/// When these tests take place: long after [`EARLIER`].
const NOW: i64 = 100_000;
/// When what was chosen has long been noticed.
const EARLIER: i64 = 10_000;

fn server(name: &str, connections: u64) -> PodLoad {
    PodLoad {
        name: name.into(),
        address: None,
        connections: Some(connections),
        is_ready: true,
        is_ending: false,
        chosen_at: None,
    }
}

fn chosen(name: &str, connections: u64, moment: i64) -> PodLoad {
    PodLoad { chosen_at: Some(at(moment)), ..server(name, connections) }
}

fn ending(name: &str) -> PodLoad {
    PodLoad { is_ending: true, ..server(name, 5) }
}

fn not_ready(name: &str, connections: u64) -> PodLoad {
    PodLoad { is_ready: false, ..server(name, connections) }
}

/// A Deployment that has come to rest at this number.
fn resting(replicas: i32) -> Option<Deployed> {
    Some(Deployed { replicas, surge: 0, is_rolling: false, is_current: true })
}

fn rolling(replicas: i32, surge: i32) -> Option<Deployed> {
    Some(Deployed { replicas, surge, is_rolling: true, is_current: true })
}

fn at_once(wanted: i32, deployed: Option<Deployed>, pods: &[PodLoad]) -> ScaleDown {
    scale_down(wanted, deployed, &Load { pods: pods.to_vec() }, false, at(NOW))
}

fn paced(wanted: i32, deployed: Option<Deployed>, pods: &[PodLoad]) -> ScaleDown {
    scale_down(wanted, deployed, &Load { pods: pods.to_vec() }, true, at(NOW))
}

#[test]
fn where_nothing_is_to_go_the_number_is_the_one_that_is_wanted() {
    let pods = [server("a", 1), server("b", 2)];
    for (wanted, deployed) in [(3, None), (2, resting(2)), (5, resting(2)), (0, resting(0))] {
        assert_eq!(at_once(wanted, deployed, &pods), ScaleDown::to(wanted));
        assert_eq!(paced(wanted, deployed, &pods), ScaleDown::to(wanted));
    }
}

#[test]
fn the_emptiest_are_chosen_first_and_the_number_is_lowered_once_that_was_noticed() {
    let pods = [server("a", 30), server("b", 10), server("c", 20), server("d", 10)];
    let first = at_once(2, resting(4), &pods);
    assert_eq!(first.replicas, 4, "not yet");
    assert_eq!(first.choose, ["b", "d"]);
    assert_eq!(first.look_again, Some(SOON));

    let marked =
        |moment| [server("a", 30), chosen("b", 10, moment), server("c", 20), chosen("d", 10, moment)];
    let too_soon = at_once(2, resting(4), &marked(NOW - 999));
    assert_eq!((too_soon.replicas, too_soon.choose.len()), (4, 0));
    assert_eq!(at_once(2, resting(4), &marked(NOW - 1000)), ScaleDown::to(2));
    assert_eq!(at_once(2, resting(4), &marked(NOW + 50_000)), ScaleDown::to(2), "by another clock");
}

#[test]
fn a_choice_stays_while_it_is_to_be_carried_out_whoever_is_emptier_meanwhile() {
    let pods = [chosen("a", 90, EARLIER), server("b", 1)];
    assert_eq!(at_once(1, resting(2), &pods), ScaleDown::to(1));
    // Lowered, and not carried out yet: the mark is what the ReplicaSet goes by.
    assert_eq!(at_once(1, resting(1), &pods), ScaleDown::to(1));
}

#[test]
fn more_or_fewer_that_are_to_go_change_the_choice_and_nothing_else_does() {
    let pods = [server("a", 30), chosen("b", 10, EARLIER), server("c", 20), server("d", 40)];
    let more = at_once(2, resting(4), &pods);
    assert_eq!((more.replicas, more.choose.as_slice()), (4, ["c".to_owned()].as_slice()));

    let pods = [server("a", 30), chosen("b", 10, EARLIER), chosen("c", 20, EARLIER), server("d", 40)];
    let fewer = at_once(3, resting(4), &pods);
    assert_eq!((fewer.replicas, fewer.clear.as_slice()), (3, ["c".to_owned()].as_slice()), "the fuller one");
}

#[test]
fn called_off_nobody_is_chosen_any_more() {
    let pods = [chosen("a", 1, EARLIER), server("b", 2)];
    for wanted in [2, 3] {
        let decision = at_once(wanted, resting(2), &pods);
        assert_eq!((decision.replicas, decision.clear.as_slice()), (wanted, ["a".to_owned()].as_slice()));
        assert!(decision.choose.is_empty());
    }
}

/// The ReplicaSet may be about to take it: without its mark it would take another.
#[test]
fn who_is_still_on_the_way_out_keeps_the_mark() {
    let pods = [chosen("a", 1, EARLIER), server("b", 2), server("c", 3)];
    assert_eq!(at_once(2, resting(2), &pods), ScaleDown::to(2));
    let told_just_now = Some(Deployed { is_current: false, ..resting(3).unwrap() });
    assert!(at_once(3, told_just_now, &pods).clear.is_empty());
    // And a further one that is to go is chosen besides.
    assert_eq!(at_once(1, resting(2), &pods).choose, ["b"]);
}

#[test]
fn who_is_not_ready_goes_first_and_who_does_not_answer_last() {
    let silent = PodLoad { connections: None, ..server("a", 0) };
    let pods = [silent, server("b", 1000), not_ready("c", 2000)];
    assert_eq!(at_once(2, resting(3), &pods).choose, ["c"]);
    assert_eq!(at_once(1, resting(3), &pods).choose, ["c", "b"]);
}

#[test]
fn pods_that_were_never_made_need_not_go() {
    assert_eq!(at_once(3, resting(5), &[server("a", 1), server("b", 2)]), ScaleDown::to(3));
    assert_eq!(at_once(1, resting(5), &[server("a", 1), server("b", 2)]).choose, ["a"]);
}

#[test]
fn to_zero_all_go_and_nobody_is_chosen() {
    let pods = [server("a", 1), ending("b")];
    assert_eq!(at_once(0, resting(2), &pods), ScaleDown::to(0));
    assert_eq!(paced(0, resting(2), &pods), ScaleDown::to(0));
}

/// What a rollout has besides is not what somebody has asked for.
#[test]
fn a_surge_is_never_locked_in_as_replicas() {
    let pods = [server("a", 1), server("b", 2), server("c", 3), server("d", 4)];
    for decide in [at_once, paced] {
        assert_eq!(decide(3, rolling(3, 1), &pods), ScaleDown::to(3));
        assert_eq!(decide(5, rolling(3, 1), &pods), ScaleDown::to(5));
    }
    // One of four is the surge: one less than three is one pod less.
    assert_eq!(at_once(2, rolling(3, 1), &pods).choose, ["a"]);
    // Where the surge is not there yet, none has to go for it.
    assert_eq!(at_once(2, rolling(3, 1), &pods[..3]), ScaleDown::to(2));
}

#[test]
fn at_a_pace_one_goes_at_a_time_and_waits_for_who_drains() {
    let pods = [server("a", 30), server("b", 10), server("c", 20), server("d", 40)];
    let first = paced(1, resting(4), &pods);
    assert_eq!((first.replicas, first.choose.as_slice()), (4, ["b".to_owned()].as_slice()));

    let marked = [server("a", 30), chosen("b", 10, EARLIER), server("c", 20), server("d", 40)];
    assert_eq!(paced(1, resting(4), &marked), ScaleDown::to(3));
    let on_its_way = paced(1, resting(3), &marked);
    assert_eq!((on_its_way.replicas, on_its_way.choose.len(), on_its_way.clear.len()), (3, 0, 0));

    let draining = [server("a", 30), ending("b"), server("c", 20), server("d", 40)];
    let waits = paced(1, resting(3), &draining);
    assert_eq!((waits.replicas, waits.choose.len(), waits.waits_for_drain), (3, 0, true));

    let gone = [server("a", 30), server("c", 20), server("d", 40)];
    assert_eq!(paced(1, resting(3), &gone).choose, ["c"]);
}

#[test]
fn at_a_pace_a_rollout_that_comes_forward_is_waited_for() {
    let pods = [server("a", 1), server("b", 2), server("c", 3)];
    let waits = paced(1, rolling(2, 1), &pods);
    assert_eq!((waits.replicas, waits.choose.len()), (2, 0));
    let stalled = Some(Deployed { is_rolling: false, ..rolling(2, 1).unwrap() });
    assert_eq!(paced(1, stalled, &pods).choose, ["a"]);
}

/// A fleet as Kubernetes keeps it, as far as this goes: the ReplicaSet takes who is not ready, then who is chosen, then anybody.
struct Simulated {
    replicas: i32,
    pods: Vec<PodLoad>,
    /// Until when who is ending is there yet.
    ends: Vec<(String, i64)>,
    clock: i64,
    drain: i64,
}

impl Simulated {
    /// One pass of the operator, a moment later, and then what the ReplicaSet does.
    fn step(&mut self, wanted: i32, is_paced: bool) -> Result<(), TestCaseError> {
        self.clock += 700;
        self.ends.retain(|(_, end)| *end > self.clock);
        self.pods.retain(|pod| !pod.is_ending || self.ends.iter().any(|(name, _)| *name == pod.name));
        let before = self.replicas;
        let load = Load { pods: self.pods.clone() };
        let decision = scale_down(wanted, resting(before), &load, is_paced, at(self.clock));
        prop_assert!(decision.replicas >= wanted && decision.replicas <= wanted.max(before));
        prop_assert!(decision.choose.is_empty() || decision.replicas == before, "chosen in an earlier pass");
        for pod in &mut self.pods {
            if decision.choose.contains(&pod.name) {
                prop_assert!(pod.chosen_at.is_none() && !pod.is_ending);
                pod.chosen_at = Some(at(self.clock));
            }
            if decision.clear.contains(&pod.name) {
                pod.chosen_at = None;
            }
        }
        self.replicas = decision.replicas;
        self.replica_set(wanted)
    }

    fn replica_set(&mut self, wanted: i32) -> Result<(), TestCaseError> {
        loop {
            let living: Vec<_> = self.pods.iter().filter(|pod| !pod.is_ending).collect();
            if i32::try_from(living.len()).unwrap() <= self.replicas {
                return Ok(());
            }
            let taken = living
                .iter()
                .min_by_key(|pod| (pod.is_ready, pod.chosen_at.is_none()))
                .map(|pod| pod.name.clone())
                .unwrap();
            let of = |name: &str| living.iter().find(|pod| pod.name == name).unwrap();
            if wanted > 0 && of(&taken).is_ready {
                let emptier = living.iter().find(|pod| {
                    pod.chosen_at.is_none() && pod.is_ready && pod.connections < of(&taken).connections
                });
                prop_assert!(emptier.is_none(), "{taken} went, and {emptier:?} stays");
            }
            let pod = self.pods.iter_mut().find(|pod| pod.name == taken).unwrap();
            pod.is_ending = true;
            pod.is_ready = false;
            self.ends.push((taken, self.clock + self.drain));
        }
    }
}

proptest! {
    /// However many are there and wanted, and whoever is ready: it comes to what is wanted, and none goes while an emptier one stays.
    #[test]
    fn it_comes_to_what_is_wanted_and_the_emptiest_go(
        servers in proptest::collection::vec((0_u64..50, proptest::bool::weighted(0.9)), 1..12),
        wanted in 0_i32..12,
        is_paced: bool,
        drain in 0_i64..5_000,
    ) {
        let pods: Vec<_> = servers
            .iter()
            .enumerate()
            .map(|(index, (connections, is_ready))| PodLoad {
                is_ready: *is_ready,
                ..server(&format!("{index:02}"), *connections)
            })
            .collect();
        let mut fleet = Simulated {
            replicas: i32::try_from(pods.len()).unwrap(),
            pods,
            ends: Vec::new(),
            clock: NOW,
            drain,
        };
        // A choice, a second, and a drain for each: at the longest some twelve steps.
        let mut steps = 0;
        while fleet.replicas != wanted || fleet.pods.iter().any(|pod| pod.is_ending) {
            fleet.step(wanted, is_paced)?;
            if is_paced && wanted > 0 {
                prop_assert!(fleet.pods.iter().filter(|pod| pod.is_ending).count() <= 1, "one at a time");
            }
            steps += 1;
            prop_assert!(steps < 12 * 15, "{:?}", fleet.pods);
        }
        // Looked at once more, nobody who stays is marked.
        fleet.step(wanted, is_paced)?;
        prop_assert!(fleet.pods.iter().all(|pod| pod.chosen_at.is_none()));
    }
}
