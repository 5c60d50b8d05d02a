//! An operator of NATS with an account and a user, as `nsc` makes them: each signs for the next.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// One operator, one account that may use JetStream, one user in it; keys are made anew each time.
#[derive(Debug)]
pub struct Accounts {
    operator: String,
    /// Of NATS itself, which JetStream takes for granted.
    system: (String, String),
    account: (String, String),
    user: (String, String),
}

impl Accounts {
    /// New ones.
    ///
    /// # Panics
    ///
    /// Where there are no random numbers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "two are never the same")]
    pub fn new() -> Self {
        let (operator, user) = (KeyPair::new_operator(), KeyPair::new_user());
        let (system, account) = (KeyPair::new_account(), KeyPair::new_account());
        let everything = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let of_operator = json!({ "type": "operator", "version": 2 });
        let of_system = json!({ "type": "account", "version": 2, "limits": { "conn": -1, "subs": -1, "data": -1, "payload": -1 } });
        let of_account = json!({ "type": "account", "version": 2, "limits": everything });
        let of_user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        Self {
            operator: sign(&operator, &operator, &of_operator),
            system: (system.public_key(), sign(&operator, &system, &of_system)),
            account: (account.public_key(), sign(&operator, &account, &of_account)),
            user: (sign(&account, &user, &of_user), user.seed().expect("its own seed")),
        }
    }

    /// What nats-server is configured with.
    #[must_use]
    pub fn configuration(&self) -> String {
        let Self { operator, system: (system, system_jwt), account: (account, account_jwt), .. } = self;
        format!(
            "operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {system}: {system_jwt}, {account}: {account_jwt} }}\n"
        )
    }

    /// The user's file.
    #[must_use]
    pub fn credentials(&self) -> String {
        let (jwt, seed) = &self.user;
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// What `issuer` says of `subject`, as a JWT.
fn sign(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let (iss, sub) = (issuer.public_key(), subject.public_key());
    let body = json!({ "jti": "TEST", "iat": now, "iss": iss, "sub": sub, "name": "test", "nats": claims });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&body));
    let signature = issuer.sign(signed.as_bytes()).expect("a key that can sign");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
