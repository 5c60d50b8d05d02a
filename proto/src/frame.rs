//! What a frame is made of. Source: docs/PROTOCOL.md, "Frames".

use std::fmt;

/// The first two bytes of every frame: "TW".
pub const MAGIC: [u8; 2] = *b"TW";

/// The third byte of every frame.
pub const VERSION: u8 = 1;

/// Bytes before the payload: magic (2), version (1), type (1), length (4).
pub const HEADER_LEN: usize = 8;

/// Bytes after the payload: its CRC32C.
pub const TRAILER_LEN: usize = 4;

/// What a frame costs beyond its payload, in bytes.
pub const OVERHEAD: usize = HEADER_LEN + TRAILER_LEN;

/// The largest payload that any deployment may configure, in bytes: 16 MiB. A reader that does not know its peer's
/// `MAX_MSG_SIZE` uses this bound.
pub const MAX_PAYLOAD_LEN: usize = 16 * 1024 * 1024;

/// The fourth byte of a frame: which message its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// [`Auth`](crate::message::Auth), client to server.
    Auth = 0x01,
    /// [`Subscribe`](crate::message::Subscribe), client to server.
    Subscribe = 0x02,
    /// [`Heartbeat`](crate::message::Heartbeat), both ways; the payload is empty.
    Heartbeat = 0x03,
    /// [`DataBatch`](crate::message::DataBatch), server to client.
    DataBatch = 0x04,
    /// [`Error`](crate::message::Error), server to client.
    Error = 0x05,
}

impl FrameType {
    /// Every type, in the order of their bytes.
    pub const ALL: [Self; 5] = [Self::Auth, Self::Subscribe, Self::Heartbeat, Self::DataBatch, Self::Error];

    /// The type that a header's byte stands for, if it stands for one.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether a client may ever send frames of this type.
    #[must_use]
    pub fn is_sent_by_clients(self) -> bool {
        matches!(self, Self::Auth | Self::Subscribe | Self::Heartbeat)
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "AUTH",
            Self::Subscribe => "SUBSCRIBE",
            Self::Heartbeat => "HEARTBEAT",
            Self::DataBatch => "DATA_BATCH",
            Self::Error => "ERROR",
        })
    }
}

/// A whole frame whose checksum was right; the payload is borrowed from wherever the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which message the payload is.
    pub kind: FrameType,
    /// The message, not yet decoded.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Decodes the payload.
    ///
    /// # Errors
    ///
    /// [`prost::DecodeError`] where the payload is not the Protobuf message asked for.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.payload)
    }
}
