//! The operator goes, comes back, takes turns, and learns kinds: fleets do not notice.

use crate::chart::{chart, values};
use crate::cluster::{eventually, helm, kubectl, kubectl_with, xtask_cluster};
use crate::namespace::Namespace;
use crate::operator::{self, NAMESPACE, RELEASE};
use crate::stream_server::StreamServer;

#[test]
fn the_definition_and_the_fleets_outlive_the_chart_and_are_adopted_by_the_next() {
    operator::installed();
    let namespace = Namespace::new("reinstall");
    let server = StreamServer::apply(&namespace, "ticks", "replicas: 1\ndrain: { delay: 0s, window: 1s }")
        .until_ready()
        .until_complete();
    let (pods, uid) = (server.pods(), server.get()["metadata"]["uid"].clone());

    helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout=2m"]);
    eventually("nothing of the chart is left", || {
        let left = kubectl(&[
            "--namespace",
            NAMESPACE,
            "get",
            "deployments,pods,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets",
            "--output=name",
        ]);
        (left.trim() == "serviceaccount/default").then_some(())
    });
    let roles = kubectl(&[
        "get",
        "clusterroles,clusterrolebindings",
        "--output=name",
        "--selector=app.kubernetes.io/instance=tickwire",
    ]);
    assert_eq!(roles, "", "nor of what is the cluster's");
    assert_eq!(server.get()["metadata"]["uid"], uid, "the definition was kept, and with it the object");
    assert_eq!(server.pods(), pods, "and its servers");

    // What is asked for meanwhile is done by the next.
    server.patch(r#"{"replicas":2}"#);
    operator::install();
    server.until_complete();
    let now = server.pods();
    assert_eq!(now.len(), 2);
    assert!(pods.iter().all(|pod| now.contains(pod)), "what ran was adopted, not replaced");
}

#[test]
fn operators_take_turns_and_one_that_is_told_to_go_gives_the_lease_up() {
    operator::installed();
    let first = operator::leader();
    // Longer than anybody here waits: who leads next has been given the lease, and has not taken it when its time was over.
    operator::install_with(&["--set=leaderElection.leaseDuration=10m"]);
    let first = eventually("one of the new pods leads", || {
        let now = operator::leader();
        (now != first).then_some(now)
    });
    kubectl(&["--namespace", NAMESPACE, "delete", "pod", &first, "--wait=false"]);
    let second = eventually("another leads", || {
        let now = operator::leader();
        (now != first).then_some(now)
    });
    // And it works.
    let namespace = Namespace::new("leaders");
    StreamServer::apply(&namespace, "ticks", "replicas: 0").condition("Ready", "True", "ScaledToZero");
    assert_ne!(first, second);
    let log = kubectl(&["--namespace", NAMESPACE, "logs", &second]);
    assert!(
        log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "it logs JSON: {log}"
    );
    operator::install();
}

/// A cluster without the kinds of others, which then learns them, and forgets them again.
#[test]
fn kinds_of_others_that_come_and_go_are_used_and_missed_without_harm() {
    operator::installed();
    let files = xtask_cluster(&["foreign-crds"]);
    let files: Vec<_> = files.lines().flat_map(|file| ["--filename", file]).collect();
    let delete: Vec<_> =
        ["delete", "--ignore-not-found", "--wait"].into_iter().chain(files.iter().copied()).collect();
    kubectl(&delete);
    let namespace = Namespace::new("kinds");
    let server = StreamServer::apply(&namespace, "ticks", "replicas: 1\ndrain: { delay: 0s, window: 1s }")
        .until_ready();
    let asked = StreamServer::apply(
        &namespace,
        "asked",
        "replicas: 1\ntls: { mode: CertManager, certManager: { issuerRef: { name: a } } }",
    );
    asked.condition("CertificateReady", "False", "CertManagerNotInstalled");
    for file in values().iter().filter(|file| !file.contains("everything")) {
        let rendered =
            helm(&["template", "another", &chart(), "--namespace", &namespace.name, "--values", file]);
        let said = kubectl_with(
            &rendered,
            &["apply", "--dry-run=server", "--server-side", "--force-conflicts", "--filename=-"],
        );
        assert!(said.ok, "the chart needs none of them: {file}: {}", said.err);
    }

    let apply: Vec<_> = ["apply", "--server-side"].into_iter().chain(files.iter().copied()).collect();
    kubectl(&apply);
    eventually("a ServiceMonitor is made for what was there before", || {
        let said = kubectl_with(
            "",
            &["--namespace", &namespace.name, "get", "servicemonitor,prometheusrule", "--output=name"],
        );
        (said.ok && said.out.lines().count() == 4).then_some(())
    });
    asked.condition("CertificateReady", "False", "Pending");
    server.condition("Degraded", "False", "AsSpecified");
}
