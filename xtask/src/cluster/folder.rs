//! The folder of the running cluster: its data, certificates, settings, logs and sockets.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::part::Part;
use crate::process::succeed;

/// It is the machine's, not a user's: there is one network and one packet filter, so there can be one cluster. And it is short: a socket's
/// path may have 107 bytes, and containerd puts 70 after it.
const PATH: &str = "/var/lib/tickwire-cluster";

/// The namespace in which containerd keeps what is Kubernetes'.
const NAMESPACE: &str = "k8s.io";

#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(super) fn the() -> Self {
        Self(PathBuf::from(PATH))
    }

    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// For nobody else to look into: keys are in it.
    pub(super) fn create(&self) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&self.0).with_context(|| format!("cannot make {PATH}"))?;
        for folder in ["certificates", "settings", "cni", "logs", "processes", "kubelet"] {
            builder.create(self.0.join(folder))?;
        }
        Ok(())
    }

    /// Says that the cluster came up as a whole.
    pub(super) fn mark_whole(&self) -> Result<()> {
        fs::write(self.path("whole"), "").context("cannot mark the cluster as whole")
    }

    pub(super) fn is_whole(&self) -> bool {
        self.path("whole").exists()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// As part of an argument or a setting.
    pub(super) fn text(&self, name: &str) -> String {
        format!("{PATH}/{name}")
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.path(format!("settings/{user}.kubeconfig"))
    }

    pub(super) fn log(&self, part: Part) -> PathBuf {
        self.path(format!("logs/{}.log", part.name()))
    }

    pub(super) fn process(&self, part: Part) -> PathBuf {
        self.path(format!("processes/{}", part.name()))
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    /// containerd's own client, speaking of Kubernetes' containers and images.
    pub(crate) fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.containerd_socket()).args(["--namespace", NAMESPACE]);
        command
    }

    /// Puts the images of these archives onto the node.
    pub(crate) fn import<'a>(&self, archives: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
        for archive in archives {
            let mut command = self.ctr();
            command.args(["images", "import"]).arg(archive).stdout(std::process::Stdio::null());
            succeed(&mut command)?;
        }
        Ok(())
    }
}
