//! Threads that check passwords against hashes, so that no shard has to: a check takes tens of milliseconds.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use mio::Waker;

use crate::address::network;
use crate::fair_queue::FairQueue;
use crate::users::{Candidate, Workspace};

/// Checks that wait at once, over all shards. At some 30 ms each the last waits for about four seconds. When there are more, the network that has the
/// most of them has to give one up for another's.
pub const MAX_WAITING: usize = 128;

/// Checks of one network that wait at once. It may be a fleet behind a load balancer, each with a user of its own; or somebody who guesses, and has so
/// many guesses before the first is found to be wrong.
pub const MAX_WAITING_OF_NETWORK: usize = 16;

/// Clients that wait for one check. A fleet with one password may be larger; the rest comes back in a moment, when the password is known.
const MAX_WAITERS: usize = 10_000;

/// By how much the threads yield to those that serve clients: the kernel gives them what is left (nice 10: about a tenth of a busy core).
const NICE: i32 = 10;

/// Which connection a verdict is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its key in the shard.
    pub key: usize,
    /// Tells it from others that had its slot.
    pub generation: u32,
}

/// What came of a check.
#[derive(Debug)]
pub struct Verdict {
    /// Whom it concerns.
    pub asker: Asker,
    /// The name that was given.
    pub username: Box<str>,
    /// From where.
    pub address: IpAddr,
    /// Against whom the password was to be checked.
    pub candidate: Arc<Candidate>,
    /// What was found out.
    pub outcome: Outcome,
}

/// What has been found out about a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Nothing: the check gave way to one of a network that had fewer.
    Displaced,
}

/// Where a shard's verdicts go to.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// To the shard's loop, which is then woken.
    pub verdicts: mpsc::Sender<Verdict>,
    /// Ends the shard's waiting.
    pub waker: Arc<Waker>,
}

/// Somebody who waits for a verdict.
#[derive(Debug)]
pub struct Waiter {
    /// Who.
    pub asker: Asker,
    /// The name that was given.
    pub username: Box<str>,
    /// From where.
    pub address: IpAddr,
    /// Where the answer goes.
    pub inbox: Inbox,
}

/// A check that is to be made, for all who gave the same name and password meanwhile.
struct Check {
    candidate: Arc<Candidate>,
    password: String,
    waiters: Vec<Waiter>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("waiters", &self.waiters.len()).finish_non_exhaustive()
    }
}

impl Check {
    /// Whether nobody of another network waits for it too.
    fn is_of_one_network(&self) -> bool {
        let mut networks = self.waiters.iter().map(|waiter| network(waiter.address));
        let first = networks.next();
        networks.all(|network| Some(network) == first)
    }

    fn conclude(self, outcome: Outcome) {
        for Waiter { asker, username, address, inbox } in self.waiters {
            let candidate = self.candidate.clone();
            // A shard that has ended needs no verdict.
            if inbox.verdicts.send(Verdict { asker, username, address, candidate, outcome }).is_ok() {
                // An eventfd that is full wakes anyway.
                let _woken = inbox.waker.wake();
            }
        }
    }
}

/// Too many checks wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Of the network that asked for one more.
    Network,
    /// Of all.
    All,
}

/// The checks that wait, and whoever makes them.
#[derive(Debug, Default)]
pub struct Verifier {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    checks: FairQueue<Check>,
    closed: bool,
}

impl Verifier {
    /// Has a check made when its turn comes. Who asks for one that waits already, of the same name and password, waits with it: a fleet of clients with
    /// one password costs one check.
    ///
    /// # Errors
    ///
    /// [`Busy`] where [`MAX_WAITING_OF_NETWORK`] of its network wait already, or [`MAX_WAITING`] of networks that have no more of them than this one.
    pub fn submit(&self, candidate: Candidate, password: &str, waiter: Waiter) -> Result<(), Busy> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = queue.checks.iter_mut().find(|check| check.candidate.is_same(&candidate)) {
            if same.waiters.len() >= MAX_WAITERS {
                return Err(Busy::All);
            }
            same.waiters.push(waiter);
            return Ok(());
        }
        let own = queue.checks.len_of(waiter.address);
        if own >= MAX_WAITING_OF_NETWORK {
            return Err(Busy::Network);
        }
        let displaced = if queue.checks.len() < MAX_WAITING {
            None
        } else {
            Some(queue.checks.pop_last_of_longest(own + 1, Check::is_of_one_network).ok_or(Busy::All)?)
        };
        let address = waiter.address;
        let check =
            Check { candidate: Arc::new(candidate), password: password.to_owned(), waiters: vec![waiter] };
        queue.checks.push(address, check);
        drop(queue);
        self.changed.notify_one();
        if let Some(displaced) = displaced {
            displaced.conclude(Outcome::Displaced);
        }
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).checks.len()
    }

    /// Makes checks on this thread until [`close`](Self::close).
    pub fn run(&self) {
        yield_to_others();
        let mut workspace = Workspace::default();
        while let Some(check) = self.next() {
            let right = check.candidate.verify(&check.password, &mut workspace);
            check.conclude(if right { Outcome::Right } else { Outcome::Wrong });
        }
    }

    fn next(&self) -> Option<Check> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while !queue.closed {
            if let Some(check) = queue.checks.pop() {
                return Some(check);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Has the threads end.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

/// Lowers this thread's priority: on Linux, niceness is a thread's own.
fn yield_to_others() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!(%error, "passwords are checked at the shards' own priority");
    }
}

#[cfg(test)]
#[path = "verifier/tests.rs"]
mod tests;
