//! A process that outlives the command which starts it, and is found again by a later one.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::POLL;

/// How long a process may take to end once it has been asked to; then it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the kernel may take to end what it was told to kill.
const KERNEL: Duration = Duration::from_secs(10);

/// A process by what nobody else has: process ids are used again, but not in the same moment of the same boot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    pid: Pid,
    /// When it was started, in the kernel's ticks since the boot.
    started: u64,
    /// The kernel's name for this boot.
    boot: String,
}

impl Daemon {
    /// Starts it in a session of its own, so that no terminal's end is its end. Its output goes to the end of `log`.
    pub(super) fn start(arguments: &[String], log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        // Not setsid(2) between fork and exec, which is not safe to do in Rust: setsid(1) becomes the program, under the same id.
        let mut child = Command::new("setsid")
            .args(arguments)
            // What is spoken to is on this machine.
            .env("NO_PROXY", "*")
            .env("no_proxy", "*")
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .context("cannot run setsid")?;
        let pid = Pid::from_child(&child);
        let started = started(pid).context("it ended at once")?;
        // Should it end before this command does, it is not left as a zombie.
        std::thread::spawn(move || child.wait());
        Ok(Self { pid, started, boot: boot()? })
    }

    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let Self { pid, started, boot } = self;
        fs::write(file, format!("{pid} {started} {boot}"))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The one of a file; none where there is no such file, or not a whole one.
    pub(super) fn load(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split(' ');
        let pid = Pid::from_raw(words.next()?.parse().ok()?)?;
        Some(Self { pid, started: words.next()?.parse().ok()?, boot: words.next()?.to_owned() })
    }

    pub(super) fn runs(&self) -> bool {
        boot().is_ok_and(|boot| boot == self.boot) && started(self.pid) == Some(self.started)
    }

    /// Sends it this signal, and waits for its end; where that does not come, kills it.
    pub(super) fn end(&self, signal: Signal) -> Result<()> {
        for (signal, patience) in [(signal, PATIENCE), (Signal::KILL, KERNEL)] {
            if !self.runs() {
                return Ok(());
            }
            // It may end by itself just now.
            let _sent = kill_process(self.pid, signal);
            let start = Instant::now();
            while self.runs() && start.elapsed() < patience {
                std::thread::park_timeout(POLL);
            }
        }
        if self.runs() { bail!("process {} does not end", self.pid) } else { Ok(()) }
    }
}

/// When a process was started; none where it has ended, also if nobody has taken note yet.
fn started(pid: Pid) -> Option<u64> {
    parse_started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5): the name, in parentheses, may have blanks and parentheses itself; after it come state, the 3rd field, and others. A process whose
/// first thread has ended is a zombie, but holds its ports until its last has.
fn parse_started(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // The 20th and the 22nd field; 16 are skipped, and then one.
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    let has_ended = matches!(state, "Z" | "X") && threads <= 1;
    (!has_ended).then_some(started)
}

fn boot() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot's id")?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_found_again_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (log, file) = (folder.path().join("log"), folder.path().join("process"));
        let arguments = ["sh", "-c", "echo begun; exec tail -f /dev/null"].map(str::to_owned);
        let daemon = Daemon::start(&arguments, &log).unwrap();
        daemon.save(&file).unwrap();
        let found = Daemon::load(&file).unwrap();
        assert_eq!(daemon, found);
        assert!(found.runs());
        found.end(Signal::TERM).unwrap();
        assert!(!found.runs());
    }

    #[test]
    fn a_process_of_another_start_or_boot_is_another() {
        let own = std::process::id();
        let pid = Pid::from_raw(own.try_into().unwrap()).unwrap();
        let daemon = |started, boot| Daemon { pid, started, boot };
        let now = started(pid).unwrap();
        assert!(daemon(now, boot().unwrap()).runs());
        assert!(!daemon(now + 1, boot().unwrap()).runs());
        assert!(!daemon(now, "another".to_owned()).runs());
    }

    #[test]
    fn the_start_is_read_behind_any_name_and_zombies_have_ended() {
        let stat = |state, threads| {
            format!("7 (a) b (c) {state} 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 {threads} 0 4242 5 6 7")
        };
        assert_eq!(parse_started(&stat("S", 1)), Some(4242));
        assert_eq!(parse_started(&stat("Z", 1)), None);
        assert_eq!(parse_started(&stat("Z", 2)), Some(4242), "the others are ending yet");
        assert_eq!(parse_started(""), None);
    }
}
