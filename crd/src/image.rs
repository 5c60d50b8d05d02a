//! Which image the servers run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::NameReference;

/// Which image the servers run. What is left out is the operator's own choice: the server of its own version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Image {
    /// The repository, such as `registry.example/tickwire/server`. Default: the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub repository: Option<String>,
    /// The tag. Default: the operator's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub tag: Option<String>,
    /// The digest, such as `sha256:…`; it wins over the tag, which is then only what the status shows as the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// When the image is pulled.
    pub pull_policy: PullPolicy,
    /// Secrets (of type kubernetes.io/dockerconfigjson) with which it is pulled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pull_secrets: Vec<NameReference>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Before each start of a container.
    Always,
    /// Where the node does not have it.
    #[default]
    IfNotPresent,
    /// Not at all: the node has it.
    Never,
}

impl PullPolicy {
    /// As a container has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}
