use serde_json::{Value, json};

use super::super::fake::Fake;
use super::*;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

fn request(name: &str) -> Request {
    let user = User {
        name: name.to_owned(),
        uid: Some("u-1".to_owned()),
        groups: vec!["system:authenticated".to_owned()],
        extra: [("scopes".to_owned(), vec!["read".to_owned()])].into(),
    };
    Request { user, namespace: "market".to_owned(), pod: "*".to_owned() }
}

fn decides(fake: &Fake, status: Value) {
    fake.has(
        REVIEWS,
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": status,
        }),
    );
}

#[tokio::test]
async fn the_api_server_is_asked_for_exactly_what_is_wanted() {
    let fake = Fake::default();
    decides(&fake, json!({ "allowed": true }));
    assert_eq!(Access::new(fake.client()).check(request("alice")).await, Ok(()));
    let asked = &fake.requests("POST")[0].body["spec"];
    assert_eq!(
        *asked,
        json!({
            "user": "alice",
            "uid": "u-1",
            "groups": ["system:authenticated"],
            "extra": { "scopes": ["read"] },
            "resourceAttributes": {
                "verb": "get",
                "group": "custom.metrics.k8s.io",
                "version": "v1beta2",
                "resource": "pods",
                "subresource": "active_connections",
                "namespace": "market",
                "name": "*",
            },
        })
    );
}

#[tokio::test]
async fn who_is_refused_is_told_by_whom_and_why() {
    let fake = Fake::default();
    let access = Access::new(fake.client());
    decides(&fake, json!({ "allowed": false, "reason": "no role allows it" }));
    let Err(Refusal::Forbidden(message)) = access.check(request("bob")).await else {
        panic!("it is refused")
    };
    for part in ["bob", "pods/active_connections", "market", "no role allows it"] {
        assert!(message.contains(part), "{message}");
    }
    // What one authorizer denies, another that allows does not outweigh.
    decides(&fake, json!({ "allowed": true, "denied": true }));
    assert!(matches!(access.check(request("carol")).await, Err(Refusal::Forbidden(_))));
}

#[tokio::test(start_paused = true)]
async fn a_decision_counts_for_a_short_while_for_whom_it_was_made_about() {
    let fake = Fake::default();
    let access = Access::new(fake.client());
    decides(&fake, json!({ "allowed": true }));
    assert_eq!(access.check(request("alice")).await, Ok(()));
    decides(&fake, json!({ "allowed": false }));
    assert_eq!(access.check(request("alice")).await, Ok(()));
    assert!(access.check(request("bob")).await.is_err());
    assert_eq!(fake.requests("POST").len(), 2);
    tokio::time::advance(LIFETIME).await;
    assert!(access.check(request("alice")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn where_the_api_server_does_not_decide_nobody_may_and_it_is_asked_again() {
    let fake = Fake::default();
    let access = Access::new(fake.client());
    fake.refuses("POST", REVIEWS, 403);
    let refusal = access.check(request("alice")).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal}");
    fake.refuses("POST", REVIEWS, 0);
    decides(&fake, json!({ "allowed": true }));
    assert_eq!(access.check(request("alice")).await, Ok(()));
}
