//! The addresses of a cluster, and what of the machine's network is made for it.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::folder::Folder;
use crate::process::succeed;

/// The node's address. It is not one of the machine's own, so that nobody outside of the machine is led to the cluster.
pub(super) const NODE_ADDRESS: &str = "10.250.0.1";

/// The length of its network.
const NODE_NETWORK: u8 = 24;

/// Where the address sits. A bridge without anything on it: the dummy device, which is meant for this, is not in every kernel.
pub(super) const NODE_DEVICE: &str = "tickwire-node";

/// The pods' addresses.
pub(super) const PODS: &str = "10.244.0.0/16";

/// The Services' addresses.
pub(super) const SERVICES: &str = "10.96.0.0/16";

/// The first of them, which the API server takes for itself.
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";

/// The one that everybody expects a cluster's DNS at.
pub(super) const DNS_ADDRESS: &str = "10.96.0.10";

/// What the parts change of the kernel's settings, for all of the machine: kept, and put back in the end.
const SYSCTLS: [&str; 8] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// The ranges that have to be free.
pub(super) const RANGES: [&str; 3] = ["10.250.0.0/24", PODS, SERVICES];

/// Fails where the machine has a way of its own to some of the cluster's addresses: they would be taken from it.
pub(super) fn is_free() -> Result<()> {
    for range in RANGES {
        // Routes within the range; and of those to more than the range, the one that would be taken, but for the default.
        for relation in ["root", "match"] {
            let output =
                ip().args(["-4", "route", "show", relation, range]).output().context("cannot run ip")?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Some(route) = text.lines().find(|route| !route.starts_with("default")) {
                bail!(
                    "this machine has a route into {range}, which the cluster needs for itself: {}",
                    route.trim()
                );
            }
        }
    }
    Ok(())
}

/// What packets of pods and Services are let through by, also where Docker or a firewall lets through nothing else.
const LET_THROUGH: [[&str; 2]; 2] = [["--source", PODS], ["--destination", PODS]];

/// Makes the node's address, and lets packets through.
pub(super) fn create(folder: &Folder) -> Result<()> {
    let mut before = serde_json::Map::new();
    for name in SYSCTLS {
        let value =
            fs::read_to_string(sysctl(name)).with_context(|| format!("cannot read {}", sysctl(name)))?;
        before.insert(name.to_owned(), value.trim().into());
    }
    fs::write(folder.path("sysctls.json"), serde_json::to_vec(&before)?)?;

    let address = format!("{NODE_ADDRESS}/{NODE_NETWORK}");
    succeed(ip().args(["link", "add", NODE_DEVICE, "type", "bridge"]))?;
    succeed(ip().args(["address", "add", &address, "dev", NODE_DEVICE]))?;
    succeed(ip().args(["link", "set", NODE_DEVICE, "up"]))?;
    // What nobody has yet, or any more, must not leave the machine: there are networks that answer for everybody.
    for range in [PODS, SERVICES] {
        succeed(ip().args(["route", "add", range, "dev", NODE_DEVICE]))?;
    }
    for which in LET_THROUGH {
        succeed(iptables().args(["--insert", "FORWARD"]).args(which).args(["--jump", "ACCEPT"]))?;
    }
    fs::write(sysctl("net/ipv4/ip_forward"), "1").context("cannot let packets through (ip_forward)")
}

/// Takes the address away again, and puts the kernel's settings back.
pub(super) fn remove(folder: &Folder) -> Result<()> {
    if fs::exists(format!("/sys/class/net/{NODE_DEVICE}"))? {
        succeed(ip().args(["link", "delete", NODE_DEVICE]))?;
    }
    for which in LET_THROUGH {
        // Where it is not there, it did not come as far.
        let mut delete = iptables();
        delete.args(["--delete", "FORWARD"]).args(which).args(["--jump", "ACCEPT"]);
        let _deleted = delete.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    let Ok(before) = fs::read(folder.path("sysctls.json")) else {
        // It did not come as far as changing them.
        return Ok(());
    };
    let before: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&before)?;
    for (name, value) in before {
        let value = value.as_str().unwrap_or_default();
        if fs::read_to_string(sysctl(&name)).is_ok_and(|now| now.trim() != value) {
            fs::write(sysctl(&name), value).with_context(|| format!("cannot put {name} back to {value}"))?;
        }
    }
    Ok(())
}

fn ip() -> Command {
    Command::new("ip")
}

fn iptables() -> Command {
    let mut command = Command::new("iptables");
    command.arg("--wait");
    command
}

fn sysctl(name: &str) -> String {
    format!("/proc/sys/{name}")
}
