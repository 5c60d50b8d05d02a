use std::path::Path;

use super::*;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use tickwire_tests::pki::{Authority, Folder};

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ca.crt");

/// An Ed25519 key in PKCS #8: its secret is 32 times 7.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
";

/// A file that is there as long as the test runs.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tickwire-client-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn tls() -> Tls {
    Tls::builder().ca_file(CA).build().unwrap()
}

#[test]
fn the_name_that_is_asked_for_is_the_host_of_the_address() {
    for (address, name) in [
        ("ticks.example.com:21591", "ticks.example.com"),
        ("localhost:1", "localhost"),
        ("127.0.0.1:21591", "127.0.0.1"),
        ("[::1]:21591", "::1"),
        ("[fe80::1%eth0]:21591", "fe80::1"),
        ("::1:21591", "::1"),
    ] {
        assert_eq!(tls().name(address).unwrap().to_str(), name);
    }
    assert!(matches!(
        tls().name("not a name:1"),
        Err(LinkError::ServerName { host }) if host == "not a name"
    ));
}

#[test]
fn a_name_that_is_given_is_asked_for_whatever_the_address_is() {
    let tls = Tls::builder().ca_file(CA).server_name("ticks.example.com").build().unwrap();
    assert_eq!(tls.name("127.0.0.1:21591").unwrap().to_str(), "ticks.example.com");
    let error = Tls::builder().ca_file(CA).server_name("localhost:21591").build().unwrap_err();
    assert!(error.to_string().starts_with("the server name \"localhost:21591\" is none"), "{error}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let key = File::new("key", KEY);
    let cut = File::new("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let garbled = File::new("garbled", "-----BEGIN CERTIFICATE-----\n(!)\n-----END CERTIFICATE-----\n");
    let no_der = File::new("no-der", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let bad_key = File::new("bad-key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let locked = File::new(
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let old_locked = File::new(
        "old-locked",
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
    );
    let ca = |file: &Path| Tls::builder().ca_file(file);
    let pair = |cert: &Path, key: &Path| ca(CA.as_ref()).client_certificate(cert, key);
    let (good, nowhere) = (Path::new(CA), Path::new("/nowhere/ca.crt"));
    for (builder, file, reason) in [
        (ca(nowhere), nowhere, "CA file"),
        (ca(&key.0), &key.0, "no certificate"),
        (ca(&cut.0), &cut.0, "without its END"),
        (ca(&garbled.0), &garbled.0, "not base64"),
        (ca(&no_der.0), &no_der.0, "cannot be used"),
        (pair(nowhere, &key.0), nowhere, "client certificate"),
        (pair(&key.0, &key.0), &key.0, "no certificate"),
        (pair(&no_der.0, &key.0), &no_der.0, "cannot be used"),
        (pair(good, nowhere), nowhere, "client key"),
        (pair(good, good), good, "no private key"),
        (pair(good, &locked.0), &locked.0, "is encrypted; decrypt it with `openssl pkey -in "),
        (pair(good, &old_locked.0), &old_locked.0, "is encrypted; decrypt it with `openssl pkey -in "),
        (pair(good, &bad_key.0), &bad_key.0, "ECDSA"),
        (pair(good, &key.0), &key.0, "do not belong together"),
        (pair(good, &key.0), good, "do not belong together"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains(reason), "{error}");
    }
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let tls = Tls { files: files(Some("ca.crt"), Some("tls.crt")), ..tls() };
    let expected = r#"Tls { files: Files { ca_file: Some("ca.crt"), client_certificate: Some(("tls.crt", "tls.key")) }, server_name: None, .. }"#;
    assert_eq!(format!("{tls:?}"), expected);
}

fn files(ca_file: Option<&str>, certificate: Option<&str>) -> Arc<Files> {
    let client_certificate = certificate.map(|certificate| (certificate.into(), "tls.key".into()));
    Arc::new(Files { ca_file: ca_file.map(Into::into), client_certificate })
}

#[test]
fn files_that_have_changed_are_read_again_for_all_clones_and_others_are_not() {
    let authority = Authority::new("Tickwire test");
    let folder = Folder::new(&authority.client(&["ann"]), &authority);
    let (certificate, key) = (folder.certificate(), folder.key());
    let tls = Tls::builder().ca_file(folder.ca()).client_certificate(certificate, key).build().unwrap();
    let other = tls.clone();
    let first = tls.config();
    assert!(Arc::ptr_eq(&first, &tls.config()), "nothing has changed, and tickets are kept");
    folder.swap(&authority.client(&["ann"]), &authority);
    let second = tls.config();
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &other.config()), "clones share what has been read");
}

#[test]
fn files_that_cannot_be_used_leave_what_was_read_before_and_are_read_once_they_can() {
    let authority = Authority::new("Tickwire test");
    let (old, new) = (authority.client(&["ann"]), authority.client(&["ann"]));
    let folder = Folder::new(&old, &authority);
    let (certificate, key) = (folder.certificate(), folder.key());
    let tls = Tls::builder().ca_file(folder.ca()).client_certificate(certificate, key).build().unwrap();
    let first = tls.config();
    let write = |text: &str| std::fs::write(certificate, text).unwrap();
    write(&new.certificate);
    assert!(Arc::ptr_eq(&first, &tls.config()), "the key is still the old one's");
    write("cut");
    assert!(Arc::ptr_eq(&first, &tls.config()));
    std::fs::remove_file(certificate).unwrap();
    assert!(Arc::ptr_eq(&first, &tls.config()));
    write(&new.certificate);
    std::fs::write(key, &new.key).unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.config()));
}

