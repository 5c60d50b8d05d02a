//! Who may connect: comparing credentials without telling how nearly they were right, and limiting how often an address may
//! get them wrong.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use subtle::{Choice, ConstantTimeEq as _};

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

/// Remembers failed AUTHs by address and says who has to wait.
///
/// Only failures count, so that many clients behind one address (a proxy, a node of the cluster) can all reconnect at once; and once an
/// address has used its failures up, it is refused before its password is looked at, so that trying on tells it nothing. Each
/// address has a bucket of `limit` failures that fills up again within [`REFILL`] (the generic cell rate algorithm, which needs
/// one instant per address).
#[derive(Debug)]
pub struct FailureLimiter {
    limit: u32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each address's bucket is full again; in the past: forget it.
    full_at: HashMap<IpAddr, Instant>,
    /// When the forgotten were last removed.
    swept: Option<Instant>,
}

/// In this time an address's failures are forgotten.
const REFILL: Duration = Duration::from_secs(60);

/// Addresses remembered at once: 65,536 × 48 bytes = 3 MiB. When more have failed within a minute, the newcomers all share the bucket of
/// the unspecified address.
const MAX_ADDRESSES: usize = 65_536;

impl FailureLimiter {
    /// Allows each address `limit` failures at once; 0: any number.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit, known: Mutex::default() }
    }

    /// How long this address has to wait before it may try again, if it has.
    #[must_use]
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.limit == 0 {
            return None;
        }
        let address = network(address);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = known.full_at.get(&address).or_else(|| known.full_at.get(&OVERFLOW))?;
        // The bucket is empty while it takes longer than REFILL less one failure's worth to be full.
        let earliest = (*full_at + REFILL / self.limit).checked_sub(REFILL)?;
        earliest.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Takes note of a failure.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        if self.limit == 0 {
            return;
        }
        let address = network(address);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { full_at, swept } = &mut *known;
        // Sweeping walks all of them, so not for each newcomer.
        if full_at.len() >= MAX_ADDRESSES && swept.is_none_or(|swept| now >= swept + SWEEP_INTERVAL) {
            full_at.retain(|_, full_at| *full_at > now);
            *swept = Some(now);
        }
        let address =
            if full_at.len() < MAX_ADDRESSES || full_at.contains_key(&address) { address } else { OVERFLOW };
        let full_at = full_at.entry(address).or_insert(now);
        *full_at = (*full_at).max(now) + REFILL / self.limit;
    }
}

/// How often, at most, addresses are looked through for those that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What counts as one address: IPv6 hosts have a /64 to themselves, from which to choose as they like.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address => address,
    }
}

/// Stands for all addresses beyond [`MAX_ADDRESSES`]. No client has it.
const OVERFLOW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

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

    #[test]
    fn an_address_that_used_its_failures_up_waits_and_no_other_does() {
        let limiter = FailureLimiter::new(3);
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.wait(bad, start), None);
            limiter.failed(bad, start);
        }
        assert_eq!(limiter.wait(bad, start), Some(REFILL / 3));
        assert_eq!(limiter.wait(good, start), None);
        assert_eq!(
            limiter.wait(bad, start + REFILL / 3),
            None,
            "one failure is forgiven after a third of the time"
        );
    }

    #[test]
    fn an_ipv6_host_does_not_escape_by_changing_its_address_within_its_network() {
        let limiter = FailureLimiter::new(1);
        let (now, parse) = (Instant::now(), |text: &str| text.parse().unwrap());
        limiter.failed(parse("2001:db8::1"), now);
        assert!(limiter.wait(parse("2001:db8::ffff:2"), now).is_some());
        assert_eq!(limiter.wait(parse("2001:db8:0:1::1"), now), None);
    }

    #[test]
    fn addresses_without_end_take_bounded_memory_and_do_not_escape_the_limit() {
        let limiter = FailureLimiter::new(1);
        let now = Instant::now();
        for n in 0..200_000_u32 {
            limiter.failed(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), now);
        }
        assert!(limiter.known.lock().unwrap().full_at.len() <= MAX_ADDRESSES + 1);
        assert!(limiter.wait(IpAddr::from([192, 0, 2, 1]), now).is_some());
    }
}
