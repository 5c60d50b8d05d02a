use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::certificate::details::Details;
use crate::certificate::pem::PemProblem;
use crate::certificate::{Certificate, Renewal, Wanted};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// So that a third of it is 60 days, and a sixth 30.
const LIFETIME: Duration = Duration::from_secs(180 * 24 * 3600);

fn day(day: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_hours(24 * day)
}

fn created() -> Authority {
    let (authority, changes) = Authority::advance(None, "tickwire default/ticks", LIFETIME, day(0)).unwrap();
    assert_eq!(changes, [Change::Created { until: day(180) }]);
    authority
}

fn advanced(authority: Authority, now: Timestamp) -> (Authority, Vec<&'static str>) {
    advanced_with(authority, LIFETIME, now)
}

fn advanced_with(authority: Authority, lifetime: Duration, now: Timestamp) -> (Authority, Vec<&'static str>) {
    // By way of the Secret, as it is in a cluster.
    let read = Authority::read(&authority.write()).unwrap();
    let (authority, changes) = Authority::advance(read, "tickwire default/ticks", lifetime, now).unwrap();
    (authority, changes.into_iter().map(Change::label).collect())
}

fn request() -> ServerCertificate {
    ServerCertificate {
        common_name: "ticks.default.svc".into(),
        dns_names: vec!["ticks.default.svc".into(), "*.ticks.default.svc".into()],
        ip_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        lifetime: 30 * DAY,
    }
}

