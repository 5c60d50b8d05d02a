//! Files that are read again when they change: the certificate's and the users'.
//!
//! They are looked at by name every second, not watched: a Kubernetes volume changes them by swapping a symlink two levels above, which every
//! kernel interface for watching tells differently, and a look costs microseconds.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::auth::Authenticator;
use crate::error_chain::chain;
use crate::metrics::ReloadMetrics;
use crate::tls::{MaterialError, PemError, TlsAcceptor};
use crate::users::UsersError;

/// How often files are looked at. A change counts once two looks have seen the same, so that files that are written one after another (a
/// certificate, then its key) are read together.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is read again.
#[derive(Clone, Debug)]
pub enum Source {
    /// Certificate, key and client CA.
    Tls(Arc<TlsAcceptor>),
    /// The users file.
    Users(Arc<Authenticator>),
}

impl Source {
    /// All stable names, for metrics that are to be there before they are first counted.
    pub const LABELS: [&str; 2] = ["tls", "users"];

    /// Its stable name.
    #[must_use]
    pub fn label(&self) -> &'static str {
        let [tls, users] = Self::LABELS;
        match self {
            Self::Tls(_) => tls,
            Self::Users(_) => users,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Tls(acceptor) => acceptor.files(),
            Self::Users(authenticator) => authenticator.users_file().map(PathBuf::from).into_iter().collect(),
        }
    }

    fn reload(&self, metrics: &ReloadMetrics) -> Result<(), Problem> {
        match self {
            Self::Tls(acceptor) => {
                acceptor.reload().map_err(|error| {
                    let passing = match &error {
                        MaterialError::Pem(PemError::Read { source, .. }) => is_passing(source),
                        MaterialError::NotYetValid { .. } => true,
                        _ => false,
                    };
                    Problem { text: chain(&error), passing }
                })?;
                metrics.not_after(acceptor.not_after());
                tracing::info!(
                    not_after = acceptor.not_after(),
                    "the certificate was read again; new connections get it"
                );
            }
            Self::Users(authenticator) => {
                let users = authenticator.reload().map_err(|error| {
                    let passing = match &error {
                        UsersError::Read { source, .. } => is_passing(source),
                        _ => false,
                    };
                    Problem { text: chain(&error), passing }
                })?;
                tracing::info!(users, "the users file was read again");
            }
        }
        Ok(())
    }
}

/// Whether a file may be read when it is tried again, though it has not changed.
fn is_passing(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::FileTooLarge
}

/// What a file looked like; `None`: it could not be seen.
type Look = Option<[i64; 7]>;

#[derive(Debug)]
struct Watched {
    source: Source,
    files: Vec<PathBuf>,
    /// As they were when they were last read, well or badly.
    read: Vec<Look>,
    /// As they were at the last look.
    seen: Vec<Look>,
    /// Why they could not be used, the last time.
    problem: Option<Problem>,
}

/// Why files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    text: String,
    /// Whether it may go by itself, as a full file table does: then they are read again though they have not changed.
    passing: bool,
}

impl Watched {
    fn look(files: &[PathBuf]) -> Vec<Look> {
        let look = |file| {
            let metadata = fs::metadata(file).ok()?;
            // The time of the change too: it is the one that cannot be set, so that what was written over with another's times is seen.
            let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
            let [dev, ino, size] = [metadata.dev(), metadata.ino(), metadata.size()].map(u64::cast_signed);
            let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
            Some([dev, ino, size, mtime, mtime_nsec, ctime, ctime_nsec])
        };
        files.iter().map(look).collect()
    }

    /// Whether the files have changed since they were read, and not since the last look. They then count as read.
    fn has_changed(&mut self) -> bool {
        let now = Self::look(&self.files);
        let changed = now != self.read && now == self.seen;
        if changed {
            self.read.clone_from(&now);
        }
        self.seen = now;
        changed
    }

    /// Has them read again, if they have changed, or could not be read for a reason that may be over.
    fn look_again(&mut self, metrics: &ReloadMetrics) {
        let changed = self.has_changed();
        if !changed && !self.problem.as_ref().is_some_and(|problem| problem.passing) {
            return;
        }
        let problem = self.source.reload(metrics).err();
        // A change that stays bad is told once.
        if changed || problem != self.problem {
            metrics.reloaded(&self.source, problem.is_none());
            if let Some(Problem { text, .. }) = &problem {
                tracing::error!(
                    problem = text,
                    "a file that has changed cannot be used; what was in use stays so"
                );
            }
        }
        self.problem = problem;
    }
}

/// Looks at files, and has them read again.
#[derive(Debug)]
pub struct Reloader {
    watched: Vec<Watched>,
    metrics: ReloadMetrics,
}

impl Reloader {
    /// For nothing yet.
    #[must_use]
    pub fn new(metrics: ReloadMetrics) -> Self {
        Self { watched: Vec::new(), metrics }
    }

    /// Takes note of what files look like that are about to be read for the first time, as `source` will be made of them.
    #[must_use]
    pub fn look(files: &[PathBuf]) -> FirstLook {
        FirstLook(Watched::look(files))
    }

    /// Has `source` read again when its files look otherwise than at the `first` look.
    pub fn watch(&mut self, source: Source, FirstLook(read): FirstLook) {
        let files = source.files();
        self.watched.push(Watched { source, files, seen: read.clone(), read, problem: None });
    }

    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.watched.is_empty()
    }

    /// Looks until `end`. Reading blocks: it is for a thread of its own.
    pub async fn run(mut self, end: CancellationToken) {
        let mut looks = interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Either may be dropped: a look is a point in time.
            tokio::select! {
                _ = looks.tick() => {}
                () = end.cancelled() => return,
            }
            for watched in &mut self.watched {
                watched.look_again(&self.metrics);
            }
        }
    }
}

/// What files looked like before they were read.
#[derive(Debug)]
pub struct FirstLook(Vec<Look>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_and_only_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "one").unwrap();
        let Ok(config) = crate::config::Config::from_flags(["tickwire-server", "--stream-pass", "x"]) else {
            panic!("the flags are right");
        };
        let source = Source::Users(Arc::new(Authenticator::new(&config.auth).unwrap()));
        let read = Watched::look(std::slice::from_ref(&file));
        let mut watched =
            Watched { source, files: vec![file.clone()], seen: read.clone(), read, problem: None };
        assert!(!watched.has_changed());
        fs::write(&file, "two, longer").unwrap();
        assert!(!watched.has_changed(), "it may still be being written");
        fs::write(&file, "two, longer still").unwrap();
        assert!(!watched.has_changed(), "as it was");
        assert!(watched.has_changed());
        assert!(!watched.has_changed());
        fs::remove_file(&file).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed(), "its absence is a change too");
    }

    #[test]
    fn a_swapped_symlink_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("one", "1"), ("two", "2")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        let files = vec![at("data").join("file")];
        let before = Watched::look(&files);
        std::os::unix::fs::symlink("two", at("new")).unwrap();
        fs::rename(at("new"), at("data")).unwrap();
        assert_ne!(Watched::look(&files), before);
    }
}
