//! The operator, its chart and the servers' images on a real Kubernetes: `cargo xtask test cluster` brings one up, loads the images, and runs this.
//!
//! Each test has a namespace of its own that enforces Pod Security `restricted`, and looks at things as a person does: by kubectl and by clients that
//! come from outside the pods. It needs KUBECONFIG, and kubectl and helm in PATH; without them it fails.

mod cluster;
mod digest;
mod fleet;
mod namespace;
mod nats;
mod operator;
mod processes;
mod size;
mod stream_server;
mod timeline;

mod alone;
mod bad_input;
mod certificates;
mod chart;
mod custom_metrics;
mod dashboard;
mod drift;
mod kubectl;
mod large;
mod rules;
mod samples;
