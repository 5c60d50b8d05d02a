use super::*;

fn read(flags: &[&str]) -> Result<Config, String> {
    let given = ["tickwire-server", "--stream-pass", "secret"].iter().chain(flags);
    Config::from_flags(given).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen.port(), 21591);
    assert_eq!(config.admin.port(), 21592);
    assert_eq!(config.protocol.heartbeat_interval, Duration::from_secs(15));
    assert_eq!(config.protocol.heartbeat_timeout, Duration::from_secs(20));
    assert_eq!(config.protocol.batch_window, Duration::from_millis(5));
    assert_eq!(config.protocol.max_msg_size, 65_536);
    assert_eq!(config.limits.write_deadline, Duration::from_secs(5));
}

#[test]
fn without_a_password_the_start_is_refused_with_what_to_set() {
    let error = Config::from_flags(["tickwire-server"]).unwrap_err().to_string();
    assert!(error.starts_with("STREAM_PASS is not set"), "{error}");
}

#[test]
fn a_value_that_cannot_be_right_gets_one_line_with_variable_value_and_remedy() {
    for (flags, expected) in [
        (
            vec!["--heartbeat-interval", "abc"],
            r#"HEARTBEAT_INTERVAL (--heartbeat-interval) is "abc": not a duration; write it like 15s or 500ms"#,
        ),
        (
            vec!["--max-msg-size", "64QB"],
            r#"MAX_MSG_SIZE (--max-msg-size) is "64QB": not a size; write it like 64KB, 16MB or 65536"#,
        ),
        (vec!["--max-msg-size", "1KB"], r#"MAX_MSG_SIZE (--max-msg-size) is "1KB": must be 4KB to 16MB"#),
        (
            vec!["--heartbeat-timeout", "10s"],
            r#"HEARTBEAT_TIMEOUT (--heartbeat-timeout) is "10s": must be at least 15s, HEARTBEAT_INTERVAL"#,
        ),
        (vec!["--feed", "kafka"], r#"FEED (--feed) is "kafka": one of: synthetic, replay, nats"#),
        (
            vec!["--feed", "replay"],
            "FEED_FILE (--feed-file) is not set: FEED is replay, which needs a CSV of trades",
        ),
        (vec!["--feed-symbols", "A,A"], r#"FEED_SYMBOLS (--feed-symbols) is "A,A": A stands in it twice"#),
        (vec!["--feed-speed", "0"], r#"FEED_SPEED (--feed-speed) is "0": must be 0.001 to 10000"#),
        (
            vec!["--log-level", "tickwire=loud"],
            r#"LOG_LEVEL (--log-level) is "tickwire=loud": not a filter; write it like info or info,tickwire_server=debug"#,
        ),
    ] {
        assert_eq!(read(&flags).unwrap_err(), expected);
    }
    let unknown = read(&["--hartbeat-interval", "1s"]).unwrap_err();
    assert!(unknown.contains("--hartbeat-interval") && !unknown.contains('\n'), "{unknown}");
}

#[test]
fn a_count_of_symbols_names_them() {
    let names = symbols("3").unwrap();
    assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["SYM0001", "SYM0002", "SYM0003"]);
}

#[test]
fn the_password_is_in_no_debug_output() {
    let config = read(&[]).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}

const NATS: [&str; 8] = [
    "--feed",
    "nats",
    "--feed-nats-url",
    "nats://a:4222,tls://b",
    "--feed-nats-stream",
    "TRADES",
    "--feed-symbols",
    "BTCUSDT,ETHUSDT",
];

#[test]
fn a_feed_over_nats_needs_servers_a_stream_and_symbols() {
    let config = read(&NATS).unwrap();
    let FeedConfig::Nats(nats) = config.feed else { panic!("{:?}", config.feed) };
    assert_eq!(nats.urls(), "nats://a:4222,tls://b");
    assert_eq!((&*nats.stream, nats.symbols.len(), nats.lateness), ("TRADES", 2, Duration::from_millis(250)));
    for (left_out, expected) in [
        (
            2,
            "FEED_NATS_URL (--feed-nats-url) is not set: FEED is nats, which needs its servers' URLs, such as nats://nats:4222",
        ),
        (
            4,
            "FEED_NATS_STREAM (--feed-nats-stream) is not set: FEED is nats, which needs a stream's name, such as TRADES",
        ),
        (
            6,
            "FEED_SYMBOLS (--feed-symbols) is not set: FEED is nats, which needs the names of the symbols to take from the stream, such as BTCUSDT,ETHUSDT",
        ),
    ] {
        let mut flags = NATS.to_vec();
        flags.drain(left_out..left_out + 2);
        assert_eq!(read(&flags).unwrap_err(), expected);
    }
}

#[test]
fn what_cannot_be_right_about_nats_is_named_and_no_secret_is_shown() {
    for (flags, expected) in [
        (
            &["--feed-nats-url", "http://nats:4222"][..],
            r#"FEED_NATS_URL (--feed-nats-url) is "http://nats:4222": not the URLs of NATS servers; write them like nats://nats:4222 or tls://a:4222,tls://b:4222"#,
        ),
        (
            &["--feed-nats-url", "nats://me:hunter2@nats"],
            "FEED_NATS_URL (--feed-nats-url) has a username or a password in it: put them into FEED_NATS_USER and FEED_NATS_PASSWORD, as URLs are logged",
        ),
        (
            &["--feed-nats-stream", "my trades"],
            r#"FEED_NATS_STREAM (--feed-nats-stream) is "my trades": not a stream's name: those have no spaces, and none of . * > / \"#,
        ),
        (
            &["--feed-symbols", "12"],
            r#"FEED_SYMBOLS (--feed-symbols) is "12": a count, which is for FEED=synthetic; name the symbols, such as BTCUSDT,ETHUSDT"#,
        ),
        (&["--feed-lateness", "2m"], r#"FEED_LATENESS (--feed-lateness) is "2m": must be 0s to 1m"#),
        (
            &["--feed-nats-user", "me"],
            "FEED_NATS_PASSWORD (--feed-nats-password) is not set: FEED_NATS_USER is, and NATS wants both",
        ),
        (
            &["--feed-nats-password", "hunter2"],
            "FEED_NATS_USER (--feed-nats-user) is not set: FEED_NATS_PASSWORD is, and NATS wants both",
        ),
        (
            &["--feed-nats-token", "hunter2", "--feed-nats-credentials-file", "x"],
            "FEED_NATS_TOKEN and FEED_NATS_CREDENTIALS_FILE are set: a server can show NATS one of them; unset the others",
        ),
        (
            &["--feed-nats-cert-file", "x"],
            "FEED_NATS_KEY_FILE (--feed-nats-key-file) is not set: FEED_NATS_CERT_FILE is, whose key it is to be",
        ),
    ] {
        assert_eq!(read(&[&NATS[..], flags].concat()).unwrap_err(), expected);
    }
    for secret in [
        &["--feed-nats-user", "me", "--feed-nats-password", "hunter2"][..],
        &["--feed-nats-token", "hunter2"],
    ] {
        let config = read(&[&NATS[..], secret].concat()).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
