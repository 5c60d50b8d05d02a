use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use tickwire_crd::{StreamServer, TlsMode};

mod fake;

use fake::*;

use super::*;
use crate::build::{Surroundings, build};
use crate::fleet::{INSTANCE_LABEL, MANAGED_BY_LABEL};
use crate::issue::issue;
use crate::problem::Problem;
use crate::settings::ServerImage;
use crate::validate::{CertificateSource, Credentials, Pair};

/// The uid of the StreamServer.
const UID: &str = "u-1";

/// What is made for an empty specification.
const WHOLE_FLEET: [&str; 9] = [
    "configmaps/ticks-ca",
    "deployments/ticks",
    "poddisruptionbudgets/ticks",
    "secrets/ticks-credentials",
    "secrets/ticks-operator",
    "secrets/ticks-tls",
    "serviceaccounts/ticks",
    "services/ticks",
    "services/ticks-metrics",
];

/// All of it, but these.
fn whole_fleet_without(others: &[&str]) -> BTreeSet<String> {
    WHOLE_FLEET.iter().filter(|object| !others.contains(object)).map(|object| (*object).to_owned()).collect()
}

fn uid_of(object: &str) -> String {
    format!("uid of {object}")
}

/// As the operator labels it, whoever owns it.
fn labelled() -> Value {
    json!({ "labels": { (MANAGED_BY_LABEL): MANAGER, (INSTANCE_LABEL): "ticks" } })
}

/// Of what the StreamServer of this uid has made: by their labels all StreamServers of a name are alike.
fn owned_by(uid: &str) -> Value {
    let mut metadata = labelled();
    metadata["ownerReferences"] = json!([{
        "apiVersion": "tickwire.dev/v1alpha1",
        "kind": "StreamServer",
        "name": "ticks",
        "uid": uid,
        "controller": true,
    }]);
    metadata
}

/// A StreamServer with this specification, as the steps before leave it.
fn validated(spec: &str) -> Validated {
    let text = format!(
        "apiVersion: tickwire.dev/v1alpha1\nkind: StreamServer\nmetadata: {{ name: ticks, namespace: market, uid: {UID} }}\nspec: {spec}"
    );
    let server: StreamServer = serde_saphyr::from_str(&text).unwrap();
    let pair = || Pair { username: b"tickwire".to_vec(), password: b"secret".to_vec() };
    Validated {
        fleet: Fleet::of(&server).unwrap(),
        kinds: Kinds::default(),
        credentials: match server.spec.auth.secret_ref {
            Some(_) => Credentials::Referenced(pair()),
            None => Credentials::Missing,
        },
        certificate: match server.spec.tls.mode {
            TlsMode::SelfSigned => CertificateSource::SelfSigned { data: BTreeMap::new() },
            TlsMode::CertManager => CertificateSource::CertManager(None),
            TlsMode::Secret | TlsMode::Disabled => CertificateSource::Disabled,
        },
        operator_data: BTreeMap::new(),
        operator_version: None,
        credentials_version: None,
        recording: Vec::new(),
        nats: None,
        problems: Vec::new(),
        spec: server.spec,
    }
}

/// With something that a person has to see to: the pods stay as they are.
fn with_a_problem(mut validated: Validated) -> Validated {
    validated.problems.push(Problem::configuration("SecretNotFound", "create it".into()));
    validated
}

/// Nothing is waited for.
fn straight(validated: &Validated) -> Course {
    Course::straight(&validated.spec, Timestamp::UNIX_EPOCH)
}

fn built(validated: &Validated) -> Resources<Prepared> {
    let issued = issue(validated, None, Timestamp::UNIX_EPOCH).unwrap();
    let around = Surroundings {
        server_image: ServerImage { repository: "tickwire/server".into(), tag: "0.1.0".into() },
        operator_namespace: "tickwire-system".into(),
        operator_labels: BTreeMap::new(),
    };
    build(validated, &issued, &straight(validated), &around)
}

fn documents(resources: Resources<Prepared>) -> Vec<Value> {
    // Without `..`: what is built is looked at.
    let Resources {
        service_account,
        operator_secret,
        credentials_secret,
        tls_secret,
        ca_config_map,
        certificate,
        certificate_secret,
        service,
        metrics_service,
        network_policy,
        disruption_budget,
        deployment,
        autoscaler,
        service_monitor,
        prometheus_rule,
        state: _,
    } = resources;
    let all = [
        json!(service_account),
        json!(operator_secret),
        json!(credentials_secret),
        json!(tls_secret),
        json!(ca_config_map),
        json!(certificate),
        json!(certificate_secret),
        json!(service),
        json!(metrics_service),
        json!(network_policy),
        json!(disruption_budget),
        json!(deployment),
        json!(autoscaler),
        json!(service_monitor),
        json!(prometheus_rule),
    ];
    all.into_iter().filter(|document| !document.is_null()).collect()
}

