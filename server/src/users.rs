//! The users of USERS_FILE: a name and the argon2id hash of a password a line.
//!
//! Checking a hash takes tens of milliseconds of a core, by design. That is for the [`verifier`](crate::verifier)'s threads; a password that has
//! been found right once is known again by a keyed digest, which takes a microsecond, so that a fleet that reconnects is let in at once.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::auth::{Credentials, MAX_USERNAME_LEN};
use crate::bounded_file;

/// The most memory that a hash may ask for, in KiB: 256 MiB, for each of AUTH_THREADS.
pub const MAX_HASH_MEMORY: u32 = 256 * 1024;

/// The most passes over that memory.
pub const MAX_HASH_ITERATIONS: u32 = 10;

/// The most lanes.
pub const MAX_HASH_PARALLELISM: u32 = 16;

/// The shortest hash, in bytes: what `tickwire hash-password` and argon2's own program make.
const MIN_HASH_LEN: usize = 32;

/// The largest file, in bytes: some 100,000 users.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Why a users file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("USERS_FILE {} cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it is none.
    #[error("USERS_FILE {}, line {line}: {problem}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it, and what would be right. Never the line itself, which may hold a password.
        problem: String,
    },
    /// It has no user: it may have been cut, or be about to be written.
    #[error("USERS_FILE {}: there is no user in it; a line is name:$argon2id$…, as `tickwire hash-password` makes it", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The password in STREAM_PASS cannot be hashed.
    #[error("STREAM_PASS cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A user and what tells that a password is hers.
#[derive(Debug)]
pub struct User {
    hash: PasswordHash,
    /// The digest of the password that was right before.
    seen: Mutex<Option<hmac::Tag>>,
}

/// The memory that checks are made in, kept from one to the next: to allocate it anew each time would cost page faults, and leave the heap in
/// pieces. It is as large as the largest hash that was checked in it asks for.
#[derive(Debug, Default)]
pub struct Workspace(Vec<Block>);

impl User {
    fn new(hash: PasswordHash) -> Self {
        Self { hash, seen: Mutex::new(None) }
    }

    /// Whether this is the password. Takes as long as the hash's parameters ask for: tens of milliseconds.
    #[must_use]
    pub fn verify(&self, password: &str, workspace: &mut Workspace) -> bool {
        let (Some(expected), Some(salt)) = (&self.hash.hash, &self.hash.salt) else { return false };
        let Ok(params) = Params::try_from(&self.hash) else { return false };
        let blocks = params.block_count();
        if workspace.0.len() < blocks {
            workspace.0.resize(blocks, Block::new());
        }
        let mut output = vec![0; expected.len()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let memory = &mut workspace.0[..blocks];
        let made =
            argon2.hash_password_into_with_memory(password.as_bytes(), salt.as_ref(), &mut output, memory);
        made.is_ok() & bool::from(output.ct_eq(expected.as_ref()))
    }
}

/// All users of a file.
pub struct Users {
    by_name: HashMap<String, Arc<User>>,
    /// The same, by number: one of them is asked in place of an unknown one.
    all: Vec<Arc<User>>,
    /// The user of STREAM_USER, whether the file has that name too or not.
    own: Option<Arc<User>>,
    digests: Arc<Digests>,
}

/// What makes digests of passwords, and numbers of names, that mean nothing outside this process.
struct Digests {
    key: hmac::Key,
    numbers: RandomState,
}

impl Digests {
    fn of(&self, username: &str, password: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(username.len() as u64).to_be_bytes());
        context.update(username.as_bytes());
        context.update(password.as_bytes());
        context.sign()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.all.len()).finish_non_exhaustive()
    }
}

/// Who a username may be, for the one who checks the password.
#[derive(Debug)]
pub struct Candidate {
    user: Arc<User>,
    /// Whether it is the one whose name was given, and not somebody else, whose hash costs as much time.
    is_known: bool,
    digest: hmac::Tag,
}

