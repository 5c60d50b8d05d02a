//! The seventh step: what has become of it, as conditions that a person can act on. What is said follows from what was applied and from what the
//! pods say; no client, and the time is given.

mod certificate;
mod pods;
mod rollout;
mod scaling;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tickwire_crd::{ConditionType, RebalanceStatus, ServiceType, StreamServer, StreamServerStatus, TlsMode};

use crate::apply::ApplyErrors;
use crate::build::{self, Applied, Resources, Surroundings};
use crate::custom_metrics::scaling::Scaling;
use crate::fleet::Fleet;
use crate::issue::{IssueError, Issued};
use crate::note::Note;
use crate::problem::Problem;
use crate::rebalance;
use crate::validate::Validated;

pub(crate) use rollout::Rollout;

/// How far the steps before have come.
pub enum Outcome<'a> {
    /// To the end; but where there are problems, pods are as they were.
    Applied(&'a Validated, &'a Issued, &'a Resources<Applied>),
    /// Something could not be signed.
    NotIssued(&'a IssueError),
    /// The API server has not taken everything of what was issued.
    NotApplied(&'a Issued, &'a ApplyErrors),
    /// Nothing is to be changed.
    Paused,
}

impl<'a> Outcome<'a> {
    /// What a person has to see to; `None` where it was not looked for, or not all that could be done was.
    fn problems(&self) -> Option<&'a [Problem]> {
        match self {
            Self::Applied(validated, _, _) => Some(&validated.problems),
            Self::NotIssued(_) | Self::NotApplied(..) | Self::Paused => None,
        }
    }

    /// Whether pods cannot be changed until somebody has seen to something.
    fn is_blocked(&self) -> bool {
        match self {
            Self::Applied(validated, _, _) => !validated.problems.is_empty(),
            Self::NotIssued(_) | Self::NotApplied(..) => true,
            Self::Paused => false,
        }
    }
}

/// What there is, as it was read before, for when nothing was applied.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The object.
    pub server: &'a StreamServer,
    /// Its identity.
    pub fleet: &'a Fleet,
    /// The Deployment as it was.
    pub deployment: Option<&'a Deployment>,
    /// The Service for clients as it was.
    pub service: Option<&'a Service>,
    /// The pods as they were.
    pub pods: &'a [Pod],
    /// The clients that are connected, where that is known.
    pub connections: Option<i64>,
    /// How evenly they are spread, where that matters.
    pub rebalance: Option<&'a RebalanceStatus>,
    /// What a change waits for, in words.
    pub waits: Option<&'a str>,
    /// Whether an autoscaler is served, where there is to be one.
    pub scaling: Option<&'a Scaling>,
}

/// What is said, and what a person would want to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The new status.
    pub status: StreamServerStatus,
    /// What has changed since the old one.
    pub notes: Vec<Note>,
}

/// Says what has become of it.
#[must_use]
pub fn status(
    situation: Situation<'_>,
    outcome: &Outcome<'_>,
    around: &Surroundings,
    now: Timestamp,
) -> Told {
    let (server, fleet) = (situation.server, situation.fleet);
    let (deployment, service) = match outcome {
        Outcome::Applied(_, _, resources) => (resources.deployment.as_ref(), Some(&resources.service)),
        _ => (situation.deployment, situation.service),
    };
    let spec = &server.spec;
    let old = server.status.clone().unwrap_or_default();
    let rollout = Rollout::of(deployment, spec.replicas);
    let verdicts = [
        rollout.ready(outcome),
        rollout.progressing(outcome, situation.waits),
        degraded(outcome, &rollout, situation.pods, certificate::expired(outcome, &old, now)),
        certificate::ready(outcome, &old, now),
    ];
    let conditions: Vec<_> = verdicts
        .into_iter()
        .chain(scaling::active(situation.scaling))
        .map(|verdict| verdict.condition(&old, server.metadata.generation, now))
        .collect();
    let issued = match outcome {
        Outcome::Applied(_, issued, _) | Outcome::NotApplied(issued, _) => Some(*issued),
        _ => None,
    };
    let complete = rollout.is_complete() && outcome.problems().is_some_and(<[Problem]>::is_empty);
    let status = StreamServerStatus {
        observed_generation: server.metadata.generation,
        replicas: rollout.replicas,
        ready_replicas: rollout.ready,
        updated_replicas: rollout.updated,
        selector: Some(fleet.selector_text()),
        active_connections: situation.connections,
        rebalance: situation.rebalance.cloned(),
        endpoint: service.and_then(|service| endpoint(fleet, service, spec.service.type_)),
        version: if complete {
            Some(build::version(spec, &around.server_image))
        } else {
            old.version.clone()
        },
        certificate_expiry: match issued {
            Some(issued) => issued.certificate_validity.map(|validity| whole_seconds(validity.not_after)),
            None => old.certificate_expiry.clone(),
        },
        credentials_secret: Some(fleet.credentials_secret_of(spec)),
        ca_config_map: (spec.tls.mode == TlsMode::SelfSigned).then(|| fleet.ca_config_map()),
        conditions,
    };
    let mut notes = issued.map(|issued| issued.notes.clone()).unwrap_or_default();
    notes.extend(transitions(&old, &status));
    notes.extend(status.rebalance.as_ref().and_then(|now| rebalance::note(old.rebalance.as_ref(), now)));
    Told { status, notes }
}

/// What one condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    type_: ConditionType,
    /// `None`: it is not known.
    holds: Option<bool>,
    reason: String,
    message: String,
}

