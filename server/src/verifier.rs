//! Threads that check passwords against hashes, so that no shard has to: a check takes tens of milliseconds.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use mio::Waker;

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
            Some(queue.checks.pop_last_of_longest(own + 1).ok_or(Busy::All)?)
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
mod tests {
    use argon2::{Argon2, Params, PasswordHasher as _};
    use std::io::Write as _;

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
        fn submit(&self, key: usize, password: &str) -> Result<(), Busy> {
            self.submit_from([127, 0, 0, 1], key, password)
        }

        fn submit_from(&self, address: [u8; 4], key: usize, password: &str) -> Result<(), Busy> {
            let candidate = self.users.candidate("ann", password).unwrap();
            let waiter = Waiter {
                asker: Asker { key, generation: 1 },
                username: "ann".into(),
                address: address.into(),
                inbox: self.inbox.clone(),
            };
            self.verifier.submit(candidate, password, waiter)
        }

        fn run(&self) -> std::thread::JoinHandle<()> {
            let verifier = self.verifier.clone();
            std::thread::spawn(move || verifier.run())
        }

        fn verdict(&self) -> (usize, Outcome) {
            let Verdict { asker, outcome, .. } = self.verdicts.recv().unwrap();
            (asker.key, outcome)
        }
    }

    #[test]
    fn the_same_password_is_checked_once_for_all_who_wait_and_each_is_told() {
        let desk = desk();
        assert_eq!(desk.submit(1, "apple"), Ok(()));
        assert_eq!(desk.submit(2, "pear"), Ok(()));
        assert_eq!(desk.submit(3, "apple"), Ok(()));
        assert_eq!(desk.verifier.waiting(), 2);
        let thread = desk.run();
        assert_eq!(desk.verdict(), (1, Outcome::Right));
        assert_eq!(desk.verdict(), (3, Outcome::Right));
        assert_eq!(desk.verdict(), (2, Outcome::Wrong));
        desk.verifier.close();
        thread.join().unwrap();
    }

    #[test]
    fn so_many_checks_of_a_network_wait_and_no_more_but_one_of_them_may_be_joined() {
        let desk = desk();
        for key in 0..MAX_WAITING_OF_NETWORK {
            assert_eq!(desk.submit(key, &format!("guess {key}")), Ok(()));
        }
        assert_eq!(desk.submit(MAX_WAITING_OF_NETWORK, "one more"), Err(Busy::Network));
        assert_eq!(desk.submit(MAX_WAITING_OF_NETWORK, "guess 0"), Ok(()));
        assert_eq!(desk.verifier.waiting(), MAX_WAITING_OF_NETWORK);
        let thread = desk.run();
        assert_eq!(desk.verdict().0, 0);
        desk.verdicts.iter().take(MAX_WAITING_OF_NETWORK).for_each(drop);
        assert_eq!(desk.submit(0, "one more"), Ok(()), "there is room again");
        desk.verifier.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_few_networks_that_guess_cannot_keep_another_out() {
        let desk = desk();
        let guessers = MAX_WAITING / MAX_WAITING_OF_NETWORK;
        for key in 0..MAX_WAITING {
            let from = [10, 0, 0, (key % guessers) as u8];
            assert_eq!(desk.submit_from(from, key, &format!("guess {key}")), Ok(()));
        }
        assert_eq!(desk.submit_from([10, 9, 9, 9], 1000, "apple"), Ok(()));
        assert_eq!(desk.verdict().1, Outcome::Displaced);
        assert_eq!(desk.verifier.waiting(), MAX_WAITING);
        let thread = desk.run();
        for key in 0..guessers {
            assert_eq!(desk.verdict(), (key, Outcome::Wrong));
        }
        assert_eq!(desk.verdict(), (1000, Outcome::Right), "it is its turn after one of each of them");
        desk.verifier.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_password_that_waits_is_in_no_debug_output() {
        let desk = desk();
        desk.submit(1, "hunter2").unwrap();
        let shown = format!("{:?}", desk.verifier);
        assert!(shown.contains("Check") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_verifier_that_is_closed_ends_its_threads_and_makes_no_check_that_waits() {
        let idle = desk();
        let threads = [idle.run(), idle.run()];
        idle.verifier.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());

        let busy = desk();
        assert_eq!(busy.submit(1, "apple"), Ok(()));
        busy.verifier.close();
        busy.run().join().unwrap();
        assert!(busy.verdicts.try_recv().is_err());
    }
}
