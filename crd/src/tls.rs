//! What connections are encrypted with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::Duration;
use crate::reference::{KeyReference, NameReference};
use crate::rule::{field_rule, rule};

/// What connections are encrypted with. Servers take up a renewed certificate while they run: no pod restarts for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct Tls {
    /// Where the servers' certificate comes from.
    pub mode: TlsMode,
    /// SelfSigned: what the operator signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,
    /// Secret: a Secret with the keys `tls.crt` and `tls.key`, in PEM (type kubernetes.io/tls).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameReference>,
    /// CertManager: what cert-manager is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManager>,
    /// SelfSigned and CertManager: further host names in the certificate, such as the one by which clients outside reach the load balancer.
    /// The Service's own names are always in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 253), regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub dns_names: Vec<String>,
    /// SelfSigned and CertManager: addresses in the certificate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 2, max = 45)), extend("x-kubernetes-list-type" = "set"))]
    pub ip_addresses: Vec<String>,
    /// Clients show certificates of their own: mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
}

fn rules() -> Vec<Value> {
    vec![
        field_rule(
            "secretRef",
            "(self.mode == 'Secret') == has(self.secretRef)",
            "is required where mode is Secret, and only there",
        ),
        field_rule(
            "certManager",
            "(self.mode == 'CertManager') == has(self.certManager)",
            "is required where mode is CertManager, and only there",
        ),
        field_rule(
            "selfSigned",
            "!has(self.selfSigned) || self.mode == 'SelfSigned'",
            "is for the mode SelfSigned",
        ),
        field_rule(
            "clientAuthentication",
            "!has(self.clientAuthentication) || self.mode != 'Disabled'",
            "needs TLS, but mode is Disabled",
        ),
        field_rule(
            "ipAddresses",
            "!has(self.ipAddresses) || self.ipAddresses.all(address, isIP(address))",
            "must be addresses, such as 192.0.2.1 or 2001:db8::1",
        ),
        field_rule(
            "dnsNames",
            "!has(self.certManager) || self.certManager.serviceNames || has(self.dnsNames)",
            "is required where certManager.serviceNames is false: a certificate needs a name",
        ),
        rule(
            "!(has(self.dnsNames) || has(self.ipAddresses)) || self.mode in ['SelfSigned', 'CertManager']",
            "dnsNames and ipAddresses are for the modes SelfSigned and CertManager",
        ),
    ]
}

/// Where the servers' certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// The operator has an authority of its own for each StreamServer, signs by it, and renews both in time.
    #[default]
    SelfSigned,
    /// From a Secret that somebody else keeps up to date.
    Secret,
    /// From cert-manager.
    CertManager,
    /// Connections are not encrypted: passwords and ticks can be read on the way.
    Disabled,
}

/// What the operator signs, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    field_rule("duration", "duration(self.duration) >= duration('1m')", "must be at least 1m"),
    field_rule("renewBefore", "duration(self.renewBefore) < duration(self.duration)", "must be less than duration"),
    field_rule(
        "caDuration",
        "duration(self.caDuration) >= duration(self.duration) + duration(self.duration)",
        "must be at least twice the duration of the certificates that it signs",
    ),
]))]
pub struct SelfSigned {
    /// For how long a certificate is good, such as 2160h (90 days).
    pub duration: Duration,
    /// How long before its end it is replaced.
    pub renew_before: Duration,
    /// For how long the authority is good. When a third of it is left, its successor is published beside it; when a sixth is left, the successor signs.
    pub ca_duration: Duration,
}

impl Default for SelfSigned {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            duration: Duration::from_secs(90 * DAY),
            renew_before: Duration::from_secs(30 * DAY),
            ca_duration: Duration::from_secs(3 * 365 * DAY),
        }
    }
}

/// What cert-manager is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    field_rule("duration", "!has(self.duration) || duration(self.duration) >= duration('1h')", "must be at least 1h"),
    field_rule("renewBefore", "!has(self.renewBefore) || duration(self.renewBefore) >= duration('5m')", "must be at least 5m"),
]))]
pub struct CertManager {
    /// Who signs.
    pub issuer_ref: IssuerReference,
    /// For how long a certificate is asked for. Default: cert-manager's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// How long before its end it is replaced. Default: cert-manager's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Duration>,
    /// Whether the Service's own names within the cluster are asked for, beside dnsNames. A public issuer refuses them.
    #[serde(default = "service_names")]
    pub service_names: bool,
}

fn service_names() -> bool {
    true
}

/// Names an issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerReference {
    /// The issuer's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its kind: Issuer (of the same namespace), ClusterIssuer, or one of another group.
    #[serde(default = "issuer")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its API group.
    #[serde(default = "cert_manager_group")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

fn issuer() -> String {
    "Issuer".into()
}

fn cert_manager_group() -> String {
    "cert-manager.io".into()
}

/// Clients show certificates of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuthentication {
    /// A key of a Secret: the authorities of clients' certificates, in PEM.
    pub ca_secret_ref: KeyReference,
    /// Whether clients must show one.
    #[serde(default)]
    pub mode: ClientCertificates,
    /// What the names in a client's certificate are for.
    #[serde(default)]
    pub identity: ClientIdentity,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientCertificates {
    /// All do.
    #[default]
    Required,
    /// Those that have one may.
    Optional,
}

/// What the names in a client's certificate are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientIdentity {
    /// Nothing: a certificate opens the door, and AUTH says who comes in.
    #[default]
    Ignored,
    /// AUTH's username must be among them, and the password right.
    Required,
    /// AUTH's username must be among them, and the password is not looked at.
    Sufficient,
}
