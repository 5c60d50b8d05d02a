//! Dashboard and alerts, against the real thing: promtool for the rules, and a Prometheus that has scraped real servers for the queries.

mod alerts;
mod dashboard;
mod picture;
mod prometheus;
mod scene;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::generate::root;
use crate::tools;

use dashboard::Dashboard;
use prometheus::{Period, Prometheus};
use scene::Scene;

/// What has no data where there is no cluster, and why. A query with one of these must have none: so the list cannot grow old.
const WITHOUT_CLUSTER: &[(&str, &str)] = &[
    ("tickwire_operator_replicas", "per StreamServer, of which there are none without a cluster"),
    ("tickwire_operator_connections", "per StreamServer"),
    ("tickwire_operator_imbalance_ratio", "per StreamServer"),
    ("kube_horizontalpodautoscaler_status_condition", "kube-state-metrics', of a cluster"),
];

/// What has no data in a cluster without what is not Tickwire's.
const WITHOUT_OTHERS: &[(&str, &str)] =
    &[("kube_horizontalpodautoscaler_status_condition", "kube-state-metrics', which may not be installed")];

/// A Prometheus that somebody else runs, and what of it is looked at.
pub(crate) struct Source {
    /// Such as http://127.0.0.1:9090.
    pub(crate) url: String,
    /// In seconds since 1970; none: `Self::RECENT` before `to`.
    pub(crate) from: Option<f64>,
    /// In seconds since 1970; none: now.
    pub(crate) to: Option<f64>,
    /// Over how long rates are taken: four times as long as between two scrapes.
    pub(crate) rate_interval: Duration,
}

impl Source {
    /// As a Grafana that has just been opened shows.
    const RECENT: f64 = 3600.0;

    fn open(&self) -> Result<(Prometheus, Period)> {
        let to = self.to.unwrap_or_else(prometheus::now);
        let from = self.from.unwrap_or(to - Self::RECENT);
        ensure!(from < to, "--from must be before --to");
        Ok((Prometheus::at(&self.url)?, Period { from, to }))
    }
}

/// The part of `cargo xtask test`.
pub(crate) fn test() -> Result<()> {
    tools::debian("promtool", "prometheus")?;
    alerts::check()?;
    let scene = Scene::play()?;
    let dashboard = Dashboard::read()?;
    check(&scene.prometheus, &dashboard, scene.period, scene::RATE_INTERVAL, WITHOUT_CLUSTER)
}

/// Runs all queries of the dashboard, and looks for all metrics of the alerts, where servers and operators run in a cluster.
pub(crate) fn queries(source: Option<&Source>) -> Result<()> {
    let source = source.context("--prometheus is missing: where one runs, such as http://127.0.0.1:9090")?;
    let (prometheus, period) = source.open()?;
    check(&prometheus, &Dashboard::read()?, period, source.rate_interval, WITHOUT_OTHERS)
}

fn check(
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    period: Period,
    rate_interval: Duration,
    without: &[(&str, &str)],
) -> Result<()> {
    let values = dashboard.values(prometheus, period, rate_interval)?;
    let (ran, mut wrong) = dashboard.check(prometheus, period, &values, without)?;
    let (metrics, missing) = alerts::check_metrics(prometheus, period, without)?;
    wrong.extend(missing);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{ran} queries of the dashboard and {metrics} metrics of the alerts are as they should be");
    Ok(())
}

/// Draws the dashboard, or some of its rows: of a Prometheus that runs, or of a run of its own.
pub(crate) fn picture(source: Option<&Source>, rows: &[String], out: &PathBuf) -> Result<()> {
    let dashboard = Dashboard::read()?;
    let draw = |prometheus: &Prometheus, period, rate_interval| {
        let values = dashboard.values(prometheus, period, rate_interval)?;
        picture::draw(prometheus, &dashboard, period, &values, rows)
    };
    let svg = if let Some(source) = source {
        let (prometheus, period) = source.open()?;
        draw(&prometheus, period, source.rate_interval)?
    } else {
        tools::debian("prometheus", "prometheus")?;
        let scene = Scene::play()?;
        draw(&scene.prometheus, scene.period, scene::RATE_INTERVAL)?
    };
    std::fs::write(out, svg).with_context(|| format!("cannot write {}", out.display()))?;
    println!("drew {}", out.display());
    Ok(())
}

/// Where the pictures of docs/ are.
pub(crate) fn default_picture() -> PathBuf {
    root().join("docs/images/dashboard.svg")
}

/// A time on the command line: seconds since 1970, or RFC 3339.
pub(crate) fn time(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(seconds);
    }
    let time = humantime::parse_rfc3339(text)
        .map_err(|_| "write it as seconds since 1970, or like 2026-01-02T03:04:05Z".to_owned())?;
    time.duration_since(std::time::UNIX_EPOCH)
        .map(|time| time.as_secs_f64())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excused_is_asked_for_somewhere() {
        let (dashboard, alerts) = (Dashboard::read().unwrap(), alerts::metrics().unwrap());
        for (metric, _) in WITHOUT_CLUSTER.iter().chain(WITHOUT_OTHERS) {
            assert!(dashboard.shows(metric) || alerts.contains(*metric), "{metric} is in no query");
        }
    }

    #[test]
    fn a_time_is_a_number_of_seconds_or_a_date() {
        assert_eq!(time("1700000000.5"), Ok(1_700_000_000.5));
        assert_eq!(time("2023-11-14T22:13:20Z"), Ok(1_700_000_000.0));
        assert!(time("yesterday").unwrap_err().contains("seconds since 1970"));
        assert!(time("NaN").is_err());
    }
}
