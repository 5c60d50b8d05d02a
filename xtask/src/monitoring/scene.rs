//! Something to be seen: real servers and clients, an operator, and a Prometheus that scrapes them every second, with the labels that it
//! would give them on Kubernetes.
//!
//! Two servers have clients; a third comes, and some more clients; the first is told to go and drains. Some clients do not read, and some have
//! a wrong password.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tickwire_tests::free_port;
use tickwire_tests::pki::{Authority, Folder};

use super::prometheus::{Period, Prometheus, now};
use crate::process::{PASSWORD, Server, build, http_get};

/// Between two scrapes; 1 s is the shortest that is usual.
const SCRAPE: &str = "1s";
/// Four scrapes, and one for when one is late.
pub(super) const RATE_INTERVAL: Duration = Duration::from_secs(5);

/// Some 50 batches a second, of a few trades each; a drain that is over within some seconds; who does not read is noticed as soon.
const FLAGS: [&str; 16] = [
    "--feed-rate",
    "400",
    "--batch-window-ms",
    "20",
    "--ring-retention",
    "1m",
    "--shards",
    "1",
    "--drain-delay",
    "2s",
    "--drain-window",
    "8s",
    "--write-deadline-ms",
    "1000",
    "--write-queue-limit",
    "256KB",
];

/// The pods, as a ReplicaSet names them.
const PODS: [&str; 3] = ["ticks-6c9f7d4b8-4xk2p", "ticks-6c9f7d4b8-9wz7h", "ticks-6c9f7d4b8-m5qtn"];
const OPERATOR_POD: &str = "tickwire-7b5d8c6f9-r8v4d";

/// Clients of each of two servers at first, and more of them later.
const FIRST: usize = 90;
const LATER: usize = 40;
/// How many besides the later ones do not read.
const STALLED: usize = 5;
/// How many clients come per second.
const RAMP: usize = 25;
/// With a wrong password, one after the other.
const STRANGERS: usize = 4;

/// How long each state is looked at.
const ACT: Duration = Duration::from_secs(12);
/// How long clients stay: the whole scene, in which they connect, and a while.
const CLIENTS_STAY: &str = "58s";
const LATER_STAY: &str = "38s";

/// What was seen.
pub(super) struct Scene {
    /// Runs yet, and has seen everything.
    pub(super) prometheus: Prometheus,
    /// When there was something to be seen.
    pub(super) period: Period,
    /// Its data is in there.
    _folder: TempDir,
}

impl Scene {
    /// Plays it, which takes about a minute.
    pub(super) fn play() -> Result<Self> {
        let programs = build("dev")?;
        let folder = tempfile::tempdir()?;
        let authority = Authority::new("Tickwire monitoring");
        let files = Folder::new(&authority.server(&["localhost", "127.0.0.1"]), &authority);
        let flags = [&FLAGS[..], &files.server_flags()].concat();
        let start = || Server::start(&programs, &flags, &[]);

        println!("two servers, {FIRST} clients of each, an operator, and a Prometheus that scrapes them …");
        let operator = Operator::start(&programs, folder.path())?;
        let (first, second) = (start()?, start()?);
        let targets = Targets(folder.path().join("targets.json"));
        targets.write(&[(PODS[0], &first.admin), (PODS[1], &second.admin)], &operator)?;
        let prometheus = Prometheus::start(folder.path(), &configuration(folder.path())?)?;
        prometheus_sees(&prometheus, "count(active_connections) == 2")?;
        let from = now();

        let client = Client { programs: &programs, ca: files.ca() };
        // A client begins with the first address of its list, and goes to another when it has to.
        let mut clients = vec![
            client.bench(&[&first, &second], FIRST, 0, CLIENTS_STAY)?,
            client.bench(&[&second, &first], FIRST, 0, CLIENTS_STAY)?,
        ];
        prometheus_sees(&prometheus, &format!("sum(active_connections) >= {}", 2 * FIRST))?;
        let settled = Instant::now();

        println!("a third server, {LATER} more clients of each of two, and {STALLED} that do not read …");
        let third = start()?;
        targets.write(
            &[(PODS[0], &first.admin), (PODS[1], &second.admin), (PODS[2], &third.admin)],
            &operator,
        )?;
        pause(settled, ACT);
        clients.push(client.bench(&[&third, &second], LATER, STALLED, LATER_STAY)?);
        clients.push(client.bench(&[&second, &third], LATER, 0, LATER_STAY)?);
        for _ in 0..STRANGERS {
            client.is_refused(&second)?;
        }
        pause(settled, ACT * 2);

        println!("the first server drains …");
        first.stop(false)?;
        targets.write(&[(PODS[1], &second.admin), (PODS[2], &third.admin)], &operator)?;
        prometheus_sees(&prometheus, "count(active_connections) == 2")?;
        pause(settled, ACT * 4);
        let to = now();
        for clients in clients {
            clients.end_well()?;
        }
        second.stop(true)?;
        third.stop(true)?;
        Ok(Self { prometheus, period: Period { from, to }, _folder: folder })
    }
}

