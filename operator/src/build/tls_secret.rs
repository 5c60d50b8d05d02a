//! The servers' certificate, where the operator signs it, and the authorities by which clients know it.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::issue::{AUTHORITIES, Issued};
use crate::validate::Validated;

pub(super) fn build(validated: &Validated, issued: &Issued) -> Option<Secret> {
    let fleet = &validated.fleet;
    let tls = issued.tls.as_ref()?;
    Some(Secret {
        metadata: fleet.metadata(fleet.tls_secret(), "tls"),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(tls.data.clone()),
        ..Secret::default()
    })
}

/// Beside the Secret, because clients need the authorities and must not see the key.
pub(super) fn ca_config_map(validated: &Validated, issued: &Issued) -> Option<ConfigMap> {
    let fleet = &validated.fleet;
    let tls = issued.tls.as_ref()?;
    Some(ConfigMap {
        metadata: fleet.metadata(fleet.ca_config_map(), "tls"),
        data: Some([(AUTHORITIES.to_owned(), tls.bundle.clone())].into()),
        ..ConfigMap::default()
    })
}
