//! Kinds that a cluster may have, or not: of the Prometheus operator, and of cert-manager.

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

/// HTTP's 404.
const NOT_FOUND: u16 = 404;

/// Which of the kinds of others the cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// ServiceMonitor of monitoring.coreos.com/v1.
    pub service_monitor: bool,
    /// PrometheusRule of monitoring.coreos.com/v1.
    pub prometheus_rule: bool,
    /// Certificate of cert-manager.io/v1.
    pub certificate: bool,
}

impl Kinds {
    /// Asks the API server.
    ///
    /// # Errors
    ///
    /// What the API server answers, but for not knowing a group.
    pub async fn discover(client: &Client) -> kube::Result<Self> {
        let (monitoring, cert_manager) = (service_monitor(), certificate());
        let monitoring = kinds_of(client, &monitoring.api_version).await?;
        let cert_manager = kinds_of(client, &cert_manager.api_version).await?;
        let has = |kinds: &[String], kind: &str| kinds.iter().any(|known| known == kind);
        Ok(Self {
            service_monitor: has(&monitoring, "ServiceMonitor"),
            prometheus_rule: has(&monitoring, "PrometheusRule"),
            certificate: has(&cert_manager, "Certificate"),
        })
    }
}

/// The kinds of a group and version; none where the cluster does not know it.
async fn kinds_of(client: &Client, api_version: &str) -> kube::Result<Vec<String>> {
    match client.list_api_group_resources(api_version).await {
        Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.kind).collect()),
        // Not `is_not_found`: for a group that it does not know, the API server answers in plain text.
        Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// ServiceMonitor of the Prometheus operator.
#[must_use]
pub fn service_monitor() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("monitoring.coreos.com", "v1", "ServiceMonitor"),
        "servicemonitors",
    )
}

/// PrometheusRule of the Prometheus operator.
#[must_use]
pub fn prometheus_rule() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PrometheusRule"),
        "prometheusrules",
    )
}

/// Certificate of cert-manager.
#[must_use]
pub fn certificate() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate"),
        "certificates",
    )
}
