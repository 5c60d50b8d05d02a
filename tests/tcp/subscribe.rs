//! What may be subscribed to, and from where on.

use tickwire_proto::encode::FrameMessage;
use tickwire_proto::message::{DataBatch, ErrorCode, Mode, Resume, Subscribe};
use tickwire_tests::raw::subscribe;
use tickwire_tests::{Raw, TestServer, Witness};

/// Reads until so many ticks have come; every batch must continue the one before.
fn ticks(raw: &mut Raw, mut position: u64, count: usize) -> Vec<DataBatch> {
    let (mut batches, mut ticks) = (Vec::new(), 0);
    while ticks < count {
        let batch = raw.batch();
        assert_eq!(batch.first_sequence, position + 1, "batches are contiguous");
        position = batch.last_sequence;
        ticks += batch.ticks.len();
        batches.push(batch);
    }
    batches
}

#[test]
fn every_mode_streams() {
    let server = TestServer::start(&["--feed-speed", "100"]);
    for (mode, step) in [(Mode::Second, 1), (Mode::Minute, 60), (Mode::Tick, 0)] {
        let (mut raw, first) = Raw::subscribed(server.addr, mode);
        for tick in ticks(&mut raw, first - 1, 10).iter().flat_map(|batch| &batch.ticks) {
            assert!(
                tick.low <= tick.open
                    && tick.open <= tick.high
                    && tick.low <= tick.close
                    && tick.close <= tick.high
            );
            assert!(tick.trades >= 1 && tick.volume > 0);
            assert!(step == 0 || tick.time_unix_nano % (step * 1_000_000_000) == 0);
        }
    }
}

#[test]
fn an_unknown_mode_or_symbol_is_refused_and_the_subscription_goes_on() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let (mut raw, first) = Raw::subscribed(server.addr, Mode::Tick);
    raw.send(&Subscribe { mode: 7, resume: None, symbols: vec![] }.to_frame());
    let unknown =
        Subscribe { mode: Mode::Second.into(), resume: None, symbols: vec!["BTCUSDT".into(), "GOLD".into()] };
    raw.send(&unknown.to_frame());
    let (mut codes, mut position) = (Vec::new(), first - 1);
    while codes.len() < 2 {
        let (kind, payload) = raw.frame().unwrap();
        match kind {
            tickwire_proto::FrameType::Error => {
                let error: tickwire_proto::message::Error = prost::Message::decode(&*payload).unwrap();
                codes.push((error.code(), error.message));
            }
            tickwire_proto::FrameType::DataBatch => {
                let batch: DataBatch = prost::Message::decode(&*payload).unwrap();
                assert_eq!(batch.first_sequence, position + 1);
                position = batch.last_sequence;
            }
            _ => {}
        }
    }
    assert_eq!(codes[0].0, ErrorCode::BadMode);
    assert_eq!(codes[1].0, ErrorCode::UnknownSymbol);
    assert!(codes[0].1.contains('7') && codes[1].1.contains("GOLD"), "{codes:?}");
    ticks(&mut raw, position, 5);
    witness.assert_undisturbed();
}

