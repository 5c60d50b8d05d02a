//! What the checks need and a bare machine does not have: installed by these commands, at pinned versions, into a cache folder that is
//! reused.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{cargo, succeed};

/// Checks licences, sources, duplicates and advisories.
const CARGO_DENY: &str = "0.20.2";

/// $TICKWIRE_CACHE, or tickwire in the user's cache folder.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TICKWIRE_CACHE") {
        return Ok(std::path::absolute(folder)?);
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(caches
        .context("neither HOME nor XDG_CACHE_HOME is set; set TICKWIRE_CACHE to a folder")?
        .join("tickwire"))
}

/// A folder of the cache: as it is, or where there is none, as `fill` fills it. It has its name only once it is whole, so that what an
/// interrupted build leaves is never taken for one.
pub(crate) fn kept(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache()?;
    let folder = cache.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let unfinished = tempfile::Builder::new().prefix("unfinished-").tempdir_in(&cache)?;
    fill(unfinished.path())?;
    let finished = unfinished.keep();
    match std::fs::rename(&finished, &folder) {
        // Somebody else was quicker with the same.
        Err(_) if folder.exists() => std::fs::remove_dir_all(&finished)?,
        renamed => renamed.with_context(|| format!("cannot make {}", folder.display()))?,
    }
    Ok(folder)
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

/// The go command, for programs that are static and the same wherever they are built. What the environment says of proxies, checksums and
/// further flags holds.
pub(crate) fn go() -> Result<Command> {
    ensure!(
        is_there("go"),
        "go is not installed; Go 1.25 or newer is needed to build Kubernetes' programs (Debian 12 has 1.19)"
    );
    let mut command = Command::new("go");
    command.env("CGO_ENABLED", "0");
    Ok(command)
}

/// Sees to it that a program is there, from Debian's packages where it is not.
pub(crate) fn debian(program: &str, package: &str) -> Result<()> {
    debian_packages(&[(program, package)])
}

/// Sees to it that programs are there, from Debian's packages where they are not. What is on nobody's PATH is named by its whole path.
pub(crate) fn debian_packages(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        let list: Vec<_> = missing
            .iter()
            .map(|(program, package)| {
                format!("{program} is not installed; it is in Debian's package {package}")
            })
            .collect();
        bail!("{}", list.join("\n"));
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    println!("installing {} …", packages.join(", "));
    succeed(apt().args(["update", "-q"]))?;
    succeed(apt().args(["install", "-y", "-q", "--no-install-recommends"]).args(&packages))
}

/// apt-get that asks nothing, and where systemd runs, does not start the services that come with a package: only their programs are wanted.
fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("SYSTEMD_OFFLINE", "1");
    command
}

/// Whether a program is on the PATH, or where its path says.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
