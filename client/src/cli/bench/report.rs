//! What a bench has found, for people and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::worker::Counts;

/// What was measured while all were connected.
#[derive(Debug)]
pub(super) struct Steady {
    pub(super) elapsed: Duration,
    pub(super) counts: Counts,
    /// The server's, before the first client and with all of them, in bytes.
    pub(super) server_memory: Option<(u64, u64)>,
    pub(super) server_cpu: Option<Duration>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    clients: usize,
    connected: u64,
    connect_seconds: f64,
    reconnects: u64,
    lost_connections: u64,
    discontinuities: u64,
    refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    steady: Option<SteadyReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<Latency>,
    trouble: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SteadyReport {
    seconds: f64,
    batches: u64,
    batches_per_second: f64,
    ticks: u64,
    ticks_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerReport>,
}

#[derive(Debug, Serialize)]
struct ServerReport {
    memory_before_bytes: u64,
    memory_bytes: u64,
    memory_per_connection_bytes: f64,
    cpu_seconds: f64,
    cpu_per_delivery_us: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(
        clients: usize,
        ramp: Duration,
        whole: Counts,
        steady: Option<Steady>,
        latencies: &Histogram<u64>,
        trouble: Vec<String>,
    ) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            clients,
            connected: whole.connected,
            connect_seconds: ramp.as_secs_f64(),
            reconnects: whole.reconnects,
            lost_connections: whole.lost,
            discontinuities: whole.discontinuities,
            refused: whole.refused,
            steady: steady.map(|steady| SteadyReport::new(&steady, clients)),
            latency_ms: (!latencies.is_empty()).then(|| Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: latencies.max() as f64 / 1000.0,
            }),
            trouble,
        }
    }

    /// Whether everybody was connected, and nobody lost anything.
    pub(super) fn good(&self) -> bool {
        let trouble = self.lost_connections + self.discontinuities + self.refused;
        self.connected == self.clients as u64 && self.steady.is_some() && trouble == 0
    }
}

impl SteadyReport {
    fn new(steady: &Steady, clients: usize) -> Self {
        let Steady { elapsed, counts, server_memory, server_cpu } = steady;
        let seconds = elapsed.as_secs_f64();
        Self {
            seconds,
            batches: counts.batches,
            batches_per_second: counts.batches as f64 / seconds,
            ticks: counts.ticks,
            ticks_per_second: counts.ticks as f64 / seconds,
            server: server_memory.zip(*server_cpu).map(|((before, with), cpu)| ServerReport {
                memory_before_bytes: before,
                memory_bytes: with,
                memory_per_connection_bytes: with.saturating_sub(before) as f64 / clients as f64,
                cpu_seconds: cpu.as_secs_f64(),
                cpu_per_delivery_us: cpu.as_secs_f64() * 1e6 / (counts.batches.max(1)) as f64,
            }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            clients,
            connected,
            connect_seconds,
            reconnects,
            lost_connections,
            discontinuities,
            refused,
            ..
        } = self;
        let rate = *connected as f64 / connect_seconds;
        writeln!(
            f,
            "clients      {connected} of {clients} connected in {connect_seconds:.1} s ({rate:.0} per second)"
        )?;
        writeln!(
            f,
            "continuity   {discontinuities} gaps or repeats, {lost_connections} connections lost, {reconnects} reconnects, {refused} refused"
        )?;
        match &self.steady {
            None => writeln!(f, "measured     nothing: not everybody was connected")?,
            Some(SteadyReport { seconds, batches, batches_per_second, ticks, ticks_per_second, server }) => {
                writeln!(
                    f,
                    "measured     {seconds:.1} s: {batches} batches ({batches_per_second:.0}/s), {ticks} ticks ({ticks_per_second:.0}/s)"
                )?;
                if let Some(server) = server {
                    writeln!(
                        f,
                        "server       {:.2} us CPU per delivery; {:.1} MiB, {:.0} bytes per connection over the {:.1} MiB before",
                        server.cpu_per_delivery_us,
                        server.memory_bytes as f64 / 1_048_576.0,
                        server.memory_per_connection_bytes,
                        server.memory_before_bytes as f64 / 1_048_576.0,
                    )?;
                }
            }
        }
        if let Some(Latency { p50, p90, p99, p999, max }) = &self.latency_ms {
            writeln!(
                f,
                "latency      p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, max {max:.1} ms"
            )?;
        }
        for trouble in &self.trouble {
            writeln!(f, "trouble      {trouble}")?;
        }
        Ok(())
    }
}
