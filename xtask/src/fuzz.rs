//! `cargo xtask fuzz`: inputs that nobody has thought of, against whatever reads a stranger's bytes. `fuzz/` holds the targets, with what
//! must be true of their answers, and a corpus each: the inputs that have reached something new so far, from which libFuzzer goes on.
//!
//! The stable compiler will do: what guides libFuzzer is LLVM's own coverage pass, which needs no sanitizer's runtime. Nor is there
//! anything for one to find, as all of our code is safe.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::generate::root;
use crate::process::{cargo, succeed};
use crate::tools;

/// What tells libFuzzer which branches an input takes, and what is compared in them: as cargo-fuzz has it, without `--cfg fuzzing`, so that
/// what is tested is what ships.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// An execution that takes longer, in seconds, is a finding. One takes some microseconds.
const TIMEOUT: u32 = 10;

/// From so many executions on, each doubling is a line of progress.
const FIRST_PROGRESS: u64 = 1 << 18;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Bytes into frames and messages, and back.
    Codec,
    /// A client's side of a conversation, as a shard drives it.
    Session,
    /// A load balancer's header.
    Proxy,
    /// A publisher's messages and files.
    Trade,
}

/// How the targets are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Executions of each.
    pub(crate) runs: u64,
    /// The seed of the random mutations; without it, another one each time.
    pub(crate) seed: Option<u32>,
    /// Take what was found into the corpus, and keep no more of it than is needed to reach as much.
    pub(crate) minimize: bool,
    /// Leave fuzz/Cargo.lock as it is.
    pub(crate) locked: bool,
}

/// Runs these targets, or all.
pub(crate) fn run(targets: &[Target], size: Size) -> Result<()> {
    // libFuzzer is written in C++.
    tools::debian("g++", "g++")?;
    same_versions(size.locked)?;
    let folder = build(size.locked)?;
    let targets = if targets.is_empty() { Target::value_variants() } else { targets };
    let mut failed = 0;
    let mut lines = Vec::new();
    for target in targets {
        println!("fuzzing {}: {} executions …", target.name(), size.runs);
        lines.push(target.run(&folder.join(target.name()), size).unwrap_or_else(|error| {
            failed += 1;
            format!("{:<8} {error:#}", target.name())
        }));
    }
    lines.iter().for_each(|line| println!("{line}"));
    if failed > 0 { bail!("{failed} of {} targets failed", targets.len()) } else { Ok(()) }
}

/// Clippy, which sees only the workspace elsewhere.
pub(crate) fn clippy() -> Result<()> {
    tools::debian("g++", "g++")?;
    let mut command = cargo();
    command.args(["clippy", "--manifest-path", "fuzz/Cargo.toml", "--all-targets", "--locked"]);
    // Where most of what it looks at has been looked at already.
    command.arg("--target-dir").arg(workspace_target_folder());
    succeed(&mut command)
}

fn workspace_target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where everything goes that is not committed.
fn target_folder() -> PathBuf {
    workspace_target_folder().join("fuzz")
}

/// Builds the targets. Answers the folder in which they are.
fn build(locked: bool) -> Result<PathBuf> {
    println!("building the fuzz targets …");
    let rustc = Command::new("rustc").current_dir(root()).args(["--print", "host-tuple"]).output()?;
    let host = String::from_utf8(rustc.stdout)?.trim().to_owned();
    let mut command = cargo();
    command.args(["build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml"]);
    // Named, so that the flags are not for build scripts and macros; in a folder of its own, so that nothing else is built anew for them.
    command.args(["--target", &host]).arg("--target-dir").arg(target_folder());
    command.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    if locked {
        command.arg("--locked");
    }
    succeed(&mut command)?;
    Ok(target_folder().join(host).join("release"))
}

