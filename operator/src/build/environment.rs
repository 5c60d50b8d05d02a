//! The server's settings, as environment variables: docs/CONFIGURATION.md says what each means.

use std::fmt::Display;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use tickwire_crd::{ClientCertificates, ClientIdentity, Feed, StreamServerSpec, TlsMode};

use super::pod::{CLIENT_CA_FOLDER, RECORDING_FOLDER, TLS_FOLDER, USERS_FOLDER};
use crate::fleet::Fleet;

pub(super) fn build(fleet: &Fleet, spec: &StreamServerSpec) -> Vec<EnvVar> {
    let mut variables = credentials(fleet, spec);
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
    set("DRAIN_TIMEOUT", &written(drain.effective_timeout()));
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
    variables
}

fn credentials(fleet: &Fleet, spec: &StreamServerSpec) -> Vec<EnvVar> {
    let secret = fleet.credentials_secret_of(spec);
    let from = |name: &str, key: &str| EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.clone(),
                key: key.into(),
                optional: Some(false),
            }),
            ..EnvVarSource::default()
        }),
    };
    vec![from("STREAM_USER", "username"), from("STREAM_PASS", "password")]
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