#[tokio::test]
async fn everything_that_was_built_is_applied_by_force_under_the_name_of_the_operator() {
    let (fake, validated) = (Fake::default(), validated("{}"));
    let resources = built(&validated);
    let wanted = documents(resources.clone());
    let applied = apply(&fake.client(), validated.kinds, &validated, &straight(&validated), resources)
        .await
        .ok()
        .unwrap();

    let requests = fake.requests(Apply);
    for request in &requests {
        assert_eq!(
            request.query(),
            [("fieldManager", "tickwire-operator"), ("force", "true")],
            "{}",
            request.path
        );
    }
    assert_eq!(fake.applied(), whole_fleet_without(&[]));
    assert_eq!(requests.len(), wanted.len(), "each once");
    let bodies: Vec<_> = requests.into_iter().map(|request| request.body).collect();
    assert!(wanted.iter().all(|document| bodies.contains(document)));
    assert!(fake.requests(Merge).is_empty());
    // What is answered is what the API server has now.
    assert_eq!(applied.service.metadata.uid, Some(uid_of("services/ticks")));
    assert_eq!(applied.deployment.unwrap().metadata.uid, Some(uid_of("deployments/ticks")));
}

#[tokio::test]
async fn what_signs_is_applied_before_it_is_published_and_that_before_it_signs_and_all_before_the_pods() {
    let fake = Fake::default();
    assert!(fake.apply(&validated("{}")).await.is_ok());
    let order: Vec<_> = fake.requests(Apply).iter().map(Request::object).collect();
    let place = |object: &str| order.iter().position(|applied| applied == object).unwrap();
    assert!(place("secrets/ticks-operator") < place("configmaps/ticks-ca"), "{order:?}");
    assert!(place("configmaps/ticks-ca") < place("secrets/ticks-tls"), "{order:?}");
    let pods = place("deployments/ticks");
    assert!(order[pods..].iter().all(|object| !object.starts_with("secrets/")), "{order:?}");
    assert!(place("serviceaccounts/ticks") < pods, "{order:?}");
}

#[tokio::test]
async fn what_was_not_built_and_is_not_there_is_asked_for_and_not_deleted() {
    let fake = Fake::default();
    assert!(fake.apply(&validated("{disruption: {enabled: false}}")).await.is_ok());
    for object in ["horizontalpodautoscalers/ticks", "networkpolicies/ticks", "poddisruptionbudgets/ticks"] {
        assert_eq!(fake.verbs_of(object), [Read], "{object}");
    }
    assert!(fake.deleted().is_empty());
}

