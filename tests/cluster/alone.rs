//! What needs the cluster, or the operator, to itself: it is run after the rest, one test at a time.

mod definition;
mod operator;
mod rollout;
