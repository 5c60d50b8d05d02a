use super::*;
use crate::config::{Config, FeedConfig};
use crate::feed::NANOS_PER_SECOND;

const SECOND: u64 = NANOS_PER_SECOND;
/// 10,000,000 minutes after 1970.
const T: u64 = 10_000_000 * NANOS_PER_MINUTE;
const RETENTION: Duration = Duration::from_secs(600);

fn config(flags: &[&str]) -> NatsConfig {
    let given = [
        "x",
        "--stream-pass",
        "x",
        "--feed",
        "nats",
        "--feed-nats-url",
        "nats://nats",
        "--feed-nats-stream",
        "TRADES",
    ];
    let config = Config::from_flags(given.iter().chain(&["--feed-symbols", "A,B"]).chain(flags)).unwrap();
    let FeedConfig::Nats(nats) = config.feed else { panic!("not of NATS") };
    nats
}

fn time(nanos: u64) -> datetime::DateTime {
    datetime::from_nanos(nanos.into()).unwrap()
}

fn state(first: (u64, u64), last: (u64, u64)) -> State {
    let json = serde_json::json!({
        "messages": last.0 + 1 - first.0, "bytes": 0, "first_seq": first.0, "last_seq": last.0, "consumer_count": 0,
        "first_ts": datetime_json(first.1), "last_ts": datetime_json(last.1),
    });
    serde_json::from_value(json).unwrap()
}

fn datetime_json(nanos: u64) -> String {
    let time = time(nanos);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, nano) = time.to_hms_nano();
    format!("{year}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nano:09}Z", u8::from(month))
}

#[test]
fn a_start_goes_back_by_the_retention_and_some_from_the_last_message() {
    let config = config(&["--feed-lateness", "1s"]);
    let begin = |state: State| begin(&config, RETENTION, &state);
    assert_eq!(begin(state((1, T), (9, T + 700 * SECOND))), Begin::AtTheFirst);
    assert_eq!(begin(state((1, T), (9, T + 800 * SECOND))), Begin::At(T + (800 - 721) * SECOND));
    assert_eq!(begin(state((10, T), (9, T))), Begin::AfterTheLast, "all have been removed");
    assert_eq!(begin(state((1, 0), (0, 0))), Begin::AfterTheLast, "there has never been one");
}

#[test]
fn a_start_keeps_off_the_end_at_which_a_stream_loses_its_messages() {
    let config = config(&[]);
    let begin = |state: State| begin(&config, RETENTION, &state);
    assert_eq!(begin(state((5, T), (9, T + 100 * SECOND))), Begin::At(T + 10 * SECOND));
    assert_eq!(begin(state((5, T), (9, T + 5 * SECOND))), Begin::AtTheFirst, "all of it has come just now");
}

#[test]
fn bars_begin_with_the_first_minute_that_is_whole_on_every_server() {
    let first = |time| First { sequence: 7, stored: T + 5, time };
    assert_eq!(first(Some(T - 1)).bars_start(0), T);
    assert_eq!(first(Some(T - 1)).bars_start(1), T + NANOS_PER_MINUTE);
    assert_eq!(first(Some(T)).bars_start(0), T + NANOS_PER_MINUTE);
    // Without a time: none before can be dated more than a minute after it was stored.
    assert_eq!(first(None).bars_start(0), T + 2 * NANOS_PER_MINUTE);
}

#[test]
fn the_epoch_is_the_streams_and_what_is_taken_from_it() {
    let survey = Survey { created: T, last: 9, first: 4, start: T };
    let epoch = |survey: Survey, flags: &[&str]| survey.identity(&config(flags)).epoch;
    let known = epoch(survey, &[]);
    assert_eq!(
        known,
        epoch(Survey { last: 20, first: 15, start: T + 1, ..survey }, &[]),
        "wherever it begins"
    );
    assert_ne!(known, epoch(Survey { created: T + 1, ..survey }, &[]));
    for flags in [["--feed-symbols", "B,A"], ["--feed-nats-stream", "OTHERS"], ["--feed-lateness", "1s"]] {
        assert_ne!(known, epoch(survey, &flags), "{flags:?}");
    }
    assert_eq!(known, epoch(survey, &["--feed-nats-url", "tls://elsewhere"]));
    assert!(!survey.identity(&config(&[])).complete);
    assert!(Survey { first: 1, ..survey }.identity(&config(&[])).complete);
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_nats_and_then_says_which_setting_names_it() {
    // Nobody listens there.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", taken.local_addr().unwrap());
    drop(taken);
    let start = Instant::now();
    let error = survey(&config(&["--feed-nats-url", &url]), RETENTION).await.unwrap_err();
    assert!(start.elapsed() + TRY_INTERVAL >= PATIENCE, "{:?}", start.elapsed());
    let said = error.to_string();
    assert!(said.starts_with(&format!("FEED_NATS_URL {url}: not there within 60s: IO error: ")), "{said}");
}
