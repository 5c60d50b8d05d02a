//! What a schema cannot see becomes a condition and an event that say what to do, while what runs keeps running.

use crate::cluster::eventually;
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::StreamServer;

const QUICK: &str = "replicas: 1\ndrain: { delay: 0s, window: 1s }";

#[test]
fn a_secret_that_is_missing_is_named_and_taken_up_when_it_comes() {
    operator::installed();
    let namespace = Namespace::new("no-secret");
    let server = StreamServer::apply(
        &namespace,
        "ticks",
        &format!("{QUICK}\nauth: {{ secretRef: {{ name: people }} }}"),
    );
    let message = server.condition("Degraded", "True", "SecretNotFound");
    assert_eq!(
        message,
        "Secret people (spec.auth.secretRef) does not exist; create it, with the key username"
    );
    assert_eq!(
        server.condition("Ready", "False", "Blocked"),
        "no server runs yet; the condition Degraded says why"
    );
    assert!(namespace.get("deployment", "ticks").is_none());
    eventually("an event says so", || {
        namespace.events("ticks").contains(&"SecretNotFound".to_owned()).then_some(())
    });

    namespace.kubectl(&["create", "secret", "generic", "people", "--from-literal=username=alice"]);
    let message = server.condition("Degraded", "True", "SecretKeyMissing");
    assert_eq!(message, "Secret people (spec.auth.secretRef) has no key password; add it");

    namespace.kubectl(&[
        "patch",
        "secret",
        "people",
        "--type=merge",
        r#"--patch={"stringData":{"password":"one"}}"#,
    ]);
    server.until_ready().until_complete();
    server.condition("Degraded", "False", "AsSpecified");

    // Another password rolls the servers; a Secret that is lost leaves them alone.
    let pods = server.pods();
    namespace.kubectl(&[
        "patch",
        "secret",
        "people",
        "--type=merge",
        r#"--patch={"stringData":{"password":"two"}}"#,
    ]);
    eventually("other pods", || (!server.pods().iter().any(|pod| pods.contains(pod))).then_some(()));
    server.until_complete();
    let pods = server.pods();
    namespace.kubectl(&["delete", "secret", "people"]);
    server.condition("Degraded", "True", "SecretNotFound");
    server.condition("Ready", "True", "Serving");
    assert_eq!(server.pods(), pods);
    namespace.expect_events("ticks", "SecretNotFound", 2);
}

#[test]
fn a_certificate_that_does_not_fit_its_key_is_refused_and_the_servers_keep_theirs() {
    use tickwire_tests::pki::Authority;
    operator::installed();
    let namespace = Namespace::new("certificate");
    let authority = Authority::new("Ours");
    let (one, other) = (authority.server(&["a.example"]), authority.server(&["a.example"]));
    let secret = |certificate: &str, key: &str| {
        namespace.apply(
            &serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "ours" },
                "stringData": { "tls.crt": certificate, "tls.key": key },
            })
            .to_string(),
        );
    };
    secret(&one.certificate, &other.key);
    let server = StreamServer::apply(
        &namespace,
        "ticks",
        &format!("{QUICK}\ntls: {{ mode: Secret, secretRef: {{ name: ours }} }}"),
    );
    let message = server.condition("CertificateReady", "False", "InvalidCertificate");
    assert!(message.contains("Secret ours (spec.tls.secretRef)") && message.contains("tls.key"), "{message}");
    server.condition("Degraded", "True", "InvalidCertificate");

    secret(&one.certificate, &one.key);
    server.until_ready().until_complete();
    server.condition("CertificateReady", "True", "Valid");
    let pods = server.pods();

    secret("nonsense", &one.key);
    let message = server.condition("CertificateReady", "False", "InvalidCertificate");
    assert!(message.contains("tls.crt"), "{message}");
    server.condition("Ready", "True", "Serving");
    assert_eq!(server.pods(), pods);
}

#[test]
fn an_image_that_does_not_pull_is_said_and_the_old_servers_go_on() {
    operator::installed();
    let namespace = Namespace::new("image");
    let server = StreamServer::apply(&namespace, "ticks", QUICK).until_ready().until_complete();
    let pods = server.pods();
    server.patch(r#"{"image":{"tag":"no-such-tag"}}"#);
    let message = server.condition("Degraded", "True", "ImageNotPulled");
    assert!(
        message.contains("tickwire/server:no-such-tag") && message.contains("check spec.image"),
        "{message}"
    );
    server.condition("Ready", "True", "Serving");
    assert!(pods.iter().all(|pod| server.pods().contains(pod)), "the old ones are there");
    assert_eq!(server.get()["status"]["version"], env!("CARGO_PKG_VERSION"), "the version is what runs");
    server.patch(r#"{"image":{"tag":null}}"#);
    server.until_complete();
    server.condition("Degraded", "False", "AsSpecified");
    namespace.expect_events("ticks", "Recovered", 1);
}

#[test]
fn a_recording_that_cannot_be_read_is_said_in_the_servers_own_words() {
    operator::installed();
    let namespace = Namespace::new("recording");
    let spec =
        format!("{QUICK}\nfeed: {{ replay: {{ configMapRef: {{ name: trades, key: trades.csv }} }} }}");
    let server = StreamServer::apply(&namespace, "ticks", &spec);
    let message = server.condition("Degraded", "True", "ConfigMapNotFound");
    assert_eq!(
        message,
        "ConfigMap trades (spec.feed.replay.configMapRef) does not exist; create it, with the key trades.csv"
    );
    namespace.kubectl(&["create", "configmap", "trades", "--from-literal=trades.csv=not,a,recording"]);
    let message = server.condition("Degraded", "True", "CrashLooping");
    assert!(message.contains("time,symbol,price,size"), "{message}");
}

#[test]
fn a_quota_that_is_used_up_is_said() {
    operator::installed();
    let namespace = Namespace::new("quota");
    let server = StreamServer::apply(&namespace, "ticks", QUICK).until_ready().until_complete();
    namespace.kubectl(&["create", "quota", "few", "--hard=pods=1"]);
    eventually("the quota is counted", || {
        let quota = namespace.get("resourcequota", "few")?;
        (quota["status"]["used"]["pods"] == "1").then_some(())
    });
    server.patch(r#"{"replicas":2}"#);
    let message = server.condition("Degraded", "True", "PodsRefused");
    assert!(message.contains("exceeded quota: few"), "{message}");
    server.condition("Ready", "False", "TooFewServers");
    namespace.kubectl(&["delete", "quota", "few"]);
    server.until_ready().until_complete();
}

#[test]
fn somebody_elses_object_of_the_same_name_is_left_alone() {
    operator::installed();
    let namespace = Namespace::new("taken");
    namespace.kubectl(&["create", "service", "clusterip", "ticks", "--tcp=80"]);
    let server = StreamServer::apply(&namespace, "ticks", QUICK);
    let message = server.condition("Degraded", "True", "NameTaken");
    assert_eq!(
        message,
        "Service ticks exists and does not belong to this StreamServer; delete it, or give the StreamServer another name"
    );
    let service = namespace.get("service", "ticks").expect("it is there");
    assert_eq!(service["spec"]["ports"][0]["port"], 80);
    namespace.kubectl(&["delete", "service", "ticks"]);
    server.until_ready();
}
