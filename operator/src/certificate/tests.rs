use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;
use crate::authority::{Authority, Issued, ServerCertificate};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn day(day: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_hours(24 * day)
}

fn authority() -> Authority {
    Authority::advance(None, "tickwire", 360 * DAY, day(0)).unwrap().0
}

fn request() -> ServerCertificate {
    ServerCertificate {
        common_name: "ticks".into(),
        dns_names: vec!["ticks.default.svc".into(), "Ticks.example.org".into()],
        ip_addresses: vec!["10.0.0.1".parse().unwrap()],
        lifetime: 90 * DAY,
    }
}

fn read(issued: &Issued) -> Result<Certificate, CertificateError> {
    Certificate::read(issued.certificate.as_bytes(), issued.key.as_bytes())
}

/// Why a certificate that is signed on day 0 needs renewal, where `request` is asked for later.
fn reason(authority: &Authority, request: &ServerCertificate, now: Timestamp) -> Option<Renewal> {
    let certificate = read(&authority.sign(&self::request(), day(0)).unwrap()).unwrap();
    certificate.needs_renewal(&Wanted { request, authority, renew_before: 30 * DAY }, now)
}

#[test]
fn a_certificate_that_expired_or_is_not_yet_valid_says_since_when() {
    let certificate = read(&authority().sign(&request(), day(0)).unwrap()).unwrap();
    assert_eq!(certificate.valid_at(day(0)), Ok(()));
    assert_eq!(
        certificate.valid_at(day(90)).unwrap_err().to_string(),
        "tls.crt expired on 2026-04-01T00:00:00Z"
    );
    assert_eq!(
        certificate.valid_at(day(-1)).unwrap_err().to_string(),
        "tls.crt is not valid before 2025-12-31T23:55:00Z; is a clock wrong?"
    );
}

#[test]
fn what_is_wrong_with_a_pair_is_said() {
    let authority = authority();
    let (one, other) =
        (authority.sign(&request(), day(0)).unwrap(), authority.sign(&request(), day(0)).unwrap());
    let both = format!("{}{}", other.certificate, one.certificate);
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bad_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let cases: &[(&str, &str, &str)] = &[
        ("", &one.key, "tls.crt: holds no certificate in PEM"),
        (&one.key, &one.key, "tls.crt: holds no certificate in PEM"),
        (&one.certificate, &one.certificate, "tls.key: holds no private key in PEM"),
        (&one.certificate, &one.key[..60], "tls.key: a section of it has no END line; has it been cut?"),
        (&one.certificate, &other.key, "tls.key does not belong to tls.crt"),
        (
            &both,
            &one.key,
            "tls.key belongs to certificate 2 of tls.crt; the server's own must come first, then those that signed it",
        ),
        (
            damaged,
            &one.key,
            "tls.crt: its first certificate is damaged: what stands between BEGIN and END is no certificate",
        ),
        (
            &one.certificate,
            bad_key,
            "tls.key: the key cannot be used; it must be ECDSA (P-256, P-384), Ed25519 or RSA (from 2048 bits)",
        ),
    ];
    for (certificate, key, message) in cases {
        let error = Certificate::read(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), *message);
    }
}

