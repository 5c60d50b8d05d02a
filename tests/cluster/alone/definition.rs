//! What becomes of objects that another definition has let in.

use crate::cluster::{eventually, kubectl};
use crate::namespace::Namespace;
use crate::operator;
use crate::stream_server::{StreamServer, manifest};

/// One that was let in by an older definition, which knew a field in another form.
#[test]
fn an_object_that_cannot_be_read_does_not_stop_the_others() {
    operator::installed();
    let namespace = Namespace::new("unreadable");
    let definition = kubectl(&["get", "crd", "streamservers.tickwire.dev", "--output=json"]);
    let mut lax: serde_json::Value = serde_json::from_str(&definition).expect("JSON");
    for field in ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"] {
        lax["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    lax["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
        serde_json::json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    lax["status"] = serde_json::Value::Null;
    let replace = |definition: &str| {
        crate::cluster::kubectl_with(definition, &["replace", "--filename=-"]).expect("a definition")
    };
    replace(&lax.to_string());
    let mut strict: serde_json::Value = serde_json::from_str(&definition).expect("JSON");
    for field in ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"] {
        strict["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    let restored = Restored(strict.to_string());
    let wrong = manifest("wrong", "drain: { window: [not, a, duration] }");
    eventually("the lax definition is in force", || {
        namespace.try_kubectl(&wrong, &["apply", "--filename=-"]).ok.then_some(())
    });
    drop(restored);
    eventually("an event says that it cannot be read", || {
        namespace.events("wrong").contains(&"Unreadable".to_owned()).then_some(())
    });
    StreamServer::apply(&namespace, "right", "replicas: 1").until_ready();
    namespace.kubectl(&["delete", "streamserver", "wrong", "--wait"]);
}

/// The definition as it was, put back also where the test fails.
struct Restored(String);

impl Drop for Restored {
    fn drop(&mut self) {
        let said = crate::cluster::kubectl_with(&self.0, &["replace", "--filename=-"]);
        if !said.ok {
            eprintln!("the definition could not be put back: {}", said.err);
        }
    }
}
