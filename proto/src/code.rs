//! What an error code means for whoever gets it.

use crate::message::ErrorCode;

impl ErrorCode {
    /// Every code that a server may send, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::BadMagic,
        Self::BadVersion,
        Self::BadChecksum,
        Self::FrameTooLarge,
        Self::Malformed,
        Self::UnexpectedType,
        Self::AuthRequired,
        Self::AuthFailed,
        Self::AuthTimeout,
        Self::RateLimited,
        Self::BadMode,
        Self::UnknownSymbol,
        Self::ResumeUnavailable,
        Self::SlowConsumer,
        Self::HeartbeatTimeout,
        Self::Draining,
        Self::Overloaded,
        Self::ConnectionLimit,
        Self::Internal,
    ];

    /// The code's name on the wire's documentation, without a prefix: `AUTH_FAILED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.as_str_name().trim_start_matches("ERROR_CODE_")
    }

    /// Whether the server closes the connection right after it has sent this. Source: docs/PROTOCOL.md, "Errors".
    #[must_use]
    pub fn closes(self) -> bool {
        !matches!(
            self,
            Self::BadMode | Self::UnknownSymbol | Self::ResumeUnavailable | Self::Draining | Self::Overloaded
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_is_whole() {
        let known = (1..=1000).filter_map(|number| ErrorCode::try_from(number).ok());
        assert!(known.eq(ErrorCode::ALL));
    }

    #[test]
    fn names_are_those_of_the_protocol() {
        assert_eq!(ErrorCode::FrameTooLarge.name(), "FRAME_TOO_LARGE");
    }
}