#[test]
fn a_filter_leaves_ticks_out_and_never_ranges() {
    let server = TestServer::start(&["--feed-rate", "500"]);
    let (mut all, first) = Raw::subscribed(server.addr, Mode::Tick);
    let mut some = Raw::authenticated(server.addr);
    let resume = Some(Resume { epoch: 0, after_sequence: first - 1 });
    let symbols = vec!["ETHUSDT".into(), "BTCUSDT".into()];
    some.send(&Subscribe { mode: Mode::Tick.into(), resume, symbols: symbols.clone() }.to_frame());
    assert_eq!(some.batch().first_sequence, first);
    let some = ticks(&mut some, first - 1, 100);
    let until = some.last().unwrap().last_sequence;
    let mut expected = Vec::new();
    let mut position = first - 1;
    while position < until {
        for batch in ticks(&mut all, position, 1) {
            for (sequence, tick) in (batch.first_sequence..).zip(batch.ticks) {
                if sequence <= until && symbols.contains(&tick.symbol) {
                    expected.push(tick);
                }
            }
            position = batch.last_sequence;
        }
    }
    let got: Vec<_> = some.into_iter().flat_map(|batch| batch.ticks).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_second_subscribe_replaces_the_first() {
    let server = TestServer::start(&[]);
    let (mut raw, _) = Raw::subscribed(server.addr, Mode::Tick);
    raw.batch();
    raw.send(&subscribe(Mode::Second, None));
    let opening = loop {
        let batch = raw.batch();
        if batch.last_sequence + 1 == batch.first_sequence {
            break batch;
        }
    };
    for batch in ticks(&mut raw, opening.first_sequence - 1, 8) {
        assert!(batch.ticks.iter().all(|tick| tick.time_unix_nano % 1_000_000_000 == 0), "only bars follow");
    }
    assert_eq!(server.metric("tickwire_subscriptions{stream=\"tick\"}"), 0.0);
    assert_eq!(server.metric("tickwire_subscriptions{stream=\"second\"}"), 1.0);
}

#[test]
fn of_many_subscribes_in_one_segment_each_has_a_turn_of_its_own() {
    // What is replaced within a turn is never told: so many openings are as many turns, between which the others had theirs.
    let server = TestServer::start(&["--feed-rate", "10", "--shards", "1"]);
    let mut witness = Witness::start(&server);
    let (mut raw, first) = Raw::subscribed(server.addr, Mode::Tick);
    // Each from another place, and none so far back that the answers do not fit into the socket.
    let positions: Vec<_> = (0..200).map(|n| first - 1 - n % 10).collect();
    let asked = positions.iter().map(|position| Resume { epoch: 0, after_sequence: *position });
    raw.send(&asked.flat_map(|resume| subscribe(Mode::Tick, Some(resume))).collect::<Vec<_>>());
    for position in positions {
        let opening = loop {
            let batch = raw.batch();
            if batch.last_sequence + 1 == batch.first_sequence {
                break batch;
            }
        };
        assert_eq!(opening.last_sequence, position);
    }
    witness.assert_undisturbed();
}

#[test]
fn a_resume_gets_exactly_what_was_missed_wherever_in_a_batch_it_was() {
    let server = TestServer::start(&["--feed-rate", "2000"]);
    let (mut raw, first) = Raw::subscribed(server.addr, Mode::Tick);
    let seen = ticks(&mut raw, first - 1, 100);
    let epoch = seen[0].epoch;
    let all: Vec<_> = seen.iter().flat_map(|batch| batch.ticks.clone()).collect();
    for missed in [0, 1, 7, 50, 99] {
        let after = first - 1 + missed;
        let mut resumed = Raw::authenticated(server.addr);
        resumed.send(&subscribe(Mode::Tick, Some(Resume { epoch, after_sequence: after })));
        assert_eq!(resumed.batch().first_sequence, after + 1);
        let got: Vec<_> = ticks(&mut resumed, after, 100).into_iter().flat_map(|batch| batch.ticks).collect();
        let expected = &all[missed as usize..];
        assert_eq!(got[..expected.len()], *expected, "after {missed}");
    }
}

#[test]
fn a_resume_that_cannot_be_is_told_and_the_live_stream_follows() {
    let server = TestServer::start(&[]);
    let mut witness = Witness::start(&server);
    let (mut raw, first) = Raw::subscribed(server.addr, Mode::Tick);
    let epoch = raw.batch().epoch;
    for resume in [
        // The future, another epoch, before the ring.
        Resume { epoch, after_sequence: first + 1_000_000_000 },
        Resume { epoch: epoch ^ 1, after_sequence: first },
        Resume { epoch, after_sequence: 1 },
        Resume { epoch: 0, after_sequence: u64::MAX },
    ] {
        let mut resumed = Raw::authenticated(server.addr);
        resumed.send(&subscribe(Mode::Tick, Some(resume)));
        let (code, error) = resumed.error();
        assert_eq!(code, ErrorCode::ResumeUnavailable, "{resume:?}: {error:?}");
        let opening = resumed.batch();
        assert_eq!(opening.last_sequence + 1, opening.first_sequence);
        ticks(&mut resumed, opening.last_sequence, 3);
    }
    witness.assert_undisturbed();
}

#[test]
fn a_resume_from_a_server_that_is_a_little_ahead_waits_and_misses_nothing() {
    let server = TestServer::start(&["--feed-rate", "200"]);
    let (mut raw, first) = Raw::subscribed(server.addr, Mode::Tick);
    let head = raw.batch().last_sequence;
    let ahead = head + 100;
    let mut resumed = Raw::authenticated(server.addr);
    resumed.send(&subscribe(Mode::Tick, Some(Resume { epoch: 0, after_sequence: ahead })));
    assert_eq!(resumed.batch().first_sequence, ahead + 1);
    ticks(&mut resumed, ahead, 20);
    assert!(ahead > first);
}

#[test]
fn more_filters_than_there_may_be_are_refused_and_one_in_use_is_not() {
    let server = TestServer::start(&["--max-filters", "2", "--feed-symbols", "4"]);
    let filter =
        |n: u32| Subscribe { mode: Mode::Tick.into(), resume: None, symbols: vec![format!("SYM000{n}")] };
    let mut clients: Vec<_> = (1..=2)
        .map(|n| {
            let mut raw = Raw::authenticated(server.addr);
            raw.send(&filter(n).to_frame());
            raw.batch();
            raw
        })
        .collect();
    let mut third = Raw::authenticated(server.addr);
    third.send(&filter(3).to_frame());
    let (code, error) = third.error();
    assert_eq!(code, ErrorCode::Overloaded);
    assert!(error.retry_after_ms > 0);
    third.send(&filter(2).to_frame());
    third.batch();
    // One that nobody uses any more makes room.
    drop(clients.remove(0));
    tickwire_tests::eventually("the first filter is forgotten", || {
        server.metric("tickwire_ring_filters{stream=\"tick\"}") < 2.0
    });
    third.send(&filter(3).to_frame());
    loop {
        let batch = third.batch();
        if batch.last_sequence + 1 == batch.first_sequence {
            break;
        }
    }
}

#[test]
fn the_last_batch_reaches_the_subscribed_though_others_subscribe_at_that_very_moment() {
    // Once, a subscription that began took a new batch into the shard's log, and the others were offered it only with the next one.
    // After the last trade of a recording there is no next one.
    let file = tempfile::NamedTempFile::new().unwrap();
    let rows: String =
        (0..200).map(|n| format!("2021-01-08T00:00:0{}.{:03}Z,A,1,1\n", n / 100, n % 100 * 10)).collect();
    std::fs::write(file.path(), format!("time,symbol,price,size\n{rows}")).unwrap();
    let path = file.path().to_str().unwrap();
    for _ in 0..3 {
        // Nor a heartbeat, which would bring it along.
        let quiet = ["--heartbeat-interval", "1h", "--heartbeat-timeout", "1h", "--shards", "1"];
        let server = TestServer::start(&[&["--feed", "replay", "--feed-file", path][..], &quiet].concat());
        let mut subscribed = Raw::authenticated(server.addr);
        subscribed.send(&subscribe(Mode::Tick, Some(Resume { epoch: 0, after_sequence: 0 })));
        subscribed.batch();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut busy = Raw::authenticated(server.addr);
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        busy.send(&subscribe(Mode::Tick, None));
                        busy.batch();
                    }
                });
            }
            let all = ticks(&mut subscribed, 0, 200);
            assert_eq!(all.last().unwrap().last_sequence, 200);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
