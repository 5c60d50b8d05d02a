//! Something that a person has to see to.

use std::fmt;

use tickwire_crd::ConditionType;

/// Something that a person has to see to: a reason for a condition, and a message that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The condition that says so, beside Degraded.
    pub condition: ConditionType,
    /// One word, in CamelCase: of a fixed set, so that alerts can go by it.
    pub reason: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// The specification, or what it refers to, cannot be used.
    #[must_use]
    pub fn configuration(reason: &'static str, message: String) -> Self {
        Self { condition: ConditionType::Degraded, reason, message }
    }

    /// There is no good certificate.
    #[must_use]
    pub fn certificate(reason: &'static str, message: String) -> Self {
        Self { condition: ConditionType::CertificateReady, reason, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}
