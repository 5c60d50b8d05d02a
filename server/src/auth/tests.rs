use super::*;
use argon2::{Argon2, Params, PasswordHasher as _};
use std::io::Write as _;
use std::sync::mpsc;

#[test]
fn only_the_whole_credentials_match() {
    let credentials = Credentials::new("user".into(), "pass".into()).unwrap();
    assert!(credentials.matches("user", "pass"));
    for (username, password) in
        [("user", "pas"), ("user", "passs"), ("usr", "pass"), ("", ""), ("pass", "user")]
    {
        assert!(!credentials.matches(username, password), "{username}/{password}");
    }
}

const ASKER: Asker = Asker { key: 7, generation: 1 };
const HOME: [u8; 4] = [10, 0, 0, 1];

/// Users and their passwords: more than an address may fail.
const USERS: [(&str, &str); 5] =
    [("ann", "apple"), ("bob", "pear"), ("cat", "plum"), ("dan", "fig"), ("eli", "lime")];
const ADDRESS_FAILURES: u32 = 3;

struct Desk {
    authenticator: Authenticator,
    inbox: Inbox,
    verdicts: mpsc::Receiver<Verdict>,
    file: tempfile::NamedTempFile,
}

/// [`USERS`], with passwords that cost next to nothing to check.
fn desk(identity: ClientIdentity) -> Desk {
    let desk = desk_without_verifier(identity);
    desk.start();
    desk
}

/// The same, where checks wait until it is [started](Desk::start).
fn desk_without_verifier(identity: ClientIdentity) -> Desk {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for (name, password) in USERS {
        let hash = Argon2::from(Params::new(8, 1, 1, None).unwrap()).hash_password(password.as_bytes());
        writeln!(file, "{name}:{}", hash.unwrap()).unwrap();
    }
    let config = AuthConfig {
        credentials: None,
        users_file: Some(file.path().into()),
        identity,
        address_failures: ADDRESS_FAILURES,
        user_failures: 5,
        threads: std::num::NonZeroUsize::MIN,
    };
    let authenticator = Authenticator::new(&config).unwrap();
    let poll = mio::Poll::new().unwrap();
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let (verdicts, receiver) = mpsc::channel();
    Desk { authenticator, inbox: Inbox { verdicts, waker }, verdicts: receiver, file }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.authenticator.verifier().close();
    }
}

impl Desk {
    fn start(&self) {
        let verifier = self.authenticator.verifier();
        std::thread::spawn(move || verifier.run());
    }

    fn begin(&self, username: &str, password: &str, address: impl Into<IpAddr>) -> Answer {
        let attempt = Attempt { username, password, address: address.into(), certificate: None };
        self.authenticator.begin(&attempt, ASKER, &self.inbox, Instant::now())
    }

    /// The answer to one whose password is being checked.
    fn conclude(&self) -> Answer {
        let verdict = self.verdicts.recv().unwrap();
        self.authenticator.conclude(&verdict, Instant::now())
    }

    /// The final answer, and whether a hash had to be checked for it.
    fn ask(&self, username: &str, password: &str, address: impl Into<IpAddr>) -> (Answer, bool) {
        match self.begin(username, password, address) {
            Answer::Checking => (self.conclude(), true),
            answer => (answer, false),
        }
    }
}

#[test]
fn a_password_is_checked_once_and_then_known() {
    let desk = desk(ClientIdentity::Ignored);
    assert_eq!(desk.ask("ann", "apple", HOME), (Answer::Accepted, true));
    for _ in 0..100 {
        assert_eq!(desk.ask("ann", "apple", HOME), (Answer::Accepted, false));
    }
    assert_eq!(desk.ask("ann", "pear", HOME), (Answer::Denied(Denial::Credentials), true));
    assert_eq!(desk.ask("eve", "apple", HOME), (Answer::Denied(Denial::Credentials), true));
}

#[test]
fn who_fails_too_often_waits_before_the_password_is_looked_at() {
    let desk = desk(ClientIdentity::Ignored);
    for _ in 0..3 {
        assert_eq!(desk.ask("ann", "wrong", HOME), (Answer::Denied(Denial::Credentials), true));
    }
    assert!(matches!(desk.ask("ann", "apple", HOME), (Answer::Denied(Denial::AddressLimited(_)), false)));
    assert_eq!(desk.ask("bob", "pear", [10, 0, 0, 2]), (Answer::Accepted, true));
}

#[test]
fn right_passwords_use_no_failures_up_though_each_has_to_be_checked() {
    let desk = desk(ClientIdentity::Ignored);
    assert!(USERS.len() > ADDRESS_FAILURES as usize);
    for (name, password) in USERS {
        assert_eq!(desk.ask(name, password, HOME), (Answer::Accepted, true), "{name}");
    }
}

#[test]
fn more_right_passwords_of_an_address_than_may_fail_are_checked_at_once() {
    let desk = desk_without_verifier(ClientIdentity::Ignored);
    for (name, password) in USERS {
        assert_eq!(desk.begin(name, password, HOME), Answer::Checking, "{name}");
    }
    desk.start();
    for _ in USERS {
        assert_eq!(desk.conclude(), Answer::Accepted);
    }
}

