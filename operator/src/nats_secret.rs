//! What servers show to NATS, and whom they trust: the keys of the Secret that spec.feed.nats names.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use crate::certificate::{self, CERTIFICATE, Certificate, KEY};
use crate::problem::Problem;

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
/// The key with a token.
pub(crate) const TOKEN: &str = "token";
/// The key with a JWT and its seed.
pub(crate) const CREDENTIALS: &str = "user.creds";
/// The key with the authorities that may sign for NATS.
pub(crate) const AUTHORITIES: &str = "ca.crt";

/// The keys, for people.
pub(crate) const KEYS: &str = "username and password, or token, or user.creds; and where they are needed ca.crt, or tls.crt and tls.key";

/// What servers show to NATS, and whom they trust. It has passwords: so no Debug.
#[derive(Clone)]
pub struct NatsSecret {
    /// The Secret's name.
    pub name: String,
    /// As whom they log in.
    pub login: NatsLogin,
    /// Whether it has authorities that may sign for NATS.
    pub has_authorities: bool,
    /// Whether it has a certificate of the servers' own, with its key.
    pub has_certificate: bool,
}

/// As whom servers log in.
#[derive(Clone, PartialEq, Eq)]
pub enum NatsLogin {
    /// As nobody, or as whoever their certificate says.
    Nobody,
    /// As a user, with a password: these.
    User(Vec<u8>, Vec<u8>),
    /// With a token: this.
    Token(Vec<u8>),
    /// With a JWT and its seed: this file.
    Credentials(Vec<u8>),
}

impl NatsLogin {
    /// What servers read at their start alone: another must roll them. Certificates they read for each connection.
    pub(crate) fn digested(&self) -> Vec<&[u8]> {
        match self {
            Self::Nobody => Vec::new(),
            Self::User(name, password) => vec![USERNAME.as_bytes(), name, password],
            Self::Token(token) => vec![TOKEN.as_bytes(), token],
            Self::Credentials(file) => vec![CREDENTIALS.as_bytes(), file],
        }
    }
}

impl NatsSecret {
    /// Reads the Secret of this name.
    ///
    /// # Errors
    ///
    /// Where it has none of the keys, one without the other that belongs to it, two logins, or something that cannot be used under one.
    pub fn read(name: &str, data: &BTreeMap<String, ByteString>) -> Result<Self, Problem> {
        let field = format!("Secret {name} (spec.feed.nats.secretRef)");
        let known = [USERNAME, PASSWORD, TOKEN, CREDENTIALS, AUTHORITIES, CERTIFICATE, KEY];
        let present: Vec<_> = known.into_iter().filter(|key| data.contains_key(*key)).collect();
        let has = |key: &str| present.contains(&key);
        let missing = |message: String| Problem::configuration("SecretKeyMissing", message);
        let invalid = |message: String| Problem::configuration("InvalidSecret", message);

        if present.is_empty() {
            return Err(missing(format!("{field} has none of the keys that are looked for; add {KEYS}")));
        }
        for (one, other) in
            [(USERNAME, PASSWORD), (PASSWORD, USERNAME), (CERTIFICATE, KEY), (KEY, CERTIFICATE)]
        {
            if has(one) && !has(other) {
                return Err(missing(format!("{field} has the key {one} and no key {other}; add it")));
            }
        }
        let logins: Vec<_> = [USERNAME, TOKEN, CREDENTIALS].into_iter().filter(|key| has(key)).collect();
        if logins.len() > 1 {
            return Err(invalid(format!(
                "{field} has several logins: {}; leave one of username with password, token, and user.creds",
                logins.join(", ")
            )));
        }
        let value = |key: &str| data.get(key).map(|value| value.0.clone()).unwrap_or_default();
        if let Some(empty) = present.iter().find(|key| value(key).is_empty()) {
            return Err(missing(format!("key {empty} of {field} is empty; fill it")));
        }
        for key in [USERNAME, PASSWORD, TOKEN, CREDENTIALS] {
            if std::str::from_utf8(&value(key)).is_err() {
                return Err(invalid(format!(
                    "key {key} of {field} is not text in UTF-8; put the {key} itself there"
                )));
            }
        }
        if has(AUTHORITIES) {
            certificate::authorities(&value(AUTHORITIES))
                .map_err(|error| invalid(format!("key {AUTHORITIES} of {field}: {error}")))?;
        }
        if has(CERTIFICATE) {
            Certificate::read(&value(CERTIFICATE), &value(KEY)).map_err(|error| {
                invalid(format!("{field}: {error}; put a certificate and its key there, in PEM"))
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            login: match logins.first() {
                Some(&USERNAME) => NatsLogin::User(value(USERNAME), value(PASSWORD)),
                Some(&TOKEN) => NatsLogin::Token(value(TOKEN)),
                Some(_) => NatsLogin::Credentials(value(CREDENTIALS)),
                None => NatsLogin::Nobody,
            },
            has_authorities: has(AUTHORITIES),
            has_certificate: has(CERTIFICATE),
        })
    }

    /// The keys that servers read as files.
    #[must_use]
    pub fn files(&self) -> Vec<&'static str> {
        let mut files = Vec::new();
        if matches!(self.login, NatsLogin::Credentials(_)) {
            files.push(CREDENTIALS);
        }
        if self.has_authorities {
            files.push(AUTHORITIES);
        }
        if self.has_certificate {
            files.extend([CERTIFICATE, KEY]);
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn read(entries: &[(&str, &[u8])]) -> Result<NatsSecret, Problem> {
        let entry = |(key, value): &(&str, &[u8])| ((*key).to_owned(), ByteString(value.to_vec()));
        NatsSecret::read("bus", &entries.iter().map(entry).collect())
    }

    #[test]
    fn the_keys_that_are_there_say_how_servers_log_in_and_what_they_read_as_files() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["ticks".to_owned()]).unwrap();
        let own = params.self_signed(&key).unwrap().pem();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();

        let user =
            read(&[("username", b"ticks"), ("password", b"secret"), ("other", b"ignored")]).ok().unwrap();
        assert!(user.login == NatsLogin::User(b"ticks".to_vec(), b"secret".to_vec()));
        assert!(user.files().is_empty());
        let token = read(&[("token", b"secret"), ("ca.crt", ca.as_bytes())]).ok().unwrap();
        assert!(token.login == NatsLogin::Token(b"secret".to_vec()));
        assert_eq!(token.files(), ["ca.crt"]);
        let whole: [(&str, &[u8]); 4] = [
            ("user.creds", b"-----BEGIN NATS USER JWT-----"),
            ("ca.crt", ca.as_bytes()),
            ("tls.crt", own.as_bytes()),
            ("tls.key", &key.serialize_pem().into_bytes()),
        ];
        assert_eq!(read(&whole).ok().unwrap().files(), ["user.creds", "ca.crt", "tls.crt", "tls.key"]);
        let certificate = read(&whole[2..]).ok().unwrap();
        assert!(certificate.login == NatsLogin::Nobody);
        assert_eq!(certificate.files(), ["tls.crt", "tls.key"]);
    }

