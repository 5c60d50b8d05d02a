//! The spans themselves.

use std::net::{IpAddr, SocketAddr};

use rustls::ProtocolVersion;
use tracing::field::{Empty, display};
use tracing::{Span, info_span};

use super::TARGET;

/// The spans of a client's way in, kept with its connection: `accept`, and the step under way within it. Eight bytes, and nothing behind
/// them where traces are off, or the client is in. Each step ends with the next, and dropping it ends all.
#[derive(Debug, Default)]
pub struct Arrival(pub(super) Option<Box<Steps>>);

#[derive(Debug)]
pub(super) struct Steps {
    /// Disabled, where a subscription stands alone.
    accept: Span,
    step: Span,
    client: SocketAddr,
}

impl Arrival {
    /// A client has been accepted; `peer` is what the kernel says of it.
    #[must_use]
    pub fn accept(peer: SocketAddr) -> Self {
        let accept = info_span!(
            target: TARGET,
            parent: None,
            "accept",
            otel.kind = "server",
            otel.status_code = Empty,
            error.type = Empty,
            network.transport = "tcp",
            network.peer.address = %ip(peer),
            network.peer.port = port(peer),
            client.address = Empty,
            client.port = Empty,
        );
        Self::of(accept, Span::none(), peer)
    }

    fn of(accept: Span, step: Span, client: SocketAddr) -> Self {
        let on = !(accept.is_disabled() && step.is_disabled());
        Self(on.then(|| Box::new(Steps { accept, step, client })))
    }

    /// A proxy has said who the client is.
    pub fn client(&mut self, client: SocketAddr) {
        if let Some(steps) = &mut self.0 {
            steps.client = client;
        }
    }

    /// The TLS handshake begins.
    pub fn tls(&mut self) {
        let Some(steps) = &mut self.0 else { return };
        steps.step = info_span!(
            target: TARGET,
            parent: steps.accept.id(),
            "tls",
            otel.status_code = Empty,
            error.type = Empty,
            tls.protocol.name = "tls",
            tls.protocol.version = Empty,
            tls.resumed = Empty,
        );
    }

    /// The handshake has succeeded.
    pub fn established(&mut self, version: Option<ProtocolVersion>, resumed: bool) {
        let Some(steps) = &mut self.0 else { return };
        let version = match version {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "unknown",
        };
        steps.step.record("tls.protocol.version", version);
        steps.step.record("tls.resumed", resumed);
        steps.step = Span::none();
    }

    /// AUTH has come.
    pub fn auth(&mut self) {
        let Some(steps) = &mut self.0 else { return };
        steps.step = info_span!(
            target: TARGET,
            parent: steps.accept.id(),
            "auth",
            otel.status_code = Empty,
            error.type = Empty,
            user.name = Empty,
        );
    }

    /// The client has been let in. Only now its name is told: what is wrong may be a password in the wrong field.
    pub fn authenticated(&mut self, username: &str) {
        let Some(steps) = &mut self.0 else { return };
        steps.step.record("user.name", username);
        steps.step = Span::none();
    }

    /// SUBSCRIBE has come, the first or another.
    pub fn subscribe(&mut self, client: SocketAddr) {
        let step = info_span!(
            target: TARGET,
            parent: self.0.as_ref().and_then(|steps| steps.accept.id()),
            "subscribe",
            otel.status_code = Empty,
            error.type = Empty,
            client.address = %ip(client),
            client.port = port(client),
            tickwire.mode = Empty,
            tickwire.symbols = Empty,
            tickwire.resumed = Empty,
        );
        match &mut self.0 {
            Some(steps) => steps.step = step,
            None => *self = Self::of(Span::none(), step, client),
        }
    }

    /// The subscription has begun, and the client is in: `mode` as metrics call it, how many `symbols` it named, and whether it goes on
    /// from where it was.
    pub fn subscribed(&mut self, mode: &'static str, symbols: usize, resumed: bool) {
        let Some(steps) = self.0.take() else { return };
        steps.step.record("tickwire.mode", mode);
        steps.step.record("tickwire.symbols", integer(symbols));
        steps.step.record("tickwire.resumed", resumed);
    }

    /// The step has failed, and the client may try again.
    pub fn refused(&mut self, error: &'static str) {
        let Some(steps) = &mut self.0 else { return };
        fail(&steps.step, error);
        steps.step = Span::none();
        if steps.accept.is_disabled() {
            self.0 = None;
        }
    }

    /// The connection is over, for a reason of this label. Nothing, where the client is in.
    pub fn over(&mut self, reason: &'static str) {
        let Some(steps) = self.0.take() else { return };
        fail(&steps.step, reason);
        fail(&steps.accept, reason);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // At the end, as a proxy may have said more than the kernel, and attributes that are given twice stay so.
        self.accept.record("client.address", display(ip(self.client)));
        self.accept.record("client.port", port(self.client));
    }
}

/// A window's way into the streams: the span `publish`, for as long as it is kept. Not for the past that is filled in at the start, whose
/// thousands of windows would take the queue's room from what comes then.
#[derive(Debug)]
pub struct Publishing(Span);

impl Publishing {
    /// A window of so many ticks is about to be encoded.
    #[must_use]
    pub fn begin(ticks: usize) -> Self {
        let ticks = integer(ticks);
        Self(
            info_span!(target: TARGET, parent: None, "publish", tickwire.ticks = ticks, tickwire.batches = Empty),
        )
    }

    /// It has been published, in so many batches.
    pub fn end(self, batches: usize) {
        self.0.record("tickwire.batches", integer(batches));
    }
}

/// The clients' departure: the span `drain`, for as long as it is kept.
#[derive(Debug)]
pub struct Draining(Span);

impl Draining {
    /// So many clients are to be sent away.
    #[must_use]
    pub fn begin(clients: i64) -> Self {
        let left = Empty;
        Self(
            info_span!(target: TARGET, parent: None, "drain", tickwire.clients = clients, tickwire.clients.left = left),
        )
    }

    /// It is over; so many were still there.
    pub fn end(self, left: i64) {
        self.0.record("tickwire.clients.left", left);
    }
}

fn fail(span: &Span, error: &'static str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error);
}

/// Numbers are given as i64, the one kind that OpenTelemetry has; others would arrive as text.
fn integer(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn port(address: SocketAddr) -> i64 {
    address.port().into()
}

fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}
