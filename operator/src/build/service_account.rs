//! The pods' identity. It has no rights, and no token is mounted: a server never asks the API server for anything.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::validate::Validated;

pub(super) fn build(validated: &Validated) -> ServiceAccount {
    let fleet = &validated.fleet;
    ServiceAccount {
        metadata: fleet.metadata(fleet.name.clone(), "server"),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
