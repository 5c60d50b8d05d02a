//! From bytes to frames, without I/O and without copying.
//!
//! [`parse`] looks at the bytes there are and answers with a frame or with how many more it wants. What is wrong is said as
//! early as the bytes allow: a wrong magic at its first byte, a length over the limit before any of the payload has come.

use crate::frame::{Frame, FrameType, HEADER_LEN, MAGIC, OVERHEAD, TRAILER_LEN, VERSION};
use crate::message::ErrorCode;

/// What the bytes at hand amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// How many of the bytes it took; the next frame begins there.
        len: usize,
    },
    /// Not yet a frame.
    Incomplete {
        /// At least so many more bytes are wanted; never 0. Before the header is whole this is what the header lacks.
        missing: usize,
    },
}

/// Why bytes are not a frame. After any of these the boundary of the next frame is unknown or untrusted: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The first two bytes are not [`MAGIC`].
    #[error(
        "frame starts with {found:#04x} where the magic \"TW\" (0x54 0x57) is due: is the peer speaking another protocol, or TLS?"
    )]
    BadMagic {
        /// The first byte that is wrong.
        found: u8,
    },
    /// The third byte is not [`VERSION`].
    #[error("frame version {found} is not supported; this is version {VERSION}")]
    BadVersion {
        /// The byte in its place.
        found: u8,
    },
    /// The fourth byte names no type.
    #[error("frame type {found:#04x} is unknown; known are 0x01 to 0x05")]
    UnknownType {
        /// The byte in its place.
        found: u8,
    },
    /// The payload's length is over the limit.
    #[error("frame announces a payload of {announced} bytes; at most {limit} are accepted")]
    TooLarge {
        /// What the header says, in bytes.
        announced: u32,
        /// What would have been accepted, in bytes.
        limit: usize,
    },
    /// The payload is not what was checksummed.
    #[error("frame's checksum is {announced:#010x}, but its payload has CRC32C {computed:#010x}")]
    BadChecksum {
        /// What the trailer says.
        announced: u32,
        /// What the payload has.
        computed: u32,
    },
}

impl ParseError {
    /// The code that tells the peer.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BadMagic { .. } => ErrorCode::BadMagic,
            Self::BadVersion { .. } => ErrorCode::BadVersion,
            Self::UnknownType { .. } => ErrorCode::UnexpectedType,
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::BadChecksum { .. } => ErrorCode::BadChecksum,
        }
    }
}

/// Reads the frame at the start of `bytes`, accepting payloads of at most `max_payload` bytes.
///
/// ```
/// use tickwire_proto::{FrameType, Parsed, parse};
///
/// let heartbeat = [0x54, 0x57, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0];
/// assert_eq!(parse(&heartbeat[..3], 65_536), Ok(Parsed::Incomplete { missing: 5 }));
/// let Ok(Parsed::Frame { frame, len }) = parse(&heartbeat, 65_536) else { unreachable!() };
/// assert_eq!((frame.kind, len), (FrameType::Heartbeat, 12));
/// ```
///
/// # Errors
///
/// [`ParseError`], as soon as the bytes show it.
pub fn parse(bytes: &[u8], max_payload: usize) -> Result<Parsed<'_>, ParseError> {
    for (found, expected) in bytes.iter().zip(MAGIC) {
        if *found != expected {
            return Err(ParseError::BadMagic { found: *found });
        }
    }
    if let Some(&found) = bytes.get(2)
        && found != VERSION
    {
        return Err(ParseError::BadVersion { found });
    }
    let kind = match bytes.get(3) {
        Some(&found) => Some(FrameType::from_byte(found).ok_or(ParseError::UnknownType { found })?),
        None => None,
    };
    let (Some(kind), Some(length)) = (kind, be_u32(bytes, 4)) else {
        return Ok(Parsed::Incomplete { missing: HEADER_LEN - bytes.len() });
    };
    let payload_len = length as usize;
    if payload_len > max_payload {
        return Err(ParseError::TooLarge { announced: length, limit: max_payload });
    }
    let len = payload_len + OVERHEAD;
    let (Some(payload), Some(announced)) =
        (bytes.get(HEADER_LEN..len - TRAILER_LEN), be_u32(bytes, len - TRAILER_LEN))
    else {
        return Ok(Parsed::Incomplete { missing: len - bytes.len() });
    };
    let computed = crc32c::crc32c(payload);
    if computed != announced {
        return Err(ParseError::BadChecksum { announced, computed });
    }
    Ok(Parsed::Frame { frame: Frame { kind, payload }, len })
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::frame;
    use proptest::prelude::*;

    #[test]
    fn every_prefix_of_a_frame_asks_for_more_and_never_for_too_much() {
        let bytes = frame(FrameType::Auth, b"payload");
        for end in 0..bytes.len() {
            let Ok(Parsed::Incomplete { missing }) = parse(&bytes[..end], 64) else {
                panic!("{end} bytes were taken for a frame");
            };
            assert!(missing >= 1 && end + missing <= bytes.len(), "{end} bytes: {missing} missing");
        }
    }

    #[test]
    fn what_is_wrong_is_said_at_the_first_byte_that_shows_it() {
        assert_eq!(parse(b"X", 64), Err(ParseError::BadMagic { found: b'X' }));
        assert_eq!(parse(b"TX", 64), Err(ParseError::BadMagic { found: b'X' }));
        assert_eq!(parse(b"TW\x02", 64), Err(ParseError::BadVersion { found: 2 }));
        assert_eq!(parse(b"TW\x01\x06", 64), Err(ParseError::UnknownType { found: 6 }));
        assert_eq!(
            parse(b"TW\x01\x01\x00\x00\x00\x41", 64),
            Err(ParseError::TooLarge { announced: 65, limit: 64 })
        );
    }

    proptest! {
        #[test]
        fn any_payload_comes_back_with_whatever_follows_left_alone(
            payload in prop::collection::vec(any::<u8>(), 0..512), rest in prop::collection::vec(any::<u8>(), 0..32)
        ) {
            let mut bytes = frame(FrameType::DataBatch, &payload).to_vec();
            let len = bytes.len();
            bytes.extend(&rest);
            prop_assert_eq!(
                parse(&bytes, 512),
                Ok(Parsed::Frame { frame: Frame { kind: FrameType::DataBatch, payload: &payload }, len })
            );
        }

        #[test]
        fn a_flipped_payload_bit_never_passes(
            payload in prop::collection::vec(any::<u8>(), 1..128), bit in any::<prop::sample::Index>()
        ) {
            let mut bytes = frame(FrameType::Error, &payload).to_vec();
            let bit = bit.index(payload.len() * 8);
            bytes[HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
            let caught = matches!(parse(&bytes, 128), Err(ParseError::BadChecksum { .. }));
            prop_assert!(caught);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _answer = parse(&bytes, 32);
        }
    }
}
