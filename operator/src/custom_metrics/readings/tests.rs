use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::super::fake::{Fake, list, pod};
use super::*;

const PODS: &str = "/api/v1/namespaces/market/pods";

/// What pods answer, by address, and who was asked.
#[derive(Clone, Default)]
struct Servers(Arc<Mutex<Answers>>);

type Answers = (HashMap<String, i64>, Vec<String>);

impl Servers {
    fn have(&self, address: &str, connections: Option<i64>) {
        let answers = &mut self.0.lock().unwrap().0;
        match connections {
            Some(connections) => answers.insert(format!("{address}:21592"), connections),
            None => answers.remove(&format!("{address}:21592")),
        };
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    fn ask(&self) -> Ask {
        let servers = self.clone();
        Arc::new(move |address| {
            let mut state = servers.0.lock().unwrap();
            let answer = state.0.get(&address).copied();
            state.1.push(address);
            async move { answer }.boxed()
        })
    }
}

struct Market {
    fake: Fake,
    servers: Servers,
    readings: Readings,
}

impl Market {
    fn new(pods: &[Value]) -> Self {
        let (fake, servers) = (Fake::default(), Servers::default());
        fake.has(PODS, list(pods));
        let readings = Readings::new(fake.client(), "", servers.ask());
        Self { fake, servers, readings }
    }

    async fn labelled(&self, selector: &str) -> Answer {
        let pods = Selection::Labelled(selector.to_owned());
        self.readings.of(Wanted { namespace: "market".to_owned(), pods }).await
    }

    async fn named(&self, name: &str) -> Answer {
        let pods = Selection::Named(name.to_owned());
        self.readings.of(Wanted { namespace: "market".to_owned(), pods }).await
    }

