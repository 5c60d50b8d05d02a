//! What cert-manager is asked for.

use k8s_openapi::api::core::v1::Secret;
use kube::core::DynamicObject;
use serde_json::json;
use tickwire_crd::TlsMode;

use crate::kinds;
use crate::validate::{CertificateSource, Validated};

pub(super) fn build(validated: &Validated) -> Option<DynamicObject> {
    let (fleet, tls) = (&validated.fleet, &validated.spec.tls);
    let wanted = tls.cert_manager.as_ref().filter(|_| tls.mode == TlsMode::CertManager)?;
    let service_names = if wanted.service_names { fleet.service_names() } else { Vec::new() };
    let names: Vec<_> = service_names.into_iter().chain(tls.dns_names.iter().cloned()).collect();
    let mut spec = json!({
        "secretName": fleet.certificate_secret(),
        "issuerRef": {
            "name": wanted.issuer_ref.name,
            "kind": wanted.issuer_ref.kind,
            "group": wanted.issuer_ref.group,
        },
        "dnsNames": names,
        "usages": ["server auth", "digital signature"],
        // A new key with each certificate; the server takes both up together.
        "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always" },
    });
    for (field, value) in [("duration", wanted.duration), ("renewBefore", wanted.renew_before)] {
        if let Some(value) = value {
            spec[field] = json!(value);
        }
    }
    if !tls.ip_addresses.is_empty() {
        spec["ipAddresses"] = json!(tls.ip_addresses);
    }
    let mut object = DynamicObject::new(&fleet.name, &kinds::certificate()).data(json!({ "spec": spec }));
    object.metadata = fleet.metadata(fleet.name.clone(), "tls");
    Some(object)
}

/// Only once it is there: it is cert-manager that makes it, and we who know when it may go.
pub(super) fn secret(validated: &Validated) -> Option<Secret> {
    let fleet = &validated.fleet;
    matches!(validated.certificate, CertificateSource::CertManager(Some(_)))
        .then(|| Secret { metadata: fleet.metadata(fleet.certificate_secret(), "tls"), ..Secret::default() })
}
