use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

fn settings(mode: RebalanceMode) -> Rebalance {
    Rebalance { mode, ..Rebalance::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// When these tests take place.
const NOW: i64 = 1000;

fn balanced(servers: i32) -> RebalanceStatus {
    RebalanceStatus {
        phase: RebalancePhase::Balanced,
        servers,
        fullest: 0,
        mean: 0,
        shed: 7,
        next_round: None,
    }
}

fn at_it(servers: i32, shed: i64, next_round: i64) -> RebalanceStatus {
    RebalanceStatus {
        phase: RebalancePhase::Rebalancing,
        shed,
        next_round: Some(Time(at(next_round))),
        ..balanced(servers)
    }
}

fn decided(mode: RebalanceMode, before: Option<&RebalanceStatus>, servers: &[u64]) -> Decision {
    decide(&settings(mode), before, servers, at(NOW)).unwrap()
}

#[test]
fn in_mode_never_nothing_is_moved_and_nothing_remembered() {
    assert_eq!(decide(&settings(RebalanceMode::Never), Some(&at_it(2, 0, 0)), &[100, 0], at(NOW)), None);
    assert_eq!(decide(&settings(RebalanceMode::Always), None, &[], at(NOW)), None);
}

#[test]
fn within_the_tolerance_or_among_a_few_clients_nobody_is_moved() {
    for servers in [&[115, 85][..], &[100], &[0, 0], &[19, 0], &[3, 0, 0]] {
        let decision = decided(RebalanceMode::Always, None, servers);
        assert_eq!(
            (decision.status.phase, decision.round.len()),
            (RebalancePhase::Balanced, 0),
            "{servers:?}"
        );
    }
    for servers in [&[116, 84][..], &[20, 0]] {
        let decision = decided(RebalanceMode::Always, None, servers);
        assert_eq!(decision.status.phase, RebalancePhase::Rebalancing, "{servers:?}");
    }
}

#[test]
fn those_above_the_mean_shed_their_surplus_at_a_pace_that_all_share() {
    let decision = decided(RebalanceMode::Always, None, &[1000, 0, 700, 0]);
    assert_eq!((decision.status.fullest, decision.status.mean), (1000, 425));
    assert_eq!(
        decision.round,
        [
            Shed { server: 0, connections: 575, per_second: 67 },
            Shed { server: 2, connections: 275, per_second: 33 },
        ]
    );
    let status = after(decision.clone(), &decision.round, at(NOW));
    assert_eq!(status.shed, 850);
    // Nine seconds, a moment of five, and the second that has begun.
    assert_eq!(status.next_round, Some(Time(at(NOW + 9 + 5 + 1))));
}

#[test]
fn the_pace_is_kept_whoever_sheds_and_each_gets_some_of_it() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..1000 {
        let servers: Vec<_> = (0..random.random_range(1..20)).map(|_| random.random_range(0..5000)).collect();
        let pace = random.random_range(1..30);
        let round = round(&Spread::of(&servers), &servers, pace);
        assert!(
            round.iter().map(|shed| shed.per_second).sum::<u64>() <= pace,
            "{servers:?} at {pace}: {round:?}"
        );
        assert!(round.iter().all(|shed| shed.per_second > 0 && shed.connections > 0));
        assert!(round.iter().all(|shed| shed.connections <= shed.per_second * LONGEST_ROUND.as_secs()));
    }
}

#[test]
fn a_round_that_is_under_way_is_waited_for_and_the_next_begins_when_it_is_over() {
    let before = at_it(2, 300, NOW + 1);
    let waits = decided(RebalanceMode::Always, Some(&before), &[1000, 0]);
    assert_eq!((waits.round.len(), waits.status.next_round.as_ref()), (0, before.next_round.as_ref()));
    let next = decided(RebalanceMode::Always, Some(&at_it(2, 300, NOW)), &[1000, 0]);
    assert_eq!((next.round.len(), next.status.shed), (1, 300));
    // Within the tolerance before the round is over: it is as good as over.
    let done = decided(RebalanceMode::Always, Some(&before), &[500, 500]);
    assert_eq!((done.status.phase, done.status.shed), (RebalancePhase::Balanced, 300));
}

#[test]
fn a_round_that_no_server_takes_up_counts_for_nothing_and_is_tried_again() {
    let decision = decided(RebalanceMode::Always, Some(&at_it(2, 300, NOW)), &[1000, 0]);
    let status = after(decision, &[], at(NOW));
    assert_eq!((status.shed, status.next_round), (300, Some(Time(at(NOW + 30 + 1)))));
}

#[test]
fn on_scale_up_it_begins_with_more_servers_than_before_and_goes_on_until_it_is_done() {
    let mode = RebalanceMode::ScaleUp;
    let uneven = [1000, 1000, 0, 0];
    // Of a fleet that nothing is known of nobody has been added; nor where some were lost.
    for before in [None, Some(balanced(4)), Some(balanced(5))] {
        let decision = decided(mode, before.as_ref(), &uneven);
        assert_eq!((decision.status.phase, decision.status.servers), (RebalancePhase::Balanced, 4));
    }
    let begun = decided(mode, Some(&balanced(2)), &uneven);
    assert_eq!(
        (begun.status.phase, begun.round.len(), begun.status.shed),
        (RebalancePhase::Rebalancing, 2, 0)
    );
    // Also by an operator that knows of it from the status alone.
    let on = decided(mode, Some(&at_it(4, 1000, NOW)), &[750, 750, 250, 250]);
    assert_eq!((on.round.len(), on.status.shed), (2, 1000));
    let done = decided(mode, Some(&at_it(4, 1500, NOW)), &[520, 510, 490, 480]);
    assert_eq!(done.status.phase, RebalancePhase::Balanced);
    // What becomes uneven later has nothing to do with it.
    let later = decided(mode, Some(&done.status), &uneven);
    assert_eq!(later.status.phase, RebalancePhase::Balanced);
}

#[test]
fn clients_that_keep_coming_back_are_left_alone_until_the_number_of_servers_changes() {
    let mut status = None;
    let mut rounds = 0;
    let mut clock = NOW;
    loop {
        let decision =
            decide(&settings(RebalanceMode::Always), status.as_ref(), &[1000, 0], at(clock)).unwrap();
        if decision.status.phase == RebalancePhase::Stalled {
            status = Some(decision.status);
            break;
        }
        assert_eq!(decision.round.len(), 1);
        let taken = decision.round.clone();
        status = Some(after(decision, &taken, at(clock)));
        clock = status.as_ref().unwrap().next_round.as_ref().unwrap().0.as_second();
        rounds += 1;
    }
    // 500 in each, until it is more than 2,000.
    assert_eq!(rounds, 5);
    let stalled = status.unwrap();
    assert!(decided(RebalanceMode::Always, Some(&stalled), &[1000, 0]).round.is_empty());
    assert_eq!(decided(RebalanceMode::Always, Some(&stalled), &[1000, 0, 0]).round.len(), 1);
    assert_eq!(
        decided(RebalanceMode::Always, Some(&stalled), &[500, 500]).status.phase,
        RebalancePhase::Balanced
    );
}

/// Clients that leave come to any server, also to the one that they have left.
#[test]
fn clients_at_random_come_within_the_tolerance_and_then_stay() {
    for (seed, before, after_scale_up, clients, tolerance) in [
        (1, 2, 4, 2_000, 15),
        (2, 1, 2, 500, 15),
        (3, 3, 12, 12_000, 15),
        (4, 9, 10, 10_000, 5),
        (5, 2, 3, 300, 10),
    ] {
        let mut random = StdRng::seed_from_u64(seed);
        let settings = Rebalance { tolerance_percent: tolerance, ..settings(RebalanceMode::ScaleUp) };
        let mut servers = vec![0_u64; after_scale_up];
        for _ in 0..clients {
            servers[random.random_range(0..before)] += 1;
        }
        let mut status = Some(balanced(i32::try_from(before).unwrap()));
        let (mut clock, mut rounds) = (NOW, 0);
        loop {
            let decision = decide(&settings, status.as_ref(), &servers, at(clock)).unwrap();
            for shed in &decision.round {
                servers[shed.server] -= shed.connections;
                for _ in 0..shed.connections {
                    servers[random.random_range(0..after_scale_up)] += 1;
                }
            }
            let taken = decision.round.clone();
            let next = after(decision, &taken, at(clock));
            let is_done = next.phase != RebalancePhase::Rebalancing;
            clock = next.next_round.as_ref().map_or(clock, |moment| moment.0.as_second());
            status = Some(next);
            if is_done {
                break;
            }
            rounds += 1;
            assert!(rounds < 50, "{servers:?}");
        }
        let status = status.unwrap();
        assert_eq!(status.phase, RebalancePhase::Balanced, "{servers:?}");
        assert!(!Spread::of(&servers).is_over(&settings), "{servers:?}");
        assert_eq!(servers.iter().sum::<u64>(), u64::try_from(clients).unwrap());
        let again = decide(&settings, Some(&status), &servers, at(clock)).unwrap();
        assert!(again.round.is_empty());
    }
}

#[test]
fn a_beginning_and_an_end_are_told_with_figures_and_nothing_between() {
    let begun = RebalanceStatus { fullest: 1000, mean: 500, ..at_it(4, 1000, NOW) };
    let done = RebalanceStatus { fullest: 520, mean: 500, shed: 1500, ..balanced(4) };
    let stalled = RebalanceStatus { phase: RebalancePhase::Stalled, ..begun.clone() };
    let told =
        |before: Option<&RebalanceStatus>, now| note(before, now).map(|note| (note.reason, note.message));
    let (reason, message) = told(Some(&balanced(2)), &begun).unwrap();
    assert_eq!(reason, "RebalanceStarted");
    assert!(
        message.contains("of 4 servers the fullest has 1000 clients, and a server 500 on average"),
        "{message}"
    );
    let (reason, message) = told(Some(&begun), &done).unwrap();
    assert_eq!(reason, "Rebalanced");
    assert!(message.contains("520") && message.contains("1500 clients were sent away"), "{message}");
    assert_eq!(told(Some(&begun), &stalled).unwrap().0, "RebalanceStalled");
    assert!(note(Some(&begun), &stalled).unwrap().warning);
    for (before, now) in [(None, &done), (Some(&begun), &begun), (Some(&stalled), &done)] {
        assert_eq!(told(before, now), None);
    }
}
