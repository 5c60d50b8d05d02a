//! Runs of rows into DATA_BATCH frames: encoded and checksummed once, whoever listens.
//!
//! A batch is encoded so that parts of it can be had without encoding again: `schema_version`, then each tick in bytes of its own, then
//! the range. A filter, or a resume into the middle of a batch, takes over the bytes of the ticks it wants ([`Batch::select`]).

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, message, uint32, uint64};
use tickwire_proto::message::Tick;
use tickwire_proto::{FrameType, HEADER_LEN, OVERHEAD, SCHEMA_VERSION, encode};

use crate::feed::{SymbolId, Symbols};
use crate::run::Run;

/// Bytes of a payload that are not ticks, at most: schema_version (2), epoch, first and last (11 each).
const ENVELOPE_LEN: usize = 2 + 3 * 11;

/// Where the first tick stands in a frame: behind the header and schema_version.
const TICKS_START: usize = HEADER_LEN + 2;

/// What a batch takes in a ring beyond its frame and index, in bytes: two entries that point to them, and what the allocator and
/// reference counting add. Frames of one tick are hardly larger.
const OVERHEAD_COST: u64 = 256;

/// Where a row stands in its batch's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIndex {
    /// Which symbol it is of.
    pub symbol: SymbolId,
    /// Its sequence, less the batch's first.
    offset: u32,
    /// Where its bytes end in the frame; they begin where the row's before end.
    end: u32,
}

/// A frame, and an index of what is in it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The whole frame, as it goes onto the wire.
    pub frame: Bytes,
    /// The first sequence covered.
    pub first: u64,
    /// The last sequence covered; `first - 1` only in an opening batch.
    pub last: u64,
    /// Its rows, in order.
    pub rows: Arc<[RowIndex]>,
}

impl Batch {
    /// What the batch takes of a ring's bound, in bytes.
    #[must_use]
    pub fn cost(&self) -> u64 {
        (self.frame.len() + size_of_val(&*self.rows)) as u64 + OVERHEAD_COST
    }

    /// The bytes of the ticks that `wanted` says yes to, by symbol, and whose sequences are greater than `after`.
    pub fn select<'a>(
        &'a self,
        after: u64,
        wanted: impl Fn(SymbolId) -> bool + 'a,
    ) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(TICKS_START).chain(self.rows.iter().map(|row| row.end as usize));
        starts.zip(&*self.rows).filter_map(move |(start, row)| {
            let chosen = self.first + u64::from(row.offset) > after && wanted(row.symbol);
            chosen.then(|| &self.frame[start..row.end as usize])
        })
    }
}

/// Puts ticks that are encoded already into a frame that covers `first..=last`.
pub fn assemble<'a>(epoch: u64, first: u64, last: u64, ticks: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    let start = encode::begin(FrameType::DataBatch, &mut out);
    uint32::encode(1, &SCHEMA_VERSION, &mut out);
    ticks.for_each(|tick| out.put_slice(tick));
    seal(epoch, first, last, start, &mut out);
    // It is kept for minutes: no spare capacity with it.
    Bytes::copy_from_slice(&out)
}

/// The range behind the ticks, and the end of the frame.
fn seal(epoch: u64, first: u64, last: u64, start: usize, out: &mut BytesMut) {
    uint64::encode(3, &epoch, out);
    uint64::encode(4, &first, out);
    uint64::encode(5, &last, out);
    encode::finish(start, out);
}

/// Encodes runs of one feed.
#[derive(Debug)]
pub struct Encoder {
    epoch: u64,
    symbols: Symbols,
    /// The largest payload, in bytes.
    max_payload: usize,
    /// Kept between ticks for its symbol's allocation.
    tick: Tick,
}

impl Encoder {
    /// Encodes into payloads of at most `max_payload` bytes, which is at least 4 KiB: room for any tick.
    #[must_use]
    pub fn new(epoch: u64, symbols: Symbols, max_payload: usize) -> Self {
        Self { epoch, symbols, max_payload, tick: Tick::default() }
    }

    /// Hands on the run as one batch, or as several where it does not fit into one.
    pub fn encode(&mut self, run: &Run, mut out: impl FnMut(Batch)) {
        let mut open = Open::new(run.first);
        let mut before = run.first;
        for row in &run.rows {
            let tick = &mut self.tick;
            tick.symbol.clear();
            tick.symbol.push_str(self.symbols.name(row.symbol));
            tick.time_unix_nano = row.time;
            (tick.open, tick.high, tick.low, tick.close) = (row.open, row.high, row.low, row.close);
            (tick.volume, tick.trades) = (row.volume, row.trades);
            let body = prost::Message::encoded_len(tick);
            let len = message::encoded_len(2, tick);
            let full = open.bytes.len() + len > HEADER_LEN + self.max_payload - (ENVELOPE_LEN - 2);
            // The index counts in 32 bits; a stretch of four billion numbers without a row ends a batch too.
            let too_far = u32::try_from(row.sequence - open.first).is_err();
            if (full || too_far) && !open.rows.is_empty() {
                let next = Open::new(before + 1);
                out(std::mem::replace(&mut open, next).close(self.epoch, before));
            }
            encode_key(2, WireType::LengthDelimited, &mut open.bytes);
            encode_varint(body as u64, &mut open.bytes);
            prost::Message::encode_raw(tick, &mut open.bytes);
            open.rows.push(RowIndex {
                symbol: row.symbol,
                offset: u32::try_from(row.sequence - open.first).unwrap_or(u32::MAX),
                end: open.bytes.len() as u32,
            });
            before = row.sequence;
        }
        out(open.close(self.epoch, run.last));
    }
}