#[test]
fn who_is_withdrawn_while_the_password_is_being_checked_is_not_let_in() {
    let desk = desk_without_verifier(ClientIdentity::Ignored);
    assert_eq!(desk.begin("ann", "apple", HOME), Answer::Checking);
    assert_eq!(desk.begin("bob", "pear", HOME), Answer::Checking);
    let file = std::fs::read_to_string(desk.file.path()).unwrap();
    let others: Vec<_> = file.lines().filter(|line| !line.starts_with("ann:")).collect();
    std::fs::write(desk.file.path(), others.join("\n")).unwrap();
    assert_eq!(desk.authenticator.reload().unwrap(), USERS.len() - 1);
    desk.start();
    assert_eq!(desk.conclude(), Answer::Denied(Denial::Credentials));
    assert_eq!(desk.conclude(), Answer::Accepted);
}

#[test]
fn those_seen_last_are_trusted_however_many_there_were() {
    let mut trusted = Trusted::default();
    let pair = |number: u32| (7, IpAddr::from(number.to_be_bytes()));
    (0..=MAX_TRUSTED as u32).for_each(|number| trusted.insert(pair(number)));
    assert_eq!((trusted.recent.len(), trusted.before.len()), (1, MAX_TRUSTED));
    assert!(trusted.contains(&pair(0)) && trusted.contains(&pair(MAX_TRUSTED as u32)));
    (0..MAX_TRUSTED as u32).for_each(|number| trusted.insert(pair(number + (1 << 30))));
    assert!(!trusted.contains(&pair(0)));
}

#[test]
fn a_wrong_password_that_is_checked_once_for_many_is_a_failure_of_each() {
    let desk = desk_without_verifier(ClientIdentity::Ignored);
    for _ in 0..ADDRESS_FAILURES {
        assert_eq!(desk.begin("ann", "wrong", HOME), Answer::Checking);
    }
    assert_eq!(desk.authenticator.verifier().waiting(), 1);
    desk.start();
    for _ in 0..ADDRESS_FAILURES {
        assert_eq!(desk.conclude(), Answer::Denied(Denial::Credentials));
    }
    assert!(matches!(desk.begin("ann", "apple", HOME), Answer::Denied(Denial::AddressLimited(_))));
}

#[test]
fn hosts_of_one_ipv6_network_share_their_failures() {
    let desk = desk(ClientIdentity::Ignored);
    let host = |text: &str| text.parse::<IpAddr>().unwrap();
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"] {
        assert_eq!(desk.ask("ann", "wrong", host(address)).0, Answer::Denied(Denial::Credentials));
    }
    let another = desk.ask("ann", "apple", host("2001:db8::4"));
    assert!(matches!(another, (Answer::Denied(Denial::AddressLimited(_)), false)), "{another:?}");
    assert_eq!(desk.ask("ann", "apple", host("2001:db8:0:1::1")), (Answer::Accepted, true));
}

#[test]
fn who_guesses_from_many_addresses_does_not_lock_the_user_out_at_home() {
    let desk = desk(ClientIdentity::Ignored);
    assert_eq!(desk.ask("ann", "apple", HOME), (Answer::Accepted, true));
    for n in 0..5 {
        assert_eq!(desk.ask("ann", "wrong", [10, 9, 9, n]).0, Answer::Denied(Denial::Credentials));
    }
    // Not even the right password is looked at now, so that guessing on tells nothing; but home is known.
    assert!(matches!(desk.ask("ann", "apple", [10, 9, 9, 9]).0, Answer::Denied(Denial::UserLimited(_))));
    assert_eq!(desk.ask("ann", "apple", HOME), (Answer::Accepted, false));
}

#[test]
fn a_certificate_has_to_name_the_user_where_it_counts() {
    let names = ["ann".to_owned()];
    for (identity, password, expected) in [
        (ClientIdentity::Required, "wrong", Answer::Checking),
        (ClientIdentity::Sufficient, "wrong", Answer::Accepted),
    ] {
        let desk = desk(identity);
        let attempt =
            |username| Attempt { username, password, address: HOME.into(), certificate: Some(&names) };
        let begin =
            |username| desk.authenticator.begin(&attempt(username), ASKER, &desk.inbox, Instant::now());
        assert_eq!(begin("ann"), expected, "{identity:?}");
        for _ in 0..ADDRESS_FAILURES {
            assert_eq!(begin("bob"), Answer::Denied(Denial::Identity), "{identity:?}");
        }
        assert!(matches!(begin("bob"), Answer::Denied(Denial::AddressLimited(_))), "{identity:?}");
    }
    // Where there is nothing to guess, nobody is held up by who failed at the same address.
    let desk = desk(ClientIdentity::Sufficient);
    for _ in 0..ADDRESS_FAILURES {
        assert_eq!(desk.ask("ann", "wrong", HOME).0, Answer::Denied(Denial::Credentials));
    }
    let attempt = Attempt { username: "ann", password: "", address: HOME.into(), certificate: Some(&names) };
    assert_eq!(desk.authenticator.begin(&attempt, ASKER, &desk.inbox, Instant::now()), Answer::Accepted);
}
