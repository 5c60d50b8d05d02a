//! A StreamServer of a test.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tickwire_client::{Client, Credentials, Tls};

use crate::cluster::eventually;
use crate::namespace::Namespace;

/// A StreamServer, by its name, in a namespace.
#[derive(Clone, Copy)]
pub(crate) struct StreamServer<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) name: &'a str,
}

impl<'a> StreamServer<'a> {
    /// Applies one with this specification, in YAML.
    pub(crate) fn apply(namespace: &'a Namespace, name: &'a str, spec: &str) -> Self {
        namespace.apply(&manifest(name, spec));
        Self { namespace, name }
    }

    /// Waits until it is ready, by kubectl.
    pub(crate) fn until_ready(self) -> Self {
        let object = format!("streamserver/{}", self.name);
        self.namespace.kubectl(&["wait", &object, "--for=condition=Ready", "--timeout=3m"]);
        self
    }

    /// Waits until a rollout is over: what is specified is what runs.
    pub(crate) fn until_complete(self) -> Self {
        let object = format!("streamserver/{}", self.name);
        self.namespace.kubectl(&["wait", &object, "--for=condition=Progressing=False", "--timeout=5m"]);
        self.condition("Progressing", "False", "Complete");
        self
    }

    /// Waits until so many servers are there, and all of them serve.
    pub(crate) fn until_all_serve(self, count: u64) {
        eventually(&format!("{count} servers of {} serve", self.name), || {
            let status = self.get()["status"].clone();
            let all = |field: &str| status[field] == count;
            (all("replicas") && all("readyReplicas") && self.pods().len() as u64 == count).then_some(())
        });
    }

    /// The connections of each of its pods, as the metrics API tells them.
    pub(crate) fn connections_by_pod(self) -> Vec<u64> {
        let path = format!(
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{}/pods/*/active_connections?labelSelector=app.kubernetes.io%2Finstance%3D{}",
            self.namespace.name, self.name
        );
        let text = self.namespace.kubectl(&["get", "--raw", &path]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let values = list["items"].as_array().expect("a list").iter();
        values.map(|item| item["value"].as_str().expect("a quantity").parse().expect("a number")).collect()
    }

    /// The object.
    pub(crate) fn get(self) -> Value {
        self.namespace.get("streamserver", self.name).expect("it is there")
    }

    /// Waits until a condition is so, for the present generation. Answers its message.
    pub(crate) fn condition(self, type_: &str, status: &str, reason: &str) -> String {
        eventually(&format!("{} is {status} ({reason}) of {}", type_, self.name), || {
            let object = self.get();
            let generation = &object["metadata"]["generation"];
            let conditions = object["status"]["conditions"].as_array()?;
            let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
            let is_so = condition["status"] == status && condition["reason"] == reason;
            (is_so && &condition["observedGeneration"] == generation)
                .then(|| condition["message"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Merges into its specification.
    pub(crate) fn patch(self, spec: &str) {
        let patch = format!("{{\"spec\":{spec}}}");
        self.namespace.kubectl(&["patch", "streamserver", self.name, "--type=merge", "--patch", &patch]);
    }

    /// The address of its Service, once this machine reaches it: the node takes up a second after a pod is ready where its Service leads.
    pub(crate) fn address(self) -> String {
        let service = self.namespace.get("service", self.name).expect("a Service");
        let address = service["spec"]["clusterIP"].as_str().expect("an address");
        let port = service["spec"]["ports"][0]["port"].as_u64().expect("a port");
        let address =
            SocketAddr::new(address.parse().expect("an address"), u16::try_from(port).expect("a port"));
        eventually(&format!("{} takes connections at {address}", self.name), || {
            TcpStream::connect(address).ok()
        });
        address.to_string()
    }

    /// The credentials that its status names.
    pub(crate) fn credentials(self) -> Credentials {
        let secret = self.get()["status"]["credentialsSecret"].as_str().expect("a Secret").to_owned();
        Credentials::new(
            self.namespace.secret(&secret, "username"),
            self.namespace.secret(&secret, "password"),
        )
    }

    /// A client of its Service, without TLS.
    pub(crate) fn plain_client(self) -> Client {
        Client::new([self.address()], self.credentials())
    }

    /// A client of its Service that trusts what its status names, and nothing else.
    pub(crate) fn client(self) -> Client {
        self.plain_client().tls(self.trust().build().expect("authorities"))
    }

    /// What a client trusts that knows the status.
    pub(crate) fn trust(self) -> tickwire_client::tls::TlsBuilder {
        let status = self.get()["status"].clone();
        let config_map = status["caConfigMap"].as_str().expect("a ConfigMap").to_owned();
        let pem =
            self.namespace.kubectl(&["get", "configmap", &config_map, "--output=jsonpath={.data.ca\\.crt}"]);
        let file = self.namespace.file(&format!("{}-ca.crt", self.name), &pem);
        Tls::builder().ca_file(file).server_name(self.host())
    }

    /// The name by which the Service is known in the cluster.
    pub(crate) fn host(self) -> String {
        format!("{}.{}.svc", self.name, self.namespace.name)
    }

    /// The names of its pods that are not ending, sorted.
    pub(crate) fn pods(self) -> Vec<String> {
        let selector = format!("--selector=app.kubernetes.io/instance={}", self.name);
        let text = self.namespace.kubectl(&["get", "pods", &selector, "--output=json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let living = list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut names: Vec<_> =
            living.map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    }
}

/// A manifest with this specification, in YAML.
pub(crate) fn manifest(name: &str, spec: &str) -> String {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata:\n  name: {name}\nspec:\n{indented}"
    )
}