#[tokio::test]
async fn of_kinds_that_the_cluster_does_not_have_nothing_is_asked() {
    let of_others = ["certificates/ticks", "prometheusrules/ticks", "servicemonitors/ticks"];
    let spec = "{replicas: 3, tls: {mode: CertManager, certManager: {issuerRef: {name: ours}}}}";
    for (spec, is_applied) in [(spec, true), ("{replicas: 3, monitoring: {enabled: false}}", false)] {
        let mut validated = validated(spec);
        let fake = Fake::default();
        fake.has("deployments/ticks", complete_deployment());
        assert!(fake.apply(&validated).await.is_ok());
        for object in of_others {
            assert!(fake.verbs_of(object).is_empty(), "{object}");
        }
        // Of those that it has, something is.
        validated.kinds = Kinds { service_monitor: true, prometheus_rule: true, certificate: true };
        assert!(fake.apply(&validated).await.is_ok());
        for object in of_others {
            let verbs: &[_] = if is_applied { &[Read, Apply] } else { &[Read] };
            assert_eq!(fake.verbs_of(object), verbs, "{object}");
        }
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_written_to_and_everything_else_is() {
    let fake = Fake::default();
    fake.has("services/ticks", json!({ "metadata": owned_by("u-2") }));
    fake.has("poddisruptionbudgets/ticks", json!({ "metadata": {} }));
    let errors = fake.errors(&validated("{}")).await;

    let taken = |kind: &str| {
        format!(
            "{kind} ticks exists and does not belong to this StreamServer; delete it, or give the StreamServer another name"
        )
    };
    assert_eq!(errors.to_string(), format!("{}; {}", taken("Service"), taken("PodDisruptionBudget")));
    assert!(errors.0.iter().all(|error| matches!(error, ApplyError::Taken { .. })));
    assert_eq!(errors.reason(), "NameTaken");
    assert!(!errors.is_transient());
    for object in ["services/ticks", "poddisruptionbudgets/ticks"] {
        assert_eq!(fake.verbs_of(object), [Read], "{object}");
    }
    assert_eq!(fake.applied(), whole_fleet_without(&["services/ticks", "poddisruptionbudgets/ticks"]));
}

#[tokio::test]
async fn what_has_lost_its_owner_is_known_by_its_labels_and_adopted() {
    let fake = Fake::default();
    fake.has("services/ticks", json!({ "metadata": labelled() }));
    assert!(fake.apply(&validated("{}")).await.is_ok());
    assert_eq!(fake.verbs_of("services/ticks"), [Read, Apply]);
    let metadata = &fake.object("services/ticks")["metadata"];
    assert_eq!(metadata["ownerReferences"][0]["uid"], UID);
}

#[tokio::test]
async fn all_that_is_refused_is_told_and_nothing_of_it_keeps_the_rest_from_being_applied() {
    let fake = Fake::default();
    let refused =
        ["secrets/ticks-credentials", "services/ticks-metrics", "deployments/ticks", "services/ticks"];
    for object in refused {
        fake.refuses(Apply, object, refusal_of(403, &format!("not {object}")));
    }
    let errors = fake.errors(&validated("{}")).await;
    assert_eq!(errors.0.len(), refused.len(), "{errors}");
    for object in refused {
        assert!(errors.to_string().contains(&format!("not {object}")), "{errors}");
    }
    assert_eq!(errors.reason(), "Forbidden");
    assert_eq!(fake.applied(), whole_fleet_without(&[]), "also what was refused was tried");
}

#[tokio::test]
async fn authorities_that_are_not_published_do_not_sign() {
    let fake = Fake::default();
    fake.refuses(Apply, "configmaps/ticks-ca", refusal_of(500, "away"));
    let errors = fake.errors(&validated("{}")).await;
    assert_eq!(errors.to_string(), "cannot apply ConfigMap ticks-ca: away");
    assert_eq!(fake.applied(), whole_fleet_without(&["secrets/ticks-tls"]));
}

#[tokio::test]
async fn an_authority_that_is_not_written_down_is_not_published() {
    let fake = Fake::default();
    fake.refuses(Apply, "secrets/ticks-operator", refusal_of(500, "away"));
    let errors = fake.errors(&validated("{}")).await;
    assert_eq!(errors.to_string(), "cannot apply Secret ticks-operator: away");
    assert_eq!(fake.applied(), whole_fleet_without(&["configmaps/ticks-ca", "secrets/ticks-tls"]));
}

/// A certificate has to be renewed, whatever else there is.
#[tokio::test]
async fn a_service_account_that_is_somebody_elses_does_not_keep_the_certificate_from_being_written() {
    let fake = Fake::default();
    fake.has("serviceaccounts/ticks", json!({ "metadata": owned_by("u-2") }));
    let errors = fake.errors(&validated("{}")).await;
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(fake.applied(), whole_fleet_without(&["serviceaccounts/ticks"]));
}

#[tokio::test]
async fn a_list_that_would_have_twins_is_replaced_and_then_owned_by_the_apply_alone() {
    let fake = Fake::default();
    let mut metadata = owned_by(UID);
    let others = json!([
        { "manager": "kubectl-edit", "operation": "Update" },
        { "manager": "tickwire-operator", "operation": "Apply" },
    ]);
    metadata["managedFields"] = others.clone();
    fake.has("services/ticks", json!({ "metadata": metadata }));
    let version = fake.with(|state| state.version);
    fake.refuses(Apply, "services/ticks", twins("port 443 is there twice"));
    let applied = fake.apply(&validated("{}")).await.ok().unwrap();

    let requests = fake.requests_of("services/ticks");
    let verbs: Vec<_> = requests.iter().map(|request| request.verb).collect();
    assert_eq!(verbs, [Read, Apply, Merge, Merge, Apply]);
    let [_, refused, whole, fields, again] = requests.as_slice() else { unreachable!() };
    // Not by force: that is for an apply.
    assert_eq!(whole.query(), [("fieldManager", "tickwire-operator")]);
    assert_eq!(whole.body, refused.body);
    let answered = fields.body["metadata"]["resourceVersion"].as_str().unwrap();
    assert!(answered.parse::<u64>().unwrap() > version, "as of the answer");
    assert_eq!(fields.body, json!({ "metadata": { "managedFields": others, "resourceVersion": answered } }));
    assert_eq!(again.query(), [("fieldManager", "tickwire-operator"), ("force", "true")]);
    assert_eq!(again.body, refused.body);
    let present = fake.object("services/ticks");
    assert_eq!(present["metadata"]["managedFields"], others);
    assert_eq!(
        json!(applied.service.metadata.resource_version),
        present["metadata"]["resourceVersion"],
        "it is the last answer"
    );
}

#[tokio::test]
async fn what_is_refused_for_another_reason_is_not_replaced() {
    let fake = Fake::default();
    fake.refuses(Apply, "services/ticks", refusal_of(422, "spec.clusterIP: field is immutable"));
    let errors = fake.errors(&validated("{}")).await;
    assert_eq!(errors.to_string(), "cannot apply Service ticks: spec.clusterIP: field is immutable");
    assert_eq!(errors.reason(), "Refused");
    assert_eq!(fake.verbs_of("services/ticks"), [Read, Apply]);
}

#[tokio::test]
async fn where_a_list_with_twins_cannot_be_replaced_either_the_first_refusal_is_told() {
    for (verb, tried) in [(Merge, [Read, Apply, Merge].as_slice()), (Apply, &[Read, Apply, Merge, Apply])] {
        let fake = Fake::default();
        fake.refuses(Apply, "services/ticks", twins("the first"));
        fake.refuses(verb, "services/ticks", twins("the second"));
        let errors = fake.errors(&validated("{}")).await;
        assert_eq!(errors.to_string(), "cannot apply Service ticks: the first");
        assert_eq!(fake.verbs_of("services/ticks"), tried);
    }
}

#[tokio::test]
async fn a_quota_has_a_reason_of_its_own() {
    let message = "secrets \"ticks-tls\" is forbidden: exceeded quota: small, requested: count/secrets=1";
    for (message, reason) in [(message, "QuotaExceeded"), ("no such permission", "Forbidden")] {
        let fake = Fake::default();
        fake.refuses(Apply, "secrets/ticks-tls", refusal_of(403, message));
        let errors = fake.errors(&validated("{}")).await;
        assert_eq!(errors.reason(), reason);
        assert_eq!(errors.to_string(), format!("cannot apply Secret ticks-tls: {message}"));
    }
}

#[tokio::test]
async fn what_may_go_the_next_time_is_told_from_what_somebody_has_to_see_to() {
    for (code, is_transient) in
        [(409, true), (429, true), (500, true), (503, true), (400, false), (403, false), (422, false)]
    {
        let fake = Fake::default();
        fake.refuses(Apply, "services/ticks", refusal_of(code, "as the test wants it"));
        assert_eq!(fake.errors(&validated("{}")).await.is_transient(), is_transient, "{code}");
    }
    // One that does not is enough.
    let fake = Fake::default();
    fake.refuses(Apply, "services/ticks", refusal_of(409, "somebody was faster"));
    fake.refuses(Apply, "services/ticks-metrics", refusal_of(403, "no such permission"));
    assert!(!fake.errors(&validated("{}")).await.is_transient());
}

#[tokio::test]
async fn while_there_is_a_problem_only_the_number_of_pods_is_changed() {
    for (present, patches) in [(3, 1), (5, 0)] {
        let fake = Fake::default();
        fake.has(
            "deployments/ticks",
            json!({ "metadata": owned_by(UID), "spec": { "replicas": present, "paused": true } }),
        );
        let applied = fake.apply(&with_a_problem(validated("{replicas: 5}"))).await.ok().unwrap();
        assert!(!fake.applied().contains("deployments/ticks"));
        let requests = fake.requests(Merge);
        assert_eq!(requests.len(), patches, "{requests:?}");
        for request in requests {
            assert_eq!(request.object(), "deployments/ticks");
            assert_eq!(request.query(), [("fieldManager", "tickwire-operator")]);
            assert_eq!(request.body, json!({ "spec": { "replicas": 5 } }));
        }
        // Told as it is now.
        let spec = applied.deployment.unwrap().spec.unwrap();
        assert_eq!((spec.replicas, spec.paused), (Some(5), Some(true)));
    }
}

#[tokio::test]
async fn who_is_to_go_is_marked_before_the_number_is_applied_and_who_stays_loses_the_mark() {
    let (fake, validated) = (Fake::default(), validated("{replicas: 2}"));
    for pod in ["pods/a", "pods/b"] {
        fake.has(pod, json!({ "metadata": {} }));
    }
    // The last is gone already.
    let course =
        Course { choose: vec!["a".into()], clear: vec!["b".into(), "gone".into()], ..straight(&validated) };
    fake.refuses(Merge, "pods/gone", refusal_of(404, "it is not there"));
    assert!(fake.apply_on(&validated, &course).await.is_ok());
    let marks = fake.requests(Merge);
    let marked: Vec<_> = marks.iter().map(Request::object).collect();
    assert_eq!(marked, ["pods/a", "pods/b", "pods/gone"]);
    let annotations = |cost: Value, moment: Value| {
        json!({ "metadata": { "annotations": {
            "controller.kubernetes.io/pod-deletion-cost": cost,
            "tickwire.dev/chosen-to-go-at": moment,
        } } })
    };
    assert_eq!(marks[0].body, annotations(json!("-2147483648"), json!("1970-01-01T00:00:00Z")));
    assert_eq!(marks[1].body, annotations(Value::Null, Value::Null));
    let order = fake.with(|state| state.objects_asked());
    let place = |object: &str| order.iter().position(|asked| asked == object).unwrap();
    assert!(place("pods/a") < place("deployments/ticks"), "{order:?}");
}

#[tokio::test]
async fn a_pod_that_cannot_be_marked_is_told() {
    let (fake, validated) = (Fake::default(), validated("{replicas: 2}"));
    fake.refuses(Merge, "pods/a", refusal_of(403, "no such permission"));
    let course = Course { choose: vec!["a".into()], ..straight(&validated) };
    let errors = fake.apply_on(&validated, &course).await.err().unwrap();
    assert_eq!(errors.to_string(), "cannot annotate Pod a: no such permission");
}

#[tokio::test]
async fn while_there_is_a_problem_a_deployment_that_is_somebody_elses_or_not_there_is_left_alone() {
    let foreign = json!({ "metadata": owned_by("u-2"), "spec": { "replicas": 3 } });
    for present in [Some(foreign), None] {
        let fake = Fake::default();
        if let Some(present) = present {
            fake.has("deployments/ticks", present);
        }
        let applied = fake.apply(&with_a_problem(validated("{replicas: 5}"))).await.ok().unwrap();
        assert!(applied.deployment.is_none());
        assert_eq!(fake.verbs_of("deployments/ticks"), [Read]);
        assert_eq!(fake.applied(), whole_fleet_without(&["deployments/ticks"]));
    }
}

#[tokio::test]
async fn a_number_of_pods_that_cannot_be_changed_is_told() {
    let fake = Fake::default();
    fake.has("deployments/ticks", json!({ "metadata": owned_by(UID), "spec": { "replicas": 3 } }));
    fake.refuses(Merge, "deployments/ticks", refusal_of(403, "exceeded quota: small"));
    let errors = fake.errors(&with_a_problem(validated("{replicas: 5}"))).await;
    assert_eq!(errors.to_string(), "cannot scale Deployment ticks: exceeded quota: small");
}

/// Needs neither certificate nor credentials of the operator's.
const BARE: &str = "{replicas: 3, tls: {mode: Disabled}, auth: {secretRef: {name: mine}}}";

/// What pods of before may have mounted.
const MOUNTED: [&str; 4] =
    ["configmaps/ticks-ca", "secrets/ticks-certificate", "secrets/ticks-credentials", "secrets/ticks-tls"];

fn mounted() -> BTreeSet<String> {
    MOUNTED.map(str::to_owned).into()
}

/// With three pods as specified, and no others.
fn complete_deployment() -> Value {
    let mut metadata = owned_by(UID);
    metadata["generation"] = json!(2);
    json!({
        "metadata": metadata,
        "spec": { "replicas": 3 },
        "status": { "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3 },
    })
}

/// With all that pods of before may have mounted, and a complete rollout, but for this.
fn rolled_out_but(difference: Value) -> Fake {
    let fake = Fake::default();
    for object in MOUNTED {
        fake.has(object, json!({ "metadata": owned_by(UID) }));
    }
    let mut deployment = complete_deployment();
    merge(&mut deployment, &difference);
    fake.has("deployments/ticks", deployment);
    fake
}

fn rolled_out() -> Fake {
    rolled_out_but(json!({}))
}

#[tokio::test]
async fn what_no_pod_needs_any_more_is_deleted_exactly_as_it_was_looked_at() {
    let fake = rolled_out();
    assert!(fake.apply(&validated(BARE)).await.is_ok());
    assert_eq!(fake.deleted(), mounted());
    for request in fake.requests(Delete) {
        assert_eq!(request.body["preconditions"], json!({ "uid": uid_of(&request.object()) }));
    }
    // The second time there is nothing left to do.
    assert!(fake.apply(&validated(BARE)).await.is_ok());
    assert_eq!(fake.requests(Delete).len(), MOUNTED.len());
}

#[tokio::test]
async fn what_is_asked_for_is_not_deleted_although_all_pods_are_new() {
    let fake = rolled_out();
    assert!(fake.apply(&validated("{replicas: 3}")).await.is_ok());
    assert_eq!(fake.deleted(), ["secrets/ticks-certificate".to_owned()].into());
}

#[tokio::test]
async fn as_long_as_a_pod_may_need_it_nothing_is_deleted() {
    for difference in [
        json!({ "status": { "updatedReplicas": 2 } }),
        json!({ "status": { "replicas": 4 } }),
        json!({ "status": { "availableReplicas": 2 } }),
        json!({ "status": { "observedGeneration": 1 } }),
    ] {
        let fake = rolled_out_but(difference.clone());
        assert!(fake.apply(&validated(BARE)).await.is_ok());
        assert!(fake.deleted().is_empty(), "{difference}");
    }
}

#[tokio::test]
async fn while_there_is_a_problem_or_something_was_refused_nothing_that_pods_may_need_is_deleted() {
    let fake = rolled_out();
    assert!(fake.apply(&with_a_problem(validated(BARE))).await.is_ok());
    assert!(fake.deleted().is_empty());

    fake.refuses(Apply, "services/ticks", refusal_of(500, "away"));
    assert_eq!(fake.errors(&validated(BARE)).await.0.len(), 1);
    assert!(fake.deleted().is_empty());
}

#[tokio::test]
async fn what_pods_do_not_need_is_deleted_at_once() {
    let fake = rolled_out_but(json!({ "status": { "updatedReplicas": 2 } }));
    let unneeded = ["horizontalpodautoscalers/ticks", "networkpolicies/ticks", "poddisruptionbudgets/ticks"];
    for object in unneeded {
        fake.has(object, json!({ "metadata": owned_by(UID) }));
    }
    assert!(fake.apply(&validated("{replicas: 3, disruption: {enabled: false}}")).await.is_ok());
    assert_eq!(fake.deleted(), unneeded.map(str::to_owned).into());
}

#[tokio::test]
async fn what_is_somebody_elses_or_is_going_already_is_not_deleted() {
    let mut going = owned_by(UID);
    going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for metadata in [owned_by("u-2"), json!({}), going] {
        let fake = rolled_out();
        fake.has("secrets/ticks-tls", json!({ "metadata": metadata }));
        assert!(fake.apply(&validated(BARE)).await.is_ok());
        assert_eq!(fake.verbs_of("secrets/ticks-tls"), [Read], "{metadata}");
        let mut others = mounted();
        others.remove("secrets/ticks-tls");
        assert_eq!(fake.deleted(), others, "{metadata}");
    }
}

#[tokio::test]
async fn what_has_gone_before_it_could_be_deleted_is_no_error() {
    let fake = rolled_out();
    fake.refuses(Delete, "secrets/ticks-tls", refusal_of(404, "it is not there"));
    assert!(fake.apply(&validated(BARE)).await.is_ok());
    assert_eq!(fake.deleted(), mounted());
}

#[tokio::test]
async fn what_cannot_be_deleted_is_told_and_the_rest_is_deleted() {
    let fake = rolled_out();
    fake.refuses(Delete, "secrets/ticks-tls", refusal_of(500, "away"));
    let errors = fake.errors(&validated(BARE)).await;
    assert_eq!(errors.to_string(), "cannot remove Secret ticks-tls: away");
    assert!(errors.is_transient());
    assert_eq!(fake.deleted(), mounted());
}
