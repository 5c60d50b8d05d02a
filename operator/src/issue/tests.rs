use tickwire_crd::StreamServer;

use super::*;
use crate::kinds::Kinds;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Of a StreamServer with this specification, for which nothing has been made yet.
fn validated(spec: &str) -> Validated {
    let text = format!(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata: {{ name: ticks, namespace: market, uid: u-1 }}\nspec: {spec}"
    );
    let server: StreamServer = serde_saphyr::from_str(&text).unwrap();
    Validated {
        fleet: Fleet::of(&server).unwrap(),
        kinds: Kinds::default(),
        credentials: Credentials::Missing,
        certificate: CertificateSource::SelfSigned { data: BTreeMap::new() },
        operator_data: BTreeMap::new(),
        operator_version: None,
        credentials_version: None,
        recording: Vec::new(),
        nats: None,
        problems: Vec::new(),
        spec: server.spec,
    }
}

/// As the next reconcile finds it: with what was made, and applied.
fn found_again(validated: &Validated, issued: &Issued) -> (Validated, Option<Authority>) {
    let mut next = validated.clone();
    next.operator_data = issued.operator_data.clone();
    if let Some(pair) = &issued.generated {
        next.credentials = Credentials::Generated(pair.clone());
    }
    if let Some(tls) = &issued.tls {
        next.certificate = CertificateSource::SelfSigned { data: tls.data.clone() };
    }
    let authority = Authority::read(&next.operator_data).unwrap();
    (next, authority)
}

fn pair(username: &str, password: &str) -> Credentials {
    Credentials::Referenced(Pair { username: username.into(), password: password.into() })
}

fn digest_of(validated: &Validated, credentials: Credentials, recording: &str) -> String {
    let mut other = validated.clone();
    other.credentials = credentials;
    other.recording = recording.into();
    let authority = Authority::read(&other.operator_data).unwrap();
    issue(&other, authority, now()).unwrap().digest
}

#[test]
fn what_has_been_made_is_kept_as_it_is() {
    let validated = validated("{}");
    let first = issue(&validated, None, now()).unwrap();
    let reasons: Vec<_> = first.notes.iter().map(|note| note.reason.as_ref()).collect();
    assert_eq!(reasons, ["CredentialsCreated", "AuthorityCreated", "CertificateIssued"]);

    let (next, authority) = found_again(&validated, &first);
    let second = issue(&next, authority, now()).unwrap();
    assert!(second.notes.is_empty(), "{:?}", second.notes);
    assert!(second.generated == first.generated);
    assert_eq!(second.operator_data, first.operator_data);
    assert_eq!(second.digest, first.digest);
    let data = |issued: &Issued| issued.tls.as_ref().unwrap().data.clone();
    assert_eq!(data(&second), data(&first));
}

#[test]
fn the_digest_is_another_for_whatever_is_read_at_the_start_only() {
    let validated = validated("{}");
    let first = issue(&validated, None, now()).unwrap();
    let (next, _) = found_again(&validated, &first);
    let digest = |credentials, recording| digest_of(&next, credentials, recording);
    let one = digest(pair("alice", "secret"), "");
    assert_eq!(one, digest(pair("alice", "secret"), ""));
    let others = [
        digest(pair("bob", "secret"), ""),
        digest(pair("alice", "Secret"), ""),
        digest(pair("alice", "secret"), "rows"),
        // What ends one part does not begin the next.
        digest(pair("alices", "ecret"), ""),
    ];
    assert!(others.iter().all(|other| *other != one), "{one}: {others:?}");
}

#[test]
fn another_login_to_nats_has_another_digest_and_another_certificate_for_it_has_not() {
    use crate::nats_secret::{NatsLogin, NatsSecret};

    let validated = validated("{}");
    let first = issue(&validated, None, now()).unwrap();
    let (mut next, _) = found_again(&validated, &first);
    let mut digest = |login: Option<NatsLogin>, has_certificate| {
        next.nats = login.map(|login| NatsSecret {
            name: "bus".into(),
            login,
            has_authorities: false,
            has_certificate,
        });
        digest_of(&next, pair("alice", "secret"), "")
    };
    let without = digest(None, false);
    assert_eq!(without, digest(Some(NatsLogin::Nobody), false));
    let token = digest(Some(NatsLogin::Token(b"one".to_vec())), false);
    assert_eq!(token, digest(Some(NatsLogin::Token(b"one".to_vec())), true));
    assert_ne!(token, without);
    assert_ne!(token, digest(Some(NatsLogin::Token(b"other".to_vec())), false));
}

#[test]
fn nobody_without_the_key_can_tell_a_password_from_its_digest() {
    // Two fleets with the same password: another key, another digest.
    let validated = validated("{}");
    let credentials = || pair("alice", "secret");
    assert_ne!(digest_of(&validated, credentials(), ""), digest_of(&validated, credentials(), ""));
}

#[test]
fn a_key_of_another_length_is_made_anew_and_a_good_one_is_kept() {
    let mut validated = validated("{tls: {mode: Disabled}}");
    validated.certificate = CertificateSource::Disabled;
    for (length, is_kept) in [(DIGEST_KEY_LEN, true), (16, false), (0, false)] {
        let key = ByteString(vec![7; length]);
        validated.operator_data.insert(DIGEST_KEY.into(), key.clone());
        let issued = issue(&validated, None, now()).unwrap();
        assert_eq!(issued.operator_data[DIGEST_KEY] == key, is_kept, "{length}");
        assert_eq!(issued.operator_data[DIGEST_KEY].0.len(), DIGEST_KEY_LEN);
    }
}

#[test]
fn an_authority_that_clients_know_outlives_a_time_in_which_it_does_not_sign() {
    let self_signed = validated("{}");
    let first = issue(&self_signed, None, now()).unwrap();
    let (mut disabled, _) = found_again(&self_signed, &first);
    disabled.certificate = CertificateSource::Disabled;
    let meanwhile = issue(&disabled, None, now()).unwrap();
    assert!(meanwhile.tls.is_none() && meanwhile.certificate_validity.is_none());

    let (mut again, authority) = found_again(&self_signed, &meanwhile);
    again.certificate = CertificateSource::SelfSigned { data: BTreeMap::new() };
    let last = issue(&again, authority, now()).unwrap();
    assert_eq!(last.tls.unwrap().bundle, first.tls.unwrap().bundle);
}

#[test]
fn it_is_looked_at_again_when_the_certificate_is_due() {
    let validated = validated("{tls: {selfSigned: {duration: 48h, renewBefore: 12h}}}");
    let issued = issue(&validated, None, now()).unwrap();
    let hours = |moment: Timestamp| moment.duration_since(now()).as_hours();
    assert_eq!(issued.certificate_validity.map(|validity| hours(validity.not_after)), Some(48));
    assert_eq!(issued.look_again.map(hours), Some(36));

    let (next, authority) = found_again(&validated, &issued);
    let due = issue(&next, authority, issued.look_again.unwrap()).unwrap();
    assert_eq!(due.notes.len(), 1);
    assert!(due.notes[0].message.contains("as of the one before: it ends on"), "{:?}", due.notes);
}

#[test]
fn where_the_credentials_cannot_be_used_certificates_are_renewed_nevertheless() {
    let mut validated = validated("{}");
    validated.credentials = Credentials::Unusable;
    let issued = issue(&validated, None, now()).unwrap();
    assert!(issued.generated.is_none());
    assert!(issued.tls.is_some());
}
