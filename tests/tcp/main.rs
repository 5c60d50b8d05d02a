//! Raw bytes against a server over real sockets: what a client may do wrong, and what it gets.

mod admin;
mod auth;
mod flow;
mod frames;
mod heartbeat;
mod limits;
mod nats;
mod peers;
mod proxy;
mod python;
mod replay;
mod subscribe;
mod tls;
mod users;
