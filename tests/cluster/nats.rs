//! A NATS server in the cluster, somebody who publishes trades to it, and a look at what it holds that goes by no code of the feed.

use std::process::{Child, Command, Stdio};

use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt as _;
use prost::Message as _;
use tickwire_proto::message::Trade;
use tokio::runtime::Runtime;

use crate::cluster::{PATIENCE, eventually};
use crate::digest::digest;
use crate::fleet::Seen;
use crate::namespace::Namespace;
use crate::processes;

/// The image that `cargo xtask test cluster` has put onto the node.
const IMAGE: &str = "localhost/tickwire/nats:1";

/// The name of the stream.
pub(crate) const STREAM: &str = "TICKS";

/// The symbols that are traded.
pub(crate) const SYMBOLS: &str = "AAA,BBB,CCC";

/// The port of clients.
const PORT: u16 = 4222;

/// NATS in a namespace of a test, with a stream on a volume that outlives its process.
pub(crate) struct Nats<'a> {
    namespace: &'a Namespace,
    address: String,
    runtime: Runtime,
}

impl<'a> Nats<'a> {
    /// Has it run, and makes the stream.
    pub(crate) fn deploy(namespace: &'a Namespace) -> Self {
        namespace.apply(&manifest());
        namespace.kubectl(&["rollout", "status", "deployment/nats", "--timeout=3m"]);
        let service = namespace.get("service", "nats").expect("a Service");
        let address = format!("{}:{PORT}", service["spec"]["clusterIP"].as_str().expect("an address"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let nats = Self { namespace, address, runtime };
        eventually("the stream is made", || nats.runtime.block_on(nats.make_stream()).ok());
        nats
    }

    /// What a StreamServer's feed says of it, in YAML.
    pub(crate) fn feed() -> String {
        format!(
            "feed: {{ nats: {{ urls: [\"nats://nats:{PORT}\"], stream: {STREAM}, symbols: [{SYMBOLS}] }} }}"
        )
    }

    /// Has the command line publish made-up trades, so many a second, until it is dropped.
    pub(crate) fn publish(&self, rate: u32) -> Publisher {
        let xtask = std::env::var_os("TICKWIRE_XTASK")
            .expect("TICKWIRE_XTASK is set; run `cargo xtask test cluster`");
        // Beside it, as whoever loads the images has built all programs.
        let program = std::path::Path::new(&xtask).with_file_name("tickwire");
        let child = Command::new(program)
            .args(["publish", "--server", &format!("nats://{}", self.address), "--stream", STREAM])
            .args(["--subject", "ticks", "--synthetic", "forever", "--symbols", SYMBOLS])
            .args(["--pace", &rate.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("tickwire publish");
        Publisher(Some(child))
    }

    /// Ends its process by SIGKILL, and waits until another serves in its place.
    pub(crate) fn kill(&self) {
        let pod = self.namespace.pod("app=nats");
        let restarts =
            |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        let before = restarts(&pod);
        processes::kill(&pod, "nats-server");
        eventually("NATS has been started again", || {
            let now = self.namespace.pod("app=nats");
            (restarts(&now) > before && now["status"]["containerStatuses"][0]["ready"] == true).then_some(())
        });
    }

    /// Waits until the stream has more than it has now.
    pub(crate) fn until_more_is_published(&self) {
        let last = || {
            let state =
                async { Ok::<_, async_nats::Error>(self.stream().await?.cached_info().state.last_sequence) };
            self.runtime.block_on(state).ok()
        };
        let before = eventually("the stream is there", last);
        eventually("more is published", || last().filter(|now| *now > before));
    }

    /// Reads the whole stream.
    pub(crate) fn read(&self) -> Ledger {
        eventually("the stream can be read", || {
            let reading = async { tokio::time::timeout(PATIENCE, self.read_all()).await };
            self.runtime.block_on(reading).expect("the stream is read in time").ok()
        })
    }

    async fn context(&self) -> Result<jetstream::Context, async_nats::Error> {
        Ok(jetstream::new(async_nats::connect(&self.address).await?))
    }

    async fn make_stream(&self) -> Result<(), async_nats::Error> {
        let config = jetstream::stream::Config {
            name: STREAM.into(),
            subjects: vec!["ticks.>".into()],
            ..jetstream::stream::Config::default()
        };
        self.context().await?.get_or_create_stream(config).await?;
        Ok(())
    }

    async fn stream(&self) -> Result<jetstream::stream::Stream, async_nats::Error> {
        Ok(self.context().await?.get_stream(STREAM).await?)
    }

    async fn read_all(&self) -> Result<Ledger, async_nats::Error> {
        let mut stream = self.stream().await?;
        let last = stream.info().await?.state.last_sequence;
        let all = OrderedConfig { deliver_policy: DeliverPolicy::All, ..OrderedConfig::default() };
        let mut messages = stream.create_consumer(all).await?.messages().await?;
        let mut ledger = Ledger { sums: vec![0] };
        while (ledger.sums.len() as u64) <= last {
            let message = messages.next().await.expect("there is more")?;
            let sequence = message.info()?.stream_sequence;
            assert_eq!(sequence, ledger.sums.len() as u64, "nothing was deleted");
            let Trade { symbol, time_unix_nano, price, size } = Trade::decode(message.payload.clone())?;
            let before = ledger.sums.last().copied().unwrap_or_default();
            ledger.sums.push(before.wrapping_add(digest(sequence, &symbol, time_unix_nano, price, size)));
        }
        Ok(ledger)
    }
}

/// What the stream holds: by sequence, the sum of the digests up to there.
pub(crate) struct Ledger {
    sums: Vec<u64>,
}

impl Ledger {
    /// The last sequence.
    pub(crate) fn last(&self) -> u64 {
        self.sums.len() as u64 - 1
    }

    /// Each client has seen every tick of the stream, once, and as it stands there.
    pub(crate) fn assert_seen_by(&self, seen: &[Seen]) {
        assert!(self.last() > 0, "something was published");
        for Seen { ticks, first, last, digest, .. } in seen {
            assert_eq!(*first, 1, "from the first");
            assert!(*last >= self.last(), "to the last");
            assert_eq!(*ticks, *last, "each once");
            let sum = self.sums.get(usize::try_from(*last).expect("it fits")).expect("no more than there is");
            assert_eq!(digest, sum, "and as it stands in the stream");
        }
    }
}

/// A process that publishes.
pub(crate) struct Publisher(Option<Child>);

impl Publisher {
    /// Has it end; nothing is published after this.
    pub(crate) fn stop(mut self) {
        let has_ended = self.0.as_mut().expect("it was started").try_wait().expect("it can be looked at");
        assert!(has_ended.is_none(), "it published all the time: {has_ended:?}");
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().expect("it can be ended");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end();
    }
}

fn manifest() -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: nats }}
spec:
  selector: {{ matchLabels: {{ app: nats }} }}
  strategy: {{ type: Recreate }}
  template:
    metadata: {{ labels: {{ app: nats }} }}
    spec:
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        fsGroup: 65532
        seccompProfile: {{ type: RuntimeDefault }}
      containers:
        - name: nats
          image: {IMAGE}
          args: [--jetstream, --store_dir=/data]
          ports: [{{ containerPort: {PORT} }}]
          readinessProbe: {{ tcpSocket: {{ port: {PORT} }}, periodSeconds: 1 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{ drop: [ALL] }}
          volumeMounts: [{{ name: data, mountPath: /data }}]
      volumes: [{{ name: data, emptyDir: {{}} }}]
---
apiVersion: v1
kind: Service
metadata: {{ name: nats }}
spec:
  selector: {{ app: nats }}
  ports: [{{ port: {PORT} }}]
"
    )
}
