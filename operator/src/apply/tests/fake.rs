//! An API server that these tests can see through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails};
use serde_json::Value;

use super::super::*;
use super::{built, straight, uid_of};

/// An API server that keeps what it is sent, and refuses what the test wants it to. Of an apply it knows no more than that it merges.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    /// By plural and name, such as `secrets/ticks-tls`.
    objects: BTreeMap<String, Value>,
    pub(super) version: u64,
    /// Answers to give in place of the right ones, each once: to the first request that wants this of this object.
    refusals: Vec<(Verb, String, Status)>,
    requests: Vec<Request>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verb {
    Read,
    Apply,
    Merge,
    Delete,
}
pub(super) use Verb::{Apply, Delete, Merge, Read};

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) verb: Verb,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
}

impl Request {
    pub(super) fn new(
        method: &Method,
        uri: &Uri,
        query: BTreeMap<String, String>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let kind = headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
        let verb = match (method, kind) {
            (&Method::GET, _) => Read,
            (&Method::PATCH, Some("application/apply-patch+yaml")) => Apply,
            (&Method::PATCH, Some("application/merge-patch+json")) => Merge,
            (&Method::DELETE, _) => Delete,
            other => panic!("{other:?}: nothing else is needed"),
        };
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
        Self { verb, path: uri.path().to_owned(), query, body }
    }

    /// What it is about, such as `secrets/ticks-tls`.
    pub(super) fn object(&self) -> String {
        self.path.split_once("/namespaces/market/").unwrap().1.to_owned()
    }

    pub(super) fn query(&self) -> Vec<(&str, &str)> {
        self.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

impl Fake {
    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        let answer = move |method: Method, uri: Uri, Query(query), headers: HeaderMap, body: Bytes| {
            let request = Request::new(&method, &uri, query, &headers, &body);
            let answer = match fake.0.lock().unwrap().answer(request) {
                Ok(object) => (StatusCode::OK, object.to_string()),
                Err(status) => {
                    (StatusCode::from_u16(status.code).unwrap(), serde_json::to_string(&status).unwrap())
                }
            };
            async move { answer }
        };
        Client::new(Router::new().fallback(answer), "default")
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// An object that is there already.
    pub(super) fn has(&self, object: &str, content: Value) {
        self.with(|state| state.store(object, content));
    }

    pub(super) fn refuses(&self, verb: Verb, object: &str, status: Status) {
        self.with(|state| state.refusals.push((verb, object.to_owned(), status)));
    }

    pub(super) fn object(&self, object: &str) -> Value {
        self.with(|state| state.objects[object].clone())
    }

    /// All that wanted this, the first first.
    pub(super) fn requests(&self, verb: Verb) -> Vec<Request> {
        self.with(|state| state.requests.iter().filter(|request| request.verb == verb).cloned().collect())
    }

    /// All about this object, the first first.
    pub(super) fn requests_of(&self, object: &str) -> Vec<Request> {
        self.with(|state| {
            state.requests.iter().filter(|request| request.object() == object).cloned().collect()
        })
    }

    pub(super) fn verbs_of(&self, object: &str) -> Vec<Verb> {
        self.requests_of(object).iter().map(|request| request.verb).collect()
    }

    pub(super) fn applied(&self) -> BTreeSet<String> {
        self.requests(Apply).iter().map(Request::object).collect()
    }

    pub(super) fn deleted(&self) -> BTreeSet<String> {
        self.requests(Delete).iter().map(Request::object).collect()
    }

    /// Applies what is built of it.
    pub(super) async fn apply(&self, validated: &Validated) -> Result<Resources<Applied>, ApplyErrors> {
        self.apply_on(validated, &straight(validated)).await
    }

    /// The same, on this course.
    pub(super) async fn apply_on(
        &self,
        validated: &Validated,
        course: &Course,
    ) -> Result<Resources<Applied>, ApplyErrors> {
        apply(&self.client(), validated.kinds, validated, course, built(validated)).await
    }

    /// The same, where not all is taken.
    pub(super) async fn errors(&self, validated: &Validated) -> ApplyErrors {
        self.apply(validated).await.err().unwrap()
    }
}

impl State {
    pub(super) fn answer(&mut self, request: Request) -> Result<Value, Box<Status>> {
        let object = request.object();
        self.requests.push(request.clone());
        let refusal = self.refusals.iter().position(|(verb, of, _)| (*verb, of) == (request.verb, &object));
        if let Some(index) = refusal {
            return Err(self.refusals.remove(index).2.boxed());
        }
        let present = self.objects.get(&object).cloned();
        match request.verb {
            Read => present.ok_or_else(|| refusal_of(404, "it is not there").boxed()),
            Delete => match self.objects.remove(&object) {
                Some(_) => Ok(json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" })),
                None => Err(refusal_of(404, "it is not there").boxed()),
            },
            Apply | Merge => {
                let mut new = present.unwrap_or_default();
                let version = &request.body["metadata"]["resourceVersion"];
                if version.is_string() && *version != new["metadata"]["resourceVersion"] {
                    return Err(refusal_of(409, "somebody was faster").boxed());
                }
                merge(&mut new, &request.body);
                let fields = new["metadata"]["managedFields"].as_array_mut();
                if let (Merge, Some(manager), Some(fields)) =
                    (request.verb, request.query.get("fieldManager"), fields)
                {
                    fields.push(json!({ "manager": manager, "operation": "Update" }));
                }
                Ok(self.store(&object, new))
            }
        }
    }

    /// What was asked for, the first first.
    pub(super) fn objects_asked(&self) -> Vec<String> {
        self.requests.iter().map(Request::object).collect()
    }

    pub(super) fn store(&mut self, object: &str, mut content: Value) -> Value {
        self.version += 1;
        content["metadata"]["resourceVersion"] = json!(self.version.to_string());
        content["metadata"]["uid"] = json!(uid_of(object));
        self.objects.insert(object.to_owned(), content.clone());
        content
    }
}

/// As a merge patch does (RFC 7386).
pub(super) fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, value) in fields {
                match (value, target.as_object_mut()) {
                    (Value::Null, Some(target)) => drop(target.remove(name)),
                    _ => merge(&mut target[name], value),
                }
            }
        }
        other => *target = other.clone(),
    }
}

pub(super) fn refusal_of(code: u16, message: &str) -> Status {
    // The client goes by it.
    let reason = match StatusCode::from_u16(code).unwrap() {
        StatusCode::UNPROCESSABLE_ENTITY => "Invalid".to_owned(),
        // Such as NotFound.
        status => status.canonical_reason().unwrap().replace(' ', ""),
    };
    Status::failure(message, &reason).with_code(code)
}

/// A list would have two entries of the same key.
pub(super) fn twins(message: &str) -> Status {
    let cause = StatusCause {
        reason: "FieldValueDuplicate".into(),
        message: message.to_owned(),
        field: "spec.ports[1]".into(),
    };
    let details = StatusDetails {
        name: "ticks".into(),
        group: String::new(),
        kind: "Service".into(),
        uid: String::new(),
        causes: vec![cause],
        retry_after_seconds: 0,
    };
    refusal_of(422, message).with_details(details)
}
