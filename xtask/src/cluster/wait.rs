//! Waiting for what parts bring about. It ends early where a part that has to bring it about has ended, and says what that part said last.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;

use super::POLL;
use super::folder::Folder;
use super::part::{NODE, Part};
use super::programs::Programs;

/// Each of these takes a few seconds where it works; a loaded machine gets more.
const DEADLINE: Duration = Duration::from_secs(120);

/// Of a log: enough for the reason, and for what led to it.
const LAST_LINES: usize = 25;

/// Until it can be spoken to; of the API server, until what it needs to answer is there, too.
pub(super) fn until_it_serves(folder: &Folder, programs: &Programs, part: Part) -> Result<()> {
    match part.listens_at() {
        _ if part == Part::Apiserver => until_ready(folder, programs),
        Some(address) => until(folder, &[part], || Ok(TcpStream::connect(address).map(drop)?)),
        None => until(folder, &[part], || Ok(UnixStream::connect(folder.containerd_socket()).map(drop)?)),
    }
}

pub(super) fn until_ready(folder: &Folder, programs: &Programs) -> Result<()> {
    until(folder, &[Part::Etcd, Part::Apiserver], || readiness(folder, programs))
}

pub(super) fn until_node_is_ready(folder: &Folder, programs: &Programs) -> Result<()> {
    until(folder, &[Part::Containerd, Part::Kubelet, Part::KubeProxy], || {
        ensure!(node_is_ready(folder, programs)?, "the node is not ready");
        Ok(())
    })
}

pub(super) fn until_names_resolve(folder: &Folder, programs: &Programs) -> Result<()> {
    let parts = [Part::ControllerManager, Part::Scheduler, Part::Kubelet, Part::Containerd];
    let available = "jsonpath={.status.conditions[?(@.type==\"Available\")].status}";
    until(folder, &parts, || {
        let state = kubectl(
            folder,
            programs,
            &["get", "deployment", "coredns", "-n", "kube-system", "-o", available],
        )?;
        ensure!(state == "True", "CoreDNS is not available");
        Ok(())
    })
}

/// Until a cluster that was up once is well again: a moment after a part was started anew, it is not.
pub(super) fn until_well(folder: &Folder, programs: &Programs) -> Result<()> {
    until(folder, Part::value_variants(), || {
        readiness(folder, programs)?;
        ensure!(node_is_ready(folder, programs)?, "the node is not ready");
        Ok(())
    })
}

/// Fails with why the API server is not ready.
fn readiness(folder: &Folder, programs: &Programs) -> Result<()> {
    kubectl(folder, programs, &["get", "--raw", "/readyz"]).map(drop)
}

fn node_is_ready(folder: &Folder, programs: &Programs) -> Result<bool> {
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    Ok(kubectl(folder, programs, &["get", "node", NODE, "-o", ready])? == "True")
}

/// What kubectl prints, as the cluster's administrator.
fn kubectl(folder: &Folder, programs: &Programs, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(programs.kubernetes.join("kubectl"));
    command.arg("--kubeconfig").arg(folder.kubeconfig("admin")).arg("--request-timeout=5s").args(arguments);
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    let Output { status, stdout, stderr } = command.output().context("cannot run kubectl")?;
    ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr).trim());
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

/// Asks again and again, while these parts run.
fn until(folder: &Folder, parts: &[Part], mut asked: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = asked();
        // Before the answer counts: what somebody else says on a part's port is not the part's.
        if let Some(ended) = parts.iter().find(|part| !part.runs(folder)) {
            bail!("{} has ended\n{}", ended.name(), last_words(folder, &[*ended]));
        }
        let Err(not_yet) = answer else { return Ok(()) };
        if start.elapsed() > DEADLINE {
            bail!("after {DEADLINE:?}: {not_yet:#}\n{}", last_words(folder, parts));
        }
        std::thread::park_timeout(POLL);
    }
}

/// The ends of these parts' logs.
fn last_words(folder: &Folder, parts: &[Part]) -> String {
    let mut said = String::new();
    for part in parts {
        let log = folder.log(*part);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        said += &format!("── the end of {}\n", log.display());
        for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
            said += line;
            said.push('\n');
        }
    }
    said
}
