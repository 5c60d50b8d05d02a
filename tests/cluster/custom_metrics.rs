//! An autoscaler, or a person, learns from the operator how many clients each server has.

use serde_json::Value;

use crate::cluster::{eventually, kubectl, kubectl_with};
use crate::fleet::Fleet;
use crate::namespace::Namespace;
use crate::operator::{self, NAMESPACE, RELEASE};
use crate::stream_server::StreamServer;

/// The API, as it is registered.
pub(crate) const API_SERVICE: &str = "v1beta2.custom.metrics.k8s.io";

/// Two servers, whose number an autoscaler leaves alone while few are connected.
pub(crate) const SPEC: &str = "
replicas: 2
drain: { delay: 0s, window: 1s }
autoscaling: { minReplicas: 2, maxReplicas: 3, targetActiveConnections: 1000 }
";

const CLIENTS: usize = 40;

/// Waits until the operator's API is registered, and reached.
pub(crate) fn served() {
    eventually("the operator's API is available", || {
        let condition = r#"jsonpath={.status.conditions[?(@.type=="Available")].status}"#;
        let said = kubectl_with("", &["get", "apiservice", API_SERVICE, "--output", condition]);
        (said.ok && said.out == "True").then_some(())
    });
}

/// Where the metric is, of these pods, with this query.
fn path(namespace: &Namespace, pods: &str, query: &str) -> String {
    format!(
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{}/pods/{pods}/active_connections{query}",
        namespace.name
    )
}

fn raw(path: &str) -> Value {
    serde_json::from_str(&kubectl(&["get", "--raw", path])).expect("JSON")
}

/// What is told, by pod, sorted.
fn values(list: &Value) -> Vec<(String, usize)> {
    assert_eq!(list["kind"], "MetricValueList", "{list}");
    let items = list["items"].as_array().expect("a list").iter();
    let values = items.map(|item| {
        let name = item["describedObject"]["name"].as_str().expect("a name").to_owned();
        (name, item["value"].as_str().expect("a value").parse().expect("a number"))
    });
    values.collect()
}

#[test]
fn the_autoscaler_and_whoever_else_may_learn_how_many_clients_each_server_has() {
    operator::installed();
    served();
    let namespace = Namespace::new("custom-metrics");
    let server = StreamServer::apply(&namespace, "ticks", SPEC).until_ready().until_complete();
    server.condition("ScalingActive", "True", "MetricsServed");
    let fleet = Fleet::follow(&server.client(), CLIENTS);

    let all = path(&namespace, "*", "?labelSelector=app.kubernetes.io%2Finstance%3Dticks");
    let told = eventually("all clients are told of", || {
        let told = values(&raw(&all));
        (told.iter().map(|(_, count)| count).sum::<usize>() == CLIENTS).then_some(told)
    });
    let names: Vec<_> = told.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, server.pods(), "of every server, by name");

    // Selectors as Kubernetes has them.
    for (query, expected) in [
        ("", told.clone()),
        ("?labelSelector=app.kubernetes.io%2Finstance%20in%20(ticks,%20other),!absent", told.clone()),
        ("?labelSelector=app.kubernetes.io%2Finstance%20notin%20(ticks)", Vec::new()),
        ("?labelSelector=app.kubernetes.io%2Finstance!%3Dticks", Vec::new()),
        ("?labelSelector=absent", Vec::new()),
    ] {
        assert_eq!(values(&raw(&path(&namespace, "*", query))), expected, "{query}");
    }
    assert_eq!(values(&raw(&path(&namespace, &names[0], ""))), told[..1]);
    for (pods, query, part) in [
        ("*", "?labelSelector=a%20in%20(", "labelSelector"),
        ("*", "?metricLabelSelector=a", "metricLabelSelector"),
        ("nobody", "", "nobody"),
    ] {
        let said = kubectl_with("", &["get", "--raw", &path(&namespace, pods, query)]);
        assert!(!said.ok && said.err.contains(part), "{pods}{query}: {}", said.err);
    }

    // The autoscaler asks the same.
    let half = CLIENTS / 2;
    eventually("the autoscaler knows", || {
        let status = namespace.get("horizontalpodautoscaler", "ticks")?["status"].clone();
        let conditions = status["conditions"].as_array()?.clone();
        let is_active = conditions.iter().any(|it| it["type"] == "ScalingActive" && it["status"] == "True");
        let average = &status["currentMetrics"][0]["pods"]["current"]["averageValue"];
        (is_active && *average == half.to_string().as_str()).then_some(())
    });
    fleet.is_well();
}

#[test]
fn discovery_tells_of_the_metric() {
    operator::installed();
    served();
    let group = raw("/apis/custom.metrics.k8s.io");
    assert_eq!(group["preferredVersion"]["version"], "v1beta2");
    let resources = raw("/apis/custom.metrics.k8s.io/v1beta2");
    assert_eq!(resources["resources"][0]["name"], "pods/active_connections");
    assert_eq!(resources["resources"][0]["kind"], "MetricValueList");
    let merged = raw("/apis");
    let groups = merged["groups"].as_array().expect("a list");
    assert!(groups.iter().any(|group| group["name"] == "custom.metrics.k8s.io"));
    // An API that cannot be discovered would be an error of every kubectl.
    let said = kubectl_with("", &["api-resources", "--output=name"]);
    assert!(said.ok && said.err.is_empty(), "{}", said.err);
}

#[test]
fn only_who_is_allowed_to_is_told_and_only_by_way_of_the_api_server() {
    operator::installed();
    served();
    let (namespace, other) = (Namespace::new("metrics-access"), Namespace::new("metrics-other"));
    namespace.apply(
        r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: reader }
rules: [{ apiGroups: [custom.metrics.k8s.io], resources: [pods/active_connections], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: reader }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: reader }]
"#,
    );
    let ask = |namespace: &Namespace, user: &str| {
        let user = format!("--as={user}");
        kubectl_with("", &["get", "--raw", &path(namespace, "*", ""), &user])
    };
    eventually("the reader may read", || ask(&namespace, "reader").ok.then_some(()));
    for (namespace, user) in [(&namespace, "stranger"), (&other, "reader")] {
        let said = ask(namespace, user);
        assert!(!said.ok && said.err.contains("Forbidden"), "{user}: {}{}", said.out, said.err);
    }

    // Past the API server, whatever one says of oneself.
    let service = format!("{RELEASE}-api");
    let address = kubectl(&[
        "--namespace",
        NAMESPACE,
        "get",
        "service",
        &service,
        "--output=jsonpath={.spec.clusterIP}",
    ]);
    let direct = |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\\r\\nHost: {service}.{NAMESPACE}.svc\\r\\nX-Remote-User: admin\\r\\nX-Remote-Group: system:masters\\r\\nConnection: close\\r\\n\\r\\n"
        );
        let script =
            format!("printf '{request}' | openssl s_client -quiet -connect {address}:443 2>/dev/null");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("openssl");
        String::from_utf8(output.stdout).expect("text")
    };
    let answer = direct(&path(&namespace, "*", ""));
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\"Unauthorized\""), "{answer}");
    assert!(direct("/apis/custom.metrics.k8s.io/v1beta2").starts_with("HTTP/1.1 401 "));
    assert!(direct("/healthz").starts_with("HTTP/1.1 200 "), "it is there");
}
