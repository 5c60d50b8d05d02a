//! What needs the cluster, or the operator, to itself: it is run after the rest, one test at a time.

mod autoscaling;
mod custom_metrics;
mod definition;
mod faults;
mod operator;
mod pace;
mod rebalance;
mod rollout;
