//! What a person changes or deletes of the operator's objects is put right, and what a person adds beside stays.

use crate::cluster::eventually;
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::StreamServer;

#[test]
fn what_is_deleted_comes_back_what_is_changed_is_put_right_and_what_is_added_stays() {
    operator::installed();
    let namespace = Namespace::new("drift");
    let spec = "drain: { delay: 0s, window: 1s }\nautoscaling: { minReplicas: 1, maxReplicas: 2 }\nnetworkPolicy: { enabled: true }\nreplicas: 1";
    let server = StreamServer::apply(&namespace, "ticks", spec).until_ready().until_complete();
    let pods = server.pods();
    let password = namespace.secret("ticks-credentials", "password");
    let authorities = namespace.kubectl(&["get", "configmap", "ticks-ca", "--output=jsonpath={.data}"]);

    // Deleted.
    for object in [
        "service/ticks",
        "service/ticks-metrics",
        "serviceaccount/ticks",
        "configmap/ticks-ca",
        "secret/ticks-tls",
        "horizontalpodautoscaler/ticks",
        "poddisruptionbudget/ticks",
        "networkpolicy/ticks",
        "servicemonitor/ticks",
        "prometheusrule/ticks",
    ] {
        let (kind, name) = object.split_once('/').expect("a kind and a name");
        let uid = |object: serde_json::Value| object["metadata"]["uid"].clone();
        let before = uid(namespace.get(kind, name).unwrap_or_else(|| panic!("{object} is there")));
        namespace.kubectl(&["delete", object]);
        eventually(&format!("{object} is there again"), || {
            namespace.get(kind, name).is_some_and(|object| uid(object) != before).then_some(())
        });
    }
    // The certificate that is there again, whether the lost one or another, is of the authority that clients know.
    assert_eq!(
        namespace.kubectl(&["get", "configmap", "ticks-ca", "--output=jsonpath={.data}"]),
        authorities
    );
    assert_signed(&namespace);

    // Changed.
    namespace.kubectl(&["scale", "deployment", "ticks", "--replicas=2"]);
    namespace.kubectl(&[
        "patch",
        "service",
        "ticks",
        "--type=json",
        r#"--patch=[{"op":"replace","path":"/spec/ports/0/port","value":1}]"#,
    ]);
    namespace.kubectl(&[
        "patch",
        "configmap",
        "ticks-ca",
        "--type=merge",
        r#"--patch={"data":{"ca.crt":"nonsense"}}"#,
    ]);
    eventually("all is as it was", || {
        let replicas = namespace.get("deployment", "ticks")?["spec"]["replicas"].clone();
        let port = namespace.get("service", "ticks")?["spec"]["ports"][0]["port"].clone();
        let data = namespace.kubectl(&["get", "configmap", "ticks-ca", "--output=jsonpath={.data}"]);
        (replicas == 1 && port == 21591 && data == authorities).then_some(())
    });

    // Added.
    namespace.kubectl(&["annotate", "service", "ticks", "example.com/note=ours"]);
    namespace.kubectl(&["label", "deployment", "ticks", "team=ours"]);
    server.patch(r#"{"service":{"annotations":{"example.com/theirs":"yes"}}}"#);
    let annotations = eventually("the specification's annotation is there", || {
        let annotations = namespace.get("service", "ticks")?["metadata"]["annotations"].clone();
        (annotations["example.com/theirs"] == "yes").then_some(annotations)
    });
    assert_eq!(annotations["example.com/note"], "ours");
    assert_eq!(
        namespace.get("deployment", "ticks").expect("it is there")["metadata"]["labels"]["team"],
        "ours"
    );

    // And goes with it: also of a Service whose port somebody has changed, the operator gives up what it has set.
    server.patch(r#"{"service":{"annotations":null}}"#);
    eventually("the specification's annotation has gone", || {
        namespace.get("service", "ticks")?["metadata"]["annotations"]["example.com/theirs"]
            .is_null()
            .then_some(())
    });

    // None of this was a reason to replace a pod, but the one whose identity was deleted under it goes on.
    assert_eq!(server.pods(), pods);
    assert_eq!(namespace.secret("ticks-credentials", "password"), password);

    // What the specification no longer asks for goes.
    server.patch(r#"{"autoscaling":null,"networkPolicy":{"enabled":false},"disruption":{"enabled":false},"monitoring":{"enabled":false},"tls":{"mode":"Disabled"}}"#);
    namespace.until_empty_of(
        "horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,servicemonitors,prometheusrules",
    );
    eventually("the certificate has gone", || {
        (namespace.get("secret", "ticks-tls").is_none() && namespace.get("configmap", "ticks-ca").is_none())
            .then_some(())
    });
}

#[test]
fn while_paused_nothing_is_changed_and_afterwards_all_is_put_right() {
    operator::installed();
    let namespace = Namespace::new("paused");
    let server = StreamServer::apply(&namespace, "ticks", "replicas: 1\ndrain: { delay: 0s, window: 1s }")
        .until_ready()
        .until_complete();
    server.patch(r#"{"paused":true}"#);
    let message = server.condition("Progressing", "False", "Paused");
    assert!(message.contains("spec.paused"), "{message}");
    namespace.kubectl(&["delete", "service", "ticks"]);
    // Another change that the operator has seen for certain: its generation stands in the status.
    server.patch(r#"{"replicas":2}"#);
    server.condition("Progressing", "False", "Paused");
    assert!(namespace.get("service", "ticks").is_none(), "nothing was put right");
    assert_eq!(namespace.get("deployment", "ticks").expect("it is there")["spec"]["replicas"], 1);
    server.patch(r#"{"paused":false}"#);
    eventually("the Service is back", || namespace.get("service", "ticks").map(drop));
    server.until_complete();
    assert_eq!(server.pods().len(), 2);
}

/// The certificate in the Secret is signed by an authority in the ConfigMap; says OpenSSL.
fn assert_signed(namespace: &Namespace) {
    let authorities =
        namespace.kubectl(&["get", "configmap", "ticks-ca", "--output=jsonpath={.data.ca\\.crt}"]);
    let authorities = namespace.file("drift-ca.crt", &authorities);
    let certificate = namespace.file("drift-tls.crt", &namespace.secret("ticks-tls", "tls.crt"));
    let output = std::process::Command::new("openssl")
        .args(["verify", "-CAfile"])
        .args([&authorities, &certificate])
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