impl Candidate {
    /// Whether the other has the same name and password.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        same(&self.digest, &other.digest) && Arc::ptr_eq(&self.user, &other.user)
    }

    /// Whether this is the password of the user. Takes tens of milliseconds, also for unknown users.
    #[must_use]
    pub fn verify(&self, password: &str, workspace: &mut Workspace) -> bool {
        let seen = *self.user.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_known && seen.is_some_and(|seen| same(&seen, &self.digest)) {
            // It has been found right while this one waited.
            return true;
        }
        let right = self.user.verify(password, workspace) & self.is_known;
        if right {
            *self.user.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.digest);
        }
        right
    }
}

impl Users {
    /// Reads the file. `credentials`, the user of STREAM_USER if there is one, becomes one more, so that no name can be told from others by the
    /// time that a refusal takes. What `before` knows of users that have not changed is kept.
    ///
    /// # Errors
    ///
    /// [`UsersError`].
    pub fn read(
        file: &Path,
        credentials: Option<&Credentials>,
        before: Option<&Self>,
    ) -> Result<Self, UsersError> {
        let failed = |source| UsersError::Read { file: file.into(), source };
        let bytes = bounded_file::read(file, MAX_FILE).map_err(failed)?;
        let lines = text(&bytes).and_then(parse).map_err(|(line, problem)| UsersError::Line {
            file: file.into(),
            line,
            problem,
        })?;
        if lines.is_empty() {
            return Err(UsersError::Empty { file: file.into() });
        }
        Self::new(lines, credentials, before)
    }

    fn new(
        lines: Vec<(String, PasswordHash)>,
        credentials: Option<&Credentials>,
        before: Option<&Self>,
    ) -> Result<Self, UsersError> {
        let digests = match before {
            Some(before) => before.digests.clone(),
            None => Arc::new(Digests { key: key()?, numbers: RandomState::new() }),
        };
        let mut by_name = HashMap::with_capacity(lines.len() + 1);
        for (name, hash) in lines {
            let same = before.and_then(|before| before.by_name.get(&name)).filter(|user| user.hash == hash);
            by_name.insert(name, same.cloned().unwrap_or_else(|| Arc::new(User::new(hash))));
        }
        let own = match (credentials, before.and_then(|before| before.own.clone())) {
            (None, _) => None,
            (Some(_), Some(known)) => Some(known),
            (Some(credentials), None) => Some(Arc::new(credentials.hashed(&digests)?)),
        };
        if let (Some(credentials), Some(own)) = (credentials, &own) {
            // The file's word counts, where it knows the name too.
            by_name.entry(credentials.username().to_owned()).or_insert_with(|| own.clone());
        }
        let all = by_name.values().cloned().collect();
        Ok(Self { by_name, all, own, digests })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether this password has been found right before. Takes a microsecond, and the same for any password and any name of one length.
    #[must_use]
    pub fn recall(&self, username: &str, password: &str) -> bool {
        let digest = self.digests.of(username, password);
        let user = self.by_name.get(username).or(self.all.first());
        let seen = user.and_then(|user| *user.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.is_some_and(|seen| same(&seen, &digest)) & self.by_name.contains_key(username)
    }

    /// Whom to check a password against. For an unknown name it is one of the known, always the same: whoever tries names finds no other times among
    /// the unknown than among the known. `None`: there are no users at all.
    #[must_use]
    pub fn candidate(&self, username: &str, password: &str) -> Option<Candidate> {
        let number = self.number(username) as usize % self.all.len().max(1);
        let decoy = self.all.get(number)?;
        let known = self.by_name.get(username);
        let digest = self.digests.of(username, password);
        Some(Candidate { user: known.unwrap_or(decoy).clone(), is_known: known.is_some(), digest })
    }

    /// Whether the candidate still is who the name stands for, with the same hash: the file may have been read again since it was asked for. `None`:
    /// nobody has the name any more.
    #[must_use]
    pub fn has(&self, username: &str, candidate: &Candidate) -> Option<bool> {
        self.by_name.get(username).map(|user| Arc::ptr_eq(user, &candidate.user))
    }

    /// A number that stands for a name.
    #[must_use]
    pub fn number(&self, username: &str) -> u64 {
        self.digests.numbers.hash_one(username)
    }
}

/// Whether two digests are equal; in constant time.
fn same(one: &hmac::Tag, other: &hmac::Tag) -> bool {
    one.as_ref().ct_eq(other.as_ref()).into()
}

fn key() -> Result<hmac::Key, UsersError> {
    hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
        .map_err(|_| UsersError::Hash(argon2::password_hash::Error::Crypto))
}

impl Credentials {
    /// As a user of a file.
    fn hashed(&self, digests: &Digests) -> Result<User, UsersError> {
        use argon2::PasswordHasher as _;
        let hash = Argon2::default().hash_password(self.password().as_bytes()).map_err(UsersError::Hash)?;
        let user = User::new(hash);
        let digest = digests.of(self.username(), self.password());
        *user.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        Ok(user)
    }
}

/// A file's text; or the number of a line that is none.
fn text(bytes: &[u8]) -> Result<&str, (usize, String)> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        (before + 1, "it is not text in UTF-8".to_owned())
    })
}

