//! Certificates are renewed under connected clients, and the authority that signs them is succeeded by another.

use tickwire_tests::pki::Authority;

use crate::cluster::eventually;
use crate::fleet::{Fleet, assert_whole};
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::StreamServer;

const CLIENTS: usize = 300;

/// What a new connection through the Service is shown, in PEM; by OpenSSL, another implementation than ours.
fn shown(server: StreamServer<'_>) -> String {
    let (address, host) = (server.address(), server.host());
    let script = format!(
        "openssl s_client -connect {address} -servername {host} -alpn tickwire/1 </dev/null 2>/dev/null | openssl x509"
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("openssl");
    String::from_utf8(output.stdout).expect("PEM")
}

#[test]
fn clients_do_not_notice_that_the_certificate_is_renewed_and_new_ones_are_shown_the_new_one() {
    operator::installed();
    let namespace = Namespace::new("renewal");
    let server = StreamServer::apply(&namespace, "ticks", "feed: { synthetic: { rate: 20 } }")
        .until_ready()
        .until_complete();
    let (pods, before, first) = (server.pods(), shown(server), namespace.secret("ticks-tls", "tls.crt"));
    assert!(first.contains(before.trim()), "what is in the Secret is what is shown");
    let fleet = Fleet::follow(&server.client(), CLIENTS);

    // A further name is a reason to sign anew at once.
    server.patch(r#"{"tls":{"dnsNames":["ticks.example"]}}"#);
    let second = eventually("there is another certificate", || {
        let now = namespace.secret("ticks-tls", "tls.crt");
        (now != first).then_some(now)
    });
    // The kubelet brings it to the pods, and the servers read it.
    eventually("new connections are shown it", || second.contains(shown(server).trim()).then_some(()));
    namespace.expect_events("ticks", "CertificateIssued", 2);

    fleet.is_well();
    let seen = fleet.finish();
    assert_whole(&seen);
    assert!(seen.iter().all(|seen| seen.moves.is_empty()), "one connection was enough");
    assert_eq!(server.pods(), pods, "no pod was replaced");
    let restarts = namespace.kubectl(&[
        "get",
        "pods",
        "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}",
    ]);
    assert!(restarts.split_whitespace().all(|count| count == "0"), "nor restarted: {restarts}");
}

#[test]
fn a_short_lived_authority_is_succeeded_with_an_overlap_and_clients_that_follow_the_bundle_stay_trusting() {
    operator::installed();
    let namespace = Namespace::new("authority");
    let spec = "replicas: 1\ndrain: { delay: 0s, window: 1s }\ntls: { selfSigned: { duration: 1m, renewBefore: 30s, caDuration: 2m } }";
    let server = StreamServer::apply(&namespace, "ticks", spec).until_ready();
    let pods = server.pods();
    let bundle =
        || namespace.kubectl(&["get", "configmap", "ticks-ca", "--output=jsonpath={.data.ca\\.crt}"]);
    let certificates = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    let original = bundle();
    assert_eq!(certificates(&original), 1);

    let both = eventually("the successor is published beside it", || {
        let now = bundle();
        (certificates(&now) == 2 && now.contains(original.trim())).then_some(now)
    });
    eventually("the successor signs", || {
        namespace.events("ticks").contains(&"AuthorityRotated".to_owned()).then_some(())
    });
    assert!(bundle().contains(original.trim()), "what signed before is trusted yet");
    let successor = both.replace(original.trim(), "").trim().to_owned();
    eventually("the first has gone when its time was over", || {
        let now = bundle();
        (!now.contains(original.trim()) && now.contains(&successor)).then_some(())
    });
    assert_eq!(server.pods(), pods, "no pod was replaced for any of this");
    server.condition("CertificateReady", "True", "Valid");
}

#[test]
fn a_secret_of_ones_own_is_renewed_by_whoever_keeps_it() {
    operator::installed();
    let namespace = Namespace::new("own-renewal");
    let authority = Authority::new("Ours");
    let write = || {
        let pair = authority.server(&["ticks.example"]);
        namespace.apply(
            &serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "ours" }, "type": "kubernetes.io/tls",
                "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key },
            })
            .to_string(),
        );
        pair.certificate
    };
    let first = write();
    let server = StreamServer::apply(
        &namespace,
        "ticks",
        "replicas: 1\ntls: { mode: Secret, secretRef: { name: ours } }",
    )
    .until_ready();
    let pods = server.pods();
    assert!(first.contains(shown(server).trim()));
    let second = write();
    eventually("new connections are shown it", || second.contains(shown(server).trim()).then_some(()));
    assert_eq!(server.pods(), pods);
}
