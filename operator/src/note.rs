//! Something that a person would want to know: an event.

use std::borrow::Cow;

use kube::runtime::events::{Event, EventType};

/// Something that a person would want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should look at it.
    pub warning: bool,
    /// One word, in CamelCase.
    pub reason: Cow<'static, str>,
    /// What has happened, and where.
    pub message: String,
}

/// The longest note of an event, in bytes (events.k8s.io/v1).
const MAX_NOTE: usize = 1024;

impl Note {
    /// Something has happened as it should.
    #[must_use]
    pub fn normal(reason: impl Into<Cow<'static, str>>, message: String) -> Self {
        Self { warning: false, reason: reason.into(), message }
    }

    /// Somebody should look at it.
    #[must_use]
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: String) -> Self {
        Self { warning: true, reason: reason.into(), message }
    }

    /// As it is published.
    #[must_use]
    pub fn event(&self) -> Event {
        let end = self.message.floor_char_boundary(MAX_NOTE);
        Event {
            type_: if self.warning { EventType::Warning } else { EventType::Normal },
            reason: self.reason.clone().into_owned(),
            note: Some(self.message[..end].to_owned()),
            action: "Reconcile".into(),
            secondary: None,
        }
    }
}
