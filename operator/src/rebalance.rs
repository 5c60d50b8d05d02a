//! Who sheds clients, so that servers that have come later get their share.
//!
//! Clients that are sent away come back through the Service to any server, also to the one that they left. So it takes several rounds: in each the servers
//! above the mean send their surplus away, and then it is counted again. What is remembered stands in the status, so that an operator that comes back goes
//! on where the other was; a round that both ask for is one, as a server forgets what it was asked before.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tickwire_crd::{Rebalance, RebalanceMode, RebalancePhase, RebalanceStatus};

use crate::note::Note;

/// The fullest server must have so many more than the mean: a few clients are as uneven as chance has it, and not worth the move.
const LEAST_SURPLUS: u64 = 10;

/// How long a round takes at the longest: what was asked of servers goes on while a rollout begins, and while the numbers grow old.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

/// What clients have for leaving, and for being counted where they go, after the last was told to.
const MOMENT: Duration = Duration::from_secs(5);

/// As soon a round is tried again that no server has taken up.
const RETRY: Duration = Duration::from_secs(30);

/// If so many times as many clients were sent away as there are, they do not go where they should. Moved to servers at random, all of them together have to
/// move once at most.
const GIVE_UP: u64 = 2;

/// One server's part in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shed {
    /// Where it stands among the servers that were given.
    pub server: usize,
    /// So many clients are to leave.
    pub connections: u64,
    /// So many in a second; at least 1.
    pub per_second: u64,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is remembered.
    pub status: RebalanceStatus,
    /// Who is asked to send clients away.
    pub round: Vec<Shed>,
}

/// Decides of a fleet in which nothing else is changing: all servers that are wanted serve, none drains, and these are their connections. `before` is what was
/// remembered. `None`: clients are not moved here, or there is nobody to move them to.
#[must_use]
pub fn decide(
    settings: &Rebalance,
    before: Option<&RebalanceStatus>,
    servers: &[u64],
    now: Timestamp,
) -> Option<Decision> {
    if settings.mode == RebalanceMode::Never || servers.is_empty() {
        return None;
    }
    let spread = Spread::of(servers);
    let count = i32::try_from(servers.len()).unwrap_or(i32::MAX);
    let is_at_it = before.is_some_and(|before| before.phase == RebalancePhase::Rebalancing);
    let has_grown = before.is_some_and(|before| before.servers < count);
    let has_stalled =
        before.is_some_and(|before| before.phase == RebalancePhase::Stalled && before.servers == count);
    let may_begin = match settings.mode {
        RebalanceMode::Never => false,
        RebalanceMode::ScaleUp => has_grown,
        RebalanceMode::Always => true,
    };
    let status = |phase, shed| RebalanceStatus {
        phase,
        servers: count,
        fullest: signed(spread.fullest),
        mean: signed(spread.mean()),
        shed,
        next_round: None,
    };
    let shed_before = before.map_or(0, |before| before.shed);
    let rests = |phase, shed| Some(Decision { status: status(phase, shed), round: Vec::new() });

    if !spread.is_over(settings) {
        return rests(RebalancePhase::Balanced, shed_before);
    }
    if has_stalled {
        return rests(RebalancePhase::Stalled, shed_before);
    }
    if !is_at_it && !may_begin {
        return rests(RebalancePhase::Balanced, shed_before);
    }
    let shed = if is_at_it { shed_before } else { 0 };
    let next_round =
        before.and_then(|before| before.next_round.clone()).filter(|moment| is_at_it && moment.0 > now);
    if next_round.is_some() {
        return Some(Decision {
            status: RebalanceStatus { next_round, ..status(RebalancePhase::Rebalancing, shed) },
            round: Vec::new(),
        });
    }
    if u64::try_from(shed).unwrap_or_default() > spread.sum.saturating_mul(GIVE_UP) {
        return rests(RebalancePhase::Stalled, shed);
    }
    let pace = u64::from(settings.connections_per_second.unsigned_abs().max(1));
    Some(Decision { status: status(RebalancePhase::Rebalancing, shed), round: round(&spread, servers, pace) })
}

