//! Why connections end. Each reason has one label, for logs and metrics alike, and the code that the client is told, if any.

use tickwire_proto::message::ErrorCode;

/// Why a connection ended. Expected, every one of them: a value, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed its side.
    PeerClosed,
    /// The connection was reset, or timed out in the kernel.
    ConnectionLost,
    /// The client was told this code before the close.
    Refused(ErrorCode),
    /// The client closed or reset the connection before it was let in: a probe, a scan, or a client that changed its mind.
    Abandoned,
    /// A load balancer's connection did not begin with a PROXY protocol header.
    ProxyHeader,
    /// The TLS handshake failed, or what came later was no TLS.
    TlsFailed,
    /// The TLS handshake had begun, and was not over within its deadline; or not within a second, while others waited for its place.
    TlsTimeout,
    /// The TLS handshake did not get its turn within the deadline.
    TlsBusy,
    /// Nothing came, where the client has to begin with a TLS handshake.
    Silent,
    /// The client's address has as many connections as one may have; it was told CONNECTION_LIMIT.
    AddressLimit,
    /// A frame had begun when the time for AUTH was over; the client was told AUTH_TIMEOUT.
    IncompleteFrame,
    /// The client's slot in a drain was over.
    Drained,
    /// The server ended before the client had left.
    Shutdown,
}

impl CloseReason {
    /// Every reason, for metrics that are to be there before they are first counted.
    pub fn all() -> impl Iterator<Item = Self> {
        let refused = ErrorCode::ALL.into_iter().filter(|code| code.closes()).map(Self::Refused);
        let others = [
            Self::PeerClosed,
            Self::ConnectionLost,
            Self::Abandoned,
            Self::ProxyHeader,
            Self::TlsFailed,
            Self::TlsTimeout,
            Self::TlsBusy,
            Self::Silent,
            Self::AddressLimit,
            Self::IncompleteFrame,
            Self::Drained,
            Self::Shutdown,
        ];
        others.into_iter().chain(refused)
    }

    /// The reason's stable name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::ConnectionLost => "connection_lost",
            Self::Abandoned => "abandoned",
            Self::ProxyHeader => "proxy_header",
            Self::TlsFailed => "tls_failed",
            Self::TlsTimeout => "tls_timeout",
            Self::TlsBusy => "tls_busy",
            Self::Silent => "silent",
            Self::AddressLimit => "address_limit",
            Self::IncompleteFrame => "incomplete_frame",
            Self::Drained => "drained",
            Self::Shutdown => "shutdown",
            Self::Refused(code) => match code {
                ErrorCode::BadMagic => "bad_magic",
                ErrorCode::BadVersion => "bad_version",
                ErrorCode::BadChecksum => "bad_checksum",
                ErrorCode::FrameTooLarge => "frame_too_large",
                ErrorCode::Malformed => "malformed",
                ErrorCode::UnexpectedType => "unexpected_type",
                ErrorCode::AuthRequired => "auth_required",
                ErrorCode::AuthFailed => "auth_failed",
                ErrorCode::AuthTimeout => "auth_timeout",
                ErrorCode::RateLimited => "rate_limited",
                ErrorCode::SlowConsumer => "slow_consumer",
                ErrorCode::HeartbeatTimeout => "heartbeat_timeout",
                ErrorCode::ConnectionLimit => "connection_limit",
                ErrorCode::Internal => "internal",
                // These close nothing; the rest of the match keeps a new code from being forgotten.
                ErrorCode::BadMode
                | ErrorCode::UnknownSymbol
                | ErrorCode::ResumeUnavailable
                | ErrorCode::Draining
                | ErrorCode::Overloaded
                | ErrorCode::Unspecified => "other",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: HashSet<_> = CloseReason::all().map(CloseReason::label).collect();
        assert_eq!(labels.len(), CloseReason::all().count());
        assert!(!labels.contains("other"));
    }
}
