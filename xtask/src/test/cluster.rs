//! The part of the tests that needs a cluster: one is brought up, the images are loaded, and tests/cluster runs against it.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Coverage;
use crate::cluster::{self, Cluster, foreign_crds};
use crate::process::{cargo, succeed};
use crate::tools;

/// Two test runs at once would take the cluster from each other.
const LOCK: &str = "/run/lock/tickwire-cluster-tests.lock";

/// The tests that change what all others stand on.
const ALONE: &str = "alone::";

/// The tests that move many clients, and wait most of the time.
const LARGE: &str = "large::";

/// The tests that have a full size.
const FULL_SIZE: [&str; 3] = ["large::autoscaling", "large::rebalance", "alone::faults"];

/// The tests that harm nobody on a cluster that others use, and come from nowhere but the API.
const HARMLESS: [&str; 4] = ["rules::", "chart::", "kubectl::", "bad_input::"];

/// What is said where there is no cluster, and none can be had.
const WITHOUT: &str = "the cluster, as this is not Debian, or not root, and KUBECONFIG names none; with either, `cargo xtask test cluster` runs it";

/// What is left out on a cluster that others use.
const WITHOUT_OWN: &str = "whatever connects from outside of the pods, or would disturb others, on the cluster of KUBECONFIG; as root on Debian without it, all is run";

/// `xtask` is the path of this program from before anything was built.
pub(super) fn run(xtask: &Path) -> Result<Coverage> {
    if !cluster::can_be_had() {
        println!("NOT run: {WITHOUT}");
        return Ok(Coverage::Without(WITHOUT));
    }
    if let Some(foreign) = Cluster::foreign() {
        println!(
            "on the cluster of KUBECONFIG; its nodes pull tickwire/server and tickwire/operator, from TICKWIRE_REGISTRY where that is set"
        );
        let filters: Vec<_> = HARMLESS.to_vec();
        test(&foreign, xtask, "", &[(filters.as_slice(), "4")], None)?;
        return Ok(Coverage::Without(WITHOUT_OWN));
    }
    // Most wait for something most of the time; the others go by themselves, and say what they have measured.
    let selections: [(&[&str], &str); 3] = [
        (&["--skip", ALONE, "--skip", LARGE], "4"),
        (&[LARGE, "--show-output"], "3"),
        (&[ALONE, "--show-output"], "1"),
    ];
    on_own(|| test_own(xtask, &selections, None)).map(|()| Coverage::Whole)
}

/// The large tests as large as they are meant to be, which takes the better part of an hour. What they have seen comes as tables into this folder.
pub(crate) fn full_size(reports: &Path) -> Result<()> {
    let xtask = std::env::current_exe().context("this program's own path")?;
    ensure!(
        cluster::can_be_had() && Cluster::foreign().is_none(),
        "it takes a cluster of this machine's own: Debian, root, and no KUBECONFIG"
    );
    let selections: Vec<(&[&str], &str)> =
        FULL_SIZE.iter().map(|test| (std::slice::from_ref(test), "1")).collect();
    on_own(|| test_own(&xtask, &selections, Some(reports)))
}

/// Does something on our own cluster, which nobody else tests on meanwhile.
fn on_own(action: impl FnOnce() -> Result<()>) -> Result<()> {
    let lock = File::create(LOCK).with_context(|| format!("cannot open {LOCK}"))?;
    lock.lock().with_context(|| format!("cannot lock {LOCK}"))?;
    let was_up = Cluster::that_is_up().is_ok();
    let result = action();
    // Whoever had it up may want to look at what has failed, or to go on.
    let down = if was_up { Ok(()) } else { cluster::down() };
    result.and(down)
}

/// At their full size where `reports` is where to tell of it.
fn test_own(xtask: &Path, selections: &[(&[&str], &str)], reports: Option<&Path>) -> Result<()> {
    let cluster = cluster::up()?;
    cluster::load_nats()?;
    let images = cluster::load_images(&cluster)?.digest;
    // Another implementation of TLS looks at what the servers show.
    tools::debian("openssl", "openssl")?;
    // And what scrapes them in production.
    tools::debian("prometheus", "prometheus")?;
    let kubectl = cluster::tools()?.join("kubectl");
    for file in foreign_crds()? {
        let mut apply = Command::new(&kubectl);
        apply.env("KUBECONFIG", cluster.kubeconfig()).env("NO_PROXY", "*").args([
            "apply",
            "--server-side",
            "--filename",
        ]);
        succeed(apply.arg(file))?;
    }
    test(&cluster, xtask, &images, selections, reports)
}

/// Runs these selections of tests, so many at a time.
fn test(
    cluster: &Cluster,
    xtask: &Path,
    images: &str,
    selections: &[(&[&str], &str)],
    reports: Option<&Path>,
) -> Result<()> {
    let path = path_with(&cluster::tools()?)?;
    for (which, threads) in selections {
        let mut test = cargo();
        test.args(["test", "--package", "tickwire-tests", "--test", "cluster", "--locked", "--"])
            .args(["--test-threads", threads])
            .args(*which)
            .env("KUBECONFIG", cluster.kubeconfig())
            // A cluster of this machine's own is not behind a proxy; another's may be.
            .envs(matches!(cluster, Cluster::Own(_)).then_some(("NO_PROXY", "*")))
            .env("PATH", &path)
            .env("TICKWIRE_IMAGES", images)
            .env("TICKWIRE_XTASK", xtask);
        if let Some(reports) = reports {
            test.env("TICKWIRE_FULL_SIZE", "yes").env("TICKWIRE_REPORTS", reports).arg("--show-output");
        }
        succeed(&mut test)?;
    }
    Ok(())
}

/// PATH, with a folder before all others.
fn path_with(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH")
}