/// What becomes of it when these have taken their part up.
#[must_use]
pub fn after(decision: Decision, taken: &[Shed], now: Timestamp) -> RebalanceStatus {
    let mut status = decision.status;
    if decision.round.is_empty() {
        return status;
    }
    let longest = taken.iter().map(|shed| shed.connections.div_ceil(shed.per_second)).max();
    let wait = longest.map_or(RETRY, |seconds| Duration::from_secs(seconds) + MOMENT);
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    status.shed = status.shed.saturating_add(signed(taken.iter().map(|shed| shed.connections).sum()));
    // The API keeps whole seconds: the second after.
    let moment = now.as_second().saturating_add(wait.as_secs()).saturating_add(1);
    status.next_round = Some(Time(Timestamp::from_second(moment).unwrap_or(Timestamp::MAX)));
    status
}

/// What a person would want to know of a change.
#[must_use]
pub fn note(before: Option<&RebalanceStatus>, now: &RebalanceStatus) -> Option<Note> {
    let phase = before.map_or(RebalancePhase::Balanced, |before| before.phase);
    if phase == now.phase {
        return None;
    }
    let RebalanceStatus { servers, fullest, mean, shed, .. } = now;
    let figures =
        format!("of {servers} servers the fullest has {fullest} clients, and a server {mean} on average");
    match now.phase {
        RebalancePhase::Rebalancing => {
            Some(Note::normal("RebalanceStarted", format!("{figures}: the fullest send their surplus away")))
        }
        RebalancePhase::Stalled => Some(Note::warning(
            "RebalanceStalled",
            format!(
                "{figures}, although {shed} clients were sent away: they come back to where they were; look whether the Service, or a load \
                 balancer before it, binds clients to servers"
            ),
        )),
        RebalancePhase::Balanced if phase == RebalancePhase::Rebalancing => {
            Some(Note::normal("Rebalanced", format!("{figures}; {shed} clients were sent away")))
        }
        RebalancePhase::Balanced => None,
    }
}

/// How clients are spread.
struct Spread {
    count: u64,
    sum: u64,
    fullest: u64,
}

impl Spread {
    fn of(servers: &[u64]) -> Self {
        Self {
            count: u64::try_from(servers.len()).unwrap_or(u64::MAX),
            sum: servers.iter().sum(),
            fullest: servers.iter().copied().max().unwrap_or_default(),
        }
    }

    /// Rounded up: so many there is room for on each server.
    fn mean(&self) -> u64 {
        self.sum.div_ceil(self.count.max(1))
    }

    /// Whether the fullest has more than is tolerated.
    fn is_over(&self, settings: &Rebalance) -> bool {
        let tolerated = u64::from(settings.tolerance_percent.unsigned_abs()).saturating_add(100);
        let is_above =
            self.fullest.saturating_mul(self.count).saturating_mul(100) > self.sum.saturating_mul(tolerated);
        is_above && self.fullest.saturating_sub(self.mean()) >= LEAST_SURPLUS
    }
}

/// Who sends how many away, and how fast: all together at most `pace` in a second, shared by their surplus, so that all are done at about the same time. Where
/// there are more servers than that, the fullest begin.
fn round(spread: &Spread, servers: &[u64], pace: u64) -> Vec<Shed> {
    let mut surplus: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(server, connections)| (server, connections.saturating_sub(spread.mean())))
        .filter(|(_, surplus)| *surplus > 0)
        .collect();
    surplus.sort_by_key(|(server, surplus)| (std::cmp::Reverse(*surplus), *server));
    surplus.truncate(usize::try_from(pace).unwrap_or(usize::MAX));
    let (mut rest, mut left) = (pace, surplus.iter().map(|(_, surplus)| surplus).sum::<u64>());
    let mut others = u64::try_from(surplus.len()).unwrap_or(u64::MAX);
    let mut round = Vec::new();
    for (server, surplus) in surplus {
        others -= 1;
        // Its share of what is not shared out yet; and one remains for each of the others.
        let share = rest.saturating_mul(surplus) / left.max(1);
        let per_second = share.clamp(1, rest.saturating_sub(others).max(1));
        rest -= per_second;
        left -= surplus;
        let connections = surplus.min(per_second.saturating_mul(LONGEST_ROUND.as_secs()));
        round.push(Shed { server, connections, per_second });
    }
    round
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
