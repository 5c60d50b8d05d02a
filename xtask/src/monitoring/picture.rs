//! The dashboard as one picture: every panel in its place, with what a Prometheus has of it. Grafana has no part in it.

use anyhow::{Context as _, Result, ensure};

use super::dashboard::{Dashboard, Kind, Panel, Place, Row, Values};
use super::prometheus::{Period, Prometheus, Sampled};
use crate::plot::svg::{Anchor, Document, Rect, Text, fit};
use crate::plot::{Axis, Chart, Clock, Line, Series};

/// Pixels of one of Grafana's units, across and down.
const UNIT: (f64, f64) = (50.0, 28.0);
/// Pixels between two panels, and around all.
const GAP: f64 = 8.0;
/// Pixels of the name of a row.
const HEADING: f64 = 30.0;
/// Grafana's units across.
const COLUMNS: f64 = 24.0;
/// Points of a line; more cannot be told apart in a third of the picture.
const POINTS: f64 = 120.0;

pub(super) fn draw(
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    period: Period,
    values: &Values,
    rows: &[String],
) -> Result<String> {
    let known: Vec<_> = dashboard.rows.iter().map(|row| row.title.as_str()).collect();
    for row in rows {
        ensure!(known.contains(&row.as_str()), "there is no row {row:?}; there are {}", known.join(", "));
    }
    let wanted = |row: &&Row| rows.is_empty() || rows.contains(&row.title);
    let shown: Vec<_> = dashboard.rows.iter().filter(wanted).collect();
    let heights: Vec<_> = shown.iter().map(|row| height(row)).collect();
    let size = (COLUMNS * UNIT.0 + 2.0 * GAP, heights.iter().sum::<f64>() + GAP);
    let mut document = Document::new(size.0, size.1, "Tickwire's dashboard");
    let mut top = 0.0;
    for (row, height) in shown.iter().zip(heights) {
        let style = Text { size: 15.0, bold: true, ..Text::default() };
        document.text((GAP + GAP / 2.0, top + HEADING - 9.0), &row.title, &style);
        for panel in &row.panels {
            let Place { x, y, width, height } = panel.place;
            let place = Rect {
                x: GAP + x * UNIT.0 + GAP / 2.0,
                // A row's own name is one unit high.
                y: top + HEADING + (y - row.y - 1.0) * UNIT.1,
                width: width * UNIT.0 - GAP,
                height: height * UNIT.1 - GAP,
            };
            document.panel(place);
            match panel.kind {
                Kind::Number => number(&mut document, place, panel, prometheus, period, values),
                Kind::Lines => lines(&mut document, place, panel, prometheus, period, values),
            }
            .with_context(|| format!("cannot draw {}", panel.title))?;
        }
        top += height;
    }
    Ok(document.finish())
}

fn height(row: &Row) -> f64 {
    let ends = row.panels.iter().map(|panel| panel.place.y + panel.place.height - row.y - 1.0);
    HEADING + ends.fold(0.0, f64::max) * UNIT.1
}

fn number(
    document: &mut Document,
    place: Rect,
    panel: &Panel,
    prometheus: &Prometheus,
    period: Period,
    values: &Values,
) -> Result<()> {
    let query = panel.queries.first().context("it has no query")?;
    let series = prometheus.query(&query.text(values)?, period.to)?;
    let value = series.first().and_then(|series| series.values.first()).map(|(_, value)| *value);
    let value = value.filter(|value| value.is_finite());
    let text = value.map_or("–".to_owned(), |value| {
        panel.mapped(value).map_or_else(|| panel.unit.format(value), str::to_owned)
    });
    let colour = value.and_then(|value| {
        panel.thresholds().take_while(|(from, _)| *from <= value).last().and_then(|(_, colour)| colour)
    });
    let title = Text { size: 11.0, faint: true, ..Text::default() };
    document.text((place.x + GAP, place.y + 18.0), &fit(&panel.title, 11.0, place.width - 2.0 * GAP), &title);
    let style = Text {
        size: 26.0,
        anchor: Anchor::Middle,
        bold: true,
        colour,
        faint: value.is_none(),
        ..Text::default()
    };
    document.text((place.x + place.width / 2.0, place.y + place.height / 2.0 + 20.0), &text, &style);
    Ok(())
}

