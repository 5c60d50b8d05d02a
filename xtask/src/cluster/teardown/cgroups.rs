//! The cgroups in which the kubelet has put pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{KERNEL, POLL, entries};

/// Where they are mounted: one hierarchy, or a folder with one for each controller.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The kubelet's name for the one that has all pods.
const PODS: &str = "kubepods";

/// Kills whatever runs in pods, and waits until it has ended.
pub(super) fn kill() -> Result<()> {
    let start = Instant::now();
    loop {
        let processes = processes()?;
        if processes.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < KERNEL, "these processes of pods do not end: {processes:?}");
        for process in processes {
            // It may end by itself just now.
            let _sent = kill_process(process, Signal::KILL);
        }
        std::thread::park_timeout(POLL);
    }
}

/// Removes the cgroups themselves, from the innermost.
pub(super) fn remove() -> Result<()> {
    for root in roots()? {
        for folder in tree(&root)?.iter().rev() {
            let start = Instant::now();
            // What has ended leaves its cgroup a moment later.
            while let Err(error) = fs::remove_dir(folder) {
                if error.kind() == std::io::ErrorKind::NotFound {
                    break;
                }
                ensure!(start.elapsed() < KERNEL, "cannot remove {}: {error}", folder.display());
                std::thread::park_timeout(POLL);
            }
        }
    }
    Ok(())
}

fn processes() -> Result<Vec<Pid>> {
    let mut processes = Vec::new();
    for root in roots()? {
        for folder in tree(&root)? {
            // Where it has gone meanwhile, nothing is in it.
            let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            processes.extend(pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
        }
    }
    Ok(processes)
}

/// The pods' cgroup, in each hierarchy that has it.
fn roots() -> Result<Vec<PathBuf>> {
    let mut places = vec![PathBuf::from(CGROUPS)];
    places.extend(entries(Path::new(CGROUPS))?);
    // In a machine of several hierarchies some have two names, of which one is a link.
    places.retain(|place| !place.is_symlink());
    Ok(places.iter().map(|place| place.join(PODS)).filter(|root| root.is_dir()).collect())
}

/// A folder and all below it, outer ones first.
fn tree(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.to_owned()];
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        for entry in entries(&folder).with_context(|| format!("cannot look into {}", root.display()))? {
            if entry.is_dir() {
                folders.push(entry);
            }
        }
        next += 1;
    }
    Ok(folders)
}
