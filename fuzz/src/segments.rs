//! Bytes, cut as a network might cut them.

use crate::Decisions;

/// How many sizes are decided. They come round and round.
const SIZES: usize = 4;

/// Cuts bytes into segments, none of them empty.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    sizes: [u8; SIZES],
    next: usize,
    bytes: &'a [u8],
}

impl<'a> Segments<'a> {
    /// The cuts for `bytes`.
    #[must_use]
    pub fn new(sizes: [u8; SIZES], bytes: &'a [u8]) -> Self {
        Self { sizes, next: 0, bytes }
    }

    /// Sizes, for [`new`](Self::new).
    pub fn sizes(decisions: &mut Decisions<'_>) -> [u8; SIZES] {
        decisions.array()
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.bytes.is_empty() {
            return None;
        }
        let size = match usize::from(self.sizes[self.next % SIZES]) {
            0 => self.bytes.len(),
            // Every small size, and some as large as what a socket gives at once: up to 64 KiB.
            size @ 1..=127 => size,
            size => (size - 127) * 512,
        };
        self.next += 1;
        let (segment, rest) = self.bytes.split_at(size.min(self.bytes.len()));
        self.bytes = rest;
        Some(segment)
    }
}
