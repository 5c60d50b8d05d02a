//! The server's settings, as environment variables: docs/CONFIGURATION.md says what each means.

use std::fmt::Display;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use tickwire_crd::{ClientCertificates, ClientIdentity, Feed, TlsMode};

use super::pod::{CLIENT_CA_FOLDER, NATS_FOLDER, RECORDING_FOLDER, TLS_FOLDER, USERS_FOLDER};
use crate::certificate::{CERTIFICATE, KEY};
use crate::nats_secret::{self, NatsLogin, NatsSecret};
use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> Vec<EnvVar> {
    let spec = &validated.spec;
    let mut variables = credentials(&validated.fleet.credentials_secret_of(spec));
    variables.extend(validated.nats.iter().flat_map(nats_login));
    let mut set = |name: &str, value: &dyn Display| {
        variables.push(EnvVar { name: name.into(), value: Some(value.to_string()), value_from: None });
    };
    let (protocol, limits, drain) = (&spec.protocol, &spec.limits, &spec.drain);
    set("HEARTBEAT_INTERVAL", &written(protocol.heartbeat_interval.get()));
    set("HEARTBEAT_TIMEOUT", &written(protocol.heartbeat_timeout.get()));
    set("BATCH_WINDOW_MS", &protocol.batch_window.get().as_millis());
    set("MAX_MSG_SIZE", &protocol.max_message_size.bytes());
    set("WRITE_DEADLINE_MS", &protocol.write_deadline.get().as_millis());
    set("AUTH_DEADLINE", &written(protocol.auth_deadline.get()));
    set("AUTH_FAILURE_LIMIT", &spec.auth.failure_limit);
    set("AUTH_USER_FAILURE_LIMIT", &spec.auth.user_failure_limit);
    set("MAX_CONNECTIONS", &limits.max_connections);
    set("MAX_CONNECTIONS_PER_ADDRESS", &limits.max_connections_per_address);
    set("WRITE_QUEUE_LIMIT", &limits.write_queue.bytes());
    set("MAX_FILTERS", &limits.max_filters);
    set("RING_SIZE", &limits.ring_size.bytes());
    set("RING_RETENTION", &written(limits.ring_retention.get()));
    set("DRAIN_DELAY", &written(drain.delay.get()));
    set("DRAIN_WINDOW", &written(drain.window.get()));
    set("DRAIN_TIMEOUT", &written(drain.effective_timeout(limits.max_connections)));
    if let Some(pace) = drain.reconnects_per_second {
        // Of one server: no other drains at the same time.
        set("DRAIN_RATE", &pace);
    }
    set("LOG_FORMAT", &"json");
    if let Some(proxies) = &spec.service.proxy_protocol {
        set("PROXY_PROTOCOL_FROM", &proxies.from.join(","));
    }
    if let Some(users) = &spec.auth.users {
        set("USERS_FILE", &format!("{USERS_FOLDER}/{}", users.secret_ref.key));
    }
    if spec.tls.mode != TlsMode::Disabled {
        set("TLS_CERT_FILE", &format!("{TLS_FOLDER}/tls.crt"));
        set("TLS_KEY_FILE", &format!("{TLS_FOLDER}/tls.key"));
    }
    if let Some(clients) = &spec.tls.client_authentication {
        set("TLS_CLIENT_CA_FILE", &format!("{CLIENT_CA_FOLDER}/{}", clients.ca_secret_ref.key));
        set(
            "TLS_CLIENT_AUTH",
            &match clients.mode {
                ClientCertificates::Required => "required",
                ClientCertificates::Optional => "optional",
            },
        );
        set(
            "TLS_CLIENT_IDENTITY",
            &match clients.identity {
                ClientIdentity::Ignored => "ignored",
                ClientIdentity::Required => "required",
                ClientIdentity::Sufficient => "sufficient",
            },
        );
    }
    for (name, value) in feed(&spec.feed) {
        set(name, &value);
    }
    if let Some(nats) = &validated.nats {
        for (name, key) in nats_files(nats) {
            set(name, &format!("{NATS_FOLDER}/{key}"));
        }
    }
    variables
}

fn credentials(secret: &str) -> Vec<EnvVar> {
    vec![from_secret("STREAM_USER", secret, "username"), from_secret("STREAM_PASS", secret, "password")]
}

fn nats_login(nats: &NatsSecret) -> Vec<EnvVar> {
    let from = |name, key| from_secret(name, &nats.name, key);
    match nats.login {
        NatsLogin::User(..) => {
            vec![from("FEED_NATS_USER", "username"), from("FEED_NATS_PASSWORD", "password")]
        }
        NatsLogin::Token(_) => vec![from("FEED_NATS_TOKEN", nats_secret::TOKEN)],
        NatsLogin::Credentials(_) | NatsLogin::Nobody => Vec::new(),
    }
}

/// The variables that name files, and under which key of the Secret each is.
fn nats_files(nats: &NatsSecret) -> Vec<(&'static str, &'static str)> {
    let variable = |key| match key {
        nats_secret::CREDENTIALS => "FEED_NATS_CREDENTIALS_FILE",
        nats_secret::AUTHORITIES => "FEED_NATS_CA_FILE",
        CERTIFICATE => "FEED_NATS_CERT_FILE",
        KEY => "FEED_NATS_KEY_FILE",
        other => other,
    };
    nats.files().into_iter().map(|key| (variable(key), key)).collect()
}

fn from_secret(name: &str, secret: &str, key: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.into(),
                key: key.into(),
                optional: Some(false),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn feed(feed: &Feed) -> Vec<(&'static str, String)> {
    // The schema lets exactly one be set.
    if let Some(replay) = &feed.replay {
        return vec![
            ("FEED", "replay".into()),
            ("FEED_FILE", format!("{RECORDING_FOLDER}/{}", replay.config_map_ref.key)),
            ("FEED_SPEED", replay.speed.to_string()),
            ("FEED_LOOP", replay.repeat.to_string()),
        ];
    }
    if let Some(nats) = &feed.nats {
        return vec![
            ("FEED", "nats".into()),
            ("FEED_NATS_URL", nats.urls.join(",")),
            ("FEED_NATS_STREAM", nats.stream.clone()),
            ("FEED_SYMBOLS", nats.symbols.join(",")),
            ("FEED_LATENESS", written(nats.lateness.get())),
        ];
    }
    let synthetic = feed.synthetic.clone().unwrap_or_default();
    let mut variables = vec![
        ("FEED", "synthetic".into()),
        ("FEED_SEED", synthetic.seed.to_string()),
        ("FEED_RATE", synthetic.rate.to_string()),
    ];
    if let Some(count) = synthetic.symbol_count {
        variables.push(("FEED_SYMBOLS", count.to_string()));
    } else if !synthetic.symbols.is_empty() {
        variables.push(("FEED_SYMBOLS", synthetic.symbols.join(",")));
    }
    variables
}

/// As the server reads it.
fn written(duration: Duration) -> String {
    match duration.as_millis() {
        milliseconds if milliseconds.is_multiple_of(1000) => format!("{}s", milliseconds / 1000),
        milliseconds => format!("{milliseconds}ms"),
    }
}
