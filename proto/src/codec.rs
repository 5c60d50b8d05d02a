//! The frame codec as a tokio-util `Encoder` and `Decoder`, for readers that keep a buffer of their own.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::frame::{FrameType, HEADER_LEN, MAX_PAYLOAD_LEN};
use crate::parse::{ParseError, Parsed, parse};

/// A whole frame that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// Which message the payload is.
    pub kind: FrameType,
    /// The message, not yet decoded.
    pub payload: Bytes,
}

impl OwnedFrame {
    /// Decodes the payload.
    ///
    /// # Errors
    ///
    /// [`prost::DecodeError`] where the payload is not the Protobuf message asked for.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.payload.clone())
    }
}

/// Why a framed transport stopped.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not frames.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The transport failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

/// Reads [`OwnedFrame`]s; writes frames that are already encoded.
#[derive(Clone, Copy, Debug)]
pub struct FrameCodec {
    max_payload: usize,
}

impl FrameCodec {
    /// Accepts payloads of at most `max_payload` bytes, and of at most [`MAX_PAYLOAD_LEN`].
    #[must_use]
    pub fn new(max_payload: usize) -> Self {
        Self { max_payload: max_payload.min(MAX_PAYLOAD_LEN) }
    }
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self::new(MAX_PAYLOAD_LEN)
    }
}

impl Decoder for FrameCodec {
    type Item = OwnedFrame;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<OwnedFrame>, CodecError> {
        let (kind, payload_len) = match parse(src, self.max_payload)? {
            Parsed::Frame { frame, .. } => (frame.kind, frame.payload.len()),
            Parsed::Incomplete { missing } => {
                src.reserve(missing);
                return Ok(None);
            }
        };
        src.advance(HEADER_LEN);
        let payload = src.split_to(payload_len).freeze();
        src.advance(crate::frame::TRAILER_LEN);
        Ok(Some(OwnedFrame { kind, payload }))
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: Bytes, dst: &mut BytesMut) -> Result<(), CodecError> {
        dst.extend_from_slice(&frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::frame;

    #[test]
    fn frames_come_out_of_any_segmentation() {
        let mut wire = frame(FrameType::Auth, b"one").to_vec();
        wire.extend(frame(FrameType::Heartbeat, b""));
        let mut codec = FrameCodec::default();
        let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                got.push((frame.kind, frame.payload));
            }
        }
        assert_eq!(
            got,
            [(FrameType::Auth, Bytes::from_static(b"one")), (FrameType::Heartbeat, Bytes::new())]
        );
        assert!(buffer.is_empty());
    }
}