/// The users of a file's text; or the number of a line, and what is wrong with it.
fn parse(text: &str) -> Result<Vec<(String, PasswordHash)>, (usize, String)> {
    let mut users = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line.split_once(':').ok_or_else(|| {
            (number, "no colon; a line is name:$argon2id$…, as `tickwire hash-password` makes it".to_owned())
        })?;
        if !(1..=MAX_USERNAME_LEN).contains(&name.len()) {
            return Err((
                number,
                format!("the name has {} bytes; it must have 1 to {MAX_USERNAME_LEN}", name.len()),
            ));
        }
        let hash = acceptable(hash).map_err(|problem| (number, problem))?;
        if !names.insert(name.to_owned()) {
            return Err((number, format!("{name:?} stands in an earlier line already")));
        }
        users.push((name.to_owned(), hash));
    }
    Ok(users)
}

/// A hash that can be checked, at a cost that the server can bear.
fn acceptable(text: &str) -> Result<PasswordHash, String> {
    let hash = PasswordHash::new(text).map_err(|error| {
        format!("behind the name is no argon2id hash ({error}); `tickwire hash-password` makes one")
    })?;
    if hash.algorithm.as_str() != Algorithm::Argon2id.as_str() {
        return Err(format!("the hash is {}; it must be argon2id", hash.algorithm));
    }
    if hash.version != Some(Version::V0x13.into()) {
        return Err("the hash is of another version of argon2; it must have v=19".into());
    }
    // Argon2 takes the length in: what is left of a hash that was cut is no password's.
    if hash.salt.is_none() || hash.hash.as_ref().is_none_or(|output| output.len() < MIN_HASH_LEN) {
        return Err(format!(
            "the hash lacks its salt, or has fewer than {MIN_HASH_LEN} bytes; it may have been cut"
        ));
    }
    let params =
        Params::try_from(&hash).map_err(|error| format!("the hash's parameters are no good: {error}"))?;
    let (memory, iterations, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if memory > MAX_HASH_MEMORY || iterations > MAX_HASH_ITERATIONS || lanes > MAX_HASH_PARALLELISM {
        return Err(format!(
            "the hash asks for m={memory},t={iterations},p={lanes}; at most \
             m={MAX_HASH_MEMORY},t={MAX_HASH_ITERATIONS},p={MAX_HASH_PARALLELISM} are accepted"
        ));
    }
    Ok(hash)
}

#[cfg(test)]
#[path = "users/tests.rs"]
mod tests;
