//! What moves many clients, or takes long to: run after what is small, and beside nothing else, so that it is not slowed down.

mod autoscaling;
mod pace;
mod rebalance;
