//! What a machine must be like before anything is started on it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;

use super::network;
use super::part::Part;
use crate::tools;

/// How one does without.
const INSTEAD: &str =
    "with KUBECONFIG naming a cluster that is there already, that one is used, and nothing of this is needed";

/// Programs, and the Debian packages that have them.
const PACKAGES: [(&str, &str); 9] = [
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("iptables", "iptables"),
    // kube-proxy forgets the ways of datagrams with it.
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("buildah", "buildah"),
    ("mmdebstrap", "mmdebstrap"),
];

/// The rule chains that every node of any Kubernetes has, and those of containers that are connected as ours are.
const CHAINS_OF_A_NODE: [&str; 2] = [":KUBE-", ":CNI-"];

/// The programs that list packet filters: a machine's may be in either form, or in both.
const LISTS: [&str; 2] = ["iptables-nft-save", "iptables-legacy-save"];

/// Linux, Debian, root, and the packages.
pub(super) fn check() -> Result<()> {
    ensure!(
        is_debian(),
        "a cluster of one's own takes a Debian Linux, whose etcd and containerd it is made of; {INSTEAD}"
    );
    ensure!(
        is_root(),
        "a cluster of one's own takes root, for namespaces, mounts and packet filters; {INSTEAD}"
    );
    // Before anything is installed.
    tools::go()?;
    tools::debian_packages(&PACKAGES)
}

/// Whether it is a machine on which whatever else is needed can be installed.
pub(super) fn are_met() -> bool {
    is_debian() && is_root()
}

fn is_debian() -> bool {
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let names_debian =
        |line: &str| (line.starts_with("ID=") || line.starts_with("ID_LIKE=")) && line.contains("debian");
    os.lines().any(names_debian) && Path::new("/usr/bin/apt-get").exists()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// No other node of a Kubernetes, and nobody on the ports that are needed.
pub(super) fn free_for_a_cluster() -> Result<()> {
    for list in LISTS {
        let rules = Command::new(list).output().with_context(|| format!("cannot run {list}"))?;
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        ensure!(
            !CHAINS_OF_A_NODE.iter().any(|chain| rules.contains(chain)),
            "this machine runs containers of some other Kubernetes or CNI, as its packet filter shows ({list}); two would get into each other's way"
        );
    }
    ensure!(
        !cgroups_of_pods()?,
        "this machine runs pods of some other Kubernetes (/sys/fs/cgroup has their group, kubepods); two would get into each other's way"
    );
    network::is_free()?;
    for part in Part::value_variants() {
        for port in part.ports() {
            // All addresses, since who listens on all of them is in the way as well.
            if let Err(error) = TcpListener::bind(("0.0.0.0", *port)) {
                bail!("port {port}, which {} needs, cannot be had: {error}", part.name());
            }
        }
    }
    Ok(())
}

/// Whether there are pods already, in whichever hierarchy of control groups.
fn cgroups_of_pods() -> Result<bool> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies =
        std::fs::read_dir(root).context("cannot list /sys/fs/cgroup")?.flatten().map(|entry| entry.path());
    Ok(std::iter::once(root.to_path_buf())
        .chain(hierarchies)
        .any(|hierarchy| ["kubepods", "kubepods.slice"].iter().any(|group| hierarchy.join(group).is_dir())))
}
