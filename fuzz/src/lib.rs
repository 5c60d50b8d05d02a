//! What the fuzz targets share: how the bytes of an input become decisions, frames and segments.
//!
//! ```text
//! input → Decisions → a plan (limits, segments, verdicts) and bytes: either the rest as it is, or frames written by it
//! ```
//!
//! Frames are written because a random byte seldom passes a checksum: with them, an input that differs in one byte is a
//! conversation that differs in one thing.

#![forbid(unsafe_code)]

pub mod decisions;
pub mod segments;
pub mod frames;
pub mod messages;

pub use decisions::Decisions;
pub use segments::Segments;
