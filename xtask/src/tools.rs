//! What the checks need and a bare machine does not have: installed by these commands, at pinned versions, into a cache folder that is
//! reused.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, succeed};

/// Checks licences, sources, duplicates and advisories.
const CARGO_DENY: &str = "0.20.2";

/// $TICKWIRE_CACHE, or tickwire in the user's cache folder.
fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TICKWIRE_CACHE") {
        return Ok(folder.into());
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(caches
        .context("neither HOME nor XDG_CACHE_HOME is set; set TICKWIRE_CACHE to a folder")?
        .join("tickwire"))
}

/// The cargo-deny program; built on first use, which takes some minutes.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let root = cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        println!("building cargo-deny {CARGO_DENY} into {} (once) …", root.display());
        succeed(
            cargo().args(["install", "cargo-deny", "--locked", "--version", CARGO_DENY, "--root"]).arg(&root),
        )?;
    }
    Ok(program)
}

/// Sees to it that a program is there, from Debian's packages where it is not.
pub(crate) fn debian(program: &str, package: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!("{program} is not installed; it is in Debian's package {package}");
    }
    println!("installing {package} …");
    succeed(Command::new("apt-get").args(["update", "-q"]))?;
    succeed(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends", package]))
}
