//! An honest client beside whatever else happens to a server.

use std::sync::mpsc::{Receiver, channel};

use std::time::Duration;

use tickwire_client::client::Timing;
use tickwire_client::{Error, Event, Mode, Request};

use crate::{PATIENCE, TestServer};

/// A TICK subscriber that reads all the time, and must not notice anything.
#[derive(Debug)]
pub struct Witness {
    /// Drops the subscription's task with it.
    _runtime: tokio::runtime::Runtime,
    events: Receiver<Result<Event, Error>>,
}

impl Witness {
    /// Subscribes.
    ///
    /// # Panics
    ///
    /// Where that fails.
    #[must_use]
    pub fn start(server: &TestServer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (tell, events) = channel();
        // Often enough for servers whose tests are impatient.
        let timing = Timing { heartbeat: Duration::from_secs(1), ..Timing::default() };
        let client = server.client().timing(timing);
        runtime.spawn(async move {
            let mut subscription = client.subscribe(Request::new(Mode::Tick));
            while tell.send(subscription.next().await).is_ok() {}
        });
        let witness = Self { _runtime: runtime, events };
        let event = witness.next();
        assert!(matches!(event, Event::Connected { .. }), "{event:?}");
        witness
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("something comes").expect("nothing is missed")
    }

    /// Looks at all that has come, and at some batches more; every one of them must continue the one before, on one connection.
    ///
    /// # Panics
    ///
    /// Where one does not.
    pub fn assert_undisturbed(&mut self) {
        let so_far: Vec<_> = self.events.try_iter().collect();
        for event in so_far {
            assert!(matches!(event, Ok(Event::Batch(_))), "{event:?}");
        }
        for _ in 0..5 {
            let event = self.next();
            assert!(matches!(event, Event::Batch(_)), "{event:?}");
        }
    }
}
