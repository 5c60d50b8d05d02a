//! What a client may say, and when: the protocol's state machine, without sockets, clocks or streams. Frames go in, requests or
//! refusals come out. Source: docs/PROTOCOL.md.

use std::time::Duration;

use tickwire_proto::message::{Auth, ErrorCode, Subscribe};
use tickwire_proto::{Frame, FrameType, ParseError};

use crate::auth::{MAX_PASSWORD_LEN, MAX_USERNAME_LEN};
use crate::feed::MAX_SYMBOLS;

/// The largest payload before AUTH is accepted, in bytes: the longest username and password are 1,279. A stranger can make the
/// server hold so much.
pub const MAX_AUTH_PAYLOAD: usize = 4096;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// To be let in.
    Authenticate(Auth),
    /// To be sent a stream.
    Subscribe(Subscribe),
    /// Nothing; it is still there.
    Alive,
}

/// Something that ends the connection, and what the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the ERROR.
    pub code: ErrorCode,
    /// Its text.
    pub message: String,
    /// After how long trying again makes sense, before jitter; zero: not set.
    pub retry_after: Duration,
}

impl Refusal {
    /// A refusal with this text, and the time after which its code is usually tried again.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retry_after = Duration::from_millis(match code {
            ErrorCode::AuthTimeout
            | ErrorCode::SlowConsumer
            | ErrorCode::HeartbeatTimeout
            | ErrorCode::Internal => 1_000,
            ErrorCode::ConnectionLimit => 5_000,
            // Filters come and go with people's screens.
            ErrorCode::Overloaded => 10_000,
            _ => 0,
        });
        Self { code, message: message.into(), retry_after }
    }

    /// The same, to be tried again after this long.
    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// Its first frame must be AUTH.
    #[default]
    AwaitingAuth,
    /// Its password is being checked: nothing that it sends is taken up before.
    Checking,
    /// It may subscribe.
    Authenticated,
}

impl Session {
    /// The largest payload that the client may send now, in bytes, where the server's limit is `max_msg_size`.
    #[must_use]
    pub fn max_payload(self, max_msg_size: usize) -> usize {
        match self {
            Self::AwaitingAuth | Self::Checking => MAX_AUTH_PAYLOAD.min(max_msg_size),
            Self::Authenticated => max_msg_size,
        }
    }

    /// What a frame asks for.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for whatever may not come, or not now, or does not parse, or is over a bound.
    pub fn on_frame(self, frame: &Frame<'_>) -> Result<Request, Refusal> {
        if !frame.kind.is_sent_by_clients() {
            let message = format!("{} frames are sent by servers only", frame.kind);
            return Err(Refusal::new(ErrorCode::UnexpectedType, message));
        }
        let malformed = |error: prost::DecodeError| {
            Refusal::new(ErrorCode::Malformed, format!("payload of {} does not parse: {error}", frame.kind))
        };
        match (self, frame.kind) {
            (Self::AwaitingAuth, FrameType::Auth) => {
                let auth: Auth = frame.decode().map_err(malformed)?;
                within("username", auth.username.len(), MAX_USERNAME_LEN, "bytes")?;
                within("password", auth.password.len(), MAX_PASSWORD_LEN, "bytes")?;
                Ok(Request::Authenticate(auth))
            }
            (Self::AwaitingAuth, kind) => {
                let message = format!("the first frame is {kind}; it must be AUTH");
                Err(Refusal::new(ErrorCode::AuthRequired, message))
            }
            (Self::Checking, kind) => {
                let message = format!("{kind} was taken up before AUTH was answered");
                Err(Refusal::new(ErrorCode::Internal, message))
            }
            (Self::Authenticated, FrameType::Subscribe) => {
                let subscribe: Subscribe = frame.decode().map_err(malformed)?;
                within("symbols", subscribe.symbols.len(), MAX_SYMBOLS, "names")?;
                Ok(Request::Subscribe(subscribe))
            }
            (Self::Authenticated, FrameType::Heartbeat) if frame.payload.is_empty() => Ok(Request::Alive),
            // A later version's HEARTBEAT may have fields, but must parse.
            (Self::Authenticated, FrameType::Heartbeat) => {
                frame.decode::<tickwire_proto::message::Heartbeat>().map_err(malformed)?;
                Ok(Request::Alive)
            }
            (Self::Authenticated, kind) => {
                let message = format!("{kind} may come once, as the first frame");
                Err(Refusal::new(ErrorCode::UnexpectedType, message))
            }
        }
    }
}

fn within(field: &str, len: usize, most: usize, unit: &str) -> Result<(), Refusal> {
    if len <= most {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Malformed, format!("{field} has {len} {unit}; at most {most} are accepted")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn code(session: Session, kind: FrameType, payload: &[u8]) -> Option<ErrorCode> {
        session.on_frame(&Frame { kind, payload }).err().map(|refusal| refusal.code)
    }

    #[test]
    fn before_auth_only_auth_is_taken() {
        let session = Session::AwaitingAuth;
        assert_eq!(code(session, FrameType::Auth, b""), None);
        assert_eq!(code(session, FrameType::Subscribe, b""), Some(ErrorCode::AuthRequired));
        assert_eq!(code(session, FrameType::Heartbeat, b""), Some(ErrorCode::AuthRequired));
        assert_eq!(code(session, FrameType::DataBatch, b""), Some(ErrorCode::UnexpectedType));
        assert_eq!(code(session, FrameType::Error, b""), Some(ErrorCode::UnexpectedType));
    }

    #[test]
    fn after_auth_everything_but_auth_is_taken_that_clients_send() {
        let session = Session::Authenticated;
        assert_eq!(code(session, FrameType::Auth, b""), Some(ErrorCode::UnexpectedType));
        assert_eq!(code(session, FrameType::Subscribe, b""), None);
        assert_eq!(code(session, FrameType::Heartbeat, b""), None);
        assert_eq!(code(session, FrameType::DataBatch, b""), Some(ErrorCode::UnexpectedType));
    }

    #[test]
    fn what_does_not_parse_or_is_over_a_bound_is_malformed() {
        assert_eq!(code(Session::AwaitingAuth, FrameType::Auth, b"\x0a\x7f"), Some(ErrorCode::Malformed));
        assert_eq!(code(Session::Authenticated, FrameType::Subscribe, b"\xff"), Some(ErrorCode::Malformed));
        assert_eq!(code(Session::Authenticated, FrameType::Heartbeat, b"\xff"), Some(ErrorCode::Malformed));
        let long = Auth { username: "u".repeat(256), password: String::new() };
        assert_eq!(
            code(Session::AwaitingAuth, FrameType::Auth, &long.encode_to_vec()),
            Some(ErrorCode::Malformed)
        );
    }
}
