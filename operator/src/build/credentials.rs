//! The credentials that the operator makes up.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::issue::Issued;
use crate::validate::Validated;

pub(super) fn build(validated: &Validated, issued: &Issued) -> Option<Secret> {
    let fleet = &validated.fleet;
    let pair = issued.generated.as_ref()?;
    let data = [("username", &pair.username), ("password", &pair.password)];
    let mut metadata = fleet.metadata(fleet.credentials_secret(), "credentials");
    // A password that somebody has set since it was read is not taken back.
    metadata.resource_version = validated.credentials_version.clone();
    Some(Secret {
        metadata,
        type_: Some("kubernetes.io/basic-auth".into()),
        data: Some(
            data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.clone()))).collect(),
        ),
        ..Secret::default()
    })
}
