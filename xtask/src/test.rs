//! `cargo xtask test`: every check and test, part by part; the same that CI runs.

pub(crate) mod cluster;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::process::{cargo, succeed};
use crate::{fuzz, generate, monitoring, tools};

/// Executions of each fuzz target: what it takes to go through the corpus and some seconds beyond it.
const FUZZ_RUNS: u64 = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Formatting.
    Format,
    /// Generated files are as they would be generated.
    Generated,
    /// Clippy, warnings denied.
    Clippy,
    /// Unit tests, integration tests, doctests.
    Tests,
    /// Alerts by promtool, and every query of the dashboard on a Prometheus that has scraped real servers.
    Monitoring,
    /// The operator, its chart and the images on a real Kubernetes.
    Cluster,
    /// A short run of each fuzz target; Clippy for them.
    Fuzz,
    /// Documentation, warnings denied.
    Docs,
    /// Licences, sources, duplicates; advisories where their database can be reached.
    Dependencies,
}

/// Runs parts, or all. Those of `required` fail where they cannot be run as a whole.
pub(crate) fn run(parts: &[Part], required: &[Part]) -> Result<()> {
    // Before anything is built: with the workspace this program is, too, and what runs then is a file that is not there any more.
    let xtask = std::env::current_exe().context("this program's own path")?;
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    let mut outcomes = Vec::new();
    for part in parts {
        println!("\n── {part:?}");
        let start = Instant::now();
        let result = part.run(&xtask).and_then(|coverage| match coverage {
            Coverage::Without(what) if required.contains(part) => {
                bail!("it is required, but was not run: {what}")
            }
            coverage => Ok(coverage),
        });
        if let Err(error) = &result {
            println!("{error:#}");
        }
        outcomes.push((part, result, start.elapsed()));
    }
    println!();
    for (part, result, elapsed) in &outcomes {
        let (outcome, without) = match result {
            Ok(Coverage::Whole) => ("passed", String::new()),
            Ok(Coverage::Without(what)) => ("passed", format!("   NOT run: {what}")),
            Err(_) => ("FAILED", String::new()),
        };
        println!("{:<13} {outcome} {:>6.1} s{without}", format!("{part:?}"), elapsed.as_secs_f64());
    }
    let failed = outcomes.iter().filter(|(_, result, _)| result.is_err()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed > 0 { bail!("not everything passed") } else { Ok(()) }
}

/// How much of a part could be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coverage {
    Whole,
    /// All but this.
    Without(&'static str),
}

impl Part {
    fn run(self, xtask: &Path) -> Result<Coverage> {
        let done = match self {
            Self::Format => {
                succeed(cargo().args(["fmt", "--all", "--check"]))?;
                succeed(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
            }
            Self::Generated => generate::run(true),
            Self::Clippy => {
                // The last is no target of `--all-targets`, as `cargo test` is to leave it out.
                for targets in [
                    &["--workspace", "--all-targets"][..],
                    &["--package", "tickwire-tests", "--test", "cluster"],
                ] {
                    let mut clippy = cargo();
                    clippy.arg("clippy").args(targets).args([
                        "--all-features",
                        "--locked",
                        "--",
                        "--deny",
                        "warnings",
                    ]);
                    succeed(&mut clippy)?;
                }
                Ok(())
            }
            Self::Tests => {
                // The client that was written from the protocol's page alone, and other real peers.
                for (program, package) in
                    [("python3", "python3"), ("openssl", "openssl"), ("haproxy", "haproxy")]
                {
                    tools::debian(program, package)?;
                }
                let mut test = cargo();
                test.args(["test", "--workspace", "--all-features", "--locked"]);
                succeed(test.env("TICKWIRE_NATS_SERVER", tools::nats_server()?))
            }
            Self::Fuzz => {
                // With a seed, so that what fails once fails again.
                let size = fuzz::Size { runs: FUZZ_RUNS, seed: Some(1), minimize: false, locked: true };
                fuzz::run(&[], size)?;
                fuzz::clippy()
            }
            Self::Docs => succeed(
                cargo()
                    .args(["doc", "--workspace", "--all-features", "--no-deps", "--locked"])
                    .env("RUSTDOCFLAGS", "--deny warnings"),
            ),
            Self::Monitoring => monitoring::test(),
            Self::Cluster => return cluster::run(xtask),
            Self::Dependencies => return dependencies(),
        };
        done.map(|()| Coverage::Whole)
    }
}

fn dependencies() -> Result<Coverage> {
    let program = tools::cargo_deny()?;
    let deny = |checks: &[&str]| {
        let mut command = Command::new(&program);
        command
            .current_dir(generate::root())
            .args(["--locked", "check", "--hide-inclusion-graph"])
            .args(checks);
        succeed(&mut command)
    };
    deny(&["bans", "licenses", "sources"])?;
    if advisories_can_be_had() {
        deny(&["advisories"])?;
        Ok(Coverage::Whole)
    } else {
        println!(
            "advisories were NOT checked: their database cannot be reached from here; where it can, \
             `cargo xtask test dependencies` checks them too"
        );
        Ok(Coverage::Without("advisories, as their database cannot be reached from here"))
    }
}

/// Asks for the head of the advisories' database, for at most ten seconds.
fn advisories_can_be_had() -> bool {
    let mut command = Command::new("timeout");
    command.args(["10", "git", "ls-remote", "--quiet", "https://github.com/RustSec/advisory-db", "HEAD"]);
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
