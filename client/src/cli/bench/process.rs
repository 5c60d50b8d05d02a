//! What another process of this machine uses, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
}

impl Process {
    pub(super) fn new(pid: u32) -> Result<Self> {
        let process = Self { pid };
        process.memory().with_context(|| format!("--server-pid {pid} is no process of this machine"))?;
        Ok(process)
    }

    /// The resident set, in bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kib: u64 = kib.context("no VmRSS in /proc/PID/status")?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// What its threads have spent on processors.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanos += text
                .split_whitespace()
                .next()
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or_default();
        }
        Ok(Duration::from_nanos(nanos))
    }
}
