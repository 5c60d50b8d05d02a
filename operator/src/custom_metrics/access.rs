//! Whether somebody may read a metric, as the API server decides (SubjectAccessReview).

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::timeout;

use super::brief::Brief;
use super::front_proxy::User;
use super::refusal::Refusal;
use super::{GROUP, METRIC, VERSION, told};

/// For how long a decision counts.
const LIFETIME: Duration = Duration::from_secs(10);
/// How many decisions are remembered.
const MAX_DECISIONS: usize = 1024;
/// How long the API server may take to decide.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks.
    pub user: User,
    /// In which namespace.
    pub namespace: String,
    /// Of which pod; `*`: of several.
    pub pod: String,
}

/// Asks the API server who may read what.
pub struct Access {
    client: Client,
    /// Why not, where not.
    decisions: Brief<Request, Result<(), String>>,
}

impl Access {
    /// Remembers what was decided for a short while.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, decisions: Brief::new(LIFETIME, MAX_DECISIONS) }
    }

    /// Whether it is allowed.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] with what the API server says; [`Refusal::Unavailable`] where it has not decided.
    pub async fn check(&self, request: Request) -> Result<(), Refusal> {
        let decision = match self.decisions.get(&request) {
            Some(decision) => decision,
            None => {
                let decision = self.ask(&request).await?;
                self.decisions.put(request.clone(), decision.clone());
                decision
            }
        };
        decision.map_err(|reason| Refusal::Forbidden(forbidden(&request, &reason)))
    }

    async fn ask(&self, request: &Request) -> Result<Result<(), String>, Refusal> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let (review, params) = (review(request), PostParams::default());
        let answer = timeout(TIMEOUT, api.create(&params, &review)).await;
        let undecided = |why: String| {
            tracing::warn!(
                user = request.user.name,
                error = why,
                "cannot have it decided who may read metrics"
            );
            Refusal::Unavailable(format!("the API server has not decided whether this is allowed: {why}"))
        };
        let answer = answer
            .map_err(|_| undecided(format!("no answer within {TIMEOUT:?}")))?
            .map_err(|error| undecided(told(&error)))?;
        let status = answer.status.unwrap_or_default();
        if status.allowed && !status.denied.unwrap_or_default() {
            return Ok(Ok(()));
        }
        Ok(Err(status.reason.or(status.evaluation_error).unwrap_or_default()))
    }
}

fn review(request: &Request) -> SubjectAccessReview {
    let Request { user, namespace, pod } = request.clone();
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name),
            uid: user.uid,
            groups: Some(user.groups),
            extra: Some(user.extra),
            resource_attributes: Some(ResourceAttributes {
                verb: Some("get".into()),
                group: Some(GROUP.into()),
                version: Some(VERSION.into()),
                resource: Some("pods".into()),
                subresource: Some(METRIC.into()),
                namespace: Some(namespace),
                name: Some(pod),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// In the API server's own words.
fn forbidden(request: &Request, reason: &str) -> String {
    let Request { user, namespace, pod } = request;
    let colon = if reason.is_empty() { "" } else { ": " };
    format!(
        "pods.{GROUP} {pod:?} is forbidden: User {:?} cannot get resource \"pods/{METRIC}\" in API group {GROUP:?} in the namespace {namespace:?}{colon}{reason}",
        user.name
    )
}

#[cfg(test)]
mod tests;