/// The longest message of a condition (metav1.Condition).
const MAX_MESSAGE: usize = 32_768;

impl Verdict {
    fn new(type_: ConditionType, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { type_, holds: Some(holds), reason: reason.to_owned(), message: message.into() }
    }

    /// As the status has it. The time is that of the last change of what holds.
    fn condition(mut self, old: &StreamServerStatus, generation: Option<i64>, now: Timestamp) -> Condition {
        let status = match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = old.condition(self.type_).filter(|before| before.status == status);
        self.message.truncate(self.message.floor_char_boundary(MAX_MESSAGE));
        Condition {
            type_: self.type_.as_str().into(),
            status: status.into(),
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time: before
                .map_or_else(|| whole_seconds(now), |before| before.last_transition_time.clone()),
        }
    }
}

/// The API keeps whole seconds.
fn whole_seconds(moment: Timestamp) -> Time {
    Time(Timestamp::from_second(moment.as_second()).unwrap_or(moment))
}

/// What a person should look at: the first that is found, from the cause to the effect.
fn degraded(
    outcome: &Outcome<'_>,
    rollout: &Rollout,
    pods: &[Pod],
    certificate_expired: Option<Timestamp>,
) -> Verdict {
    let is = |reason: &str, message: String| Verdict::new(ConditionType::Degraded, true, reason, message);
    match outcome {
        Outcome::NotIssued(error) => return is("SigningFailed", chain(error)),
        Outcome::NotApplied(_, errors) => return is(errors.reason(), errors.to_string()),
        Outcome::Applied(..) | Outcome::Paused => {}
    }
    if let Some((first, others)) = outcome.problems().and_then(<[Problem]>::split_first) {
        let messages: Vec<_> = std::iter::once(first).chain(others).map(ToString::to_string).collect();
        return is(first.reason, messages.join("; "));
    }
    if let Some(message) = &rollout.refused {
        return is(
            "PodsRefused",
            format!(
                "the cluster does not let pods be made: {message}; make room, or ask for less in spec.resources or spec.replicas"
            ),
        );
    }
    if let Some(trouble) = pods::trouble(pods) {
        return is(trouble.reason, trouble.message);
    }
    if let Some(expiry) = certificate_expired {
        return is(
            "CertificateExpired",
            format!(
                "the servers' certificate ended {}; clients refuse it: put a new one in its place",
                crate::issue::shown(expiry)
            ),
        );
    }
    if rollout.is_stalled {
        return is(
            "RolloutStalled",
            "no progress for spec.rollout.progressDeadlineSeconds; look at the pods, which `kubectl describe` of the Deployment leads to".into(),
        );
    }
    Verdict::new(ConditionType::Degraded, false, "AsSpecified", "nothing is wrong")
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Where clients connect, where that is known.
fn endpoint(fleet: &Fleet, service: &Service, type_: ServiceType) -> Option<String> {
    let port = service.spec.as_ref()?.ports.as_ref()?.first()?.port;
    if type_ != ServiceType::LoadBalancer {
        return Some(format!("{}.{}.svc:{port}", fleet.name, fleet.namespace));
    }
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    let host = ingress.hostname.clone().or_else(|| ingress.ip.clone())?;
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// What a person would want to know of a change of conditions. A message that changes alone is no news.
fn transitions(old: &StreamServerStatus, new: &StreamServerStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    for type_ in [
        ConditionType::CertificateReady,
        ConditionType::Degraded,
        ConditionType::Progressing,
        ConditionType::ScalingActive,
        ConditionType::Ready,
    ] {
        let Some(condition) = new.condition(type_) else { continue };
        let before = old.condition(type_);
        if before
            .is_some_and(|before| (&before.status, &before.reason) == (&condition.status, &condition.reason))
        {
            continue;
        }
        let was = before.map(|before| before.status.as_str());
        let message = condition.message.clone();
        notes.extend(match (type_, condition.status.as_str(), was) {
            (ConditionType::Degraded, "True", _) => Some(Note::warning(condition.reason.clone(), message)),
            (ConditionType::Degraded, "False", Some("True")) => Some(Note::normal("Recovered", message)),
            // That it waits, and goes on again, is still the same rollout.
            (ConditionType::Progressing, "True", was) if was != Some("True") => {
                Some(Note::normal("RolloutStarted", message))
            }
            (ConditionType::Progressing, "False", Some("True")) if condition.reason == rollout::COMPLETE => {
                Some(Note::normal("RolloutComplete", message))
            }
            (ConditionType::Progressing, "False", _) if condition.reason == rollout::PAUSED => {
                Some(Note::normal("Paused", message))
            }
            (ConditionType::ScalingActive, "True", _) => {
                Some(Note::normal(condition.reason.clone(), message))
            }
            // That it is not served yet is no news before it ever was.
            (ConditionType::ScalingActive, "False", _)
                if before.is_some() || condition.reason == scaling::FOREIGN =>
            {
                Some(Note::warning(condition.reason.clone(), message))
            }
            (ConditionType::Ready, "True", _) => Some(Note::normal("Ready", message)),
            // Where more are asked for, nothing has been lost.
            (ConditionType::Ready, "False", Some("True")) if new.ready_replicas < old.ready_replicas => {
                Some(Note::warning("NotReady", message))
            }
            // Degraded says it already where it is a problem.
            _ => None,
        });
    }
    notes
}

#[cfg(test)]
mod tests;
