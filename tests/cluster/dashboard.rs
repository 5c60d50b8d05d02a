//! The chart's dashboard and alerts, by a Prometheus that scrapes servers and operators in the cluster as their ServiceMonitors would have it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tickwire_tests::free_port;

use crate::cluster::{PATIENCE, kubectl, xtask};
use crate::fleet::{Fleet, assert_whole};
use crate::namespace::Namespace;
use crate::nats::Nats;
use crate::operator;
use crate::stream_server::StreamServer;

/// Between two scrapes.
const SCRAPE: &str = "1s";

/// Over how long rates are taken: four scrapes, and one for when one is late.
const RATE_INTERVAL: &str = "5s";

const CLIENTS: usize = 40;

/// Between two looks at everything.
const PAUSE: Duration = Duration::from_secs(2);

#[test]
fn every_query_of_the_dashboard_and_every_metric_of_the_alerts_has_data_of_a_fleet_with_all_there_is() {
    operator::installed();
    let namespace = Namespace::new("dashboard");
    let nats = Nats::deploy(&namespace);
    let publisher = nats.publish(20);
    let spec = format!(
        "
{}
autoscaling: {{ minReplicas: 2, maxReplicas: 3, targetActiveConnections: 1000 }}
rebalance: {{ mode: Always }}
resources: {{ requests: {{ cpu: 20m, memory: 32Mi }} }}
",
        Nats::feed()
    );
    let server = StreamServer::apply(&namespace, "ticks", &spec).until_ready().until_complete();
    let fleet = Fleet::follow(&server.client(), CLIENTS);
    let mut prometheus = Prometheus::start(&namespace);
    let start = Instant::now();
    let told = loop {
        fleet.is_well();
        let said =
            xtask(&["dashboard-queries", "--prometheus", &prometheus.url, "--rate-interval", RATE_INTERVAL]);
        if said.ok {
            break said.out;
        }
        prometheus.is_well();
        assert!(start.elapsed() < PATIENCE, "{}{}", said.out, said.err);
        std::thread::park_timeout(PAUSE);
    };
    print!("{told}");
    assert_whole(&fleet.finish());
    publisher.stop();
}

/// A Prometheus on this machine, which reaches the pods; it ends when it is dropped.
struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(namespace: &Namespace) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = folder.path().join("prometheus.json");
        std::fs::write(&configuration, self::configuration(namespace).to_string()).expect("a file");
        let address = format!("127.0.0.1:{}", free_port());
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let child = Command::new("prometheus")
            .arg(flag("config.file", &configuration))
            .arg(flag("storage.tsdb.path", &folder.path().join("data")))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus runs; `cargo xtask test cluster` installs it");
        Self { child, url: format!("http://{address}"), _folder: folder }
    }

    /// Panics where it has ended; it has said why on standard error.
    fn is_well(&mut self) {
        let ended = self.child.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "Prometheus has ended");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// What Prometheus Operator makes of operator/src/build/service_monitor.rs and the chart's servicemonitor.yaml.
fn configuration(namespace: &Namespace) -> Value {
    let job = |name: &str, targets: Vec<Value>, honor_labels: bool| {
        assert!(!targets.is_empty(), "there are {name} to be scraped");
        json!({ "job_name": name, "honor_labels": honor_labels, "static_configs": targets })
    };
    json!({
        "global": { "scrape_interval": SCRAPE, "scrape_timeout": SCRAPE },
        "scrape_configs": [
            job("servers", targets(&namespace.name, "app.kubernetes.io/component=metrics"), false),
            job("operators", targets(operator::NAMESPACE, "app.kubernetes.io/component=operator"), true),
        ],
    })
}

/// Who is found by Services with these labels at a port that is called `metrics`, and the labels that their samples get.
fn targets(namespace: &str, labels: &str) -> Vec<Value> {
    let text =
        kubectl(&["--namespace", namespace, "get", "endpointslices", "--selector", labels, "--output=json"]);
    let slices: Value = serde_json::from_str(&text).expect("JSON");
    let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let mut targets = Vec::new();
    for slice in list(&slices["items"]) {
        let service = &slice["metadata"]["labels"]["kubernetes.io/service-name"];
        for port in list(&slice["ports"]).iter().filter(|port| port["name"] == "metrics") {
            for endpoint in list(&slice["endpoints"]) {
                let address = endpoint["addresses"][0].as_str().expect("an address");
                targets.push(json!({ "targets": [format!("{address}:{}", port["port"])], "labels": {
                    "namespace": namespace, "service": service, "job": service, "pod": endpoint["targetRef"]["name"],
                    "endpoint": "metrics",
                } }));
            }
        }
    }
    targets
}
