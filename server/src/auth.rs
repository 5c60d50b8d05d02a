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
#[path = "auth/tests.rs"]
mod tests;
