//! The Tickwire stream server.
//!
//! ```text
//! down   feed → publisher (bars, batches: encoded once) → stream (a log per mode) → shard → socket
//! up     listener → shard → connection → session (AUTH, SUBSCRIBE) → a cursor in a log
//! ```
//!
//! A stream is a log of frames; a connection is a position in one. Nothing behind the log encodes. Each shard is a thread with its own
//! listener, connections, timers and copy of the logs' ends. ARCHITECTURE.md is the map.

pub mod config;
pub mod logs;
pub mod traces;
pub mod file_limit;

pub mod feed;
pub mod run;
pub mod bars;
pub mod batch;
pub mod filter;
pub mod log;
pub mod stream;
pub mod publisher;

pub mod listener;
pub mod address;
mod fair_queue;
pub mod proxy;
mod bounded_file;
mod error_chain;
pub mod tls;
pub mod limiter;
pub mod users;
pub mod verifier;
pub mod auth;
pub mod close;
pub mod shed;
pub mod shard;

pub mod reload;
pub mod metrics;
pub mod admin;
pub mod server;

pub use server::{RunError, Server, StartError, Stopper};