fn lines(
    document: &mut Document,
    place: Rect,
    panel: &Panel,
    prometheus: &Prometheus,
    period: Period,
    values: &Values,
) -> Result<()> {
    let step = period.step(POINTS);
    let mut series = Vec::new();
    for query in &panel.queries {
        let mut sampled = prometheus.query_range(&query.text(values)?, period, step)?;
        // In an order that does not depend on Prometheus'.
        sampled.sort_by(|a, b| a.labels.cmp(&b.labels));
        series.extend(sampled.into_iter().map(|one| (query.name(&one.labels), one)));
    }
    let line = if panel.is_stepped() { Line::Step } else { Line::Straight };
    let series: Vec<_> = series
        .into_iter()
        .filter(|(_, sampled)| !is_nothing(sampled, panel.queries.len()))
        .map(|(name, sampled)| {
            let (dashed, colour) = panel.look(&name);
            Series { line, dashed, colour, ..Series::new(name, on_grid(&sampled, period, step)) }
        })
        .collect();
    let chart = Chart {
        title: panel.title.clone(),
        clock: Clock::Utc,
        period: Some((period.from, period.to)),
        left: Axis {
            unit: panel.unit,
            minimum: panel.minimum(),
            maximum: panel.maximum(),
            soft_maximum: panel.soft_maximum(),
            whole: panel.is_whole(),
            ..Axis::default()
        },
        stacked: panel.is_stacked(),
        thresholds: panel.thresholds().filter_map(|(value, colour)| Some((value, colour?))).collect(),
        last_values: true,
        series,
        ..Chart::default()
    };
    chart.draw(document, place);
    Ok(())
}

/// Of a query by some label, what has been 0 all the time is left out of the picture: most reasons never occur.
fn is_nothing(sampled: &Sampled, queries: usize) -> bool {
    queries == 1
        && sampled.labels.iter().any(|(label, _)| label == "reason")
        && sampled.values.iter().all(|(_, value)| *value == 0.0)
}

/// A value for each point of time, so that what is missing is a gap.
fn on_grid(sampled: &Sampled, period: Period, step: f64) -> Vec<(f64, Option<f64>)> {
    let count = ((period.to - period.from) / step).floor() as u32;
    let mut values = sampled.values.iter().peekable();
    let times = (0..=count).map(|n| period.from + f64::from(n) * step);
    let point = |time: f64| {
        // Prometheus tells times to the millisecond.
        while values.next_if(|(at, _)| *at < time - step / 2.0).is_some() {}
        let value = values.next_if(|(at, _)| *at <= time + step / 2.0).map(|(_, value)| *value);
        (time, value.filter(|value| value.is_finite()))
    };
    times.map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_leaves_out_is_a_gap() {
        let sampled =
            Sampled { labels: Vec::new(), values: vec![(10.001, 1.0), (30.0, 3.0), (40.0, f64::NAN)] };
        let points = on_grid(&sampled, Period { from: 10.0, to: 45.0 }, 10.0);
        assert_eq!(points, [(10.0, Some(1.0)), (20.0, None), (30.0, Some(3.0)), (40.0, None)]);
    }

    #[test]
    fn reasons_that_never_occurred_are_left_out_and_nothing_else_is() {
        let sampled = |label: &str, value| Sampled {
            labels: vec![(label.to_owned(), "a".to_owned())],
            values: vec![(0.0, 0.0), (1.0, value)],
        };
        assert!(is_nothing(&sampled("reason", 0.0), 1));
        assert!(!is_nothing(&sampled("reason", 1.0), 1));
        assert!(!is_nothing(&sampled("pod", 0.0), 1));
    }
}
