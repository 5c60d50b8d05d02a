//! From messages to frames.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::frame::{FrameType, HEADER_LEN, MAGIC, OVERHEAD, VERSION};
use crate::message;

/// A message that has a frame type of its own.
pub trait FrameMessage: Message {
    /// The type of the frames that carry it.
    const TYPE: FrameType;

    /// The frame that carries this message.
    ///
    /// # Panics
    ///
    /// Where the encoded message is 4 GiB or more.
    fn to_frame(&self) -> Bytes
    where
        Self: Sized,
    {
        let mut out = BytesMut::with_capacity(self.encoded_len() + OVERHEAD);
        let start = begin(Self::TYPE, &mut out);
        self.encode_raw(&mut out);
        finish(start, &mut out);
        out.freeze()
    }
}

impl FrameMessage for message::Auth {
    const TYPE: FrameType = FrameType::Auth;
}
impl FrameMessage for message::Subscribe {
    const TYPE: FrameType = FrameType::Subscribe;
}
impl FrameMessage for message::Heartbeat {
    const TYPE: FrameType = FrameType::Heartbeat;
}
impl FrameMessage for message::DataBatch {
    const TYPE: FrameType = FrameType::DataBatch;
}
impl FrameMessage for message::Error {
    const TYPE: FrameType = FrameType::Error;
}

/// Puts a payload that is already encoded into a frame.
///
/// # Panics
///
/// Where the payload is 4 GiB or more.
#[must_use]
pub fn frame(kind: FrameType, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + OVERHEAD);
    let start = begin(kind, &mut out);
    out.put_slice(payload);
    finish(start, &mut out);
    out.freeze()
}

/// Writes a header whose length is filled in by [`finish`], and answers where the frame starts in `out`. What is put into
/// `out` between the two is the payload.
#[must_use = "finish needs it"]
pub fn begin(kind: FrameType, out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_slice(&MAGIC);
    out.put_u8(VERSION);
    out.put_u8(kind as u8);
    out.put_u32(0);
    start
}

/// Ends the frame that [`begin`] started at `start`: fills in the payload's length and appends its checksum.
///
/// # Panics
///
/// Where the payload is 4 GiB or more, or `start` is not what [`begin`] answered.
#[expect(clippy::expect_used, reason = "a payload is bounded by MAX_PAYLOAD_LEN, 16 MiB, long before")]
pub fn finish(start: usize, out: &mut BytesMut) {
    let payload_start = start + HEADER_LEN;
    let len = u32::try_from(out.len() - payload_start).expect("a payload fits its length field");
    out[start + 4..payload_start].copy_from_slice(&len.to_be_bytes());
    let crc = crc32c::crc32c(&out[payload_start..]);
    out.put_u32(crc);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_these_twelve_bytes() {
        assert_eq!(message::Heartbeat {}.to_frame()[..], *b"TW\x01\x03\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn the_checksum_is_castagnoli() {
        // RFC 3720, B.4: 32 bytes of zeroes have 0x8a9136aa.
        let bytes = frame(FrameType::Auth, &[0; 32]);
        assert_eq!(bytes[40..], [0x8a, 0x91, 0x36, 0xaa]);
    }
}