/// The crates that are fuzzed are those that ship: where both have a crate, fuzz/Cargo.lock has the workspace's version of it.
fn same_versions(locked: bool) -> Result<()> {
    let (ours, theirs) = (root().join("Cargo.lock"), root().join("fuzz/Cargo.lock"));
    let (workspace, fuzz) = (versions(&ours)?, versions(&theirs)?);
    let names: BTreeSet<_> = workspace.iter().map(|(name, _)| name).collect();
    let other: Vec<_> = fuzz
        .difference(&workspace)
        .filter(|(name, _)| names.contains(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    if other.is_empty() {
        return Ok(());
    }
    if locked {
        bail!(
            "fuzz/Cargo.lock has {}, and Cargo.lock other versions; run `cargo xtask fuzz` and commit the result",
            other.join(", ")
        );
    }
    // Cargo adds what only the targets need.
    fs::copy(ours, theirs)?;
    println!("wrote fuzz/Cargo.lock");
    Ok(())
}

/// The names and versions in a Cargo.lock.
fn versions(lock: &Path) -> Result<BTreeSet<(String, String)>> {
    let text = fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
    let lines: Vec<_> = text.lines().collect();
    Ok(lines
        .windows(2)
        .filter_map(|pair| Some((value(pair[0], "name = ")?, value(pair[1], "version = ")?)))
        .collect())
}

/// A run without findings.
struct Done {
    executions: u64,
    per_second: u64,
    /// As libFuzzer has it: edges (cov), edges told apart by how often they are taken and what is compared (ft), the inputs that it takes
    /// (corp).
    reached: String,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Session => "session",
            Self::Proxy => "proxy",
            Self::Trade => "trade",
        }
    }

    /// The longest input, in bytes. Decisions are shorter than what they write; but a header is looked for in bytes as they are, and its
    /// bound must lie within.
    fn max_len(self) -> usize {
        match self {
            Self::Codec | Self::Session | Self::Trade => 1024,
            Self::Proxy => tickwire_server::proxy::MAX_HEADER + 256,
        }
    }

    /// Words that random bytes seldom are.
    fn dictionary(self) -> PathBuf {
        let name = match self {
            Self::Codec | Self::Session => "frames.dict",
            Self::Proxy => "proxy.dict",
            Self::Trade => "trade.dict",
        };
        root().join("fuzz/dictionaries").join(name)
    }

    fn corpus(self) -> PathBuf {
        root().join("fuzz/corpus").join(self.name())
    }

    /// Answers a line about it.
    fn run(self, program: &Path, size: Size) -> Result<String> {
        // Nobody else's: several may run at once.
        let found = target_folder().join(format!("found-{}-{}", self.name(), std::process::id()));
        empty(&found)?;
        let result = self.fuzz(program, &found, size).and_then(|done| {
            let Done { executions, per_second, reached } = done;
            ensure!(executions >= size.runs, "only {executions} executions of {}", size.runs);
            if size.minimize {
                self.minimize(program, &found)?;
            }
            Ok(format!(
                "{:<8} {executions:>10} executions, {per_second:>6} per second, {reached}",
                self.name()
            ))
        });
        fs::remove_dir_all(&found)?;
        result
    }

    fn fuzz(self, program: &Path, found: &Path, size: Size) -> Result<Done> {
        let artifacts = root().join("fuzz/artifacts").join(self.name());
        fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(program);
        command
            .arg(found)
            .arg(self.corpus())
            .arg(format!("-runs={}", size.runs))
            .arg(format!("-max_len={}", self.max_len()))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg(format!("-dict={}", self.dictionary().display()))
            // It is a prefix of names.
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1");
        command.args(match size.seed {
            // What is done with a seed does not depend on the time that it takes.
            Some(seed) => [format!("-seed={seed}"), "-reload=0".into()],
            // More is tried where trying takes less.
            None => ["-entropic_scale_per_exec_time=1".into(), "-reload=0".into()],
        });
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut said = Said::default();
        for line in BufReader::new(child.stderr.take().context("what it says is for us")?).split(b'\n') {
            said.hear(&String::from_utf8_lossy(&line?));
        }
        let status = child.wait()?;
        if !status.success() {
            println!("{}", said.other.join("\n"));
            let Some(artifact) = said.artifact else { bail!("ended with {status}") };
            bail!("found something; to see it again:\n  {} {artifact}", program.display());
        }
        let figure = |name: &str| {
            let found = said.other.iter().find_map(|line| line.strip_prefix(name));
            found.and_then(|figure| figure.trim().parse().ok()).with_context(|| format!("no {name}"))
        };
        Ok(Done {
            executions: figure("stat::number_of_executed_units:")?,
            per_second: figure("stat::average_exec_per_sec:")?,
            reached: said.reached,
        })
    }

    /// Takes what a run has found into the corpus, and keeps as few inputs of both as reach what all of them do.
    fn minimize(self, program: &Path, found: &Path) -> Result<()> {
        let (before, merged) = (self.corpus(), found.with_extension("merged"));
        empty(&merged)?;
        let mut command = Command::new(program);
        command.args(["-set_cover_merge=1".into(), format!("-max_len={}", self.max_len())]);
        command.arg(&merged).arg(&before).arg(found);
        succeed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        empty(&before)?;
        let (mut count, mut bytes) = (0, 0);
        for file in fs::read_dir(&merged)? {
            let file = file?;
            count += 1;
            bytes += fs::copy(file.path(), before.join(file.file_name()))?;
        }
        fs::remove_dir_all(merged)?;
        println!("wrote fuzz/corpus/{}: {count} files, {bytes} bytes", self.name());
        Ok(())
    }
}

/// What libFuzzer has said so far.
#[derive(Default)]
struct Said {
    reached: String,
    artifact: Option<String>,
    /// All but its progress.
    other: Vec<String>,
}

impl Said {
    /// A line of progress looks like `#262144 pulse  cov: 500 ft: 1500 corp: 300/20Kb lim: 1024 exec/s: 20000 rss: 50Mb`.
    fn hear(&mut self, line: &str) {
        let Some(progress) = line.strip_prefix('#') else {
            if let Some((_, path)) = line.split_once("Test unit written to ") {
                self.artifact = Some(path.to_owned());
            }
            self.other.push(line.to_owned());
            return;
        };
        if let Some(at) = progress.find("cov: ")
            && let Some(until) = progress.find(" lim: ").or(progress.find(" exec/s: "))
        {
            self.reached = progress[at..until].to_owned();
        }
        let executions: u64 = progress.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        if progress.contains("pulse") && executions >= FIRST_PROGRESS {
            println!("  {executions:>10} executions, {}", self.reached);
        }
    }
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}
