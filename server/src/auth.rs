//! Who may connect: the user of STREAM_USER, those of USERS_FILE, and whom a certificate names; and how often one may be wrong.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use subtle::{Choice, ConstantTimeEq as _};

use crate::address::network;
use crate::config::{AuthConfig, ClientIdentity};
use crate::limiter::{FailureLimiter, Sharing};
use crate::users::{Users, UsersError};
use crate::verifier::{
    Asker, Busy, Inbox, MAX_WAITING, MAX_WAITING_OF_NETWORK, Outcome, Verdict, Verifier, Waiter,
};

/// The longest username, in bytes. Source: docs/PROTOCOL.md, "AUTH".
pub const MAX_USERNAME_LEN: usize = 255;
/// The longest password, in bytes. Source: docs/PROTOCOL.md, "AUTH".
pub const MAX_PASSWORD_LEN: usize = 1024;

/// The one user that STREAM_USER and STREAM_PASS name.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// # Errors
    ///
    /// [`CredentialsError`] where either is empty or longer than an AUTH may carry.
    pub fn new(username: String, password: String) -> Result<Self, CredentialsError> {
        if !(1..=MAX_USERNAME_LEN).contains(&username.len()) {
            return Err(CredentialsError::Username { username });
        }
        if !(1..=MAX_PASSWORD_LEN).contains(&password.len()) {
            return Err(CredentialsError::Password);
        }
        Ok(Self { username, password })
    }

    /// At most [`MAX_USERNAME_LEN`] bytes.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// At most [`MAX_PASSWORD_LEN`] bytes.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Whether these are the credentials. Takes the same time for any two inputs of the same lengths.
    #[must_use]
    pub fn matches(&self, username: &str, password: &str) -> bool {
        // Both are compared always: a wrong username must not answer sooner than a wrong password.
        let same: Choice = self.username.as_bytes().ct_eq(username.as_bytes())
            & self.password.as_bytes().ct_eq(password.as_bytes());
        same.into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why these cannot be credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The username's length.
    #[error("must be 1 to {MAX_USERNAME_LEN} bytes")]
    Username {
        /// What was given.
        username: String,
    },
    /// The password's length.
    #[error("must be 1 to {MAX_PASSWORD_LEN} bytes")]
    Password,
}

impl CredentialsError {
    /// The environment variable that is to be changed.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        match self {
            Self::Username { .. } => "STREAM_USER",
            Self::Password => "STREAM_PASS",
        }
    }

    /// What may be shown of the value.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self {
            Self::Username { username } => username,
            Self::Password => "(hidden)",
        }
    }
}

/// An AUTH, and who sent it.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// As given.
    pub username: &'a str,
    /// As given.
    pub password: &'a str,
    /// The client's, as the proxy says it where there is one.
    pub address: IpAddr,
    /// The names in the client's certificate, if it has shown one that was found good.
    pub certificate: Option<&'a [String]>,
}

/// What comes of an AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The client is let in.
    Accepted,
    /// It is not.
    Denied(Denial),
    /// The password is being checked; a [`Verdict`] will come, and [`Authenticator::conclude`] is to be told.
    Checking,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The name or the password is wrong. Which of them is not said.
    Credentials,
    /// The name is none of those in the certificate.
    Identity,
    /// Its address has failed too often; after so long it may try again.
    AddressLimited(Duration),
    /// Its user has, from elsewhere.
    UserLimited(Duration),
    /// Too many passwords from its address are being checked; after so long there may be room.
    AddressBusy(Duration),
    /// Too many passwords are being checked; after so long there may be room.
    Busy(Duration),
}

/// After how long one who found too many checks waiting may try again: by then those of `tickwire hash-password`'s cost have been made.
pub const BUSY_RETRY: Duration = Duration::from_secs(5);

