//! The end of a cluster, whatever state it is in: after it nothing of it is on the machine.
//!
//! It asks nothing of parts that may have died before: pods are found by their cgroups, what containerd has started by its arguments,
//! mounts by their paths. So a cluster that has crashed goes the same way as one that is well, and each `down` proves it.

mod cgroups;
mod packet_filter;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::POLL;
use super::folder::Folder;
use super::network;
use super::part::Part;
use crate::process::succeed;

/// How long the kernel may take to end what has been killed.
const KERNEL: Duration = Duration::from_secs(20);

/// Kubernetes has no say in where containerd notes which addresses pods have got from a plugin.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// Where the kubelet links logs for those who collect them by pods' names.
const LOG_LINKS: &str = "/var/log/containers";

/// Where plugins for devices would call the kubelet, which does not remove it when it ends. It has this path whatever the kubelet's folder
/// is, and is no other kubelet's: beside one no cluster is started.
const DEVICE_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";

/// What parts make outside of the cluster's folder, and which goes where nobody else has put anything into it; the inner ones first.
const FOLDERS_OF_ALL: [&str; 10] = [
    "/run/containerd/s",
    "/run/containerd/runc",
    "/run/containerd",
    CNI_RESULTS,
    "/var/lib/cni/networks",
    "/var/lib/cni",
    LOG_LINKS,
    "/var/log/pods",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
];

/// Ends all of it. The folder goes last: while it is there, this can be done again.
pub(super) fn run(folder: &Folder) -> Result<()> {
    // The kubelet first, since it would start anew what ends.
    Part::Kubelet.end(folder, Signal::TERM)?;
    Part::Containerd.end(folder, Signal::TERM)?;
    cgroups::kill()?;
    end_shims(folder)?;
    for part in [Part::KubeProxy, Part::ControllerManager, Part::Scheduler, Part::Apiserver, Part::Etcd] {
        part.end(folder, Signal::TERM)?;
    }
    unmount(&folder.path(""))?;
    cgroups::remove()?;
    packet_filter::clear()?;
    network::remove(folder)?;
    remove_traces(folder)?;
    fs::remove_dir_all(folder.path("")).context("cannot remove the cluster's folder")
}

/// Each pod has a shim, which outlives containerd; their arguments name our containerd's socket.
fn end_shims(folder: &Folder) -> Result<()> {
    let socket = folder.containerd_socket().display().to_string();
    let start = Instant::now();
    loop {
        let shims = processes_with(&socket)?;
        if shims.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < KERNEL, "these processes do not end: {shims:?}");
        for shim in shims {
            // It may end by itself just now.
            let _sent = kill_process(shim, Signal::KILL);
        }
        std::thread::park_timeout(POLL);
    }
}

/// The processes that have this argument; not zombies, which have none left.
fn processes_with(argument: &str) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Where it has ended meanwhile, it has no arguments either.
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Unmounts whatever is mounted below a folder, the latest first.
fn unmount(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read what is mounted")?;
    let mounts: Vec<PathBuf> = below(&mounts, folder).collect();
    if mounts.is_empty() {
        return Ok(());
    }
    // Lazily: whoever was in them has been killed, and is as good as gone.
    succeed(Command::new("umount").arg("--lazy").args(mounts.iter().rev()))
}

/// Of a list as in /proc/self/mounts, the mount points below this folder. Neither the kubelet nor containerd has blanks in its paths, which
/// would be written otherwise there.
fn below<'a>(mounts: &'a str, folder: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points.map(PathBuf::from).filter(move |point| point.starts_with(folder))
}

/// Removes the few files that parts leave elsewhere.
fn remove_traces(folder: &Folder) -> Result<()> {
    // Sockets of shims, each named in a file of its container.
    for container in entries(&folder.path("containerd-run/io.containerd.runtime.v2.task/k8s.io"))? {
        let address = fs::read_to_string(container.join("address")).unwrap_or_default();
        if let Some(socket) = address.strip_prefix("unix://") {
            remove_file(Path::new(socket))?;
        }
    }
    for result in entries(Path::new(CNI_RESULTS))? {
        // It names the pod's network namespace, which is mounted in our folder.
        let text = fs::read_to_string(&result).unwrap_or_default();
        if text.contains(&folder.text("")) {
            remove_file(&result)?;
        }
    }
    for link in entries(Path::new(LOG_LINKS))? {
        if fs::read_link(&link).is_ok_and(|to| to.starts_with(folder.path(""))) {
            remove_file(&link)?;
        }
    }
    remove_file(Path::new(DEVICE_SOCKET))?;
    for shared in FOLDERS_OF_ALL {
        // Not where it is somebody else's as well, and so not empty.
        let _removed = fs::remove_dir(shared);
    }
    Ok(())
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mounted_below_the_folder_is_found() {
        let mounts = "proc /proc proc rw 0 0\n\
                      tmpfs /state/a tmpfs rw 0 0\n\
                      overlay /state/a/b overlay rw 0 0\n\
                      tmpfs /state-of-another tmpfs rw 0 0\n";
        let found: Vec<_> = below(mounts, Path::new("/state/")).collect();
        assert_eq!(found, [Path::new("/state/a"), Path::new("/state/a/b")]);
    }
}
