//! The custom resource definition, as it is installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, ValidationRule,
};
use kube::CustomResourceExt as _;

use crate::stream_server::StreamServer;

/// The longest name: with the longest suffix of a child (`-credentials`, 12) it is a label yet, of at most 63 characters.
const MAX_NAME: usize = 50;

/// The custom resource definition: what the types say, and the rules about an object's name, which no type of ours has.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    let mut definition = StreamServer::crd();
    let name_rules = [
        (
            format!("self.metadata.name.size() <= {MAX_NAME}"),
            format!("metadata.name must be at most {MAX_NAME} characters: Services are named after it"),
        ),
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')".to_owned(),
            "metadata.name must begin with a letter and have no dots: Services are named after it".to_owned(),
        ),
    ];
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            schema.x_kubernetes_validations = Some(
                name_rules
                    .iter()
                    .map(|(rule, message)| ValidationRule {
                        rule: rule.clone(),
                        message: Some(message.clone()),
                        ..ValidationRule::default()
                    })
                    .collect(),
            );
        }
    }
    definition
}
