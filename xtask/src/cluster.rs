//! `cargo xtask cluster`: a Kubernetes on this machine, to try things on and to throw away.
//!
//! It is Kubernetes itself, not a model of it: its API server, scheduler, controllers, kubelet and proxy, built from its Go module, with
//! etcd and containerd from Debian. It takes root, and neither a container engine nor an image registry. There is one node, which is the
//! machine: pods, Services' addresses and NodePorts are reachable from here, and from nowhere else.
//!
//! ```text
//! up      requirements ─► programs ─► folder, certificates, network ─► parts, one after another ─► dns
//! down    parts ─► teardown: whatever else a running cluster leaves on a machine
//! ```
//!
//! There is one such cluster per machine, in a folder of its own. That folder is made first and removed last: as long as it is there, there
//! may be something to clear away.

mod requirements;
mod programs;
mod folder;
mod certificates;
mod network;
mod part;
mod settings;
mod daemon;
mod wait;
mod dns;
mod teardown;
mod foreign_crds;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Subcommand, ValueEnum as _};
use rustix::process::Signal;

use crate::images::{self, Loaded};

use part::Part;
use programs::Programs;

pub(crate) use folder::Folder;
pub(crate) use foreign_crds::foreign_crds;

/// Keeps two of these commands from being at work at once.
const LOCK: &str = "/run/lock/tickwire-cluster.lock";

/// How long after a question without the hoped-for answer it is asked again.
const POLL: Duration = Duration::from_millis(50);

/// What `cargo xtask cluster` does.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Start a cluster, or see that the one that is up is well; the first time takes some minutes.
    Up,
    /// End it, and leave the machine as it was.
    Down,
    /// Print the path of its administrator's kubeconfig: export KUBECONFIG=$(cargo xtask cluster kubeconfig).
    Kubeconfig,
    /// Build the images of the server and the operator, and put them onto the node.
    LoadImages,
    /// Put a NATS server's image onto the node: what tests feed fleets from.
    #[command(hide = true)]
    LoadNats,
    /// Print the paths of other projects' CRDs that Tickwire works with.
    #[command(hide = true)]
    ForeignCrds,
    /// End a part without ado, and start it again: what tests do to it.
    #[command(hide = true)]
    Restart {
        part: Part,
        /// Ask it to end (SIGTERM), instead of killing it.
        #[arg(long)]
        gently: bool,
        /// Leave it away for so long, such as 10s.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "0s")]
        after: Duration,
    },
}

pub(crate) fn run(what: &What) -> Result<()> {
    match what {
        What::Up => {
            let cluster = up()?;
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
            println!("kubectl and helm that fit are in {}", tools()?.display());
            Ok(())
        }
        What::Down => down(),
        What::Kubeconfig => {
            println!("{}", Cluster::that_is_up()?.kubeconfig().display());
            Ok(())
        }
        What::LoadNats => load_nats(),
        What::ForeignCrds => {
            foreign_crds()?.iter().for_each(|file| println!("{}", file.display()));
            Ok(())
        }
        What::LoadImages => {
            let Loaded { server, server_next, operator, digest: _ } = load_images(&Cluster::that_is_up()?)?;
            println!("on the node: {server}, {server_next}, {operator}");
            Ok(())
        }
        What::Restart { part, gently, after } => {
            restart(*part, if *gently { Signal::TERM } else { Signal::KILL }, *after)
        }
    }
}

/// A cluster that serves.
#[derive(Debug)]
pub(crate) enum Cluster {
    /// The one of these commands, on this machine.
    Own(PathBuf),
    /// One that was there before, which $KUBECONFIG names.
    Foreign(PathBuf),
}

impl Cluster {
    /// The one that $KUBECONFIG names, or that `cargo xtask cluster up` has started.
    pub(crate) fn that_is_up() -> Result<Self> {
        if let Some(foreign) = Self::foreign() {
            return Ok(foreign);
        }
        let folder = Folder::the();
        ensure!(
            requirements::are_met(),
            "a cluster of one's own takes Debian and root, also to ask for it; or KUBECONFIG, which names another"
        );
        ensure!(
            folder.is_whole() && Part::value_variants().iter().all(|part| part.runs(&folder)),
            "no cluster is up; `cargo xtask cluster up` starts one"
        );
        Ok(Self::Own(folder.kubeconfig("admin")))
    }

    /// The one that $KUBECONFIG names; our own is none, also when it is named there.
    pub(crate) fn foreign() -> Option<Self> {
        let path = PathBuf::from(std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty())?);
        (path != Folder::the().kubeconfig("admin")).then_some(Self::Foreign(path))
    }

    /// The path of its administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        match self {
            Self::Own(path) | Self::Foreign(path) => path,
        }
    }
}

/// Whether there is a cluster, or one can be started here.
pub(crate) fn can_be_had() -> bool {
    Cluster::foreign().is_some() || requirements::are_met()
}

