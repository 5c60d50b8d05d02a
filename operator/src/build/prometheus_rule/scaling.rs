//! Alerts about how many servers there are, and how evenly clients are spread over them.

use tickwire_crd::Autoscaling;

use super::Subject;
use super::alert::Severity::Warning;
use super::alert::{Alert, minutes};

pub(super) fn alerts(subject: &Subject<'_>) -> Vec<Alert> {
    let staying = subject.staying();
    let imbalance = Alert {
        name: "TickwireImbalance",
        severity: Warning,
        wait: minutes(30),
        expression: format!("max({staying}) / avg({staying}) > {UNEVEN} and avg({staying}) > {FEW}"),
        summary: "Clients are spread unevenly over the servers",
        description: "The fullest server has {{ $value | humanize }} times as many connections as the mean.",
    };
    // By 0 replicas, set by hand, it is switched off.
    let autoscaling = subject.spec.autoscaling.as_ref().filter(|_| subject.spec.replicas > 0);
    let autoscaling = autoscaling.map(|autoscaling| scaled(subject, autoscaling)).unwrap_or_default();
    std::iter::once(imbalance).chain(autoscaling).collect()
}

fn scaled(subject: &Subject<'_>, autoscaling: &Autoscaling) -> Vec<Alert> {
    let (fleet, staying) = (subject.fleet, subject.staying());
    let Autoscaling { max_replicas, target_active_connections, .. } = autoscaling;
    let over = format!("avg({staying}) > {} ", f64::from(*target_active_connections) * OVER);
    vec![
        Alert {
            name: "TickwireScalingInactive",
            severity: Warning,
            wait: minutes(10),
            expression: format!(
                "max by (horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_condition{{namespace=\"{}\",horizontalpodautoscaler=\"{}\",condition=\"ScalingActive\",status=\"false\"}}) == 1",
                fleet.namespace, fleet.name
            ),
            summary: "The number of servers does not follow the connections",
            description: "The HorizontalPodAutoscaler {{ $labels.horizontalpodautoscaler }} gets no metric, and leaves the number of servers as it is.",
        },
        Alert {
            name: "TickwireNotScaledUp",
            severity: Warning,
            wait: minutes(15),
            expression: format!("{over}and count({staying}) < {max_replicas}"),
            summary: "There are too many connections per server, and no server is added",
            description: "The servers have {{ $value | humanize }} connections each, which is well over what is aimed at, and there could be more servers.",
        },
        Alert {
            name: "TickwireAtMaximum",
            severity: Warning,
            wait: minutes(15),
            expression: format!("{over}and count({staying}) >= {max_replicas}"),
            summary: "There are as many servers as there may be, and too many connections for them",
            description: "The servers have {{ $value | humanize }} connections each, which is well over what is aimed at, and maxReplicas allows no more servers.",
        },
    ]
}

/// The fullest over the mean. Where nobody is sent elsewhere, the first servers after an upgrade come to about a third more.
const UNEVEN: f64 = 1.5;

/// Connections per server below which the spread is chance.
const FEW: u32 = 100;

/// Over the target: beyond the tolerance of a HorizontalPodAutoscaler, which is 10 %.
const OVER: f64 = 1.2;