/// Until so long after an instant: something happens meanwhile, and is to be seen.
fn pause(since: Instant, time: Duration) {
    std::thread::sleep(time.saturating_sub(since.elapsed()));
}

/// Waits until a condition in Prometheus' words holds.
fn prometheus_sees(prometheus: &Prometheus, condition: &str) -> Result<()> {
    let start = Instant::now();
    while prometheus.query(condition, now())?.is_empty() {
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "within a minute Prometheus has not seen that {condition}"
        );
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Ok(())
}

/// Scrapes what the file with the targets says, servers and operator, as their ServiceMonitors would have it.
fn configuration(folder: &Path) -> Result<PathBuf> {
    let job = |name: &str, honor_labels: bool| {
        json!({
            "job_name": name,
            "honor_labels": honor_labels,
            "file_sd_configs": [{ "files": [folder.join(format!("{name}.json"))], "refresh_interval": SCRAPE }],
        })
    };
    // As operator/src/build/service_monitor.rs and the chart's servicemonitor.yaml say.
    let configuration = json!({
        "global": { "scrape_interval": SCRAPE, "scrape_timeout": SCRAPE },
        "scrape_configs": [job("targets", false), job("operator", true)],
    });
    let path = folder.join("prometheus.json");
    std::fs::write(&path, configuration.to_string())?;
    Ok(path)
}

/// The file that says whom Prometheus scrapes.
struct Targets(PathBuf);

impl Targets {
    /// Writes it anew: pods with the addresses of their metrics.
    fn write(&self, pods: &[(&str, &str)], operator: &Operator) -> Result<()> {
        let target = |namespace: &str, name: &str, pod: &str, address: &str| {
            let service = format!("{name}-metrics");
            // What Prometheus Operator adds to a target of an Endpoints object.
            json!({ "targets": [address], "labels": {
                "namespace": namespace, "service": service, "job": service, "pod": pod, "endpoint": "metrics", "container": name,
            } })
        };
        let servers: Vec<_> =
            pods.iter().map(|(pod, address)| target("market", "ticks", pod, address)).collect();
        let folder = self.0.parent().context("a folder")?;
        let operators = [target("tickwire-system", "tickwire", OPERATOR_POD, &operator.address)];
        for (path, content) in [(&self.0, json!(servers)), (&folder.join("operator.json"), json!(operators))]
        {
            // Whole at once, as Prometheus may look at any moment.
            let unfinished = path.with_extension("new");
            std::fs::write(&unfinished, content.to_string())?;
            std::fs::rename(&unfinished, path)?;
        }
        Ok(())
    }
}

/// An operator whose cluster is away: it tells its metrics nonetheless.
struct Operator {
    child: Child,
    address: String,
}

impl Operator {
    fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let kubeconfig = folder.join("kubeconfig");
        let nobody = free_port();
        let named = |kind: &str, value: serde_json::Value| json!([{ "name": "away", kind: value }]);
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "away",
            "clusters": named("cluster", json!({ "server": format!("http://127.0.0.1:{nobody}") })),
            "users": named("user", json!({})),
            "contexts": named("context", json!({ "cluster": "away", "user": "away" })),
        });
        std::fs::write(&kubeconfig, content.to_string())?;
        let address = format!("127.0.0.1:{}", free_port());
        let program = programs.join("tickwire-operator");
        let mut command = Command::new(&program);
        command
            .args(["--admin-addr", &address])
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let operator = Self { child, address };
        let start = Instant::now();
        while !http_get(&operator.address, "/metrics")
            .is_ok_and(|answer| answer.contains("tickwire_operator_leader"))
        {
            ensure!(start.elapsed() < Duration::from_secs(60), "the operator tells no metrics");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(operator)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The command line, with what it takes to connect.
struct Client<'a> {
    programs: &'a Path,
    ca: &'a str,
}

impl Client<'_> {
    fn command(&self, what: &str, servers: &[&Server], password: &str) -> Command {
        let addresses: Vec<_> = servers.iter().map(|server| server.address.as_str()).collect();
        let mut command = Command::new(self.programs.join("tickwire"));
        command.args([what, "--mode", "tick", "--address", &addresses.join(","), "--ca", self.ca]);
        command.env("STREAM_PASS", password).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn bench(&self, servers: &[&Server], clients: usize, stalled: usize, stay: &str) -> Result<Clients> {
        let mut command = self.command("bench", servers, PASSWORD);
        for (flag, value) in [("--clients", clients), ("--stalled", stalled), ("--ramp", RAMP)] {
            command.args([flag, &value.to_string()]);
        }
        Ok(Clients(command.args(["--for", stay]).spawn().context("cannot run tickwire bench")?))
    }

    fn is_refused(&self, server: &Server) -> Result<()> {
        let mut command = self.command("subscribe", &[server], "wrong");
        let status = command.args(["--count", "1"]).stderr(Stdio::null()).status()?;
        ensure!(!status.success(), "a wrong password is let in");
        Ok(())
    }
}

/// A `tickwire bench` that runs.
struct Clients(Child);

impl Clients {
    /// Waits for its end: none of them may have missed anything.
    fn end_well(mut self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.success(), "tickwire bench ended with {status}");
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}
