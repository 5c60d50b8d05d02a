//! The chart: each of its renderings is taken by the API server, and what is installed works.

use crate::cluster::{helm, kubectl, kubectl_with, root};
use crate::namespace::Namespace;
use crate::operator::{self, NAMESPACE, RELEASE};

pub(crate) fn chart() -> String {
    root().join("charts/tickwire").display().to_string()
}

/// The chart's own sets of values.
pub(crate) fn values() -> Vec<String> {
    let folder = root().join("charts/tickwire/ci");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn each_rendering_is_linted_and_taken_by_the_api_server_in_a_dry_run() {
    operator::installed();
    let namespace = Namespace::new("chart");
    for file in values() {
        helm(&["lint", "--strict", &chart(), "--values", &file]);
        let rendered = helm(&[
            "template",
            "another",
            &chart(),
            "--namespace",
            &namespace.name,
            "--values",
            &file,
            "--api-versions",
            "monitoring.coreos.com/v1",
        ]);
        let said = kubectl_with(
            &rendered,
            &["apply", "--dry-run=server", "--server-side", "--force-conflicts", "--filename=-"],
        );
        assert!(said.ok, "{file}: {}", said.err);
        assert!(!said.err.contains("PodSecurity"), "{file}: {}", said.err);
    }
}

#[test]
fn a_value_that_is_misspelt_or_impossible_is_refused_with_its_name() {
    for (set, expected) in
        [("replicaCount=3", "replicaCount"), ("image.tagg=1", "tagg"), ("replicas=none", "replicas")]
    {
        let output = std::process::Command::new("helm")
            .args(["template", "x", &chart(), "--set", set])
            .output()
            .expect("helm");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && err.contains(expected), "{set}: {err}");
    }
}

#[test]
fn what_is_installed_tests_itself_and_runs_restricted() {
    operator::installed();
    helm(&["test", RELEASE, "--namespace", NAMESPACE, "--timeout=2m"]);
    let enforced = kubectl(&[
        "get",
        "namespace",
        NAMESPACE,
        "--output=jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}",
    ]);
    assert_eq!(enforced, "restricted");
    // Two of them, one of which leads.
    let pods = kubectl(&[
        "--namespace",
        NAMESPACE,
        "get",
        "pods",
        "--output=name",
        "--field-selector=status.phase=Running",
    ]);
    assert_eq!(pods.lines().filter(|pod| !pod.contains("test")).count(), 2, "{pods}");
    assert!(pods.contains(&operator::leader()));
}