/// A batch that is being filled.
struct Open {
    first: u64,
    bytes: BytesMut,
    rows: Vec<RowIndex>,
}

impl Open {
    fn new(first: u64) -> Self {
        let mut bytes = BytesMut::with_capacity(512);
        let _start = encode::begin(FrameType::DataBatch, &mut bytes);
        uint32::encode(1, &SCHEMA_VERSION, &mut bytes);
        debug_assert_eq!(bytes.len(), TICKS_START);
        Self { first, bytes, rows: Vec::new() }
    }

    fn close(mut self, epoch: u64, last: u64) -> Batch {
        seal(epoch, self.first, last, 0, &mut self.bytes);
        // The ring keeps it for minutes: no spare capacity with it.
        let frame = Bytes::copy_from_slice(&self.bytes);
        debug_assert!(frame.len() >= OVERHEAD);
        Batch { frame, first: self.first, last, rows: self.rows.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Row;
    use proptest::prelude::*;
    use tickwire_proto::message::DataBatch;
    use tickwire_proto::{Parsed, parse};

    const MAX: usize = 4096;

    fn symbols() -> Symbols {
        Symbols::new(["A".into(), "BB".into(), "C".repeat(32).as_str().into()].into())
    }

    fn row(sequence: u64, symbol: SymbolId, price: i64) -> Row {
        let time = 1_610_064_000_000_000_000;
        Row {
            sequence,
            symbol,
            time,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: u64::MAX,
            trades: 1,
        }
    }

    fn encode(run: &Run) -> Vec<Batch> {
        let mut batches = Vec::new();
        Encoder::new(u64::MAX, symbols(), MAX).encode(run, |batch| batches.push(batch));
        batches
    }

    fn decode(frame: &[u8]) -> DataBatch {
        let Ok(Parsed::Frame { frame, len }) = parse(frame, MAX) else {
            panic!("not a frame of at most {MAX}")
        };
        assert_eq!(len, frame.payload.len() + OVERHEAD);
        frame.decode().unwrap()
    }

    proptest! {
        #[test]
        fn a_run_is_cut_into_contiguous_batches_within_the_limit_and_nothing_is_lost(
            steps in prop::collection::vec((1..5_u64, 0..3_u32, any::<i64>()), 0..300), first in 1..u64::MAX / 2, tail in 0..9_u64
        ) {
            let mut sequence = first - 1;
            let rows: Vec<_> = steps.into_iter().map(|(step, symbol, price)| {
                sequence += step;
                row(sequence, symbol, price)
            }).collect();
            let last = sequence.max(first) + tail;
            let (names, batches) = (symbols(), encode(&Run { first, last, rows: rows.clone() }));
            let mut expected_first = first;
            let mut ticks = Vec::new();
            for batch in &batches {
                let decoded = decode(&batch.frame);
                prop_assert_eq!((decoded.first_sequence, decoded.last_sequence), (batch.first, batch.last));
                prop_assert_eq!(batch.first, expected_first);
                prop_assert!(batch.last >= batch.first);
                expected_first = batch.last + 1;
                ticks.extend(decoded.ticks);
            }
            prop_assert_eq!(expected_first, last + 1);
            prop_assert_eq!(ticks.len(), rows.len());
            for (tick, row) in ticks.iter().zip(&rows) {
                prop_assert_eq!(&tick.symbol, names.name(row.symbol));
                prop_assert_eq!(tick.open, row.open);
            }
        }

        #[test]
        fn a_selection_has_exactly_the_rows_after_and_wanted(after in 0..40_u64, wanted in 0..3_u32) {
            let rows: Vec<_> = (0..20).map(|n| row(10 + n, (n % 3) as u32, n as i64)).collect();
            let batch = encode(&Run { first: 8, last: 30, rows: rows.clone() }).remove(0);
            let frame = assemble(7, after + 1, 30, batch.select(after, |symbol| symbol == wanted));
            let got: Vec<_> = decode(&frame).ticks.into_iter().map(|tick| tick.open).collect();
            let expected: Vec<_> = rows.iter().filter(|row| row.sequence > after && row.symbol == wanted).map(|row| row.open).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
