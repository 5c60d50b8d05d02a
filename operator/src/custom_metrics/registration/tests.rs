use serde_json::{Value, json};

use super::super::fake::{Fake, list};
use super::*;

const OURS: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta2.custom.metrics.k8s.io";
const OLDER: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.custom.metrics.k8s.io";
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/tickwire-api";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/tickwire-system/endpointslices";
const SECRET: &str = "/api/v1/namespaces/tickwire-system/secrets/tickwire-api";

struct Cluster {
    fake: Fake,
    registrar: Registrar,
    standing: watch::Receiver<Standing>,
    metrics: Metrics,
}

impl Cluster {
    /// With two operators that are ready.
    fn new() -> Self {
        let (fake, metrics) = (Fake::default(), Metrics::new().unwrap());
        let role = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "name": "tickwire-api" },
        });
        fake.has(ROLE, role);
        fake.has(SLICES, slices(&[("operator-a", true), ("operator-b", true)]));
        let place = Place {
            namespace: "tickwire-system".to_owned(),
            service: "tickwire-api".to_owned(),
            owner: "tickwire-api".to_owned(),
        };
        let identity = "operator-a".to_owned();
        let (registrar, standing) = Registrar::new(fake.client(), place, identity, metrics.clone());
        Self { fake, registrar, standing, metrics }
    }

    /// The same, where the API is registered, and reached.
    async fn registered() -> Self {
        let cluster = Self::new();
        cluster.look().await;
        cluster.look().await;
        cluster.reached("True");
        assert_eq!(cluster.look().await, Standing::Registered);
        cluster
    }

    async fn look(&self) -> Standing {
        self.registrar.look().await.unwrap()
    }

    /// The API server has looked whether it reaches the operators.
    fn reached(&self, status: &str) {
        let mut present = self.fake.object(OURS).unwrap();
        present["status"] = json!({ "conditions": [
            { "type": "Available", "status": status, "reason": "Checked", "message": "it was asked" },
        ] });
        self.fake.has(OURS, present);
    }

    /// How often something was written at a path.
    fn writes(&self, path: &str) -> usize {
        let requests = ["POST", "PATCH", "PUT", "DELETE"].map(|method| self.fake.requests(method));
        requests.iter().flatten().filter(|request| request.path == path).count()
    }
}

fn slices(endpoints: &[(&str, bool)]) -> Value {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(pod, ready)| {
            json!({
                "addresses": ["10.0.0.1"],
                "conditions": { "ready": ready },
                "targetRef": { "kind": "Pod", "name": pod },
            })
        })
        .collect();
    list(&[json!({ "metadata": {}, "addressType": "IPv4", "endpoints": endpoints })])
}

fn foreign(version: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": format!("{version}.custom.metrics.k8s.io") },
        "spec": {
            "group": "custom.metrics.k8s.io", "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": { "namespace": "monitoring", "name": "prometheus-adapter" },
        },
    })
}

