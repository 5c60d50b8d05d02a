//! The operator, installed by its chart.

use std::sync::Once;

use crate::cluster::{eventually, helm, kubectl, root};
use crate::processes;

/// The operator's own namespace.
pub(crate) const NAMESPACE: &str = "tickwire-system";
/// The release's name, and so the Deployment's.
pub(crate) const RELEASE: &str = "tickwire";

/// Sees to it that the operator is installed, and works.
pub(crate) fn installed() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
}

/// Installs it, or upgrades it to what the chart says now.
pub(crate) fn install() {
    install_with(&[]);
}

/// As `install`, with further arguments of helm, of which the last counts.
pub(crate) fn install_with(further: &[&str]) {
    let said = crate::cluster::kubectl_with("", &["create", "namespace", NAMESPACE]);
    assert!(said.ok || said.err.contains("already exists"), "{}", said.err);
    kubectl(&[
        "label",
        "namespace",
        NAMESPACE,
        "--overwrite",
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    let chart = root().join("charts/tickwire").display().to_string();
    // Other images by the same name are another installation.
    let images = std::env::var("TICKWIRE_IMAGES").unwrap_or_default();
    let images = format!("--set-string=podAnnotations.tickwire\\.dev/images=of-{images}");
    let registry =
        std::env::var("TICKWIRE_REGISTRY").map(|registry| format!("{registry}/")).unwrap_or_default();
    let image = format!(
        "--set=image.repository={registry}tickwire/operator,serverImage.repository={registry}tickwire/server"
    );
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        &chart,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout=3m",
        // A leader that is killed is succeeded sooner, and connections are counted more often: tests wait less.
        "--set=leaderElection.leaseDuration=6s",
        "--set=extraEnv[0].name=POLL_INTERVAL,extraEnv[0].value=2s",
        &images,
        &image,
    ];
    arguments.extend(further);
    helm(&arguments);
}

/// The name of the pod that leads.
pub(crate) fn leader() -> String {
    eventually("an operator leads", || {
        let holder = kubectl(&[
            "--namespace",
            NAMESPACE,
            "get",
            "lease",
            RELEASE,
            "--ignore-not-found",
            "--output=jsonpath={.spec.holderIdentity}",
        ]);
        (!holder.is_empty()).then_some(holder)
    })
}

/// Ends the process of the pod that leads by SIGKILL, from outside of its container. Answers the pod's name.
pub(crate) fn kill_leader() -> String {
    let pod = leader();
    let object = kubectl(&["--namespace", NAMESPACE, "get", "pod", &pod, "--output=json"]);
    processes::kill(&serde_json::from_str(&object).expect("JSON"), "tickwire-operat");
    pod
}
