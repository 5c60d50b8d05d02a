//! What the checks need and a bare machine does not have: installed by these commands, at pinned versions, into a cache folder that is
//! reused.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{cargo, succeed};

/// Checks licences, sources, duplicates and advisories.
const CARGO_DENY: &str = "0.20.2";

/// The server whose streams feed Tickwire's.
const NATS_SERVER: &str = "2.15.2";

/// $TICKWIRE_CACHE, or tickwire in the user's cache folder.
pub(crate) fn cache() -> Result<PathBuf> {
    // Set to nothing is not set.
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(folder) = set("TICKWIRE_CACHE") {
        return Ok(std::path::absolute(folder)?);
    }
    let home = || set("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let caches = caches.context("neither HOME nor XDG_CACHE_HOME is set; set TICKWIRE_CACHE to a folder")?;
    Ok(std::path::absolute(caches)?.join("tickwire"))
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

/// The nats-server program; built on first use, which takes a minute. Go's checksum database has the sums for its version.
pub(crate) fn nats_server() -> Result<PathBuf> {
    let folder = kept(&format!("nats-server-{NATS_SERVER}"), |folder| {
        // Not where the path goes: `$(cargo xtask nats-server)`.
        eprintln!("building nats-server {NATS_SERVER} (once) …");
        let mut go = go()?;
        go.args(["install", "-trimpath", "-ldflags", "-s -w"]);
        // Of a version, so that it is built with the very requirements that it was released with.
        go.arg(format!("github.com/nats-io/nats-server/v2@v{NATS_SERVER}"));
        succeed(go.env("GOBIN", folder).current_dir(folder))
    })?;
    Ok(folder.join("nats-server"))
}

/// The go command, for programs that are static and the same wherever they are built. What the environment says of proxies, checksums and
/// further flags holds.
pub(crate) fn go() -> Result<Command> {
    const NEEDED: &str = "Go 1.25 or newer is needed to build Kubernetes' programs and NATS (1.21 to 1.24 fetch it; Debian 12 has 1.19)";
    ensure!(is_there("go"), "go is not installed; {NEEDED}");
    let asked = Command::new("go").args(["env", "GOVERSION"]).output().context("cannot run go")?;
    let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    ensure!(go_minor(&version).is_some_and(|minor| minor >= GO_THAT_FETCHES), "go is {version}; {NEEDED}");
    let mut command = Command::new("go");
    command.env("CGO_ENABLED", "0");
    Ok(command)
}

/// The minor version from which on Go fetches a newer one by itself, where a module asks for that.
const GO_THAT_FETCHES: u32 = 21;

/// The minor version of what `go env GOVERSION` says, such as go1.26.8.
fn go_minor(version: &str) -> Option<u32> {
    let digits = version.strip_prefix("go1.")?;
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
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
    succeed(apt().args(["install", "-y", "-q", "--no-install-recommends"]).args(&packages))?;
    SERVICES.iter().filter(|service| packages.contains(&service.package)).for_each(Service::disable);
    Ok(())
}

/// A service that comes with a package of which only the program is wanted.
struct Service {
    package: &'static str,
    name: &'static str,
}

const SERVICES: [Service; 3] = [
    Service { package: "etcd-server", name: "etcd" },
    Service { package: "containerd", name: "containerd" },
    Service { package: "haproxy", name: "haproxy" },
];

impl Service {
    /// Sees to it that the next boot does not start it. Whichever of these a machine does not have has nothing to disable.
    fn disable(&self) {
        for (program, arguments) in [("systemctl", ["--quiet", "disable"]), ("update-rc.d", ["-f", "remove"])]
        {
            let mut command = Command::new(program);
            match program {
                "systemctl" => command.args(arguments).arg(self.name),
                _ => command.args([arguments[0], self.name, arguments[1]]),
            };
            let _disabled = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_read_whatever_comes_after_it() {
        for (version, minor) in
            [("go1.26.8", Some(26)), ("go1.21rc2", Some(21)), ("go1.19", Some(19)), ("devel go1.27", None)]
        {
            assert_eq!(go_minor(version), minor, "{version}");
        }
    }
}
