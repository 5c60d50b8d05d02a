//! The operator: keeps a fleet of stream servers running for each StreamServer.
//!
//! ```text
//! StreamServer ─ observe ─► validate ─► issue ─► course ─► build (pure) ─► apply (server-side) ─► status
//! ```
//!
//! The modules stand in the order in which a change of an object meets them. `run` sets up what is around: the admin port, the leadership, the
//! controller. `controller` says what is watched, `reconcile` is the line above, and writes the status that `status` has found words for. Of the seven only
//! `observe` and `apply` have a client of the API server, and only `issue` has chance. So what is between is tested from a few lines of YAML.

pub mod settings;
pub mod logs;
pub mod check;
pub mod run;
pub mod lease;
pub mod kinds;
pub mod controller;
pub mod reconcile;
pub mod fleet;
pub mod observe;
pub mod validate;
pub mod nats_secret;
pub mod problem;
pub mod certificate;
pub mod authority;
pub mod issue;
pub mod note;
pub mod connections;
pub mod load;
pub mod scale_down;
pub mod course;
pub mod build;
pub mod apply;
pub mod rebalance;
pub mod shed;
pub mod custom_metrics;
pub mod status;
pub mod backoff;
pub mod metrics;
pub mod admin;