fn issued(authority: &Authority, now: Timestamp) -> Certificate {
    let issued = authority.sign(&request(), now).unwrap();
    Certificate::read(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap()
}

fn in_bundle(authority: &Authority) -> usize {
    crate::certificate::authorities(authority.bundle().as_bytes()).unwrap()
}

#[test]
fn an_authority_lives_from_its_making_to_its_end_without_a_gap() {
    let authority = created();
    assert_eq!(authority.next_change(LIFETIME), day(120));
    let first = issued(&authority, day(0));

    let (authority, changes) = advanced(authority, day(119));
    assert_eq!(changes, [""; 0]);
    let (authority, changes) = advanced(authority, day(120));
    assert_eq!(changes, ["AuthoritySuccessorPublished"]);
    assert_eq!(in_bundle(&authority), 2);
    assert_eq!(authority.next_change(LIFETIME), day(150));
    assert!(first.is_signed_by(authority.signer().published().pem().as_bytes()), "the first still signs");

    let next = authority.successor().unwrap().common_name().to_owned();
    let (authority, changes) = advanced(authority, day(149));
    assert_eq!(changes, [""; 0]);
    let (authority, changes) = advanced(authority, day(150));
    assert_eq!(changes, ["AuthorityRotated"]);
    assert_eq!(authority.signer().common_name(), next);
    assert_eq!(authority.next_change(LIFETIME), day(180));
    // Both are trusted, and each signed its own.
    let second = issued(&authority, day(150));
    assert!(first.is_signed_by(authority.bundle().as_bytes()));
    assert!(second.is_signed_by(authority.bundle().as_bytes()));
    assert!(second.is_signed_by(authority.signer().published().pem().as_bytes()));
    assert!(!first.is_signed_by(authority.signer().published().pem().as_bytes()));

    let (authority, changes) = advanced(authority, day(180));
    assert_eq!(changes, ["AuthorityPredecessorDropped"]);
    assert_eq!(in_bundle(&authority), 1);
    assert!(!first.is_signed_by(authority.bundle().as_bytes()));
    // The second was made on day 120: a third of it is left on day 240.
    assert_eq!(authority.next_change(LIFETIME), day(240));
}

#[test]
fn whoever_takes_the_bundle_up_once_in_a_sixth_of_the_lifetime_always_trusts_who_signs() {
    let mut authority = created();
    let mut bundles = vec![authority.bundle()];
    for now in 1..2000 {
        authority = advanced(authority, day(now)).0;
        bundles.push(authority.bundle());
        let before = &bundles[usize::try_from((now - 29).max(0)).unwrap()];
        assert!(issued(&authority, day(now)).is_signed_by(before.as_bytes()), "day {now}");
        assert!(in_bundle(&authority) <= 2, "day {now}");
        assert!(authority.next_change(LIFETIME) > day(now), "day {now}");
    }
}

#[test]
fn a_successor_that_comes_late_is_published_for_half_of_what_is_left() {
    let (authority, changes) = advanced(created(), day(170));
    assert_eq!(changes, ["AuthoritySuccessorPublished"]);
    assert_eq!(authority.next_change(LIFETIME), day(175));
    let (authority, changes) = advanced(authority, day(174));
    assert_eq!(changes, [""; 0]);
    let (_, changes) = advanced(authority, day(175));
    assert_eq!(changes, ["AuthorityRotated"]);
}

#[test]
fn after_a_long_absence_the_successor_signs_if_it_is_good_and_a_new_one_if_not() {
    let (authority, _) = advanced(created(), day(120));
    let next = authority.successor().unwrap().common_name().to_owned();
    let (authority, changes) = advanced(authority, day(260));
    // What has become of the first is past: only the successor counts, and it is due for one itself.
    assert_eq!(changes, ["AuthorityRotated", "AuthoritySuccessorPublished", "AuthorityPredecessorDropped"]);
    assert_eq!(authority.signer().common_name(), next);

    let (authority, changes) = advanced(authority, day(1000));
    assert_eq!(changes, ["AuthorityReplaced", "AuthorityPredecessorDropped"]);
    assert_eq!(authority.signer().not_after(), day(1180));
    assert_eq!(in_bundle(&authority), 1);
}

#[test]
fn an_authority_that_ended_without_a_successor_is_replaced() {
    let (authority, changes) = advanced(created(), day(180));
    assert_eq!(changes, ["AuthorityReplaced", "AuthorityPredecessorDropped"]);
    assert!(Change::Replaced { ended: day(180), until: day(360) }.is_warning());
    assert!(issued(&authority, day(180)).is_signed_by(authority.bundle().as_bytes()));
}

#[test]
fn a_clock_that_jumps_backwards_changes_nothing() {
    let (authority, _) = advanced(created(), day(120));
    let (authority, _) = advanced(authority, day(150));
    let before = authority.write();
    for back in [149, 120, 0, -1, -10_000] {
        let read = Authority::read(&before).unwrap();
        let (authority, changes) = Authority::advance(read, "tickwire", LIFETIME, day(back)).unwrap();
        assert_eq!(changes, [], "day {back}");
        assert_eq!(authority.write(), before, "day {back}");
    }
}

#[test]
fn a_successor_made_by_a_clock_far_ahead_signs_when_the_signer_ends() {
    let (authority, changes) = advanced(created(), day(179));
    assert_eq!(changes, ["AuthoritySuccessorPublished"]);
    // On day 100 again: it waits, and signs no later than it has to.
    assert_eq!(advanced(authority, day(100)).1, [""; 0]);
    let mut authority = created();
    let far = Authority::advance(None, "tickwire", LIFETIME, day(200)).unwrap().0;
    authority.successor = Some(far.signer);
    assert_eq!(authority.next_change(LIFETIME), day(180));
    assert_eq!(advanced(authority, day(180)).1, ["AuthorityRotated", "AuthorityPredecessorDropped"]);
}

#[test]
fn a_shorter_lifetime_is_that_of_the_next_one_which_does_not_end_before_it_signs() {
    let short = 6 * DAY;
    let authority = created();
    assert_eq!(authority.next_change(short), day(178));
    let (authority, changes) = advanced_with(authority, short, day(177));
    assert_eq!(changes, [""; 0]);
    let (authority, changes) = advanced_with(authority, short, day(178));
    assert_eq!(changes, ["AuthoritySuccessorPublished"]);
    let (authority, changes) = advanced_with(authority, short, day(179));
    assert_eq!(changes, ["AuthorityRotated"]);
    assert_eq!(authority.signer().not_after(), day(184));
}

#[test]
fn predecessors_are_bounded() {
    let mut authority = created();
    for _ in 0..10 {
        let next = Authority::advance(None, "tickwire", LIFETIME, day(0)).unwrap().0;
        authority.sign_by(next.signer);
    }
    let (authority, changes) = advanced(authority, day(1));
    assert_eq!(changes, ["AuthorityPredecessorDropped"; 6]);
    assert_eq!(in_bundle(&authority), MAX_PREDECESSORS + 1);
}

#[test]
fn what_is_written_is_read_again() {
    let (authority, _) = advanced(created(), day(120));
    let (authority, _) = advanced(authority, day(150));
    let (authority, _) = advanced_with(authority, 1000 * DAY, day(179));
    assert_eq!(authority.predecessors.len(), 1);
    let with_all = Authority { successor: Some(created().signer), ..authority };
    let written = with_all.write();
    let entries: Vec<_> = written.keys().map(String::as_str).collect();
    assert_eq!(entries, ["ca.crt", "ca.key", "next-ca.crt", "next-ca.key", "previous-ca.crt"]);
    let read = Authority::read(&written).unwrap().unwrap();
    assert_eq!(read.write(), written);
    assert_eq!(read.bundle(), with_all.bundle());
    assert!(Authority::read(&BTreeMap::new()).unwrap().is_none());
    let others = BTreeMap::from([("other".into(), ByteString(b"1".to_vec()))]);
    assert!(Authority::read(&others).unwrap().is_none());
}

#[test]
fn what_cannot_be_used_is_said_and_never_replaced() {
    let written = advanced(created(), day(120)).0.write();
    let other = created().write();
    let leaf = created().sign(&request(), day(0)).unwrap();
    let text = |pem: &str| ByteString(pem.as_bytes().to_vec());
    let twice = [other["ca.crt"].0.clone(), other["ca.crt"].0.clone()].concat();
    let cut = ByteString(other["ca.key"].0[..100].to_vec());
    let cases: Vec<(&str, Option<ByteString>, &str)> = vec![
        ("ca.crt", None, "ca.crt is not there"),
        ("ca.key", None, "ca.key is not there"),
        ("next-ca.key", None, "next-ca.key is not there"),
        ("ca.crt", Some(text("hello")), "ca.crt: holds no certificate in PEM"),
        ("ca.crt", Some(ByteString(vec![0xFF; 10])), "ca.crt: holds no certificate in PEM"),
        ("ca.crt", Some(ByteString(twice)), "ca.crt holds 2 certificates; it must be one"),
        ("ca.key", Some(cut), "ca.key: a section of it has no END line; has it been cut?"),
        ("ca.key", Some(other["ca.key"].clone()), "ca.key does not belong to ca.crt"),
        (
            "ca.crt",
            Some(text(&leaf.certificate)),
            "ca.crt: its certificate is not an authority's (basicConstraints CA, keyUsage keyCertSign)",
        ),
        (
            "previous-ca.crt",
            Some(text(&leaf.certificate)),
            "previous-ca.crt: its certificate is not an authority's (basicConstraints CA, keyUsage keyCertSign)",
        ),
        (
            "next-ca.crt",
            Some(text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
            "next-ca.crt: its certificate is damaged: what stands between BEGIN and END is no certificate",
        ),
    ];
    for (entry, value, message) in cases {
        let mut secret = written.clone();
        secret.remove(entry);
        secret.extend(value.map(|value| (entry.to_owned(), value)));
        assert_eq!(Authority::read(&secret).unwrap_err().to_string(), message);
    }
    let alone = BTreeMap::from([("ca.key".to_owned(), written["ca.key"].clone())]);
    assert_eq!(Authority::read(&alone).unwrap_err(), AuthorityError::Missing { entry: "ca.crt" });
    let mut encrypted = written;
    encrypted.insert("ca.key".into(), text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert_eq!(
        Authority::read(&encrypted).unwrap_err(),
        AuthorityError::Pem { entry: "ca.key", problem: PemProblem::Encrypted }
    );
}

#[test]
fn an_authority_may_sign_servers_and_no_authorities() {
    let authority = created();
    let der = authority.signer().der();
    let (_, x509) = X509Certificate::from_der(&der).unwrap();
    let constraints = x509.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = x509.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 0b110_0000, "keyCertSign and cRLSign");
    assert!(x509.name_constraints().unwrap().is_none());
    assert!(x509.subject().to_string().starts_with("CN=tickwire default/ticks "));
}

#[test]
fn a_certificate_says_what_was_asked_for_and_ends_no_later_than_its_signer() {
    let authority = created();
    let issued = authority.sign(&request(), day(0)).unwrap();
    assert_eq!(issued.not_after, day(30));
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let (_, x509) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(x509.subject().to_string(), "CN=ticks.default.svc");
    let signer = authority.signer().der();
    let (_, signer) = X509Certificate::from_der(&signer).unwrap();
    assert_eq!(x509.issuer().as_raw(), signer.subject().as_raw());
    assert!(!x509.basic_constraints().unwrap().unwrap().value.ca);
    assert!(x509.key_usage().unwrap().unwrap().value.digital_signature());
    let purposes = x509.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth);
    assert_eq!(x509.validity().not_before.timestamp(), day(0).as_second() - 300);

    let certificate = Certificate::read(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
    let signers = Details::read(&authority.signer().der()).unwrap();
    assert!(certificate.authority_key_id().is_some());
    assert_eq!(certificate.authority_key_id(), signers.subject_key_id.as_deref());
    assert!(certificate.dns_names().iter().eq(["*.ticks.default.svc", "ticks.default.svc"]));
    assert!(certificate.ip_addresses().iter().eq(&request().ip_addresses));

    assert_eq!(authority.sign(&request(), day(170)).unwrap().not_after, day(180));
    let expired = authority.sign(&request(), day(180)).unwrap_err();
    assert_eq!(expired.to_string(), "the certificate authority expired on 2026-06-30T00:00:00Z");
}

#[test]
fn a_subject_that_is_too_long_is_cut_for_an_authority_and_left_out_for_a_server() {
    let long = "ü".repeat(100);
    let (authority, _) = Authority::advance(None, &long, LIFETIME, day(0)).unwrap();
    assert_eq!(authority.signer().common_name().chars().count(), 64);
    let request = ServerCertificate { common_name: long, ..request() };
    let issued = authority.sign(&request, day(0)).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let (_, x509) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(x509.subject().iter_attributes().count(), 0);
    assert!(x509.subject_alternative_name().unwrap().unwrap().critical, "RFC 5280, section 4.2.1.6");
    let certificate = Certificate::read(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
    let read = Authority::read(&authority.write()).unwrap().unwrap();
    assert!(certificate.is_signed_by(read.bundle().as_bytes()));
}

#[test]
fn a_certificate_for_nobody_or_for_no_host_name_is_not_signed() {
    let authority = created();
    let nobody = ServerCertificate { dns_names: Vec::new(), ip_addresses: Vec::new(), ..request() };
    assert!(matches!(authority.sign(&nobody, day(0)), Err(SigningError::NoNames)));
    for name in ["", "*", "*.", "two words", "münchen.example", "https://example.org", "a.*.example"] {
        let request = ServerCertificate { dns_names: vec![name.into()], ..request() };
        let error = authority.sign(&request, day(0)).unwrap_err();
        assert_eq!(error.to_string(), format!("`{name}` is not a host name"));
    }
}

#[test]
fn no_key_is_in_what_is_printed() {
    let (authority, _) = advanced(created(), day(120));
    let issued = authority.sign(&request(), day(120)).unwrap();
    let printed = format!("{authority:?} {issued:?}");
    assert!(!printed.contains("PRIVATE"), "{printed}");
    let written = authority.write();
    for key in [&*written["ca.key"].0, &*written["next-ca.key"].0, issued.key.as_bytes()] {
        let key = str::from_utf8(key).unwrap();
        assert!(!printed.contains(key.lines().nth(1).unwrap()));
    }
}

#[test]
fn after_a_rotation_a_certificate_is_renewed_at_once() {
    let request = request();
    let (authority, _) = advanced(created(), day(120));
    let certificate = issued(&authority, day(149));
    let reason = |authority: &Authority, certificate: &Certificate, now| {
        let wanted = Wanted { request: &request, authority, renew_before: 10 * DAY };
        certificate.needs_renewal(&wanted, now)
    };
    assert_eq!(reason(&authority, &certificate, day(149)), None);
    let (authority, _) = advanced(authority, day(150));
    assert_eq!(reason(&authority, &certificate, day(150)), Some(Renewal::OtherAuthority));
    assert_eq!(reason(&authority, &issued(&authority, day(150)), day(150)), None);
}
