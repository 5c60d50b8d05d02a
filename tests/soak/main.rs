//! Many clients, many cuts, servers that leave.

mod drain;
mod resume;
