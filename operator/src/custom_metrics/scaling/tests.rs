use serde_json::json;
use tickwire_crd::StreamServer;

use super::super::fake::{Fake, list, pod};
use super::*;

const OLDER: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/market/pods/*/active_connections";
const NEWER: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/market/pods/*/active_connections";

fn fleet() -> Fleet {
    let server: StreamServer = serde_saphyr::from_str(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata: { name: ticks, namespace: market, uid: u-1 }\nspec: {}",
    )
    .unwrap();
    Fleet::of(&server).unwrap()
}

fn pods(names: &[&str]) -> Vec<Pod> {
    names.iter().map(|name| serde_json::from_value(pod(name, "10.0.0.1", true)).unwrap()).collect()
}

fn values(names: &[&str]) -> Value {
    list(
        &names
            .iter()
            .map(|name| json!({ "describedObject": { "name": name }, "value": "1" }))
            .collect::<Vec<_>>(),
    )
}

fn theirs(version: &str) -> Standing {
    let service = Some(("monitoring".to_owned(), "prometheus-adapter".to_owned()));
    Standing::Foreign(Foreign { version: version.to_owned(), service })
}

async fn found(fake: &Fake, standing: Standing, names: &[&str]) -> Scaling {
    let (_sender, receiver) = watch::channel(standing);
    Served::new(fake.client(), receiver).of(&fleet(), &pods(names)).await
}

#[tokio::test]
async fn where_the_operator_has_the_api_nobody_is_asked() {
    let fake = Fake::default();
    assert_eq!(found(&fake, Standing::Registered, &["a"]).await, Scaling::Served);
    let pending = Standing::Pending("no operator is ready".to_owned());
    assert_eq!(found(&fake, pending, &["a"]).await, Scaling::Unavailable("no operator is ready".to_owned()));
    assert!(fake.requests("GET").is_empty());
}

#[tokio::test]
async fn somebody_else_is_asked_as_an_autoscaler_would() {
    let fake = Fake::default();
    fake.has(OLDER, values(&["other", "a"]));
    let scaling = found(&fake, theirs("v1beta1"), &["a", "new"]).await;
    assert!(matches!(scaling, Scaling::ServedByOthers(by) if by.contains("monitoring/prometheus-adapter")));
    let asked = fake.requests("GET").pop().unwrap();
    assert_eq!(asked.path, OLDER);
    assert_eq!(
        asked.query,
        "labelSelector=app%2Ekubernetes%2Eio%2Finstance%3Dticks%2Capp%2Ekubernetes%2Eio%2Fname%3Dtickwire%2Dserver"
    );
}

#[tokio::test]
async fn somebody_else_who_does_not_tell_of_the_pods_is_named_with_what_they_say() {
    let fake = Fake::default();
    let said = |scaling| match scaling {
        Scaling::Unanswered { by, why } => {
            assert!(by.contains("monitoring/prometheus-adapter"), "{by}");
            why
        }
        other => panic!("{other:?}"),
    };
    // prometheus-adapter without a rule.
    assert_eq!(said(found(&fake, theirs("v1beta1"), &["a"]).await), "the API server says 404");
    fake.has(OLDER, values(&["another"]));
    assert_eq!(
        said(found(&fake, theirs("v1beta1"), &["a"]).await),
        "its list of 1 pods has none of the StreamServer's"
    );
    fake.has(OLDER, json!("hello"));
    assert_eq!(said(found(&fake, theirs("v1beta1"), &["a"]).await), "what it answers is no MetricValueList");
    // Where no pod runs, none can be told of.
    fake.has(OLDER, values(&[]));
    assert!(matches!(found(&fake, theirs("v1beta1"), &[]).await, Scaling::ServedByOthers(_)));
}

#[tokio::test(start_paused = true)]
async fn somebody_else_is_not_asked_more_often_than_needs_be() {
    let fake = Fake::default();
    fake.has(OLDER, values(&["a"]));
    let (_sender, receiver) = watch::channel(theirs("v1beta1"));
    let served = Served::new(fake.client(), receiver);
    for _ in 0..3 {
        served.of(&fleet(), &pods(&["a"])).await;
    }
    assert_eq!(fake.requests("GET").len(), 1);
    tokio::time::advance(LIFETIME).await;
    served.of(&fleet(), &pods(&["a"])).await;
    assert_eq!(fake.requests("GET").len(), 2);
}

#[tokio::test]
async fn an_operator_that_does_not_serve_it_finds_whoever_does() {
    let fake = Fake::default();
    let off = || Standing::Off("it is off".to_owned());
    assert_eq!(found(&fake, off(), &["a"]).await, Scaling::Unavailable("it is off".to_owned()));
    fake.has(OLDER, values(&["a"]));
    assert!(
        matches!(found(&fake, off(), &["a"]).await, Scaling::ServedByOthers(by) if by.contains("v1beta1"))
    );
    fake.has(NEWER, values(&["a"]));
    assert!(
        matches!(found(&fake, off(), &["a"]).await, Scaling::ServedByOthers(by) if by.contains("v1beta2"))
    );
}
