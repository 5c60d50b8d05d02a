//! One alert, as Prometheus' rule files have it.

use serde_json::{Value, json};
use tickwire_crd::Duration;

use crate::fleet::Fleet;

/// How soon somebody has to come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Severity {
    /// At once: clients miss something, or soon will.
    Critical,
    /// Within the day.
    Warning,
}

impl Severity {
    fn label(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// One alert.
#[derive(Debug)]
pub(super) struct Alert {
    /// Also the heading of its section in docs/OPERATIONS.md.
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    /// For how long it has to be so.
    pub(super) wait: Duration,
    pub(super) expression: String,
    /// In half a sentence, without numbers: what a pager shows.
    pub(super) summary: &'static str,
    /// In whole sentences, with Prometheus' templates for values and labels.
    pub(super) description: &'static str,
}

impl Alert {
    pub(super) fn rule(&self, fleet: &Fleet) -> Value {
        let Self { name, severity, wait, expression, summary, description } = self;
        json!({
            "alert": name,
            "expr": expression,
            "for": wait.to_string(),
            // By these an Alertmanager finds who is to know; sums have no labels of their own.
            "labels": { "severity": severity.label(), "namespace": fleet.namespace, "streamserver": fleet.name },
            "annotations": {
                "summary": format!("{summary} (StreamServer {}/{})", fleet.namespace, fleet.name),
                "description": description,
                "runbook": format!("docs/OPERATIONS.md#{}", name.to_lowercase()),
            },
        })
    }
}

/// So many minutes.
pub(super) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}
