//! What a person does with kubectl works as it does for the kinds that are built in.

use serde_json::Value;

use crate::cluster::{eventually, kubectl};
use crate::namespace::Namespace;
use crate::operator;
use crate::samples::CHILDREN;
use crate::stream_server::StreamServer;

#[test]
fn get_describe_scale_wait_and_delete_behave_as_for_built_in_kinds() {
    operator::installed();
    let namespace = Namespace::new("kubectl");
    let server = StreamServer::apply(&namespace, "ticks", "drain: { delay: 0s, window: 1s }")
        .until_ready()
        .until_complete();

    // get: by its short name, with its columns; and among all.
    let table = namespace.kubectl(&["get", "ss"]);
    let header: Vec<_> = table.lines().next().expect("a header").split_whitespace().collect();
    assert_eq!(header, ["NAME", "READY", "REPLICAS", "CONNECTIONS", "VERSION", "TLS", "EXPIRY", "AGE"]);
    let row: Vec<_> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..5], ["ticks", "True", "2", "0", env!("CARGO_PKG_VERSION")], "{table}");
    assert!(namespace.kubectl(&["get", "all", "--output=name"]).contains("streamserver.tickwire.dev/ticks"));
    let wide = namespace.kubectl(&["get", "ss", "--output=wide"]);
    assert!(wide.contains("Serving") && wide.contains(&format!("{}:21591", server.host())), "{wide}");

    // describe: the conditions, and the events, each once.
    let described = namespace.kubectl(&["describe", "ss", "ticks"]);
    for expected in [
        "all 2 servers are as specified",
        "2 of 2 servers serve",
        "Certificate Expiry:",
        "RolloutComplete",
        "CertificateIssued",
    ] {
        assert!(described.contains(expected), "{expected}:\n{described}");
    }
    for reason in [
        "CredentialsCreated",
        "AuthorityCreated",
        "CertificateIssued",
        "RolloutStarted",
        "RolloutComplete",
        "Ready",
    ] {
        namespace.expect_events("ticks", reason, 1);
    }

    // explain: every field has a description.
    let explained = kubectl(&["explain", "streamserver.spec", "--recursive=false"]);
    assert!(
        explained.contains("How many servers there are") && !explained.contains("<no description>"),
        "{explained}"
    );

    // scale, and wait.
    namespace.kubectl(&["scale", "ss", "ticks", "--replicas=3"]);
    eventually("three servers serve", || (server.get()["status"]["readyReplicas"] == 3).then_some(()));
    let scale: Value = serde_json::from_str(&kubectl(&[
        "get",
        "--raw",
        &format!("/apis/tickwire.dev/v1alpha1/namespaces/{}/streamservers/ticks/scale", namespace.name),
    ]))
    .expect("JSON");
    assert_eq!(scale["spec"]["replicas"], 3);
    assert_eq!(scale["status"]["replicas"], 3);
    let selector = scale["status"]["selector"].as_str().expect("a selector");
    let pods = namespace.kubectl(&["get", "pods", "--output=name", "--selector", selector]);
    assert_eq!(pods.lines().count(), 3, "the selector finds the pods: {pods}");
    namespace.kubectl(&["scale", "ss", "ticks", "--replicas=0"]);
    assert_eq!(
        server.condition("Ready", "True", "ScaledToZero"),
        "no server is asked for: spec.replicas is 0"
    );
    namespace.until_empty_of("pods");

    // delete, and nothing is left.
    namespace.kubectl(&["delete", "ss", "ticks", "--wait", "--timeout=1m"]);
    namespace.until_empty_of(CHILDREN.split_once(",serviceaccounts").map_or(CHILDREN, |(before, _)| before));
    eventually("only the namespace's own objects are left", || {
        let left = namespace.names(&format!("{CHILDREN},configmaps"));
        (left == ["serviceaccount/default", "configmap/kube-root-ca.crt"]).then_some(())
    });
}