/// Where users have been let in. They are not kept out there by what others do in their name elsewhere.
///
/// Pairs of a name, as a number that nobody can choose, and an address. When there are [`MAX_TRUSTED`], those that were not seen again since there
/// were as many before are forgotten.
#[derive(Debug, Default)]
struct Trusted {
    recent: HashSet<(u64, IpAddr)>,
    before: HashSet<(u64, IpAddr)>,
}

/// Pairs of either kind: more than MAX_CONNECTIONS is by default. Twice 131,072 × 64 bytes, as hash tables have room to grow: 16 MiB.
const MAX_TRUSTED: usize = 131_072;

impl Trusted {
    fn insert(&mut self, pair: (u64, IpAddr)) {
        if self.recent.len() >= MAX_TRUSTED && !self.recent.contains(&pair) {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(pair);
    }

    fn contains(&self, pair: &(u64, IpAddr)) -> bool {
        self.recent.contains(pair) || self.before.contains(pair)
    }
}

/// Decides about AUTHs. Shared by all shards; locks are held for moments, per AUTH and never per delivery.
#[derive(Debug)]
pub struct Authenticator {
    credentials: Option<Credentials>,
    users_file: Option<PathBuf>,
    users: Option<RwLock<Arc<Users>>>,
    identity: ClientIdentity,
    addresses: FailureLimiter<IpAddr>,
    names: FailureLimiter<u64>,
    trusted: Mutex<Trusted>,
    numbers: RandomState,
    verifier: Arc<Verifier>,
}

impl Authenticator {
    /// # Errors
    ///
    /// [`UsersError`] where the users file cannot be used.
    pub fn new(config: &AuthConfig) -> Result<Self, UsersError> {
        let AuthConfig { credentials, users_file, identity, address_failures, user_failures, threads } =
            config;
        let read = |file: &PathBuf| Users::read(file, credentials.as_ref(), None);
        let users = users_file.as_ref().map(read).transpose()?;
        let under_way = |waiting: usize| u32::try_from(waiting + threads.get()).unwrap_or(u32::MAX);
        Ok(Self {
            credentials: credentials.clone(),
            users_file: users_file.clone(),
            users: users.map(|users| RwLock::new(Arc::new(users))),
            identity: *identity,
            addresses: FailureLimiter::new(*address_failures, under_way(MAX_WAITING_OF_NETWORK)),
            names: FailureLimiter::new(*user_failures, under_way(MAX_WAITING)),
            trusted: Mutex::default(),
            numbers: RandomState::new(),
            verifier: Arc::default(),
        })
    }

    /// Who checks passwords; its [`run`](Verifier::run) is for threads of their own.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        self.verifier.clone()
    }

    /// The file that users are read from, if there is one.
    #[must_use]
    pub fn users_file(&self) -> Option<&std::path::Path> {
        self.users_file.as_deref()
    }

    /// Reads the users file again. Answers how many users there are. Those who are connected stay, whether they stand in it or not.
    ///
    /// # Errors
    ///
    /// [`UsersError`]; the users stay those that were.
    pub fn reload(&self) -> Result<usize, UsersError> {
        let (Some(file), Some(users)) = (&self.users_file, &self.users) else { return Ok(0) };
        let before = users.read().unwrap_or_else(PoisonError::into_inner).clone();
        let after = Users::read(file, self.credentials.as_ref(), Some(&before))?;
        let count = after.len();
        *users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(count)
    }

