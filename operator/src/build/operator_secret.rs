//! What only the operator needs, and no pod mounts.

use k8s_openapi::api::core::v1::Secret;

use crate::issue::Issued;
use crate::validate::Validated;

pub(super) fn build(validated: &Validated, issued: &Issued) -> Secret {
    let fleet = &validated.fleet;
    let mut metadata = fleet.metadata(fleet.operator_secret(), "operator");
    // Of two operators, where for a moment each thinks that it leads, only one replaces the authority.
    metadata.resource_version = validated.operator_version.clone();
    Secret {
        metadata,
        type_: Some("Opaque".into()),
        data: Some(issued.operator_data.clone()),
        ..Secret::default()
    }
}
