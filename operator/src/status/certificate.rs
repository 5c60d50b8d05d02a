//! Whether the servers have a certificate that is good.

use jiff::Timestamp;
use tickwire_crd::{ConditionType, StreamServerStatus};

use super::{Outcome, Verdict};
use crate::issue::shown;
use crate::validate::CertificateSource;

pub(super) fn ready(outcome: &Outcome<'_>, old: &StreamServerStatus, now: Timestamp) -> Verdict {
    let verdict =
        |holds, reason: &str, message| Verdict::new(ConditionType::CertificateReady, holds, reason, message);
    match outcome {
        Outcome::Applied(validated, issued, _) => match (&validated.certificate, issued.certificate_expiry) {
            (CertificateSource::Disabled, _) => verdict(
                true,
                "Disabled",
                "connections are not encrypted: spec.tls.mode is Disabled".to_owned(),
            ),
            (CertificateSource::CertManager(_), None) => verdict(
                false,
                "Pending",
                format!(
                    "cert-manager has not made the certificate yet; `kubectl describe certificate {}` says why",
                    validated.fleet.name
                ),
            ),
            (_, Some(expiry)) if expiry <= now => ended(expiry),
            (source, Some(expiry)) => {
                let signer = match source {
                    CertificateSource::SelfSigned { .. } => "signed by the operator's authority",
                    CertificateSource::CertManager(_) => "made by cert-manager",
                    _ => "taken from the Secret that spec.tls.secretRef names",
                };
                verdict(true, "Valid", format!("{signer}, good until {}", shown(expiry)))
            }
            (_, None) => verdict(false, "Pending", "there is no certificate yet".to_owned()),
        },
        Outcome::Invalid(problems) => {
            let problem =
                problems.iter().find(|problem| problem.condition == ConditionType::CertificateReady);
            match problem {
                Some(problem) => verdict(false, problem.reason, problem.message.clone()),
                None => as_before(old, now),
            }
        }
        Outcome::NotIssued(error) => verdict(false, "SigningFailed", super::chain(error)),
        Outcome::NotApplied(_) | Outcome::Paused => as_before(old, now),
    }
}

/// When the certificate in use ended, where it has.
pub(super) fn expired(outcome: &Outcome<'_>, old: &StreamServerStatus, now: Timestamp) -> Option<Timestamp> {
    let expiry = match outcome {
        Outcome::Applied(_, issued, _) => issued.certificate_expiry,
        _ => old.certificate_expiry.as_ref().map(|expiry| expiry.0),
    };
    expiry.filter(|expiry| *expiry <= now)
}

fn ended(expiry: Timestamp) -> Verdict {
    let message = format!("the certificate ended {}; put a new one in its place", shown(expiry));
    Verdict::new(ConditionType::CertificateReady, false, "Expired", message)
}

/// What was said before, when nothing was looked at; but time goes on.
fn as_before(old: &StreamServerStatus, now: Timestamp) -> Verdict {
    if let Some(expiry) = old.certificate_expiry.as_ref().filter(|expiry| expiry.0 <= now) {
        return ended(expiry.0);
    }
    let type_ = ConditionType::CertificateReady;
    match old.condition(type_) {
        Some(before) => Verdict {
            type_,
            holds: match before.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            reason: before.reason.clone(),
            message: before.message.clone(),
        },
        None => Verdict {
            type_,
            holds: None,
            reason: "NotChecked".into(),
            message: "it has not come to that yet; the condition Progressing says why".into(),
        },
    }
}
