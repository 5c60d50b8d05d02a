//! What a machine must be like before anything is started on it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;

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

/// The rule chain that every node of any Kubernetes has.
const CHAIN_OF_A_NODE: &str = ":KUBE-";

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
    let rules = Command::new("iptables-save").output().context("cannot run iptables-save")?;
    ensure!(
        !String::from_utf8_lossy(&rules.stdout).contains(CHAIN_OF_A_NODE),
        "this machine is a node of some other Kubernetes, as its packet filter shows (iptables-save); two would get into each other's way"
    );
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