    async fn all(&self) -> Vec<(String, i64)> {
        let readings = self.labelled("").await.unwrap();
        readings.iter().map(|reading| (reading.pod.clone(), reading.connections)).collect()
    }
}

fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(pod, connections)| ((*pod).to_owned(), *connections)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_pod_that_runs_is_told_of_by_name_a_new_one_with_none() {
    let market =
        Market::new(&[pod("b", "10.0.0.2", true), pod("new", "10.0.0.3", false), pod("a", "10.0.0.1", true)]);
    market.servers.have("10.0.0.1", Some(7));
    market.servers.have("10.0.0.2", Some(5));
    assert_eq!(market.all().await, pairs(&[("a", 7), ("b", 5), ("new", 0)]));
    // It answers before the kubelet has asked it.
    market.servers.have("10.0.0.3", Some(1));
    tokio::time::advance(FRESH).await;
    assert_eq!(market.all().await, pairs(&[("a", 7), ("b", 5), ("new", 1)]));
}

#[tokio::test]
async fn pods_that_end_or_do_not_run_yet_are_left_out() {
    let mut ending = pod("ending", "10.0.0.1", true);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut pending = pod("pending", "", false);
    pending["status"]["phase"] = json!("Pending");
    let mut failed = pod("failed", "10.0.0.2", true);
    failed["status"]["phase"] = json!("Failed");
    let market = Market::new(&[ending, pending, failed, pod("a", "10.0.0.3", true)]);
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        market.servers.have(address, Some(3));
    }
    assert_eq!(market.all().await, pairs(&[("a", 3)]));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_silent_has_as_many_as_before_and_after_a_while_none_to_tell_of() {
    let market = Market::new(&[pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", true)]);
    market.servers.have("10.0.0.1", Some(7));
    market.servers.have("10.0.0.2", Some(5));
    assert_eq!(market.all().await, pairs(&[("a", 7), ("b", 5)]));
    let when = market.labelled("").await.unwrap()[0].at;
    market.servers.have("10.0.0.1", None);
    tokio::time::advance(LAST_KNOWN - Duration::from_secs(1)).await;
    let readings = market.labelled("").await.unwrap();
    assert_eq!((readings[0].connections, readings[0].at), (7, when));
    tokio::time::advance(FRESH).await;
    assert_eq!(market.all().await, pairs(&[("b", 5)]));
    // One that this operator has never heard, but the kubelet has, is not taken for empty.
    market.fake.has(PODS, list(&[pod("c", "10.0.0.3", true), pod("b", "10.0.0.2", true)]));
    tokio::time::advance(FRESH).await;
    assert_eq!(market.all().await, pairs(&[("b", 5)]));
}

#[tokio::test(start_paused = true)]
async fn one_that_has_crashed_has_lost_its_clients() {
    let market = Market::new(&[pod("a", "10.0.0.1", true)]);
    market.servers.have("10.0.0.1", Some(7));
    assert_eq!(market.all().await, pairs(&[("a", 7)]));
    market.servers.have("10.0.0.1", None);
    market.fake.has(PODS, list(&[pod("a", "10.0.0.1", false)]));
    tokio::time::advance(FRESH).await;
    assert_eq!(market.all().await, pairs(&[("a", 0)]));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_cost_as_much_as_one() {
    let market = Market::new(&[pod("a", "10.0.0.1", true)]);
    market.servers.have("10.0.0.1", Some(7));
    let (one, other) = tokio::join!(market.all(), market.all());
    assert_eq!(one, other);
    assert_eq!((market.servers.asked(), market.fake.requests("GET").len()), (1, 1));
    // Another question about the same pod.
    assert_eq!(market.labelled("app.kubernetes.io/instance=ticks").await.unwrap()[0].connections, 7);
    assert_eq!((market.servers.asked(), market.fake.requests("GET").len()), (1, 2));
    tokio::time::advance(FRESH).await;
    assert_eq!(market.all().await, one);
    assert_eq!((market.servers.asked(), market.fake.requests("GET").len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn pods_that_hang_do_not_hold_the_others_up_forever() {
    let fake = Fake::default();
    fake.has(PODS, list(&[pod("a", "10.0.0.1", true), pod("hangs", "10.0.0.2", false)]));
    let ask: Ask = Arc::new(|address| {
        async move {
            if address.starts_with("10.0.0.2") {
                std::future::pending::<()>().await;
            }
            Some(7)
        }
        .boxed()
    });
    let readings = Readings::new(fake.client(), "", ask);
    let pods = Selection::Labelled(String::new());
    let readings = readings.of(Wanted { namespace: "market".to_owned(), pods }).await.unwrap();
    let connections: Vec<_> = readings.iter().map(|reading| reading.connections).collect();
    assert_eq!(connections, [7, 0]);
}

#[tokio::test]
async fn only_servers_are_looked_for_whatever_the_selector_says() {
    let market = Market::new(&[]);
    for (selector, expected) in [
        ("", "app.kubernetes.io%2Fname%3Dtickwire-server"),
        ("zone in (a, b),!x", "app.kubernetes.io%2Fname%3Dtickwire-server%2Czone+in+%28a%2C+b%29%2C%21x"),
    ] {
        assert!(market.labelled(selector).await.unwrap().is_empty());
        let query = market.fake.requests("GET").pop().unwrap().query;
        assert!(query.split('&').any(|pair| pair == format!("labelSelector={expected}")), "{query}");
        assert!(query.contains("limit=2000"), "{query}");
    }
}

#[tokio::test]
async fn a_single_pod_is_told_of_or_not_found() {
    let market = Market::new(&[pod("a", "10.0.0.1", true)]);
    market.servers.have("10.0.0.1", Some(7));
    assert_eq!(market.named("a").await.unwrap()[0].connections, 7);
    let query = market.fake.requests("GET").pop().unwrap().query;
    assert!(query.contains("fieldSelector=metadata.name%3Da"), "{query}");
    market.fake.has(PODS, list(&[]));
    let refusal = market.named("b").await.unwrap_err();
    assert!(matches!(&refusal, Refusal::NotFound(message) if message.contains("\"b\"")), "{refusal}");
}

#[tokio::test]
async fn what_the_api_server_says_of_a_selector_is_passed_on() {
    let market = Market::new(&[]);
    market.fake.refuses("GET", PODS, 400);
    let refusal = market.labelled("a==b==c").await.unwrap_err();
    let Refusal::BadRequest(message) = refusal else { panic!("{refusal}") };
    assert!(message.starts_with("labelSelector: the API server says 400"), "{message}");
    market.fake.refuses("GET", PODS, 403);
    assert!(matches!(market.labelled("a").await.unwrap_err(), Refusal::Unavailable(_)));
}

#[tokio::test]
async fn too_many_pods_are_refused_and_not_told_of_in_part() {
    let market = Market::new(&[]);
    let mut first = list(&[pod("a", "10.0.0.1", true)]);
    first["metadata"]["continue"] = json!("more");
    market.fake.has(PODS, first);
    assert!(matches!(market.labelled("").await.unwrap_err(), Refusal::BadRequest(_)));
}

#[tokio::test]
async fn an_operator_of_one_namespace_knows_no_other() {
    let fake = Fake::default();
    let readings = Readings::new(fake.client(), "market", Servers::default().ask());
    let pods = Selection::Labelled(String::new());
    let refusal = readings.of(Wanted { namespace: "another".to_owned(), pods }).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NotFound(_)));
    assert!(fake.requests("GET").is_empty());
}
