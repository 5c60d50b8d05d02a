//! Many clients, many cuts, servers that leave.

mod certificates;
mod drain;
mod resume;
mod shed;
