//! Threads that check passwords against hashes, so that no shard has to: a check takes tens of milliseconds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use mio::Waker;

use crate::users::{Candidate, Workspace};

/// Checks that wait at once, over all shards; more are refused. At some 30 ms each the last waits for about four seconds.
pub const MAX_WAITING: usize = 128;

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
    /// Whether the password is right.
    pub right: bool,
    /// Whether the check was made for this one, or for another that asked the same before.
    pub submitted: Submitted,
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
    /// Where the answer goes.
    pub inbox: Inbox,
}

/// A check that is to be made, for all who gave the same name and password meanwhile.
#[derive(Debug)]
struct Check {
    candidate: Candidate,
    password: String,
    waiters: Vec<(Waiter, Submitted)>,
}

/// What became of a request for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It will be made.
    New,
    /// The same one was waiting already: a fleet of clients with one password costs one check.
    Joined,
}

/// Too many checks wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The checks that wait, and whoever makes them.
#[derive(Debug, Default)]
pub struct Verifier {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    checks: VecDeque<Check>,
    closed: bool,
}

impl Verifier {
    /// Has a check made when its turn comes.
    ///
    /// # Errors
    ///
    /// [`Busy`] where [`MAX_WAITING`] wait already.
    pub fn submit(&self, candidate: Candidate, password: &str, waiter: Waiter) -> Result<Submitted, Busy> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = queue.checks.iter_mut().find(|check| check.candidate.is_same(&candidate)) {
            same.waiters.push((waiter, Submitted::Joined));
            return Ok(Submitted::Joined);
        }
        if queue.checks.len() >= MAX_WAITING {
            return Err(Busy);
        }
        let waiters = vec![(waiter, Submitted::New)];
        queue.checks.push_back(Check { candidate, password: password.to_owned(), waiters });
        drop(queue);
        self.changed.notify_one();
        Ok(Submitted::New)
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
        while let Some(Check { candidate, password, waiters }) = self.next() {
            let right = candidate.verify(&password, &mut workspace);
            for (Waiter { asker, inbox }, submitted) in waiters {
                // A shard that has ended needs no verdict.
                if inbox.verdicts.send(Verdict { asker, right, submitted }).is_ok() {
                    // An eventfd that is full wakes anyway.
                    let _woken = inbox.waker.wake();
                }
            }
        }
    }

    fn next(&self) -> Option<Check> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while !queue.closed {
            if let Some(check) = queue.checks.pop_front() {
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
