use rcgen::{CertificateParams, KeyPair};
use tickwire_crd::{ConditionType, StreamServer};

use super::*;

/// What is observed of a StreamServer with this specification, around which there is nothing.
fn observed(spec: &str) -> Observed {
    let text = format!(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata: {{ name: ticks, namespace: market, uid: u-1 }}\nspec: {spec}"
    );
    let server: StreamServer = serde_saphyr::from_str(&text).unwrap();
    let fleet = Fleet::of(&server).unwrap();
    Observed::alone(server, fleet, Kinds::default())
}

fn secret(entries: &[(&str, &[u8])]) -> Option<Secret> {
    let data = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect();
    Some(Secret { data: Some(data), ..Secret::default() })
}

fn problems(observed: &Observed) -> Vec<Problem> {
    validate(observed).0.problems
}

/// The only problem.
fn problem(observed: &Observed) -> Problem {
    let [problem] = <[Problem; 1]>::try_from(problems(observed)).unwrap();
    problem
}

fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["ticks.example".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn where_nothing_is_referred_to_nothing_can_be_missing() {
    let (validated, authority) = validate(&observed("{}"));
    assert!(validated.problems.is_empty());
    assert_eq!(validated.credentials, Credentials::Missing);
    assert!(authority.is_none());
    assert!(matches!(validated.certificate, CertificateSource::SelfSigned { data } if data.is_empty()));
}

#[test]
fn referenced_credentials_must_be_there_whole_and_text() {
    let mut observed = observed("{auth: {secretRef: {name: people}}}");
    for (credentials, reason, message) in [
        (
            None,
            "SecretNotFound",
            "Secret people (spec.auth.secretRef) does not exist; create it, with the key username",
        ),
        (
            secret(&[("username", b"alice")]),
            "SecretKeyMissing",
            "Secret people (spec.auth.secretRef) has no key password; add it",
        ),
        (
            secret(&[("username", b"alice"), ("password", b"")]),
            "SecretKeyMissing",
            "key password of Secret people (spec.auth.secretRef) is empty; fill it",
        ),
        (
            secret(&[("username", b"alice"), ("password", b"\xff")]),
            "InvalidSecret",
            "key password of Secret people (spec.auth.secretRef) is not text in UTF-8; put the password itself there",
        ),
    ] {
        observed.credentials = credentials;
        let problem = problem(&observed);
        assert_eq!((problem.reason, problem.message.as_str()), (reason, message));
        assert_eq!(problem.condition, ConditionType::Degraded);
    }
    observed.credentials = secret(&[("username", b"alice"), ("password", b"secret")]);
    let pair = Pair { username: b"alice".to_vec(), password: b"secret".to_vec() };
    assert_eq!(validate(&observed).0.credentials, Credentials::Referenced(pair));
}

#[test]
fn made_up_credentials_are_kept_while_they_are_whole() {
    let mut observed = observed("{}");
    observed.credentials = secret(&[("username", b"tickwire"), ("password", b"made up")]);
    assert!(matches!(validate(&observed).0.credentials, Credentials::Generated(_)));
    observed.credentials = secret(&[("username", b"tickwire")]);
    assert_eq!(validate(&observed).0.credentials, Credentials::Missing);
}

#[test]
fn a_password_is_in_no_debug_output() {
    let pair = Pair { username: b"alice".to_vec(), password: b"correct horse".to_vec() };
    let shown = format!("{:?}", Credentials::Referenced(pair));
    assert!(!shown.contains("horse") && !shown.contains("99"), "{shown}");
}

#[test]
fn a_secret_with_a_certificate_must_be_there_and_fit() {
    let mut observed = observed("{tls: {mode: Secret, secretRef: {name: ours}}}");
    let missing = problem(&observed);
    assert_eq!((missing.reason, missing.condition), ("SecretNotFound", ConditionType::CertificateReady));

    let ((one, key), (_, another_key)) = (certificate(), certificate());
    observed.tls = secret(&[("tls.crt", one.as_bytes()), ("tls.key", another_key.as_bytes())]);
    let unfit = problem(&observed);
    assert_eq!((unfit.reason, unfit.condition), ("InvalidCertificate", ConditionType::CertificateReady));
    assert!(unfit.message.contains("Secret ours (spec.tls.secretRef)"), "{unfit}");

    observed.tls = secret(&[("tls.crt", one.as_bytes()), ("tls.key", key.as_bytes())]);
    assert!(matches!(validate(&observed).0.certificate, CertificateSource::Referenced(_)));
}

#[test]
fn cert_manager_must_be_installed_and_may_take_its_time() {
    let mut observed = observed("{tls: {mode: CertManager, certManager: {issuerRef: {name: a}}}}");
    assert_eq!(problem(&observed).reason, "CertManagerNotInstalled");
    observed.kinds.certificate = true;
    assert!(matches!(validate(&observed).0.certificate, CertificateSource::CertManager(None)));
    observed.tls = secret(&[("tls.crt", b"nonsense")]);
    assert_eq!(problem(&observed).reason, "InvalidCertificate");
    let (one, key) = certificate();
    observed.tls = secret(&[("tls.crt", one.as_bytes()), ("tls.key", key.as_bytes())]);
    assert!(matches!(validate(&observed).0.certificate, CertificateSource::CertManager(Some(_))));
}

#[test]
fn an_authority_that_cannot_be_used_is_not_replaced_unasked() {
    let mut observed = observed("{}");
    observed.operator = secret(&[("ca.crt", b"nonsense"), ("ca.key", b"nonsense")]);
    let problem = problem(&observed);
    assert_eq!((problem.reason, problem.condition), ("AuthorityUnusable", ConditionType::CertificateReady));
    assert!(
        problem.message.contains("Secret ticks-operator") && problem.message.contains("delete it"),
        "{problem}"
    );
    // Where the operator does not sign, it does not matter.
    let mut other = observed;
    other.server.spec.tls.mode = TlsMode::Disabled;
    assert!(problems(&other).is_empty());
}

#[test]
fn authorities_of_clients_must_be_certificates_of_authorities() {
    let mut observed = observed("{tls: {clientAuthentication: {caSecretRef: {name: clients, key: ca.crt}}}}");
    assert_eq!(problem(&observed).reason, "SecretNotFound");
    observed.client_ca = secret(&[("ca.crt", b"nonsense")]);
    let unfit = problem(&observed);
    assert_eq!(unfit.reason, "InvalidSecret");
    let field = "key ca.crt of Secret clients (spec.tls.clientAuthentication.caSecretRef)";
    assert!(unfit.message.starts_with(field), "{unfit}");
}

#[test]
fn a_recording_must_be_there_as_text_or_as_bytes() {
    let mut observed = observed("{replicas: 1, feed: {replay: {configMapRef: {name: trades, key: a.csv}}}}");
    assert_eq!(problem(&observed).reason, "ConfigMapNotFound");
    observed.recording = Some(ConfigMap::default());
    assert_eq!(
        problem(&observed).message,
        "ConfigMap trades (spec.feed.replay.configMapRef) has no key a.csv; add it"
    );
    let text =
        ConfigMap { data: Some([("a.csv".to_owned(), "rows".to_owned())].into()), ..ConfigMap::default() };
    let bytes = [("a.csv".to_owned(), ByteString(b"rows".to_vec()))].into();
    let bytes = ConfigMap { binary_data: Some(bytes), ..ConfigMap::default() };
    for config_map in [text, bytes] {
        observed.recording = Some(config_map);
        assert_eq!(validate(&observed).0.recording, b"rows");
    }
}

const NATS: &str =
    "{feed: {nats: {urls: ['nats://bus'], stream: TRADES, symbols: [A], secretRef: {name: bus}}}}";

#[test]
fn what_servers_show_to_nats_must_be_there_and_is_looked_for_only_where_it_is_named() {
    let mut observed = observed(NATS);
    let missing = problem(&observed);
    assert_eq!(missing.reason, "SecretNotFound");
    let words = "Secret bus (spec.feed.nats.secretRef) does not exist; create it, with the keys username and password";
    assert!(missing.message.starts_with(words), "{missing}");
    observed.nats = secret(&[("token", b"secret")]);
    let nats = validate(&observed).0.nats.unwrap();
    assert!(nats.name == "bus" && nats.login == crate::nats_secret::NatsLogin::Token(b"secret".to_vec()));
    observed.nats = secret(&[("tokens", b"secret")]);
    assert_eq!(problem(&observed).reason, "SecretKeyMissing");

    observed.server.spec.feed.nats.as_mut().unwrap().secret_ref = None;
    let (validated, _) = validate(&observed);
    assert!(validated.problems.is_empty() && validated.nats.is_none());
}

#[test]
fn a_change_of_the_secret_for_nats_is_a_reason_to_look() {
    let server = observed(NATS).server;
    assert!(crate::observe::refers_to_secret(&server, "bus"));
    assert!(!crate::observe::refers_to_secret(&server, "another"));
}

#[test]
fn all_problems_are_told_at_once() {
    let spec = "{auth: {secretRef: {name: a}, users: {secretRef: {name: b, key: c}}}, tls: {mode: Secret, secretRef: {name: d}}}";
    let reasons: Vec<_> = problems(&observed(spec)).iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for name in ["Secret a ", "Secret b ", "Secret d "] {
        assert!(reasons.iter().any(|message| message.starts_with(name)), "{name}: {reasons:?}");
    }
}
