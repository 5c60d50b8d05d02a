//! The Tickwire wire: what a frame is, what travels in one, and how to get from bytes to both and back.
//!
//! ```text
//! read    bytes → parse (no I/O: says what it has, or how many bytes it wants) → Frame → message
//! write   message → encode → bytes
//! ```
//!
//! Nothing here reads a socket or allocates for a frame that is not yet whole. The server parses straight out of a buffer
//! that it lends to whichever connection has bytes; with the feature `codec`, a client gets a
//! [`tokio_util::codec`](https://docs.rs/tokio-util/latest/tokio_util/codec/) pair on top.
//!
//! Beside the wire, with the feature `trade`: [`trade`], the messages by which trades come to the servers, so that who sends and who reads them
//! agree.
//!
//! docs/PROTOCOL.md says in words what this crate says in code; `proto/vectors/` holds examples of both good and bad frames
//! for implementations in other languages.

pub mod frame;
pub mod parse;
pub mod message;
pub mod code;
pub mod encode;
#[cfg(feature = "codec")]
pub mod codec;
pub mod decimal;
#[cfg(feature = "trade")]
pub mod trade;

pub use frame::{Frame, FrameType, HEADER_LEN, MAX_PAYLOAD_LEN, OVERHEAD, TRAILER_LEN};
pub use parse::{ParseError, Parsed, parse};

/// The version of [`message::Tick`]'s meaning that this crate writes into every batch.
pub const SCHEMA_VERSION: u32 = 1;
