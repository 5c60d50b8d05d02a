//! Threads that check passwords against hashes, so that no shard has to: a check takes tens of milliseconds.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use mio::Waker;

use crate::users::{Candidate, Workspace};

/// Checks that wait at once, over all shards; more are refused. At some 30 ms each the last waits for about four seconds.
pub const MAX_WAITING: usize = 128;

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
    /// The name that was given.
    pub username: Box<str>,
    /// From where.
    pub address: IpAddr,
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
            if same.waiters.len() >= MAX_WAITERS {
                return Err(Busy);
            }
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
            for (Waiter { asker, username, address, inbox }, submitted) in waiters {
                // A shard that has ended needs no verdict.
                if inbox.verdicts.send(Verdict { asker, username, address, right, submitted }).is_ok() {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Ipv4Addr;

    use argon2::{Argon2, Params, PasswordHasher as _};

    use super::*;
    use crate::users::Users;

    /// The user ann, with a password that costs next to nothing to check.
    fn ann(password: &str) -> Users {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let hash = Argon2::from(Params::new(8, 1, 1, None).unwrap()).hash_password(password.as_bytes());
        writeln!(file, "ann:{}", hash.unwrap()).unwrap();
        Users::read(file.path(), None, None).unwrap()
    }

    struct Desk {
        verifier: Arc<Verifier>,
        users: Users,
        inbox: Inbox,
        verdicts: mpsc::Receiver<Verdict>,
    }

    fn desk() -> Desk {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (sender, verdicts) = mpsc::channel();
        let inbox = Inbox { verdicts: sender, waker };
        Desk { verifier: Arc::default(), users: ann("apple"), inbox, verdicts }
    }

    impl Desk {
        fn submit(&self, key: usize, password: &str) -> Result<Submitted, Busy> {
            let candidate = self.users.candidate("ann", password).unwrap();
            let waiter = Waiter {
                asker: Asker { key, generation: 1 },
                username: "ann".into(),
                address: Ipv4Addr::LOCALHOST.into(),
                inbox: self.inbox.clone(),
            };
            self.verifier.submit(candidate, password, waiter)
        }

        fn run(&self) -> std::thread::JoinHandle<()> {
            let verifier = self.verifier.clone();
            std::thread::spawn(move || verifier.run())
        }

        fn verdict(&self) -> (usize, bool, Submitted) {
            let Verdict { asker, right, submitted, .. } = self.verdicts.recv().unwrap();
            (asker.key, right, submitted)
        }
    }

    #[test]
    fn the_same_password_is_checked_once_for_all_who_wait_and_each_is_told() {
        let desk = desk();
        assert_eq!(desk.submit(1, "apple"), Ok(Submitted::New));
        assert_eq!(desk.submit(2, "pear"), Ok(Submitted::New));
        assert_eq!(desk.submit(3, "apple"), Ok(Submitted::Joined));
        assert_eq!(desk.verifier.waiting(), 2);
        let thread = desk.run();
        assert_eq!(desk.verdict(), (1, true, Submitted::New));
        assert_eq!(desk.verdict(), (3, true, Submitted::Joined));
        assert_eq!(desk.verdict(), (2, false, Submitted::New));
        desk.verifier.close();
        thread.join().unwrap();
    }

    #[test]
    fn so_many_checks_wait_and_no_more_but_one_of_them_may_be_joined() {
        let desk = desk();
        for key in 0..MAX_WAITING {
            assert_eq!(desk.submit(key, &format!("guess {key}")), Ok(Submitted::New));
        }
        assert_eq!(desk.submit(MAX_WAITING, "one more"), Err(Busy));
        assert_eq!(desk.submit(MAX_WAITING, "guess 0"), Ok(Submitted::Joined));
        assert_eq!(desk.verifier.waiting(), MAX_WAITING);
        let thread = desk.run();
        assert_eq!(desk.verdict().0, 0);
        desk.verdicts.iter().take(MAX_WAITING).for_each(drop);
        assert_eq!(desk.submit(0, "one more"), Ok(Submitted::New), "there is room again");
        desk.verifier.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_verifier_that_is_closed_ends_its_threads_and_makes_no_check_that_waits() {
        let idle = desk();
        let threads = [idle.run(), idle.run()];
        idle.verifier.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());

        let busy = desk();
        assert_eq!(busy.submit(1, "apple"), Ok(Submitted::New));
        busy.verifier.close();
        busy.run().join().unwrap();
        assert!(busy.verdicts.try_recv().is_err());
    }
}
