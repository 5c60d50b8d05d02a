//! The part of the tests that needs a cluster: one is brought up, the images are loaded, and tests/cluster runs against it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Coverage;
use crate::cluster::{self, Cluster, foreign_crds};
use crate::process::{cargo, succeed};
use crate::tools;

/// What needs to be on the machine that runs the cluster, as it ends processes there.
const OF_THE_MACHINE: [&str; 1] =
    ["alone::rollout::the_same_with_the_operator_killed_and_the_api_server_restarted_in_the_middle"];

/// The tests that need the cluster to themselves.
const ALONE: &str = "alone::";

/// What is said where there is no cluster, and none can be had.
const WITHOUT: &str = "the cluster, as this is not Debian, or not root, and KUBECONFIG names none; with either, `cargo xtask test cluster` runs it";

pub(super) fn run() -> Result<Coverage> {
    if !cluster::can_be_had() {
        println!("NOT run: {WITHOUT}");
        return Ok(Coverage::Without(WITHOUT));
    }
    let was_up = Cluster::that_is_up().is_ok();
    let cluster = cluster::up()?;
    let result = test(&cluster);
    // Whoever had it up may want to look at what has failed, or to go on.
    let down = if was_up { Ok(()) } else { cluster::down() };
    let coverage = result?;
    down?;
    Ok(coverage)
}

fn test(cluster: &Cluster) -> Result<Coverage> {
    let is_own = matches!(cluster, Cluster::Own(_));
    if is_own {
        cluster::load_images(cluster)?;
    } else {
        println!(
            "its nodes must have tickwire/server and tickwire/operator, or be able to pull them; TICKWIRE_REGISTRY=… comes before these names"
        );
    }
    // Another implementation of TLS looks at what the servers show.
    tools::debian("openssl", "openssl")?;
    let tools = cluster::tools()?;
    let path = path_with(&tools)?;
    for file in foreign_crds()? {
        let mut apply = Command::new(tools.join("kubectl"));
        apply
            .env("KUBECONFIG", cluster.kubeconfig())
            .args(["apply", "--server-side", "--filename"])
            .arg(file);
        succeed(&mut apply)?;
    }
    // Most wait for something most of the time; the others change what all stand on.
    for (which, threads) in [(["--skip", ALONE].as_slice(), "4"), (&[ALONE], "1")] {
        let mut test = cargo();
        test.args([
            "test",
            "--package",
            "tickwire-tests",
            "--test",
            "cluster",
            "--locked",
            "--",
            "--test-threads",
            threads,
        ])
        .args(which)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("PATH", &path)
        .env("TICKWIRE_XTASK", std::env::current_exe().context("this program's own path")?);
        if !is_own {
            test.args(OF_THE_MACHINE.iter().flat_map(|name| ["--skip", name]));
        }
        succeed(&mut test)?;
    }
    Ok(if is_own {
        Coverage::Whole
    } else {
        Coverage::Without(
            "what ends processes of the cluster's own, which takes one by `cargo xtask cluster up`",
        )
    })
}

/// PATH, with a folder before all others.
fn path_with(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    let joined = std::env::join_paths(folders).context("PATH")?;
    ensure!(!joined.is_empty(), "PATH is empty");
    Ok(joined)
}
