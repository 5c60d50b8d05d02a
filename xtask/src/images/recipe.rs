//! Building an image without an engine and without a registry: buildah, with storage of our own in the cache.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::process::succeed;
use crate::tools::cache;

/// What an image is made of.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The Dockerfile.
    pub(crate) file: &'a Path,
    /// Which of its stages.
    pub(crate) target: &'a str,
    /// The folder that it copies from.
    pub(crate) context: &'a Path,
    /// Build arguments.
    pub(crate) arguments: &'a [(&'a str, &'a str)],
}

impl Recipe<'_> {
    /// Builds it, and writes it as an archive in which it has this name. Nothing else is kept of it.
    pub(crate) fn archive(&self, name: &str, archive: &Path) -> Result<()> {
        self.build(name)?;
        let mut push = buildah()?;
        push.args(["push", "--quiet", name]).arg(format!("oci-archive:{}:{name}", archive.display()));
        succeed(&mut push)?;
        // The image, and what buildah leaves of a stage that has another's name for its base: a container, and an image without a name.
        for removal in [&["rmi", name][..], &["rm", "--all"], &["rmi", "--prune"]] {
            succeed(buildah()?.args(removal).stdout(Stdio::null()))?;
        }
        Ok(())
    }

    /// Builds it, and keeps it under this name for what is built on it.
    pub(super) fn build(&self, name: &str) -> Result<()> {
        let mut command = buildah()?;
        // Without a cache of layers (--layers): buildah 1.28 takes a label for the same when only a build argument in it differs.
        command.args(["build", "--quiet", "--isolation", "chroot", "--pull-never", "--tag", name]);
        command.arg("--file").arg(self.file).args(["--target", self.target]);
        for (argument, value) in self.arguments {
            command.arg("--build-arg").arg(format!("{argument}={value}"));
        }
        succeed(command.arg(self.context).stdout(Stdio::null()))
    }
}

/// buildah, in the one way in which it works on any file system and in any namespace.
pub(super) fn buildah() -> Result<Command> {
    let storage = cache()?.join("buildah");
    let settings = storage.join("containers.conf");
    // No network is made for an image, but a folder for one, and by default below /etc.
    let networks = format!("[network]\nnetwork_config_dir = {:?}\n", storage.join("networks"));
    std::fs::create_dir_all(&storage)?;
    std::fs::write(&settings, networks).with_context(|| format!("cannot write {}", settings.display()))?;
    let mut command = Command::new("buildah");
    command.arg("--root").arg(storage.join("images")).arg("--runroot").arg(storage.join("run"));
    command.args(["--storage-driver", "vfs"]).env("CONTAINERS_CONF", settings);
    Ok(command)
}
