//! The API: what is asked, and what is answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::metrics::Metrics;

use super::access::{self, Access};
use super::front_proxy::{FrontProxies, User};
use super::readings::{Reading, Readings, Selection, Wanted};
use super::refusal::Refusal;
use super::{GROUP, METRIC, VERSION, discovery};

/// What stands for all pods in place of a name.
const ALL: &str = "*";
/// The longest name of an object (RFC 1123).
const MAX_NAME: usize = 253;

/// What answering needs. Clones share it.
#[derive(Clone)]
pub struct Api {
    /// Who may say who asks.
    pub front_proxies: Arc<FrontProxies>,
    /// Who may ask.
    pub access: Arc<Access>,
    /// What is answered.
    pub readings: Arc<Readings>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The certificates that the other end of a connection has shown, its own first; whose they are has yet to be found out.
#[derive(Clone, Debug, Default)]
pub struct Peer(pub Arc<[CertificateDer<'static>]>);

impl Api {
    /// Answers the requests of a connection whose [`Peer`] is among their extensions.
    pub fn router(self) -> Router {
        let answered = Router::new()
            .route("/apis", get(async |_: User| document(&discovery::groups())))
            .route(&format!("/apis/{GROUP}"), get(async |_: User| document(&discovery::versions())))
            .route(
                &format!("/apis/{GROUP}/{VERSION}"),
                get(async |_: User| document(&discovery::resources())),
            )
            .route(
                &format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/pods/{{pod}}/{{metric}}"),
                get(metric),
            )
            .fallback(async |_: User, uri: Uri| not_found(&uri))
            .method_not_allowed_fallback(async |_: User| Refusal::MethodNotAllowed)
            .layer(from_fn_with_state(self.clone(), count));
        let health = ["/healthz", "/livez", "/readyz"];
        health
            .into_iter()
            .fold(answered, |router, path| router.route(path, get(async || "ok")))
            .with_state(self)
    }
}

/// Whoever asks, where it is known.
impl FromRequestParts<Api> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let front_proxy = api.front_proxies.current().ok_or_else(|| {
            Refusal::Unavailable(
                "it is not known yet who may say who asks; the operator's log says why".to_owned(),
            )
        })?;
        let peer = parts.extensions.get::<Peer>().cloned().unwrap_or_default();
        let user =
            front_proxy.recognize(&peer.0, UnixTime::now()).and_then(|()| front_proxy.user(&parts.headers));
        user.map_err(Refusal::Unauthorized)
    }
}

/// Counts what was answered.
async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    api.metrics.custom_metrics_answered(response.status().as_u16());
    response
}

/// What can be said about the metrics that are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Options {
    label_selector: String,
    metric_label_selector: String,
}

async fn metric(
    user: User,
    State(api): State<Api>,
    Path((namespace, pod, metric)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Refusal> {
    // What is no name is nobody's, and must not reach a path of the API server's.
    if !is_label(&namespace) || !(pod == ALL || is_name(&pod)) {
        return Err(not_found(&uri));
    }
    // Before anything is looked at: who may not ask does not learn what is there.
    let request = access::Request { user, namespace: namespace.clone(), pod: pod.clone() };
    if metric != METRIC {
        return Err(Refusal::NotFound(format!("there is no metric {metric:?} of pods, but {METRIC:?}")));
    }
    api.access.check(request).await?;
    let Query(options) = Query::<Options>::try_from_uri(&uri).map_err(|error| {
        Refusal::BadRequest(format!(
            "the query cannot be read: {error}; labelSelector and metricLabelSelector may each be there once"
        ))
    })?;
    if !options.metric_label_selector.is_empty() {
        return Err(Refusal::BadRequest(format!(
            "metricLabelSelector: {METRIC} has no labels that could be selected by; leave it out"
        )));
    }
    let pods = match pod.as_str() {
        ALL => Selection::Labelled(options.label_selector),
        _ => Selection::Named(pod),
    };
    let readings = api.readings.of(Wanted { namespace: namespace.clone(), pods }).await?;
    Ok(document(&list(&namespace, &readings)))
}

/// A MetricValueList (custom.metrics.k8s.io/v1beta2).
fn list(namespace: &str, readings: &[Reading]) -> Value {
    let items = readings.iter().map(|reading| {
        json!({
            "describedObject": {
                "kind": "Pod",
                "namespace": namespace,
                "name": reading.pod,
                "apiVersion": "v1",
            },
            "metric": { "name": METRIC, "selector": null },
            "timestamp": whole_seconds(reading.at),
            // It is what there is at that moment, and nothing that was gathered over a time.
            "windowSeconds": 0,
            "value": reading.connections.to_string(),
        })
    });
    json!({
        "kind": "MetricValueList",
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// As Kubernetes writes times, and never in the future.
fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn document(document: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn not_found(uri: &Uri) -> Refusal {
    Refusal::NotFound(format!(
        "there is nothing at {:?}; metrics are at /apis/{GROUP}/{VERSION}/namespaces/NAMESPACE/pods/*/{METRIC}",
        uri.path()
    ))
}

/// Whether something can be the name of a namespace.
fn is_label(text: &str) -> bool {
    is_name(text) && !text.contains('.')
}

/// Whether something can be the name of a pod.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let has_ends = !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']);
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(is_inner) && has_ends
}

/// A connection's peer, for all its requests.
pub(super) fn of_peer(router: &Router, peer: Peer) -> Router {
    router.clone().layer(Extension(peer))
}

#[cfg(test)]
mod tests;
