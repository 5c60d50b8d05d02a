//! One StreamServer's servers, and whatever else is made for it: what they are called, and to whom they belong.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource as _, ResourceExt as _};
use tickwire_crd::{StreamServer, StreamServerSpec, TlsMode};

/// Under this name the operator applies, and owns fields.
pub const MANAGER: &str = "tickwire-operator";

/// The name of the label by which the pods of all StreamServers are found.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The label's value.
pub const NAME: &str = "tickwire-server";
/// The name of the label that says to which StreamServer something belongs.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// The name of the label that says what something is for.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// The name of the label that says who made something.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// The identity of what is made for one StreamServer.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The StreamServer's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: another StreamServer of the same name is another fleet.
    pub uid: String,
    owner: OwnerReference,
}

/// An object lacks what the API server gives to each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the StreamServer has no {0}")]
pub struct IncompleteObject(&'static str);

impl Fleet {
    /// The fleet of a StreamServer.
    ///
    /// # Errors
    ///
    /// Where it has not come from an API server.
    pub fn of(server: &StreamServer) -> Result<Self, IncompleteObject> {
        Ok(Self {
            name: server.meta().name.clone().ok_or(IncompleteObject("name"))?,
            namespace: server.namespace().ok_or(IncompleteObject("namespace"))?,
            uid: server.uid().ok_or(IncompleteObject("UID"))?,
            owner: OwnerReference {
                // As the built-in kinds have it: who deletes in the foreground waits for the pods.
                block_owner_deletion: Some(true),
                ..server.controller_owner_ref(&()).ok_or(IncompleteObject("UID"))?
            },
        })
    }

    /// The metadata of a child: name, labels, and the StreamServer as its owner, with which it is deleted.
    #[must_use]
    pub fn metadata(&self, name: String, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels(component)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// The labels of a child.
    #[must_use]
    pub fn labels(&self, component: &str) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        for (key, value) in [
            (COMPONENT_LABEL, component),
            (MANAGED_BY_LABEL, MANAGER),
            ("app.kubernetes.io/part-of", "tickwire"),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    /// Whether an object is this fleet's, or may become it: what has lost its owner, as after a restored backup, is known by its labels.
    #[must_use]
    pub fn may_have(&self, metadata: &ObjectMeta) -> bool {
        match metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)) {
            Some(controller) => controller.uid == self.uid,
            None => {
                let labels = metadata.labels.clone().unwrap_or_default();
                let has = |key: &str, value: &str| labels.get(key).is_some_and(|label| label == value);
                has(MANAGED_BY_LABEL, MANAGER) && has(INSTANCE_LABEL, &self.name)
            }
        }
    }

    /// The labels by which the pods are found. They never change: a Deployment's selector cannot.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        [(NAME_LABEL.to_owned(), NAME.to_owned()), (INSTANCE_LABEL.to_owned(), self.name.clone())].into()
    }

    /// The selector as the API's query has it.
    #[must_use]
    pub fn selector_text(&self) -> String {
        self.selector().iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    /// The Service through which metrics are read.
    #[must_use]
    pub fn metrics_service(&self) -> String {
        format!("{}-metrics", self.name)
    }

    /// The Secret with the credentials that the operator makes up.
    #[must_use]
    pub fn credentials_secret(&self) -> String {
        format!("{}-credentials", self.name)
    }

    /// The Secret with the credentials that clients use: the one that is named, else the operator's own.
    #[must_use]
    pub fn credentials_secret_of(&self, spec: &StreamServerSpec) -> String {
        spec.auth.secret_ref.as_ref().map_or_else(|| self.credentials_secret(), |secret| secret.name.clone())
    }

    /// The Secret with the servers' certificate, where the operator signs it.
    #[must_use]
    pub fn tls_secret(&self) -> String {
        format!("{}-tls", self.name)
    }

    /// The Secret with the servers' certificate, where cert-manager makes it. Another one: in the midst of a change from the one to the other, pods of both
    /// kinds are there.
    #[must_use]
    pub fn certificate_secret(&self) -> String {
        format!("{}-certificate", self.name)
    }

    /// The Secret with the servers' certificate, whoever makes it; `None` without TLS.
    #[must_use]
    pub fn tls_secret_of(&self, spec: &StreamServerSpec) -> Option<String> {
        match spec.tls.mode {
            TlsMode::Disabled => None,
            TlsMode::SelfSigned => Some(self.tls_secret()),
            TlsMode::CertManager => Some(self.certificate_secret()),
            TlsMode::Secret => spec.tls.secret_ref.as_ref().map(|secret| secret.name.clone()),
        }
    }

    /// The Secret with what only the operator needs: its authority's key, and the key under which credentials are digested.
    #[must_use]
    pub fn operator_secret(&self) -> String {
        format!("{}-operator", self.name)
    }

    /// The ConfigMap with the authorities by which clients know the servers.
    #[must_use]
    pub fn ca_config_map(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// The names by which the Service is known within the cluster.
    #[must_use]
    pub fn service_names(&self) -> Vec<String> {
        let Self { name, namespace, .. } = self;
        vec![
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.cluster.local"),
        ]
    }
}
