//! `cargo xtask demo --kubernetes`: a cluster, the chart, a StreamServer, and ticks from it; then what a person would look at.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
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
    let cluster = cluster::up()?;
    let images = match &cluster {
        Cluster::Own(_) => cluster::load_images(&cluster)?.digest,
        Cluster::Foreign(_) => {
            println!(
                "its nodes pull tickwire/server and tickwire/operator, from TICKWIRE_REGISTRY where that is set"
            );
            String::new()
        }
    };
    let registry =
        std::env::var("TICKWIRE_REGISTRY").map(|registry| format!("{registry}/")).unwrap_or_default();
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
        // Other images by the same name are another installation.
        &format!("--set-string=podAnnotations.tickwire\\.dev/images=of-{images}"),
        &format!("--set=image.repository={registry}tickwire/operator,serverImage.repository={registry}tickwire/server"),
    ])?;
    println!("\n$ kubectl apply -f {SAMPLE}");
    kube.show(&["apply", "--filename", &root().join(SAMPLE).display().to_string()])?;
    println!("\n$ kubectl wait streamserver/{NAME} --for=condition=Ready");
    kube.show(&["wait", &format!("streamserver/{NAME}"), "--for=condition=Ready", "--timeout=3m"])?;
    let client = build("dev")?.join("tickwire");
    subscribe(&kube, &client, period.unwrap_or(SHOWN_FOR))?;
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
    let forward = kube.forward(&format!("service/{NAME}"), 21591)?;
    let address = &forward.address;
    let files = tempfile::tempdir()?;
    let ca = files.path().join("ca.crt");
    std::fs::write(&ca, authorities)?;
    println!(
        "\n$ kubectl port-forward service/{NAME} 21591 &\n$ tickwire subscribe --address {address} --ca ca.crt --server-name {NAME}.default.svc"
    );
    let mut subscriber = Command::new(client);
    subscriber
        .args(["subscribe", "--address", address, "--user", &username])
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

    fn kubectl(&self) -> Command {
        let mut command = self.command("kubectl");
        command.args(["--namespace", "default"]);
        command
    }

    /// Has a port of this machine lead to one of a Service, on whatever cluster that is.
    fn forward(&self, service: &str, port: u16) -> Result<Forward> {
        let mut command = self.kubectl();
        command
            .args(["port-forward", service, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is ours")?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let address = first.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next());
        let address = address.with_context(|| format!("kubectl port-forward said {first:?}"))?.to_owned();
        // Nobody reads on, but a full pipe would stop it; the thread ends with it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Forward { child, address })
    }

    fn helm(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.command("helm").args(arguments))
    }

    /// Runs kubectl, whose output a person sees.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.kubectl().args(arguments))
    }

    /// What kubectl answers.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl().args(arguments).output().context("cannot run kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
        String::from_utf8(output.stdout).context("what kubectl answers is text")
    }
}

/// A port of this machine that leads into the cluster, until it is dropped.
struct Forward {
    child: Child,
    address: String,
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to do.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}
