//! What is done with one StreamServer, whenever there may be something to do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, future, stream};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tickwire_crd::{
    ConditionType, RebalanceMode, RebalancePhase, RebalanceStatus, StreamServer, StreamServerStatus,
};

use crate::apply::{ApplyErrors, apply};
use crate::backoff::Backoff;
use crate::build::{Surroundings, build};
use crate::connections::{AT_ONCE, Connections};
use crate::course::Course;
use crate::custom_metrics::scaling::Served;
use crate::fleet::{Fleet, IncompleteObject, MANAGER};
use crate::issue::{IssueError, issue, until};
use crate::kinds::Kinds;
use crate::load::{Load, PodLoad};
use crate::metrics::Metrics;
use crate::note::Note;
use crate::observe::{ObserveError, Observed, observe};
use crate::rebalance::{self, Shed};
use crate::shed::shed;
use crate::status::{Outcome, Rollout, Situation, status};
use crate::validate::validate;

/// What every reconciliation needs.
pub struct Context {
    client: Client,
    kinds: Kinds,
    around: Surroundings,
    reporter: Reporter,
    connections: Arc<Connections>,
    poll_interval: Duration,
    metrics: Metrics,
    backoff: Backoff,
    served: Option<Arc<Served>>,
}

/// A reconciliation has not come to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The object is not one of the API server's.
    #[error("the object is not whole")]
    Incomplete(#[from] IncompleteObject),
    /// What there is could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// What has to be made up could not be.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The API server does not have what it should.
    #[error(transparent)]
    Apply(#[from] ApplyErrors),
    /// The API server, or a server, does not answer.
    #[error("it has not come to its end within {TIMEOUT:?}")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    /// The API server does not take the status.
    #[error("cannot write the status")]
    Status(#[source] kube::Error),
}

impl Context {
    /// For all reconciliations of one operator, while the cluster has these kinds.
    #[must_use]
    pub fn new(
        client: Client,
        kinds: Kinds,
        around: Surroundings,
        identity: String,
        connections: Arc<Connections>,
        poll_interval: Duration,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter { controller: MANAGER.into(), instance: Some(identity) };
        Self {
            client,
            kinds,
            around,
            reporter,
            connections,
            poll_interval,
            metrics,
            backoff: Backoff::default(),
            served: None,
        }
    }

    /// With somebody who knows whether autoscalers are served.
    #[must_use]
    pub fn with_served(self, served: Arc<Served>) -> Self {
        Self { served: Some(served), ..self }
    }

    /// Counts the StreamServers of which a condition holds, and forgets what is remembered of others.
    pub fn take_census(&self, servers: &[Arc<DeserializeGuard<StreamServer>>]) {
        let holding = |type_: ConditionType| {
            let conditions = |server: &Arc<DeserializeGuard<StreamServer>>| {
                let status = server.0.as_ref().ok().and_then(|server| server.status.as_ref());
                status.is_some_and(|status| status.has(type_))
            };
            i64::try_from(servers.iter().filter(|server| conditions(server)).count()).unwrap_or(i64::MAX)
        };
        self.metrics.set_stream_servers([
            holding(ConditionType::Ready),
            holding(ConditionType::Progressing),
            holding(ConditionType::Degraded),
        ]);
        let living: HashSet<_> = servers.iter().filter_map(|server| server.meta().uid.clone()).collect();
        self.backoff.retain(&living);
        self.connections.retain(&living);
        let name = |server: &Arc<DeserializeGuard<StreamServer>>| {
            (server.namespace().unwrap_or_default(), server.name_any())
        };
        self.metrics.retain(&servers.iter().map(name).collect());
    }

    /// Publishes events. One that cannot be published is no reason to fail.
    async fn publish(&self, server: &impl kube::Resource<DynamicType = ()>, notes: &[Note]) {
        for note in notes {
            // One of its own each time: a recorder that remembers would have the first message stand for all that come later by the same reason. Repeats
            // there are none, as notes are told of changes alone.
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            if let Err(error) = recorder.publish(&note.event(), &server.object_ref(&())).await {
                tracing::warn!(%error, reason = %note.reason, "cannot publish an event");
            }
        }
    }
}

/// Brings what there is to what is specified, as far as it can be, and says how far it has come. Says when to look again, even if nothing happens.
///
/// # Errors
///
/// Where it is worth trying again.
pub async fn reconcile(
    object: Arc<DeserializeGuard<StreamServer>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let _timer = context.metrics.reconciliation_seconds.start_timer();
    let server = match &object.0 {
        Ok(server) => server,
        Err(invalid) => {
            // Only where the definition that is installed is not this operator's. Nothing is changed until the object does.
            tracing::warn!(object = %object.name_any(), error = %invalid.error, "cannot read a StreamServer; it is left alone");
            let message = format!(
                "the operator cannot read it: {}; is the definition of another version installed?",
                invalid.error
            );
            context.publish(object.as_ref(), &[Note::warning("Unreadable", message)]).await;
            return Ok(Action::await_change());
        }
    };
    if server.metadata.deletion_timestamp.is_some() {
        // Whatever was made for it goes with it, by owner references.
        return Ok(Action::await_change());
    }
    let action = tokio::time::timeout(TIMEOUT, bring_about(&context, Fleet::of(server)?)).await??;
    context.metrics.reconciled(true);
    context.backoff.forget(object.meta());
    Ok(action)
}

/// How long a reconciliation may take: some thirty calls, each of which takes milliseconds. What is half done is completed the next time.
const TIMEOUT: Duration = Duration::from_secs(60);

async fn bring_about(context: &Context, fleet: Fleet) -> Result<Action, ReconcileError> {
    let now = Timestamp::now();

    // observe (client required)
    let Some(observed) = observe(&context.client, context.kinds, fleet).await? else {
        return Ok(Action::await_change());
    };
    if observed.server.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let told = Teller { context, observed: &observed, now };

    if observed.server.spec.paused {
        told.tell(&Outcome::Paused, None).await?;
        return Ok(Action::requeue(context.poll_interval));
    }

    // validate (no client)
    let (validated, authority) = validate(&observed);

    // issue (no client)
    let issued = match issue(&validated, authority, now) {
        Ok(issued) => issued,
        Err(error) => {
            told.tell(&Outcome::NotIssued(&error), None).await?;
            return Err(error.into());
        }
    };

    // course (no client of the API server)
    let (fleet, pods) = (&observed.fleet, &observed.pods);
    let load = if Course::needs_load(&observed) {
        context.connections.load(fleet, pods, true, now).await
    } else {
        context.connections.known_load(fleet, pods, now)
    };
    // The time anew: servers may have taken some to answer, and who is chosen has to be so for a while.
    let course = Course::of(&validated.spec, observed.deployment.as_ref(), &load, Timestamp::now());

    // build (no client)
    let resources = build(&validated, &issued, &course, &context.around);

    // apply (client required)
    let applied = match apply(&context.client, context.kinds, &validated, &course, resources).await {
        Ok(applied) => applied,
        Err(errors) => {
            // That somebody else was faster is nobody's concern, unless it stays so.
            if !errors.is_transient() || context.backoff.failures(&observed.server.metadata) >= FEW {
                told.tell(&Outcome::NotApplied(&issued, &errors), course.waits.as_deref()).await?;
            }
            return Err(errors.into());
        }
    };

    // status (client required)
    let rebalance =
        told.tell(&Outcome::Applied(&validated, &issued, &applied), course.waits.as_deref()).await?;
    let due = issued.look_again.map(|moment| until(moment, now).max(SOON));
    // One that is over and not followed by another waits for something else to come to its end.
    let round = rebalance.and_then(|rebalance| rebalance.next_round).filter(|moment| moment.0 > now);
    let round = round.map(|moment| until(moment.0, now).max(SOON));
    let due = [due, round, course.look_again].into_iter().flatten().min();
    Ok(Action::requeue(context.poll_interval.min(due.unwrap_or(Duration::MAX))))
}

/// So many failures in a row may pass by themselves.
const FEW: u32 = 3;

/// What is due at once is done at once, but not in a tight loop.
const SOON: Duration = Duration::from_secs(1);

/// The servers and their connections, where nothing is changing: all that are wanted serve as specified, and none drains.
fn steady<'a>(outcome: &Outcome<'_>, load: &'a Load, wanted: i32) -> Option<Vec<(&'a PodLoad, u64)>> {
    let Outcome::Applied(validated, _, applied) = outcome else { return None };
    let is_complete = Rollout::of(applied.deployment.as_ref(), wanted).is_complete();
    let is_steady = validated.problems.is_empty()
        && is_complete
        && load.living_count() == wanted
        && load.ending().next().is_none();
    if is_steady { load.serving() } else { None }
}

/// Says in the status, and by events, how far it has come.
struct Teller<'a> {
    context: &'a Context,
    observed: &'a Observed,
    now: Timestamp,
}

