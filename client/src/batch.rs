//! A batch as it came: its range is read at once, its ticks when they are asked for.

use bytes::{Buf, Bytes};
use prost::DecodeError;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tickwire_proto::message::{DataBatch, Tick};

/// A DATA_BATCH. Cloning one clones no ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Names the numbering.
    pub epoch: u64,
    /// The first sequence covered.
    pub first_sequence: u64,
    /// The last sequence covered; `first_sequence - 1` where the range is empty.
    pub last_sequence: u64,
    /// How many ticks there are.
    pub len: usize,
    payload: Bytes,
}

impl Batch {
    /// Reads the range, and steps over the ticks.
    ///
    /// # Errors
    ///
    /// Where the payload is not a DATA_BATCH.
    pub fn parse(payload: Bytes) -> Result<Self, DecodeError> {
        let mut batch = Self { epoch: 0, first_sequence: 0, last_sequence: 0, len: 0, payload };
        let mut rest = batch.payload.clone();
        while rest.has_remaining() {
            let (tag, wire_type) = decode_key(&mut rest)?;
            match (tag, wire_type) {
                (3, WireType::Varint) => batch.epoch = decode_varint(&mut rest)?,
                (4, WireType::Varint) => batch.first_sequence = decode_varint(&mut rest)?,
                (5, WireType::Varint) => batch.last_sequence = decode_varint(&mut rest)?,
                _ => {
                    batch.len += usize::from(tag == 2);
                    skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
                }
            }
        }
        Ok(batch)
    }

    /// Whether there are no ticks: nothing happened in the range, or the filter left it out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Decodes the ticks, in order of their sequences.
    ///
    /// # Errors
    ///
    /// Where one of them is not a tick.
    pub fn ticks(&self) -> Result<Vec<Tick>, DecodeError> {
        Ok(DataBatch::decode(self.payload.clone())?.ticks)
    }

    /// Decodes the last tick alone.
    ///
    /// # Errors
    ///
    /// Where it is not a tick.
    pub fn last_tick(&self) -> Result<Option<Tick>, DecodeError> {
        let mut rest = self.payload.clone();
        let mut last = None;
        while rest.has_remaining() {
            let (tag, wire_type) = decode_key(&mut rest)?;
            if tag == 2 && wire_type == WireType::LengthDelimited {
                let len = decode_varint(&mut rest.clone())?;
                let before = rest.clone();
                skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
                // What was skipped is the length and so many bytes behind it.
                let end = before.len() - rest.len();
                last = Some(before.slice(end - usize::try_from(len).unwrap_or(end)..end));
            } else {
                skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
            }
        }
        last.map(Tick::decode).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(prices: &[i64]) -> DataBatch {
        let tick = |open: &i64| Tick { symbol: "A".into(), open: *open, ..Tick::default() };
        let ticks = prices.iter().map(tick).collect();
        DataBatch { schema_version: 1, ticks, epoch: u64::MAX, first_sequence: 11, last_sequence: 20 }
    }

    #[test]
    fn the_range_the_count_and_the_ticks_are_those_of_the_message() {
        for prices in [vec![], vec![7], vec![1, -2, 3]] {
            let message = message(&prices);
            let batch = Batch::parse(message.encode_to_vec().into()).unwrap();
            assert_eq!((batch.epoch, batch.first_sequence, batch.last_sequence), (u64::MAX, 11, 20));
            assert_eq!(batch.len, prices.len());
            assert_eq!(batch.ticks().unwrap(), message.ticks);
            assert_eq!(batch.last_tick().unwrap(), message.ticks.last().cloned());
        }
    }

    #[test]
    fn what_is_no_batch_is_an_error() {
        let mut bytes = message(&[1]).encode_to_vec();
        bytes.truncate(bytes.len() - 1);
        assert!(Batch::parse(bytes.into()).is_err());
        assert!(Batch::parse(Bytes::from_static(b"\x12\x7fab")).is_err());
    }
}