    #[test]
    fn what_is_missing_or_contradicts_itself_is_said_with_what_would_be_right() {
        for (entries, reason, words) in [
            (
                &[("password ", b"x".as_slice())][..],
                "SecretKeyMissing",
                "none of the keys that are looked for; add username",
            ),
            (&[("username", b"x")], "SecretKeyMissing", "has the key username and no key password; add it"),
            (&[("password", b"x")], "SecretKeyMissing", "has the key password and no key username; add it"),
            (&[("tls.crt", b"x")], "SecretKeyMissing", "has the key tls.crt and no key tls.key; add it"),
            (&[("tls.key", b"x")], "SecretKeyMissing", "has the key tls.key and no key tls.crt; add it"),
            (
                &[("token", b"")],
                "SecretKeyMissing",
                "key token of Secret bus (spec.feed.nats.secretRef) is empty; fill it",
            ),
            (
                &[("token", b"x"), ("user.creds", b"y")],
                "InvalidSecret",
                "several logins: token, user.creds; leave one",
            ),
            (
                &[("username", b"x"), ("password", b"y"), ("token", b"z")],
                "InvalidSecret",
                "several logins: username, token; leave one",
            ),
            (&[("token", b"\xff")], "InvalidSecret", "is not text in UTF-8"),
            (&[("ca.crt", b"nonsense")], "InvalidSecret", "key ca.crt of Secret bus"),
            (
                &[("tls.crt", b"nonsense"), ("tls.key", b"nonsense")],
                "InvalidSecret",
                "put a certificate and its key there",
            ),
        ] {
            let problem = read(entries).err().unwrap();
            assert_eq!(problem.reason, reason, "{problem}");
            assert!(problem.message.contains(words), "{problem} should say {words:?}");
            assert!(problem.message.contains("Secret bus (spec.feed.nats.secretRef)"), "{problem}");
        }
    }

    #[test]
    fn another_login_has_another_digest_and_another_certificate_has_none() {
        let digested = |login: NatsLogin| login.digested().concat();
        let logins = [
            NatsLogin::Nobody,
            NatsLogin::User(b"a".to_vec(), b"b".to_vec()),
            NatsLogin::Token(b"b".to_vec()),
            NatsLogin::Credentials(b"b".to_vec()),
        ];
        let all: std::collections::BTreeSet<_> = logins.into_iter().map(digested).collect();
        assert_eq!(all.len(), 4);
    }
}
