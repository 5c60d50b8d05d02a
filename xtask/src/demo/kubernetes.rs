//! `cargo xtask demo --kubernetes`: a cluster, the chart, a StreamServer, and ticks from it; then what a person would look at.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{self, Cluster};
use crate::generate::root;
use crate::process::{build, succeed};

const NAMESPACE: &str = "tickwire-system";
const SAMPLE: &str = "docs/samples/minimal.yaml";
/// The StreamServer of that sample.
const NAME: &str = "minimal";

/// How long ticks are shown where nothing else is said.
const SHOWN_FOR: Duration = Duration::from_secs(5);

pub(crate) fn run(period: Option<Duration>) -> Result<()> {
    let folder = build("dev")?;
    let cluster = cluster::up()?;
    if let Cluster::Own(_) = cluster {
        cluster::load_images(&cluster)?;
    }
    let kube = Kube::of(&cluster)?;
    println!("\nthe chart installs the operator …");
    kube.helm(&[
        "upgrade",
        "--install",
        "tickwire",
        &root().join("charts/tickwire").display().to_string(),
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout=3m",
        "--hide-notes",
    ])?;
    println!("\n$ kubectl apply -f {SAMPLE}");
    kube.show(&["apply", "--filename", &root().join(SAMPLE).display().to_string()])?;
    println!("\n$ kubectl wait streamserver/{NAME} --for=condition=Ready");
    kube.show(&["wait", &format!("streamserver/{NAME}"), "--for=condition=Ready", "--timeout=3m"])?;
    subscribe(&kube, &folder.join("tickwire"), period.unwrap_or(SHOWN_FOR))?;
    for arguments in [
        &["get", "streamservers"][..],
        &[
            "get",
            "pods,services,secrets,poddisruptionbudgets",
            "--selector=app.kubernetes.io/instance=minimal",
        ],
        &["describe", "streamserver", NAME],
    ] {
        println!("\n$ kubectl {}", arguments.join(" "));
        kube.show(arguments)?;
    }
    println!("\nthe cluster stays up, to be looked at further:");
    println!(
        "  export KUBECONFIG={} PATH={}:$PATH",
        cluster.kubeconfig().display(),
        cluster::tools()?.display()
    );
    println!("`cargo xtask cluster down` ends it");
    Ok(())
}

/// Subscribes from this machine, as any client outside of the pods would that knows the password and the authority.
fn subscribe(kube: &Kube, client: &std::path::Path, period: Duration) -> Result<()> {
    let status = |field: &str| {
        kube.ask(&["get", "streamserver", NAME, &format!("--output=jsonpath={{.status.{field}}}")])
    };
    let (secret, config_map) = (status("credentialsSecret")?, status("caConfigMap")?);
    let template = |key: &str| format!("--output=go-template={{{{index .data \"{key}\" | base64decode}}}}");
    let username = kube.ask(&["get", "secret", &secret, &template("username")])?;
    let password = kube.ask(&["get", "secret", &secret, &template("password")])?;
    let authorities =
        kube.ask(&["get", "configmap", &config_map, "--output=go-template={{index .data \"ca.crt\"}}"])?;
    let address =
        kube.ask(&["get", "service", NAME, "--output=jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"])?;
    let files = tempfile::tempdir()?;
    let ca = files.path().join("ca.crt");
    std::fs::write(&ca, authorities)?;
    println!(
        "\n$ tickwire subscribe --address {address} --ca ca.crt --server-name {NAME}.default.svc --mode tick"
    );
    let mut subscriber = Command::new(client);
    subscriber
        .args(["subscribe", "--address", &address, "--user", &username, "--mode", "tick"])
        .args(["--server-name", &format!("{NAME}.default.svc")])
        .arg("--ca")
        .arg(&ca)
        .args(["--for", &humantime::format_duration(period).to_string()])
        .env("STREAM_PASS", password);
    succeed(&mut subscriber)
}

/// kubectl and helm, for a cluster's default namespace.
struct Kube {
    tools: std::path::PathBuf,
    kubeconfig: std::path::PathBuf,
}

impl Kube {
    fn of(cluster: &Cluster) -> Result<Self> {
        Ok(Self { tools: cluster::tools()?, kubeconfig: cluster.kubeconfig().to_path_buf() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.tools.join(program));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn helm(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.command("helm").args(arguments))
    }

    /// Runs kubectl, whose output a person sees.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.command("kubectl").args(arguments))
    }

    /// What kubectl answers.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command("kubectl").args(arguments).output().context("cannot run kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
        String::from_utf8(output.stdout).context("what kubectl answers is text")
    }
}
