//! What these tests have in place of the API server, and of its front proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// An API server that keeps what it is sent.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    /// Answers to give in place of the right ones, by method and path.
    refusals: BTreeMap<(String, String), u16>,
    requests: Vec<Request>,
    version: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Value,
}

impl Fake {
    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        let answer = move |method: Method, uri: Uri, body: Bytes| {
            let request = Request {
                method: method.to_string(),
                path: uri.path().to_owned(),
                query: uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let (code, answer) = fake.0.lock().unwrap().answer(request);
            async move { (StatusCode::from_u16(code).unwrap(), answer.to_string()) }
        };
        Client::new(Router::new().fallback(answer), "default")
    }

    /// What is there at a path: an object, or the answer to whoever reads or creates there.
    pub(super) fn has(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    pub(super) fn lacks(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Refuses by this status from now on; 0: not any more.
    pub(super) fn refuses(&self, method: &str, path: &str, code: u16) {
        self.0.lock().unwrap().refusals.insert((method.to_owned(), path.to_owned()), code);
    }

    pub(super) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    pub(super) fn requests(&self, method: &str) -> Vec<Request> {
        let state = self.0.lock().unwrap();
        state.requests.iter().filter(|request| request.method == method).cloned().collect()
    }
}

/// Where what is created is answered with what the test wants, and not kept.
const REVIEWS: &str = "subjectaccessreviews";

impl State {
    fn answer(&mut self, request: Request) -> (u16, Value) {
        self.requests.push(request.clone());
        let Request { method, path, body, .. } = request;
        if let Some(code) = self.refusals.get(&(method.clone(), path.clone())).filter(|code| **code > 0) {
            return (*code, failure(*code));
        }
        let present = self.objects.get(&path).cloned();
        match (method.as_str(), present) {
            ("POST", Some(answer)) if path.ends_with(REVIEWS) => (201, answer),
            ("POST", _) => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                (201, self.store(&format!("{path}/{name}"), body))
            }
            ("PATCH", present) => {
                // Of an apply it knows that it replaces what is applied, and leaves the status.
                let mut new = body;
                new["status"] = present.unwrap_or_default()["status"].clone();
                (200, self.store(&path, new))
            }
            ("PUT", Some(present)) => {
                if body["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"] {
                    return (409, failure(409));
                }
                (200, self.store(&path, body))
            }
            ("GET", Some(present)) => (200, present),
            ("DELETE", Some(_)) => {
                self.objects.remove(&path);
                (200, json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }))
            }
            (_, None) => (404, failure(404)),
            other => panic!("{other:?}: nothing else is needed"),
        }
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        if object["metadata"].is_object() {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            object["metadata"]["uid"] = json!(format!("uid of {path}"));
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

fn failure(code: u16) -> Value {
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("the API server says {code}"),
    })
}

/// An authority that signs for front proxies.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a client shows.
pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "front-proxy-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn identity(&self, common_name: &str) -> Identity {
        self.sign(common_name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(super) fn sign(&self, common_name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// As an API server publishes it that takes this authority's certificates of this name.
    pub(super) fn config_map(&self, allowed_names: &str) -> ConfigMap {
        let data = json!({ "data": {
            "requestheader-client-ca-file": self.0.pem(),
            "requestheader-allowed-names": allowed_names,
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        } });
        serde_json::from_value(data).unwrap()
    }
}

/// A pod as the API server lists it.
pub(super) fn pod(name: &str, address: &str, started: bool) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "market", "uid": format!("uid of {name}") },
        "status": {
            "phase": "Running",
            "podIP": address,
            "containerStatuses": [{
                "name": "server", "image": "", "imageID": "", "ready": started, "restartCount": 0, "started": started,
            }],
        },
    })
}

pub(super) fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items })
}