#[test]
fn a_failure_says_what_to_do_and_whether_trying_again_can_help() {
    let failed = |tls: &Tls, error: rustls::Error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        let error = tls.failed("ticks.example.com:21591", error);
        (error.to_string(), error.is_final())
    };
    let anonymous = Tls { files: files(None, None), ..tls() };
    let known = Tls { files: files(Some("other.crt"), Some("ann.crt")), ..tls() };
    let certificate = |error: CertificateError| rustls::Error::InvalidCertificate(error);
    let alert = rustls::Error::AlertReceived;
    for (tls, error, advice, is_final) in [
        (
            &anonymous,
            certificate(CertificateError::UnknownIssuer),
            "no authority that is trusted here; ",
            true,
        ),
        (
            &known,
            certificate(CertificateError::UnknownIssuer),
            "of the authorities in other.crt; give its",
            true,
        ),
        (&anonymous, certificate(CertificateError::BadSignature), "--ca", true),
        (&anonymous, certificate(CertificateError::Expired), "has expired", false),
        (&anonymous, certificate(CertificateError::NotValidYet), "clock", false),
        (&anonymous, certificate(CertificateError::NotValidForName), "not for ticks.example.com; give", true),
        (&anonymous, certificate(CertificateError::InvalidPurpose), "server authentication", true),
        (&anonymous, alert(AlertDescription::CertificateRequired), "--cert and --key", true),
        (&anonymous, alert(AlertDescription::BadCertificate), "--cert and --key", true),
        (&known, alert(AlertDescription::UnknownCA), "refused our client certificate ann.crt; check", true),
        (&known, alert(AlertDescription::CertificateExpired), "refused our client certificate", true),
        (&anonymous, alert(AlertDescription::NoApplicationProtocol), "not Tickwire", true),
        (&anonymous, alert(AlertDescription::ProtocolVersion), "TLS 1.3", true),
        (&anonymous, PeerIncompatible::NoCipherSuitesInCommon.into(), "TLS 1.3", true),
        (&anonymous, InvalidMessage::InvalidContentType.into(), "leave --tls away", true),
        (&anonymous, alert(AlertDescription::InternalError), "logs", false),
        (&anonymous, rustls::Error::DecryptError, "not as it should be", false),
    ] {
        let (text, found) = failed(tls, error);
        assert!(text.starts_with("TLS with ticks.example.com:21591 failed: "), "{text}");
        assert!(text.contains(advice) && found == is_final, "{text} {found}");
    }
}

#[test]
fn an_end_is_an_end_with_tls_as_without() {
    let end = tls().failed("a:1", io::ErrorKind::UnexpectedEof.into());
    assert!(matches!(end, LinkError::Closed));
    let reset = tls().failed("a:1", io::ErrorKind::ConnectionReset.into());
    assert!(matches!(&reset, LinkError::Codec(CodecError::Io(_))) && !reset.is_final());
}

#[test]
fn an_error_says_that_files_have_changed_and_cannot_be_used() {
    let authority = Authority::new("ours");
    let folder = Folder::new(&authority.server(&["localhost"]), &authority);
    let tls = Tls::builder().ca_file(folder.ca()).build().unwrap();
    let failed = || {
        let _config = tls.config();
        let error = io::Error::other(rustls::Error::InvalidCertificate(CertificateError::Expired));
        tls.failed("localhost:1", error).to_string()
    };
    assert!(!failed().contains("before a change"));
    folder.swap(&authority.server(&["localhost"]), &authority);
    assert!(!failed().contains("before a change"), "a change that can be used needs no words");
    std::fs::write(folder.ca(), "no certificate").unwrap();
    let expected =
        format!("(what is in use was read before a change: the CA file {} holds no certificate", folder.ca());
    assert!(failed().contains(&expected), "{}", failed());
    folder.swap(&authority.server(&["localhost"]), &authority);
    assert!(!failed().contains("before a change"), "it has passed");
}