#[tokio::test]
async fn it_is_registered_once_the_certificate_had_time_to_be_taken_up() {
    let cluster = Cluster::new();
    assert!(matches!(cluster.look().await, Standing::Pending(_)));
    assert!(cluster.fake.object(OURS).is_none() && cluster.fake.object(SECRET).is_some());
    assert!(matches!(cluster.look().await, Standing::Pending(why) if why.contains("it has not looked yet")));

    let applied = cluster.fake.requests("PATCH").pop().unwrap();
    assert!(applied.query.contains("fieldManager=tickwire-operator"), "{applied:?}");
    assert!(!applied.query.contains("force"), "nobody's is overwritten: {applied:?}");
    let registered = &applied.body;
    assert_eq!(
        registered["spec"]["service"],
        json!({ "namespace": "tickwire-system", "name": "tickwire-api", "port": 443 })
    );
    assert_eq!(registered["spec"]["groupPriorityMinimum"], 100);
    assert_eq!(registered["spec"]["versionPriority"], 100);
    assert_eq!(registered["metadata"]["labels"]["app.kubernetes.io/managed-by"], "tickwire-operator");
    let owner = &registered["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("ClusterRole"), &json!(format!("uid of {ROLE}"))));
    // The bundle is that of the Secret's authority: both in base 64.
    assert_eq!(registered["spec"]["caBundle"], cluster.fake.object(SECRET).unwrap()["data"]["ca.crt"]);

    cluster.reached("False");
    assert!(matches!(cluster.look().await, Standing::Pending(why) if why.contains("it was asked")));
    cluster.reached("True");
    assert_eq!(cluster.look().await, Standing::Registered);
    assert_eq!(cluster.writes(OURS), 1, "what is as it should be is left alone");
}

#[tokio::test]
async fn what_somebody_changes_or_deletes_of_it_is_put_right() {
    let cluster = Cluster::registered().await;
    let whole = cluster.fake.object(OURS).unwrap();
    for (pointer, value) in [
        ("/spec/caBundle", json!("bm9uc2Vuc2U=")),
        ("/spec/service/name", json!("another")),
        ("/spec/versionPriority", json!(1)),
        ("/metadata/ownerReferences", json!([])),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        cluster.fake.has(OURS, changed);
        assert_eq!(cluster.look().await, Standing::Registered);
        let now = cluster.fake.object(OURS).unwrap();
        assert_eq!(now.pointer(pointer), whole.pointer(pointer), "{pointer}");
        let request = cluster.fake.requests("PATCH").pop().unwrap();
        assert_eq!(request.body["metadata"]["uid"], whole["metadata"]["uid"], "the one that was looked at");
        assert!(request.query.contains("force=true"), "{request:?}");
    }
    cluster.fake.lacks(OURS);
    assert!(matches!(cluster.look().await, Standing::Pending(_)));
    assert!(cluster.fake.object(OURS).is_some());
}

#[tokio::test]
async fn somebody_elses_is_left_alone_and_nothing_is_registered_beside_it() {
    for (path, version) in [(OLDER, "v1beta1"), (OURS, "v1beta2")] {
        let cluster = Cluster::new();
        cluster.fake.has(path, foreign(version));
        let before = cluster.fake.object(path);
        for _ in 0..3 {
            let Standing::Foreign(who) = cluster.look().await else { panic!("{version} is theirs") };
            let shown =
                format!("Service monitoring/prometheus-adapter (APIService {version}.custom.metrics.k8s.io)");
            assert_eq!(who.to_string(), shown);
        }
        assert_eq!(cluster.fake.object(path), before);
        assert_eq!(cluster.writes(OLDER) + cluster.writes(OURS), 0);
        // When they go, it is registered.
        cluster.fake.lacks(path);
        cluster.look().await;
        cluster.look().await;
        assert_eq!(cluster.fake.object(OURS).unwrap()["spec"]["service"]["name"], "tickwire-api");
    }
}

#[tokio::test]
async fn it_is_withdrawn_when_somebody_else_comes() {
    let cluster = Cluster::registered().await;
    cluster.fake.has(OLDER, foreign("v1beta1"));
    assert!(matches!(cluster.look().await, Standing::Foreign(_)));
    assert_eq!(cluster.fake.object(OURS), None);
    let deleted = cluster.fake.requests("DELETE").pop().unwrap();
    assert_eq!(deleted.body["preconditions"]["uid"], format!("uid of {OURS}"));
    assert_eq!(cluster.writes(OLDER), 0);
}

#[tokio::test]
async fn another_operators_is_somebody_elses() {
    let cluster = Cluster::registered().await;
    let mut theirs = cluster.fake.object(OURS).unwrap();
    theirs["metadata"]["labels"][NAMESPACE_LABEL] = json!("another");
    cluster.fake.has(OURS, theirs.clone());
    assert!(matches!(cluster.look().await, Standing::Foreign(_)));
    assert_eq!(cluster.fake.object(OURS).unwrap()["metadata"]["labels"], theirs["metadata"]["labels"]);
}

#[tokio::test]
async fn it_is_registered_only_while_an_operator_is_ready() {
    let cluster = Cluster::registered().await;
    cluster.fake.has(SLICES, slices(&[("operator-a", false), ("operator-b", false)]));
    assert!(matches!(cluster.look().await, Standing::Pending(why) if why.contains("no operator is ready")));
    assert_eq!(cluster.fake.object(OURS), None);
    cluster.fake.has(SLICES, slices(&[("operator-a", false), ("operator-b", true)]));
    cluster.look().await;
    assert!(cluster.fake.object(OURS).is_some());
}

#[tokio::test]
async fn the_last_one_withdraws_it_and_one_of_several_does_not() {
    let cluster = Cluster::registered().await;
    cluster.registrar.leave().await;
    assert!(cluster.fake.object(OURS).is_some(), "operator-b answers yet");
    cluster.fake.has(SLICES, slices(&[("operator-a", true), ("operator-b", false)]));
    cluster.registrar.leave().await;
    assert_eq!(cluster.fake.object(OURS), None);

    let cluster = Cluster::new();
    cluster.fake.has(SLICES, slices(&[]));
    cluster.fake.has(OURS, foreign("v1beta2"));
    cluster.registrar.leave().await;
    assert!(cluster.fake.object(OURS).is_some(), "theirs stays");
}

#[tokio::test]
async fn without_what_it_is_to_go_with_nothing_is_registered() {
    let cluster = Cluster::new();
    cluster.fake.lacks(ROLE);
    let error = cluster.registrar.look().await.unwrap_err();
    assert!(error.to_string().contains("is the chart being uninstalled?"), "{error}");
    assert!(cluster.fake.object(OURS).is_none() && cluster.fake.object(SECRET).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_and_tried_again() {
    let cluster = Cluster::new();
    cluster.fake.refuses("GET", OLDER, 403);
    let (registrar, mut standing) = (&cluster.registrar, cluster.standing.clone());
    let watching = async {
        let refused =
            |standing: &Standing| matches!(standing, Standing::Pending(why) if why.contains("says 403"));
        standing.wait_for(refused).await.unwrap();
        cluster.fake.refuses("GET", OLDER, 0);
        standing
            .wait_for(|it| matches!(it, Standing::Pending(why) if why.contains("not looked yet")))
            .await
            .unwrap();
        cluster.reached("True");
        standing.wait_for(|standing| *standing == Standing::Registered).await.unwrap();
        assert_eq!(cluster.metrics.custom_metrics_registered.get(), 1);
        cluster.fake.has(OLDER, foreign("v1beta1"));
        standing.wait_for(|standing| matches!(standing, Standing::Foreign(_))).await.unwrap();
        assert_eq!(cluster.metrics.custom_metrics_registered.get(), 0);
    };
    tokio::select! {
        never = registrar.run() => match never {},
        () = watching => {}
    }
}