#[test]
fn keys_of_all_kinds_that_servers_know_are_recognised() {
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let (key, other) =
            (KeyPair::generate_for(algorithm).unwrap(), KeyPair::generate_for(algorithm).unwrap());
        let certificate =
            CertificateParams::new(["ticks".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let read = |key: &KeyPair| Certificate::read(certificate.as_bytes(), key.serialize_pem().as_bytes());
        assert!(read(&key).unwrap().dns_names().iter().eq(["ticks"]));
        assert_eq!(read(&other), Err(CertificateError::Pair));
    }
    // For nothing but this test, by `openssl req -x509 -newkey rsa:2048 -noenc -days 3650 -subj /CN=rsa -addext
    // subjectAltName=DNS:rsa.example,IP:fd00::1 -addext basicConstraints=critical,CA:FALSE`, and the key by `openssl rsa -traditional`:
    // in PKCS #1, as cert-manager writes it.
    let (certificate, key) = (include_bytes!("tests/rsa.crt"), include_bytes!("tests/rsa.key"));
    let rsa = Certificate::read(certificate, key).unwrap();
    assert!(rsa.dns_names().iter().eq(["rsa.example"]));
    assert!(rsa.ip_addresses().iter().eq(&["fd00::1".parse::<IpAddr>().unwrap()]));
    let other = authority().sign(&request(), day(0)).unwrap();
    assert_eq!(Certificate::read(certificate, other.key.as_bytes()), Err(CertificateError::Pair));
}

#[test]
fn who_signed_a_certificate_is_told_by_the_signature_and_not_by_the_name() {
    let (ours, theirs) = (authority(), authority());
    let certificate = read(&ours.sign(&request(), day(0)).unwrap()).unwrap();
    assert!(certificate.is_signed_by(ours.bundle().as_bytes()));
    assert!(!certificate.is_signed_by(theirs.bundle().as_bytes()));
    assert!(certificate.is_signed_by(format!("{}{}", theirs.bundle(), ours.bundle()).as_bytes()));
    assert!(!certificate.is_signed_by(b"no PEM"));
}

#[test]
fn a_certificate_is_renewed_when_and_because_it_has_to_be() {
    let authority = authority();
    let with = |change: fn(&mut ServerCertificate)| {
        let mut request = request();
        change(&mut request);
        request
    };
    let same = request();
    assert_eq!(reason(&authority, &same, day(0)), None);
    assert_eq!(reason(&authority, &same, day(59)), None);
    assert_eq!(reason(&authority, &same, day(60)), Some(Renewal::Due(day(90))));
    assert_eq!(reason(&authority, &same, day(90)), Some(Renewal::Expired(day(90))));
    let in_other_order =
        with(|it| it.dns_names = vec!["ticks.EXAMPLE.org".into(), "ticks.default.svc".into()]);
    assert_eq!(reason(&authority, &in_other_order, day(0)), None);
    let fewer = with(|it| it.dns_names.truncate(1));
    assert_eq!(reason(&authority, &fewer, day(0)), Some(Renewal::NamesDiffer));
    let other_address = with(|it| it.ip_addresses = vec!["10.0.0.2".parse().unwrap()]);
    assert_eq!(reason(&authority, &other_address, day(0)), Some(Renewal::NamesDiffer));
    let shorter = with(|it| it.lifetime = 60 * DAY);
    assert_eq!(reason(&authority, &shorter, day(0)), Some(Renewal::TooLong));
    let longer = with(|it| it.lifetime = 120 * DAY);
    assert_eq!(reason(&authority, &longer, day(0)), None, "it is the lifetime of the next one");
}

#[test]
fn what_is_not_there_or_cannot_be_read_is_renewed() {
    let (authority, request) = (authority(), request());
    let wanted = Wanted { request: &request, authority: &authority, renew_before: 30 * DAY };
    let issued = authority.sign(&request, day(0)).unwrap();
    let (certificate, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
    assert_eq!(wanted.renewal(Some(certificate), Some(key), day(0)), None);
    assert_eq!(wanted.renewal(None, None, day(0)), Some(Renewal::Missing));
    assert_eq!(wanted.renewal(Some(certificate), None, day(0)), Some(Renewal::Missing));
    let unreadable = wanted.renewal(Some(b""), Some(key), day(0)).unwrap();
    assert_eq!(unreadable.label(), "Unreadable");
    assert_eq!(unreadable.to_string(), "it cannot be used: tls.crt: holds no certificate in PEM");
}

#[test]
fn a_certificate_that_its_signers_end_cut_short_is_not_renewed_again_and_again() {
    let (authority, request) = (authority(), request());
    let wanted = Wanted { request: &request, authority: &authority, renew_before: 30 * DAY };
    // 9 of the 90 days are left: it is due when 3 of them are, as 30 would be of 90.
    let certificate = read(&authority.sign(&request, day(351)).unwrap()).unwrap();
    assert_eq!(certificate.not_after(), day(360));
    assert_eq!(certificate.needs_renewal(&wanted, day(351)), None);
    assert_eq!(certificate.due_at(&wanted), day(357));
    // A nonsensical configuration does not do so, either.
    let always = Wanted { renew_before: 100 * DAY, ..wanted };
    let certificate = read(&authority.sign(&request, day(0)).unwrap()).unwrap();
    assert_eq!(certificate.needs_renewal(&always, day(0)), None);
    assert_eq!(certificate.due_at(&always), day(60));
}

#[test]
fn a_clock_that_is_behind_renews_nothing_unless_it_is_safe() {
    let (authority, request) = (authority(), request());
    let wanted = Wanted { request: &request, authority: &authority, renew_before: 30 * DAY };
    let certificate = read(&authority.sign(&request, day(50)).unwrap()).unwrap();
    let begins = certificate.not_before();
    assert_eq!(certificate.needs_renewal(&wanted, begins), None);
    assert_eq!(certificate.needs_renewal(&wanted, day(49)), Some(Renewal::NotYetValid(begins)));
    assert_eq!(certificate.needs_renewal(&wanted, day(10)), None, "what would be signed now ends too soon");
}

#[test]
fn a_chain_is_followed_to_its_authority() {
    let (root_key, middle_key, key) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = rcgen::CertifiedIssuer::self_signed(authority("root"), &root_key).unwrap();
    let middle = rcgen::CertifiedIssuer::signed_by(authority("middle"), &middle_key, &root).unwrap();
    let own = CertificateParams::new(["ticks".to_owned()]).unwrap().signed_by(&key, &middle).unwrap().pem();
    let read = |pem: &str| Certificate::read(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    assert!(read(&format!("{own}{}", middle.pem())).is_signed_by(root.pem().as_bytes()));
    assert!(!read(&own).is_signed_by(root.pem().as_bytes()), "the one between is not there");
    assert!(read(&own).is_signed_by(middle.pem().as_bytes()));
}

#[test]
fn a_bundle_of_authorities_is_counted_and_what_is_none_is_named() {
    let (one, other) = (authority(), authority());
    let both = format!("# ours\n{}\n{}", one.bundle(), other.bundle());
    assert_eq!(authorities(both.as_bytes()), Ok(2));
    assert_eq!(authorities(b""), Err(AuthoritiesError::Pem(PemProblem::NoCertificate)));
    let leaf = one.sign(&request(), day(0)).unwrap();
    let with_leaf = format!("{}{}", one.bundle(), leaf.certificate);
    assert_eq!(
        authorities(with_leaf.as_bytes()).unwrap_err().to_string(),
        "certificate 2, CN=ticks, is not an authority's: it signs no others"
    );
    // A client that is trusted by its own certificate.
    assert_eq!(authorities(include_bytes!("tests/rsa.crt")), Ok(1));
    let damaged = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one.bundle());
    assert_eq!(
        authorities(damaged.as_bytes()).unwrap_err().to_string(),
        "certificate 2 is damaged: what stands between BEGIN and END is no certificate"
    );
}
