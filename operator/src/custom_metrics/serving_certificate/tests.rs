use jiff::SignedDuration;
use serde_json::json;

use super::super::fake::Fake;
use super::*;

const SECRET: &str = "/api/v1/namespaces/tickwire-system/secrets/tickwire-api";

fn place() -> Place {
    Place {
        namespace: "tickwire-system".to_owned(),
        service: "tickwire-api".to_owned(),
        owner: "tickwire-api".to_owned(),
    }
}

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "rbac.authorization.k8s.io/v1".to_owned(),
        kind: "ClusterRole".to_owned(),
        name: "tickwire-api".to_owned(),
        uid: "u-1".to_owned(),
        ..OwnerReference::default()
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn certificate(data: &BTreeMap<String, ByteString>) -> Certificate {
    Certificate::read(&data[CERTIFICATE].0, &data[KEY].0).unwrap()
}

#[test]
fn a_certificate_for_the_services_name_is_made_kept_and_made_anew_in_time() {
    let host = place().host();
    let first = renewed(&BTreeMap::new(), &host, now()).unwrap();
    let made = certificate(&first.data);
    assert_eq!(made.dns_names().iter().collect::<Vec<_>>(), ["tickwire-api.tickwire-system.svc"]);
    assert!(made.is_signed_by(first.bundle.as_bytes()));
    assert_eq!(renewed(&first.data, &host, now() + days(59)).unwrap(), first);
    let second = renewed(&first.data, &host, now() + days(61)).unwrap();
    assert_ne!(certificate(&second.data), made);
    assert_eq!(second.bundle, first.bundle, "by the same authority");
}

#[test]
fn an_authority_is_succeeded_by_one_that_is_known_before_it_signs() {
    let (host, mut data) = (place().host(), BTreeMap::new());
    let mut bundle = String::new();
    let mut authorities = std::collections::BTreeSet::new();
    // A look a week, for three lifetimes of an authority.
    for week in 0..(3 * 5 * 52) {
        let kept = renewed(&data, &host, now() + days(7 * week)).unwrap();
        let shown = certificate(&kept.data);
        assert!(shown.valid_at(now() + days(7 * week)).is_ok());
        if week > 0 {
            assert!(shown.is_signed_by(bundle.as_bytes()), "who has yesterday's bundle knows it");
        }
        authorities.insert(shown.authority_key_id().unwrap().to_vec());
        (data, bundle) = (kept.data, kept.bundle);
    }
    assert!(authorities.len() >= 3);
}

#[test]
fn what_is_damaged_is_made_anew() {
    let host = place().host();
    let mut data = renewed(&BTreeMap::new(), &host, now()).unwrap().data;
    data.insert("ca.key".to_owned(), ByteString(b"nonsense".to_vec()));
    let kept = renewed(&data, &host, now()).unwrap();
    assert!(certificate(&kept.data).is_signed_by(kept.bundle.as_bytes()));
}

#[tokio::test]
async fn it_is_written_once_with_its_owner_and_shown_by_whoever_reads_it() {
    let (fake, shown) = (Fake::default(), Shown::default());
    let (client, api) = (fake.client(), Api::namespaced(fake.client(), "tickwire-system"));
    let mut version = None;
    shown.load(&api, "tickwire-api", &mut version).await.unwrap();
    assert!(shown.current().is_none(), "there is none yet");
    let made = keep(&client, &place(), Some(&owner()), Timestamp::now()).await.unwrap();
    assert!(made.is_new);
    assert_eq!(fake.object(SECRET).unwrap()["metadata"]["ownerReferences"][0]["uid"], "u-1");
    shown.load(&api, "tickwire-api", &mut version).await.unwrap();
    let first = shown.current().unwrap();

    let kept = keep(&client, &place(), Some(&owner()), Timestamp::now()).await.unwrap();
    assert_eq!(kept, Bundle { is_new: false, ..made.clone() });
    assert_eq!((fake.requests("POST").len(), fake.requests("PUT").len()), (1, 0));
    shown.load(&api, "tickwire-api", &mut version).await.unwrap();
    assert!(Arc::ptr_eq(&first, &shown.current().unwrap()));

    // The chart has been installed anew: another owner.
    let other = OwnerReference { uid: "u-2".to_owned(), ..owner() };
    assert_eq!(keep(&client, &place(), Some(&other), Timestamp::now()).await.unwrap(), kept);
    assert_eq!(fake.object(SECRET).unwrap()["metadata"]["ownerReferences"][0]["uid"], "u-2");

    // Another certificate is taken up.
    fake.lacks(SECRET);
    keep(&client, &place(), Some(&owner()), Timestamp::now()).await.unwrap();
    shown.load(&api, "tickwire-api", &mut version).await.unwrap();
    assert_ne!(first.cert, shown.current().unwrap().cert);
    // One that cannot be used is not.
    let last = shown.current().unwrap();
    let mut damaged = fake.object(SECRET).unwrap();
    damaged["data"]["tls.crt"] = json!("aGVsbG8=");
    fake.has(SECRET, damaged);
    assert!(shown.load(&api, "tickwire-api", &mut version).await.is_err());
    assert!(Arc::ptr_eq(&last, &shown.current().unwrap()));
}

#[tokio::test]
async fn a_secret_of_somebody_elses_is_not_touched() {
    let fake = Fake::default();
    fake.has(SECRET, json!({ "metadata": { "name": "tickwire-api" }, "data": { "tls.crt": "aGVsbG8=" } }));
    let error = keep(&fake.client(), &place(), None, now()).await.unwrap_err();
    assert!(matches!(error, KeepError::Taken(_)), "{error}");
    assert!(fake.requests("PUT").is_empty() && fake.requests("POST").is_empty());
}