    /// Decides about an AUTH; where that takes time, the answer comes to `inbox`, for `asker`.
    pub fn begin(&self, attempt: &Attempt<'_>, asker: Asker, inbox: &Inbox, now: Instant) -> Answer {
        let Attempt { username, password, address, certificate } = *attempt;
        let (address, name) = (network(address), self.numbers.hash_one(username));
        let certificate = certificate.filter(|_| self.identity != ClientIdentity::Ignored);
        let is_named = certificate.is_none_or(|names| names.iter().any(|name| name == username));
        if is_named && certificate.is_some() && self.identity == ClientIdentity::Sufficient {
            // There is nothing to guess.
            return self.accept(name, address);
        }
        let is_trusted = self.is_trusted(name, address);
        if let Some(wait) = self.addresses.wait(&address, sharing(is_trusted), now) {
            return Answer::Denied(Denial::AddressLimited(wait));
        }
        if let Some(wait) = self.names.wait(&name, Sharing::WithOthers, now)
            && !is_trusted
        {
            return Answer::Denied(Denial::UserLimited(wait));
        }
        if !is_named {
            return self.deny(Denial::Identity, name, address, now);
        }
        let Some(users) = &self.users else {
            let right = self.credentials.as_ref().is_some_and(|own| own.matches(username, password));
            return if right {
                self.accept(name, address)
            } else {
                self.deny(Denial::Credentials, name, address, now)
            };
        };
        let users = users.read().unwrap_or_else(PoisonError::into_inner).clone();
        if users.recall(username, password) {
            return self.accept(name, address);
        }
        let Some(candidate) = users.candidate(username, password) else {
            return self.deny(Denial::Credentials, name, address, now);
        };
        let waiter =
            Waiter { asker, username: username.into(), address: attempt.address, inbox: inbox.clone() };
        match self.verifier.submit(candidate, password, waiter) {
            Err(Busy::Network) => Answer::Denied(Denial::AddressBusy(BUSY_RETRY)),
            Err(Busy::All) => Answer::Denied(Denial::Busy(BUSY_RETRY)),
            Ok(()) => Answer::Checking,
        }
    }

    /// A password has been checked. To be told also where the client has left meanwhile: what it tried counts all the same.
    pub fn conclude(&self, verdict: &Verdict, now: Instant) -> Answer {
        let Verdict { username, address, candidate, outcome, .. } = verdict;
        let (address, name) = (network(*address), self.numbers.hash_one(&**username));
        let has = || {
            let users = self.users.as_ref()?.read().unwrap_or_else(PoisonError::into_inner).clone();
            users.has(username, candidate)
        };
        match (outcome, has()) {
            (Outcome::Displaced, _) => Answer::Denied(Denial::Busy(BUSY_RETRY)),
            (Outcome::Right, Some(true)) => self.accept(name, address),
            // It was checked against a hash that has been replaced meanwhile.
            (Outcome::Right, Some(false)) => Answer::Denied(Denial::Busy(BUSY_RETRY)),
            // The user has been withdrawn meanwhile.
            (Outcome::Right, None) | (Outcome::Wrong, _) => {
                self.deny(Denial::Credentials, name, address, now)
            }
        }
    }

    fn deny(&self, denial: Denial, name: u64, address: IpAddr, now: Instant) -> Answer {
        self.charge(name, address, now);
        Answer::Denied(denial)
    }

    fn charge(&self, name: u64, address: IpAddr, now: Instant) {
        let is_trusted = self.is_trusted(name, address);
        self.addresses.failed(address, sharing(is_trusted), now);
        // What is wrong where the user has been before says that the user has a wrong password, not that somebody guesses.
        if !is_trusted {
            self.names.failed(name, Sharing::WithOthers, now);
        }
    }

    fn accept(&self, name: u64, address: IpAddr) -> Answer {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).insert((name, address));
        Answer::Accepted
    }

    fn is_trusted(&self, name: u64, address: IpAddr) -> bool {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).contains(&(name, address))
    }
}

/// Whoever has been let in at an address does not share its failures with strangers, however many there are. That is bounded by [`MAX_TRUSTED`].
fn sharing(is_trusted: bool) -> Sharing {
    if is_trusted { Sharing::Never } else { Sharing::WithOthers }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    use argon2::{Argon2, Params, PasswordHasher as _};
    use std::io::Write as _;
    use std::sync::mpsc;

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
        let attempt =
            Attempt { username: "ann", password: "", address: HOME.into(), certificate: Some(&names) };
        assert_eq!(desk.authenticator.begin(&attempt, ASKER, &desk.inbox, Instant::now()), Answer::Accepted);
    }
}
