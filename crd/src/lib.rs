//! The StreamServer API, `tickwire.dev/v1alpha1`: what a person writes, and what the operator answers.
//!
//! [`StreamServer`] is the kind; its specification is made of groups, one file each, in the order in which they stand in
//! [`StreamServerSpec`]. What the documentation of a field says is what `kubectl explain` shows. What a schema can check is checked by the
//! API server, by the schema's own words or by rules in CEL, each with a message that says what would be right; [`Duration`] and [`Size`] are
//! how times and sizes are written.
//!
//! [`definition`] is the custom resource definition; `cargo xtask generate` writes it to crd/ and into the chart.

mod auth;
mod autoscaling;
mod definition;
mod disruption;
mod drain;
mod duration;
mod feed;
mod image;
mod limits;
mod monitoring;
mod network_policy;
mod pod;
mod protocol;
mod rebalance;
mod reference;
mod rollout;
mod rule;
mod service;
mod size;
mod status;
mod stream_server;
mod tls;

pub use auth::{Auth, UsersFile};
pub use autoscaling::{Autoscaling, ScaleDown};
pub use definition::definition;
pub use disruption::Disruption;
pub use drain::Drain;
pub use duration::{Duration, DurationError};
pub use feed::{Feed, NatsFeed, ReplayFeed, SyntheticFeed};
pub use image::{Image, PullPolicy};
pub use limits::Limits;
pub use monitoring::Monitoring;
pub use network_policy::NetworkPolicy;
pub use pod::{Pod, Scheduling, Security};
pub use protocol::Protocol;
pub use rebalance::{Rebalance, RebalanceMode};
pub use reference::{KeyReference, NameReference};
pub use rollout::Rollout;
pub use service::{ProxyProtocol, Service, ServiceType, TrafficPolicy};
pub use size::{Size, SizeError};
pub use status::{ConditionType, RebalancePhase, RebalanceStatus, StreamServerStatus};
pub use stream_server::{GROUP, StreamServer, StreamServerSpec, VERSION};
pub use tls::{
    CertManager, ClientAuthentication, ClientCertificates, ClientIdentity, IssuerReference, SelfSigned, Tls,
    TlsMode,
};
