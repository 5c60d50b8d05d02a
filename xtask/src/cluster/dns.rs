//! The cluster's DNS: CoreDNS as a Deployment, where every cluster has it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::folder::Folder;
use super::programs::{COREDNS_IMAGE, Programs};

/// With IMAGE where the image's name belongs.
const MANIFEST: &str = include_str!("../../kubernetes/coredns.yaml");

pub(super) fn apply(folder: &Folder, programs: &Programs) -> Result<()> {
    let mut command = Command::new(programs.kubernetes.join("kubectl"));
    command.arg("--kubeconfig").arg(folder.kubeconfig("admin"));
    command.args(["apply", "--server-side", "--filename", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().context("cannot run kubectl")?;
    let manifest = MANIFEST.replace("IMAGE", COREDNS_IMAGE);
    // It is dropped at once, which is the manifest's end.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(manifest.as_bytes()));
    let status = child.wait()?;
    ensure!(status.success(), "kubectl apply ended with {status}");
    written.context("kubectl has an input")?.context("cannot hand the manifest to kubectl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::network::DNS_ADDRESS;

    #[test]
    fn dns_has_the_address_that_the_kubelet_tells_pods() {
        assert!(MANIFEST.contains(&format!("clusterIP: {DNS_ADDRESS}\n")));
        assert_eq!(MANIFEST.matches("IMAGE").count(), 1);
    }
}
