//! What needs the cluster, or the operator, to itself: it is run after the rest, one test at a time.

mod custom_metrics;
mod definition;
mod faults;
mod operator;
mod rollout;
