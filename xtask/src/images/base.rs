//! The base that the Dockerfile takes its libraries from. No registry is asked for it: it is put together from Debian's packages, and has
//! the same name.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::Recipe;
use super::recipe::buildah;
use crate::process::succeed;
use crate::tools::{debian, kept};

/// Its name in the Dockerfile.
pub(super) const NAME: &str = "debian:bookworm-slim";

/// Sees to it that buildah knows it.
pub(super) fn provide() -> Result<()> {
    let suite = suite()?;
    // By its release too: the one from before the machine was upgraded has an older C library.
    let name_of_suite = format!("tickwire-base:{suite}");
    let known = buildah()?
        .args(["inspect", "--type", "image", &name_of_suite])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if known.context("cannot run buildah")?.success() {
        return Ok(());
    }
    let folder = kept(&format!("base-{suite}"), |folder| make(&suite, folder))?;
    Recipe { file: &folder.join("Dockerfile"), target: "base", context: &folder, arguments: &[] }
        .build(NAME)?;
    succeed(buildah()?.args(["tag", NAME, &name_of_suite]))
}

/// The release that this machine is of: a program that was built on it needs its C library, or a newer one.
fn suite() -> Result<String> {
    let os = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = os.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(suite.context("/etc/os-release does not say which release this is")?.to_owned())
}

/// Folders as Debian has had them merged since this release, and done by mmdebstrap: the package that does it otherwise brings all of Perl
/// along, and every image that is built copies it.
const MERGED_FOLDERS: &str = "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr";

/// The packages that every Debian has, and the authorities' certificates; no documentation.
fn make(suite: &str, folder: &Path) -> Result<()> {
    println!("making {NAME} of Debian's packages (once) …");
    debian("mmdebstrap", "mmdebstrap")?;
    let mut command = Command::new("mmdebstrap");
    command.args([
        "--quiet",
        "--mode=root",
        "--variant=essential",
        "--include=ca-certificates",
        MERGED_FOLDERS,
    ]);
    for pattern in ["doc", "man", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{pattern}/*"));
    }
    let output = command.arg(suite).arg(folder.join("base.tar")).output().context("cannot run mmdebstrap")?;
    ensure!(
        output.status.success(),
        "mmdebstrap ended with {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(std::fs::write(folder.join("Dockerfile"), "FROM scratch AS base\nADD base.tar /\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_one_of_the_dockerfile() {
        let dockerfile = std::fs::read_to_string(crate::generate::root().join("Dockerfile")).unwrap();
        assert!(dockerfile.contains(&format!("FROM {NAME} AS rootfs\n")));
    }
}
