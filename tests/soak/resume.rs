//! A client that is cut off again and again, and continues on another server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tickwire_client::{Mode, Resume, Tick};
use tickwire_proto::message::DataBatch;
use tickwire_tests::raw::subscribe;
use tickwire_tests::{Raw, TestServer};

/// How often the client is cut off.
const CUTS: usize = 100;

/// A small generator of our own: the moments of the cuts are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn a_client_that_is_cut_off_a_hundred_times_has_exactly_the_ticks_of_one_that_is_not() {
    // Not the same in any other respect: where batches are cut must not matter.
    let one = TestServer::start(&["--feed-rate", "3000", "--feed-seed", "42", "--batch-window-ms", "5"]);
    let two = TestServer::start(&[
        "--feed-rate",
        "3000",
        "--feed-seed",
        "42",
        "--batch-window-ms",
        "17",
        "--max-msg-size",
        "4KB",
    ]);
    let servers = [&one, &two];
    let (mut uninterrupted, first) = Raw::subscribed(one.addr, Mode::Tick);

    // Read as it comes, however long the cuts take: who does not read is cut off too.
    let end = Arc::new(AtomicU64::new(u64::MAX));
    let until = end.clone();
    let whole = thread::spawn(move || {
        let (mut at, mut all) = (first - 1, Vec::new());
        while at < until.load(Ordering::Relaxed) {
            at = take(uninterrupted.batch(), at, &mut all);
        }
        all
    });

    let mut dice = Dice(42);
    let mut position = first - 1;
    let mut ticks: Vec<Tick> = Vec::new();
    for cut in 0..=CUTS {
        let mut raw = Raw::authenticated(servers[cut % 2].addr);
        raw.send(&subscribe(Mode::Tick, Some(Resume { epoch: 0, after_sequence: position })));
        assert_eq!(raw.batch().first_sequence, position + 1, "cut {cut}");
        for _ in 0..dice.roll(8) {
            position = take(raw.batch(), position, &mut ticks);
        }
        // A part of what comes next has perhaps arrived already; it is thrown away with the connection.
    }
    end.store(position, Ordering::Relaxed);
    let expected = whole.join().unwrap();
    assert!(ticks.len() > 1000, "{}", ticks.len());
    assert_eq!(ticks, expected[..ticks.len()]);
    assert_eq!(position, first - 1 + ticks.len() as u64, "TICK has a tick for every sequence");
}

fn take(batch: DataBatch, position: u64, ticks: &mut Vec<Tick>) -> u64 {
    assert_eq!(batch.first_sequence, position + 1);
    ticks.extend(batch.ticks);
    batch.last_sequence
}
