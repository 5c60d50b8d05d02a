//! What has happened to an authority, for events.

use std::fmt;

use jiff::Timestamp;

/// What has happened to an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was none, and now there is.
    Created {
        /// When it ends.
        until: Timestamp,
    },
    /// The next one has been made: clients should be given the bundle anew before it signs.
    SuccessorPublished {
        /// When it signs.
        signs_from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
    /// The next one signs now.
    Rotated {
        /// When it ends.
        until: Timestamp,
    },
    /// The former ended before it could be renewed, so that a new one signs which no client has heard of: until they are given the
    /// bundle anew, they cannot connect.
    Replaced {
        /// When the former ended.
        ended: Timestamp,
        /// When the new one ends.
        until: Timestamp,
    },
    /// A former one is trusted no more: it has ended, or there were too many.
    PredecessorDropped {
        /// When it ended, or would have.
        until: Timestamp,
    },
}

impl Change {
    /// A stable name of what happened: an event's reason.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Created { .. } => "AuthorityCreated",
            Self::SuccessorPublished { .. } => "AuthoritySuccessorPublished",
            Self::Rotated { .. } => "AuthorityRotated",
            Self::Replaced { .. } => "AuthorityReplaced",
            Self::PredecessorDropped { .. } => "AuthorityPredecessorDropped",
        }
    }

    /// Whether somebody has to do something about it.
    #[must_use]
    pub fn is_warning(self) -> bool {
        matches!(self, Self::Replaced { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { until } => write!(f, "made a certificate authority, good until {until}"),
            Self::SuccessorPublished { signs_from, until } => write!(
                f,
                "published the next certificate authority, good until {until}; it signs from {signs_from}, and clients must have the new bundle by then"
            ),
            Self::Rotated { until } => {
                write!(f, "the next certificate authority signs now, good until {until}")
            }
            Self::Replaced { ended, until } => write!(
                f,
                "the certificate authority ended on {ended} before it could be renewed, and a new one signs, good until {until}; clients cannot connect until they have the new bundle"
            ),
            Self::PredecessorDropped { until } => {
                write!(f, "a former certificate authority, good until {until}, is in the bundle no more")
            }
        }
    }
}