impl Teller<'_> {
    /// Answers what is remembered of how clients are spread.
    async fn tell(
        &self,
        outcome: &Outcome<'_>,
        waits: Option<&str>,
    ) -> Result<Option<RebalanceStatus>, ReconcileError> {
        let observed = self.observed;
        let (spec, fleet) = (&observed.server.spec, &observed.fleet);
        // After everything else, unless something waits for it: a server that does not answer holds nothing up.
        let is_urgent = spec.rebalance.mode != RebalanceMode::Never;
        let load = self.context.connections.load(fleet, &observed.pods, is_urgent, self.now).await;
        let connections = self.context.connections.of(fleet);
        let rebalance = self.rebalance(outcome, &load).await;
        let served = self.context.served.as_ref().filter(|_| observed.server.spec.autoscaling.is_some());
        let scaling = match served {
            Some(served) => Some(served.of(&observed.fleet, &observed.pods).await),
            None => None,
        };
        let situation = Situation {
            server: &observed.server,
            fleet: &observed.fleet,
            deployment: observed.deployment.as_ref(),
            service: observed.service.as_ref(),
            pods: &observed.pods,
            connections,
            rebalance: rebalance.as_ref(),
            waits,
            scaling: scaling.as_ref(),
        };
        let told = status(situation, outcome, &self.context.around, self.now);
        if observed.server.status.as_ref() != Some(&told.status) {
            self.write(&told.status).await.map_err(ReconcileError::Status)?;
        }
        for note in &told.notes {
            let (name, namespace) = (&observed.fleet.name, &observed.fleet.namespace);
            if note.warning {
                tracing::warn!(%namespace, %name, reason = %note.reason, "{}", note.message);
            } else {
                tracing::info!(%namespace, %name, reason = %note.reason, "{}", note.message);
            }
        }
        let name = (fleet.namespace.clone(), fleet.name.clone());
        self.context.metrics.set_fleet(name, told.status.replicas, connections, load.imbalance());
        // Afterwards: where the status cannot be written, the same would be news again the next time.
        self.context.publish(&observed.server, &told.notes).await;
        Ok(rebalance)
    }

    /// Has full servers send clients away, where that is due, and answers what is to be remembered of it. While anything else is changing, that stays as it was.
    async fn rebalance(&self, outcome: &Outcome<'_>, load: &Load) -> Option<RebalanceStatus> {
        let (spec, metrics) = (&self.observed.server.spec, &self.context.metrics);
        let before = self.observed.server.status.as_ref().and_then(|status| status.rebalance.clone());
        if spec.rebalance.mode == RebalanceMode::Never {
            return None;
        }
        let Some(servers) = steady(outcome, load, spec.replicas) else { return before };
        let counts: Vec<_> = servers.iter().map(|(_, count)| *count).collect();
        let decision = rebalance::decide(&spec.rebalance, before.as_ref(), &counts, self.now)?;
        let has_begun = decision.status.phase == RebalancePhase::Rebalancing
            && before.is_none_or(|before| before.phase != RebalancePhase::Rebalancing);
        let asked = stream::iter(decision.round.clone()).map(|part| self.ask_to_shed(&servers, part));
        let taken: Vec<_> = asked.buffer_unordered(AT_ONCE).filter_map(future::ready).collect().await;
        metrics.shed_connections.inc_by(taken.iter().map(|part| part.connections).sum());
        if has_begun {
            metrics.rebalances.inc();
        }
        Some(rebalance::after(decision, &taken, Timestamp::now()))
    }

    /// Asks one of the servers for its part, and answers that where it takes it up.
    async fn ask_to_shed(&self, servers: &[(&PodLoad, u64)], part: Shed) -> Option<Shed> {
        let Shed { server, connections, per_second } = part;
        let (pod, _) = servers.get(server)?;
        let address = pod.address.as_ref()?;
        match shed(self.context.connections.http(), address, connections, per_second).await {
            Ok(()) => {
                tracing::info!(pod = pod.name, connections, per_second, "sheds clients");
                Some(part)
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(pod = pod.name, error, "does not shed clients; it is asked again");
                None
            }
        }
    }

    async fn write(&self, status: &StreamServerStatus) -> kube::Result<()> {
        let fleet = &self.observed.fleet;
        let api: Api<StreamServer> = Api::namespaced(self.context.client.clone(), &fleet.namespace);
        let patch = json!({
            "apiVersion": StreamServer::api_version(&()),
            "kind": StreamServer::kind(&()),
            // With the UID: the status is not for another of the same name.
            "metadata": { "name": fleet.name, "uid": fleet.uid },
            "status": status,
        });
        match api.patch_status(&fleet.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await
        {
            Ok(_) => Ok(()),
            // Deleted meanwhile.
            Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Says when to try again: later each time.
#[must_use]
pub fn try_again(
    object: Arc<DeserializeGuard<StreamServer>>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action {
    let wait = context.backoff.next(object.meta());
    context.metrics.reconciled(false);
    let error: &dyn std::error::Error = error;
    let causes: Vec<_> =
        std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string).collect();
    tracing::warn!(
        namespace = object.namespace(),
        name = object.name_any(),
        error = %error,
        causes = ?causes,
        again_in = ?wait,
        "a reconciliation has failed"
    );
    Action::requeue(wait)
}
