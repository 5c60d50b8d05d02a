//! A namespace of a test's own.

use serde_json::Value;

use crate::cluster::{Said, eventually, kubectl, kubectl_with};

/// A namespace that enforces Pod Security `restricted`, and is deleted with this.
pub(crate) struct Namespace {
    pub(crate) name: String,
    files: tempfile::TempDir,
}

impl Namespace {
    /// A new one; what an earlier run has left of this name goes first.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("tickwire-test-{name}");
        kubectl(&["delete", "namespace", &name, "--ignore-not-found", "--wait", "--timeout=3m"]);
        kubectl(&["create", "namespace", &name]);
        kubectl(&["label", "namespace", &name, "pod-security.kubernetes.io/enforce=restricted"]);
        Self { name, files: tempfile::tempdir().expect("a folder") }
    }

    /// A file of the test's own, which goes with the namespace.
    pub(crate) fn file(&self, name: &str, content: &str) -> std::path::PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Runs kubectl in it.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&self.with(arguments))
    }

    /// As `kubectl`, where it need not end well.
    pub(crate) fn try_kubectl(&self, input: &str, arguments: &[&str]) -> Said {
        kubectl_with(input, &self.with(arguments))
    }

    /// Applies manifests.
    pub(crate) fn apply(&self, manifests: &str) {
        self.try_kubectl(manifests, &["apply", "--filename=-"]).expect(manifests);
    }

    /// An object, or none.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let text = self.kubectl(&["get", kind, name, "--ignore-not-found", "--output=json"]);
        (!text.is_empty()).then(|| serde_json::from_str(&text).expect("JSON"))
    }

    /// The names of the pods with these labels.
    pub(crate) fn by_state(&self, labels: &str) -> Pods {
        let text = self.kubectl(&["get", "pods", "--selector", labels, "--output=json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let mut pods = Pods::default();
        for pod in list["items"].as_array().expect("a list") {
            let is_living = pod["metadata"]["deletionTimestamp"].is_null();
            let runs = !pod["status"]["containerStatuses"][0]["state"]["running"].is_null();
            let names = match (is_living, runs) {
                (true, _) => &mut pods.living,
                (false, true) => &mut pods.draining,
                (false, false) => &mut pods.ended,
            };
            names.push(pod["metadata"]["name"].as_str().expect("a name").to_owned());
        }
        pods
    }

    /// The one pod with these labels.
    pub(crate) fn pod(&self, labels: &str) -> Value {
        let text = self.kubectl(&["get", "pods", "--selector", labels, "--output=json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let pods = list["items"].as_array().expect("a list");
        assert_eq!(pods.len(), 1, "one pod is {labels}");
        pods[0].clone()
    }

    /// All objects of these kinds, by kind and name.
    pub(crate) fn names(&self, kinds: &str) -> Vec<String> {
        let text = self.kubectl(&["get", kinds, "--output=name"]);
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// What a key of a Secret holds.
    pub(crate) fn secret(&self, name: &str, key: &str) -> String {
        let key = key.replace('.', "\\.");
        let template = format!("jsonpath={{.data.{key}}}");
        let encoded = self.kubectl(&["get", "secret", name, "--output", &template]);
        String::from_utf8(base64(&encoded)).expect("text")
    }

    /// The reasons of the events about an object, the oldest first.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let selector = format!("--field-selector=involvedObject.name={name}");
        let template = "jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}";
        self.kubectl(&[
            "get",
            "events",
            &selector,
            "--sort-by=.metadata.creationTimestamp",
            "--output",
            template,
        ])
        .lines()
        .map(ToOwned::to_owned)
        .collect()
    }

    /// Waits until an event about an object has come so often: events come after the status that they tell of. It must not have come more often.
    pub(crate) fn expect_events(&self, name: &str, reason: &str, count: u64) {
        eventually(&format!("{reason} of {name} has come {count} times"), || {
            (self.event_count(name, reason) >= count).then_some(())
        });
        assert_eq!(self.event_count(name, reason), count, "{reason} of {name}");
    }

    /// How often an event about an object has come, those counted that were put together.
    fn event_count(&self, name: &str, reason: &str) -> u64 {
        let selector = format!("--field-selector=involvedObject.name={name},reason={reason}");
        let text = self.kubectl(&["get", "events", &selector, "--output=json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let events = list["items"].as_array().expect("a list").iter();
        events.map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum()
    }

    /// Waits until it has no objects of these kinds.
    pub(crate) fn until_empty_of(&self, kinds: &str) {
        eventually(&format!("nothing is left of {kinds} in {}", self.name), || {
            self.names(kinds).is_empty().then_some(())
        });
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        ["--namespace", &self.name].iter().chain(arguments).copied().collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person would want to see of a failure.
            for arguments in [
                &["get", "streamservers,deployments,pods", "--output=wide"][..],
                &["describe", "streamservers"],
                &["logs", "--selector=app.kubernetes.io/name=tickwire-server", "--tail=20", "--prefix"],
            ] {
                let said = self.try_kubectl("", arguments);
                eprintln!("── kubectl {}\n{}{}", arguments.join(" "), said.out, said.err);
            }
        }
        // The next test need not wait for it.
        let _said = kubectl_with("", &["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// Decodes what the API has written (RFC 4648, section 4).
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is not a digit of base 64"),
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits =
            group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

#[test]
fn base_64_is_decoded() {
    for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
        assert_eq!(base64(text), bytes.as_bytes());
    }
}

/// Names of pods.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pub(crate) living: Vec<String>,
    /// Those that were told to go, and still run.
    pub(crate) draining: Vec<String>,
    /// Those that have ended, and of which only the object is left.
    pub(crate) ended: Vec<String>,
}
