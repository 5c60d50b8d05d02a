//! Whether the number of servers can follow the number of connections.

use tickwire_crd::ConditionType;

use super::Verdict;
use crate::custom_metrics::scaling::Scaling;

/// The reason where somebody else has the API, and does not answer.
pub(super) const FOREIGN: &str = "ForeignMetricsApi";

/// Where that is asked for: `None` without an autoscaler.
pub(super) fn active(scaling: Option<&Scaling>) -> Option<Verdict> {
    let verdict =
        |holds, reason, message: String| Verdict::new(ConditionType::ScalingActive, holds, reason, message);
    Some(match scaling? {
        Scaling::Served => verdict(
            true,
            "MetricsServed",
            "the operator tells the autoscaler how many clients each server has".into(),
        ),
        Scaling::ServedByOthers(by) => verdict(
            true,
            "ForeignMetrics",
            format!("{by} tells the autoscaler how many clients each server has"),
        ),
        Scaling::Unanswered { by, why } => verdict(
            false,
            FOREIGN,
            format!(
                "custom.metrics.k8s.io is served by {by}, which does not tell active_connections of the pods: {why}; add a rule for it there, as \
                 docs/OPERATIONS.md (Autoscaling beside another metrics API) shows, or remove that APIService to have the operator serve it"
            ),
        ),
        Scaling::Unavailable(why) => verdict(
            false,
            "MetricsUnavailable",
            format!(
                "nobody tells the autoscaler how many clients each server has: {why}; the number of servers stays what it is"
            ),
        ),
    })
}
