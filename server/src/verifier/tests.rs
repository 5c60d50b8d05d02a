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
