//! Whether the servers have a certificate that is good.

use jiff::Timestamp;
use tickwire_crd::{ConditionType, StreamServerStatus};

use super::{Outcome, Verdict};
use crate::issue::shown;
use crate::validate::{CertificateSource, Validated};

pub(super) fn ready(outcome: &Outcome<'_>, old: &StreamServerStatus, now: Timestamp) -> Verdict {
    match outcome {
        Outcome::Applied(validated, issued, _) => match (issued.certificate_validity, unusable(validated)) {
            (_, Some(verdict)) => verdict,
            (None, None) => without_any(validated),
            (Some(validity), None) if validity.not_after <= now => ended(validity.not_after),
            (Some(validity), None) if now < validity.not_before => verdict(
                false,
                "NotYetValid",
                format!(
                    "the certificate is not good before {}; is a clock wrong?",
                    shown(validity.not_before)
                ),
            ),
            (Some(validity), None) => {
                let until = shown(validity.not_after);
                let signer = match &validated.certificate {
                    CertificateSource::SelfSigned { .. } => "signed by the operator's authority",
                    CertificateSource::CertManager(_) => "made by cert-manager",
                    _ => "taken from the Secret that spec.tls.secretRef names",
                };
                verdict(true, "Valid", format!("{signer}, good until {until}"))
            }
        },
        Outcome::NotIssued(error) => verdict(false, "SigningFailed", super::chain(error)),
        Outcome::NotApplied(..) | Outcome::Paused => as_before(old, now),
    }
}

/// When the certificate in use ended, where it has.
pub(super) fn expired(outcome: &Outcome<'_>, old: &StreamServerStatus, now: Timestamp) -> Option<Timestamp> {
    let expiry = match outcome {
        Outcome::Applied(_, issued, _) => issued.certificate_validity.map(|validity| validity.not_after),
        _ => old.certificate_expiry.as_ref().map(|expiry| expiry.0),
    };
    expiry.filter(|expiry| *expiry <= now)
}

fn verdict(holds: bool, reason: &str, message: impl Into<String>) -> Verdict {
    Verdict::new(ConditionType::CertificateReady, holds, reason, message)
}

fn ended(expiry: Timestamp) -> Verdict {
    verdict(false, "Expired", format!("the certificate ended {}; put a new one in its place", shown(expiry)))
}

/// What is wrong with where it comes from.
fn unusable(validated: &Validated) -> Option<Verdict> {
    let problems = &validated.problems;
    let problem = problems.iter().find(|problem| problem.condition == ConditionType::CertificateReady)?;
    Some(verdict(false, problem.reason, problem.message.clone()))
}

fn without_any(validated: &Validated) -> Verdict {
    match validated.certificate {
        CertificateSource::Disabled => {
            verdict(true, "Disabled", "connections are not encrypted: spec.tls.mode is Disabled")
        }
        _ => verdict(
            false,
            "Pending",
            format!(
                "cert-manager has not made the certificate yet; `kubectl describe certificate {}` says why",
                validated.fleet.name
            ),
        ),
    }
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
