//! Pictures of what was measured: line charts as SVG, the same bytes for the same data, readable on light and on dark pages.
//!
//! `cargo xtask plot FILE.csv -o FILE.svg` draws a timeline; `monitoring/picture.rs` draws a dashboard.

mod chart;
pub(crate) mod colour;
mod csv;
mod scale;
pub(crate) mod svg;
pub(crate) mod unit;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

pub(crate) use chart::{Axis, Chart, Clock, Line, Series, Sides};

use svg::{Document, Rect};

/// How wide a timeline is, in pixels: as wide as a page of GitHub shows it, undiminished.
const WIDTH: f64 = 880.0;

/// How high a chart is, in pixels: the one, and the one below it.
const HEIGHT: f64 = 380.0;
const BELOW: f64 = 200.0;

/// What surrounds it, in pixels.
const MARGIN: f64 = 12.0;

/// Pixels left and right of a timeline's lines: room for its numbers and what they are of.
const INSETS: (f64, f64) = (64.0, 48.0);

/// How a timeline is drawn.
pub(crate) struct Timeline {
    /// Above it; none: the file's name.
    pub(crate) title: Option<String>,
    /// The columns that have the axis on the right: what is of another size than the rest.
    pub(crate) right: Vec<String>,
    /// The columns that have a chart of their own below: what neither axis fits.
    pub(crate) below: Vec<String>,
    /// The columns that are drawn as steps: what is counted, and changes at once.
    pub(crate) step: Vec<String>,
}

/// Draws a CSV, whose first column is seconds and the others the series that its header names.
pub(crate) fn run(file: &Path, out: &Path, timeline: &Timeline) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let svg = draw(&text, &stem, timeline).with_context(|| format!("cannot draw {}", file.display()))?;
    std::fs::write(out, svg).with_context(|| format!("cannot write {}", out.display()))?;
    println!("drew {}", out.display());
    Ok(())
}

fn draw(text: &str, stem: &str, timeline: &Timeline) -> Result<String> {
    let columns = csv::parse(text)?;
    let known: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    for name in timeline.right.iter().chain(&timeline.below).chain(&timeline.step) {
        let is_known = known.contains(&name.as_str());
        ensure!(is_known, "there is no column {name:?}; there are {}", known.join(", "));
    }
    let is = |names: &[String], name: &str| names.iter().any(|other| other == name);
    let series = columns.into_iter().enumerate().map(|(index, column)| Series {
        side: if is(&timeline.right, &column.name) { Sides::Right } else { Sides::Left },
        line: if is(&timeline.step, &column.name) { Line::Step } else { Line::Straight },
        // Another than that of any series in the other chart.
        colour: Some(colour::of(index)),
        ..Series::new(column.name, column.points)
    });
    let (below, above): (Vec<_>, Vec<_>) = series.partition(|series| is(&timeline.below, &series.name));
    let title = timeline.title.clone().unwrap_or_else(|| stem.to_owned());
    let height = HEIGHT + if below.is_empty() { 0.0 } else { BELOW };
    let mut document = Document::new(WIDTH, height + 2.0 * MARGIN, &title);
    let place = |y, height| Rect { x: MARGIN, y, width: WIDTH - 2.0 * MARGIN, height };
    chart(title, above).draw(&mut document, place(MARGIN, HEIGHT));
    if !below.is_empty() {
        chart(String::new(), below).draw(&mut document, place(MARGIN + HEIGHT, BELOW));
    }
    Ok(document.finish())
}

fn chart(title: String, series: Vec<Series>) -> Chart {
    let axis = |side| {
        let mine = series.iter().filter(|one| one.side == side).map(|one| one.name.as_str());
        Axis { label: mine.collect::<Vec<_>>().join(", "), minimum: Some(0.0), ..Axis::default() }
    };
    Chart {
        title,
        left: axis(Sides::Left),
        right: series.iter().any(|one| one.side == Sides::Right).then(|| axis(Sides::Right)),
        insets: INSETS,
        series,
        ..Chart::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "seconds,connections,replicas\n0,0,2\n30,1500,2\n60,3000,3\n";

    fn timeline(right: &[&str]) -> Timeline {
        let right: Vec<_> = right.iter().map(|name| (*name).to_owned()).collect();
        Timeline { title: None, below: Vec::new(), step: right.clone(), right }
    }

    #[test]
    fn a_timeline_is_drawn_the_same_each_time_with_each_series_and_both_axes() {
        let svg = draw(CSV, "autoscaling", &timeline(&["replicas"])).unwrap();
        assert_eq!(svg, draw(CSV, "autoscaling", &timeline(&["replicas"])).unwrap());
        for expected in [">autoscaling<", ">connections<", ">replicas<", ">3k<", ">1:00<"] {
            assert!(svg.contains(expected), "{expected} is missing in {svg}");
        }
        assert_eq!(svg.matches("class=\"line").count(), 2);
    }

    #[test]
    fn what_fits_neither_axis_has_a_chart_of_its_own_below() {
        let timeline = Timeline { below: vec!["replicas".into()], ..timeline(&[]) };
        let svg = draw(CSV, "autoscaling", &timeline).unwrap();
        assert_eq!(svg.matches(">1:00<").count(), 2, "each has its axis of time: {svg}");
        assert_eq!(svg.matches("class=\"line").count(), 2);
        let without = draw(CSV, "autoscaling", &self::timeline(&[])).unwrap();
        assert_eq!(without.matches(">1:00<").count(), 1);
    }

    #[test]
    fn a_column_that_is_not_there_is_refused_with_those_that_are() {
        let error = draw(CSV, "autoscaling", &timeline(&["pods"])).unwrap_err();
        assert_eq!(error.to_string(), "there is no column \"pods\"; there are connections, replicas");
    }
}