/// Starts a cluster, or answers the one that is up. With $KUBECONFIG that one is taken, and nothing is started.
pub(crate) fn up() -> Result<Cluster> {
    if let Some(foreign) = Cluster::foreign() {
        println!("the cluster is that of KUBECONFIG, {}", foreign.kubeconfig().display());
        return Ok(foreign);
    }
    requirements::check()?;
    let _lock = lock()?;
    let start = Instant::now();
    let folder = Folder::the();
    let programs = step("programs", Programs::gather)?;
    if folder.exists() {
        let well = if folder.is_whole() {
            wait::until_well(&folder, &programs)
        } else {
            Err(anyhow!("it never came up"))
        };
        match well {
            Ok(()) => {
                println!("the cluster is up and well");
                return Ok(Cluster::Own(folder.kubeconfig("admin")));
            }
            Err(reason) => {
                println!("there was a cluster that is not well: {reason:#}");
                step("clear it away", || teardown::run(&folder))?;
            }
        }
    }
    requirements::free_for_a_cluster()?;
    start_parts(&folder, &programs).with_context(|| {
        format!(
            "the cluster did not come up (logs: {}; `cargo xtask cluster down` clears it away)",
            folder.path("logs").display()
        )
    })?;
    folder.mark_whole()?;
    println!("the cluster is up after {:.1} s", start.elapsed().as_secs_f64());
    Ok(Cluster::Own(folder.kubeconfig("admin")))
}

/// From nothing to a node that is ready and names that resolve.
fn start_parts(folder: &Folder, programs: &Programs) -> Result<()> {
    let start = |part: Part| part.start(folder, programs);
    folder.create()?;
    step("certificates", || certificates::write(folder))?;
    step("network", || network::create(folder))?;
    step("settings", || settings::write(folder))?;
    step("etcd", || {
        start(Part::Etcd)?;
        wait::until_it_serves(folder, programs, Part::Etcd)
    })?;
    step("API server", || {
        start(Part::Apiserver)?;
        // These come up meanwhile.
        start(Part::Containerd)?;
        wait::until_it_serves(folder, programs, Part::Apiserver)
    })?;
    step("scheduler and controllers", || {
        start(Part::Scheduler)?;
        start(Part::ControllerManager)
    })?;
    step("images of the node", || {
        wait::until_it_serves(folder, programs, Part::Containerd)?;
        folder.import(&programs.node_images)
    })?;
    step("node", || {
        start(Part::Kubelet)?;
        start(Part::KubeProxy)?;
        wait::until_node_is_ready(folder, programs)
    })?;
    step("DNS", || {
        dns::apply(folder, programs)?;
        wait::until_names_resolve(folder, programs)
    })
}

/// Ends the cluster. With nothing to end, that is said, and well.
pub(crate) fn down() -> Result<()> {
    let folder = Folder::the();
    if !folder.exists() {
        println!("no cluster is up");
        return Ok(());
    }
    requirements::check()?;
    let _lock = lock()?;
    step("down", || teardown::run(&folder))
}

/// Builds the images of this workspace and puts them onto the node.
pub(crate) fn load_images(cluster: &Cluster) -> Result<Loaded> {
    match cluster {
        Cluster::Own(_) => {
            let _lock = lock()?;
            images::load(&Folder::the())
        }
        Cluster::Foreign(path) => bail!(
            "the cluster of KUBECONFIG, {}, is not one of `cargo xtask cluster up`, and its nodes' images cannot be reached from here; push \
             them to a registry from which it pulls: docker build --target server -t REGISTRY/tickwire/server .",
            path.display()
        ),
    }
}

/// Puts a NATS server's image onto the node of our own cluster, for tests.
pub(crate) fn load_nats() -> Result<()> {
    let _lock = lock()?;
    images::load_nats(&Folder::the())
}

/// Ends a part of our own cluster by this signal, starts it again `after` so long with the same arguments, and waits until it
/// serves.
pub(crate) fn restart(part: Part, signal: Signal, after: Duration) -> Result<()> {
    let folder = Folder::the();
    ensure!(folder.is_whole(), "no cluster is up; `cargo xtask cluster up` starts one");
    let programs = Programs::gather()?;
    let _lock = lock()?;
    part.end(&folder, signal)?;
    let ended = Instant::now();
    while let Some(left) = after.checked_sub(ended.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
    part.start(&folder, &programs)?;
    wait::until_it_serves(&folder, &programs, part)
}

/// The folder that has kubectl and helm.
pub(crate) fn tools() -> Result<PathBuf> {
    programs::tools()
}

/// Does a step, and says how long it took.
fn step<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = action().with_context(|| what.to_owned())?;
    println!("{:>6.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(result)
}

/// Waits until no other of these commands is at work.
fn lock() -> Result<File> {
    let file = File::create(LOCK).with_context(|| format!("cannot open {LOCK}"))?;
    if file.try_lock().is_err() {
        println!("waiting for another `cargo xtask cluster` to end …");
        file.lock().with_context(|| format!("cannot lock {LOCK}"))?;
    }
    Ok(file)
}
