//! The messages of `stream.proto`, as prost generates them (`cargo xtask generate`).

#[expect(missing_docs, reason = "generated; stream.proto's comments are carried over where it has them")]
#[path = "gen/tickwire.v1.rs"]
mod generated;

pub use generated::{Auth, DataBatch, Error, ErrorCode, Heartbeat, Mode, Resume, Subscribe, Tick};
