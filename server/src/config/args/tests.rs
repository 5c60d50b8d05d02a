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
        (vec!["--feed", "nats"], r#"FEED (--feed) is "nats": one of: synthetic, replay"#),
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
