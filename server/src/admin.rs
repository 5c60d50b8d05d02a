//! The admin port: liveness, readiness, metrics, the log's level, and the shedding of clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::feed::health::FeedHealth;
use crate::logs::{LogControl, LogFilter};
use crate::metrics::Metrics;
use crate::shard::{Phase, PhaseCell, Pulse};
use crate::shed::{Order, Shedding};
use crate::stream::Streams;
use crate::verifier::Verifier;

/// A shard's loop turns every second, idle or not; one that has not for so long hangs.
const PULSE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a connect to the data port may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// What the admin port tells of.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The data port.
    pub data_addr: SocketAddr,
    /// One per shard.
    pub pulses: Arc<[Arc<Pulse>]>,
    /// Whether the rings hold the past that the feed begins with.
    pub filled: watch::Receiver<bool>,
    /// Whether what the feed stands on is there.
    pub health: FeedHealth,
    /// Whether the server has been told to stop.
    pub stopping: CancellationToken,
    /// Whether it accepts.
    pub phase: Arc<PhaseCell>,
    /// Who is to go elsewhere.
    pub shedding: Arc<Shedding>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is held.
    pub streams: Arc<Streams>,
    /// Who checks passwords.
    pub verifier: Arc<Verifier>,
    /// What is logged.
    pub log: LogControl,
}

impl Admin {
    /// Serves until `end`.
    pub async fn serve(self, listener: TcpListener, end: CancellationToken) {
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/log", axum::routing::put(set_log))
            .route("/shed", axum::routing::post(shed))
            .with_state(self);
        let served = axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin port has failed");
        }
    }

    /// Why the server is not alive, if it is not.
    async fn illness(&self) -> Option<String> {
        for (number, pulse) in self.pulses.iter().enumerate() {
            let age = pulse.age();
            if age > PULSE_DEADLINE {
                return Some(format!("shard {number} has not turned for {age:?}"));
            }
        }
        if self.phase.get() != Phase::Serving {
            // The listener is closed on purpose.
            return None;
        }
        let address = reachable(self.data_addr);
        match tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("cannot connect to {address}: {error}")),
            Err(_) => Some(format!("connecting to {address} took longer than {CONNECT_DEADLINE:?}")),
        }
    }
}

/// An address at which the server reaches itself: an unspecified one is everywhere, also here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn healthz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.illness().await {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(illness) => (StatusCode::SERVICE_UNAVAILABLE, format!("{illness}\n")),
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let unready = if admin.stopping.is_cancelled() {
        Some("draining".to_owned())
    } else if let Some(illness) = admin.health.illness() {
        Some(illness)
    } else if !*admin.filled.borrow() {
        Some("filling the rings".to_owned())
    } else {
        None
    };
    match unready {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.render(&admin.streams, &admin.verifier) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// What `POST /shed` asks for.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
struct ShedQuery {
    connections: u32,
    per_second: NonZeroU32,
}

async fn shed(
    State(admin): State<Admin>,
    query: Result<Query<ShedQuery>, QueryRejection>,
) -> impl IntoResponse {
    let Query(ShedQuery { connections, per_second }) = match query {
        Ok(query) => query,
        Err(rejection) => {
            let problem = std::error::Error::source(&rejection)
                .map_or_else(|| rejection.to_string(), ToString::to_string);
            return (
                StatusCode::BAD_REQUEST,
                format!(
                    "{problem}; write it like /shed?connections=500&per_second=100, where connections is 0 to {} and per_second at least 1\n",
                    u32::MAX
                ),
            );
        }
    };
    if admin.stopping.is_cancelled() {
        return (
            StatusCode::CONFLICT,
            "the server drains: all of its clients are sent away already\n".to_owned(),
        );
    }
    admin.shedding.ask(Order { connections, per_second });
    admin.streams.wake();
    tracing::info!(connections, per_second, "sheds clients");
    (StatusCode::ACCEPTED, format!("sheds {connections} clients, {per_second} a second\n"))
}

async fn set_log(State(admin): State<Admin>, filter: String) -> impl IntoResponse {
    let filter: LogFilter = match filter.parse() {
        Ok(filter) => filter,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{filter:?} is {error}\n")),
    };
    match admin.log.set(&filter) {
        Ok(()) => {
            tracing::info!(%filter, "the log's level was changed");
            (StatusCode::OK, format!("logging {filter}\n"))
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
