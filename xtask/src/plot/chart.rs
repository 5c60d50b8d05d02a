//! A line chart: a time axis, one or two axes of values, series, and a legend below.

use super::colour;
use super::scale::Scale;
use super::svg::{Anchor, Document, Rect, Text, fit, width};
use super::unit::Unit;

/// A chart of at most as many series as a legend has room for; the rest is drawn, and counted in the legend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) clock: Clock,
    /// The range of time that is shown, in seconds; `None`: that of the points.
    pub(crate) period: Option<(f64, f64)>,
    pub(crate) left: Axis,
    pub(crate) right: Option<Axis>,
    pub(crate) series: Vec<Series>,
    /// Whether the series stand on each other's shoulders.
    pub(crate) stacked: bool,
    /// Lines across, on the left axis: a value, and a colour.
    pub(crate) thresholds: Vec<(f64, &'static str)>,
    /// Pixels left and right of the lines, at least: so that two charts, one below the other, have the same time at the same place.
    pub(crate) insets: (f64, f64),
    /// Whether the legend has each series' last value.
    pub(crate) last_values: bool,
}

/// What the times mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Seconds since something began.
    #[default]
    Elapsed,
    /// Seconds since 1970, UTC.
    Utc,
}

/// An axis of values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Axis {
    /// Beside it; empty: nothing.
    pub(crate) label: String,
    pub(crate) unit: Unit,
    /// Where it begins; `None`: where the values do.
    pub(crate) minimum: Option<f64>,
    /// Where it ends; `None`: where the values do.
    pub(crate) maximum: Option<f64>,
    /// How far it reaches at least.
    pub(crate) soft_maximum: Option<f64>,
    /// Whether there is nothing between 1 and 2.
    pub(crate) whole: bool,
}

/// By which axis a series goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sides {
    #[default]
    Left,
    Right,
}

/// How points are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Line {
    #[default]
    Straight,
    /// As it was, until the next point says otherwise.
    Step,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// In the order of time; where a value is missing, the line has a gap.
    pub(crate) points: Vec<(f64, Option<f64>)>,
    pub(crate) side: Sides,
    pub(crate) line: Line,
    pub(crate) dashed: bool,
    /// `None`: the next of the palette.
    pub(crate) colour: Option<&'static str>,
}

impl Series {
    pub(crate) fn new(name: String, points: Vec<(f64, Option<f64>)>) -> Self {
        Self { name, points, side: Sides::Left, line: Line::Straight, dashed: false, colour: None }
    }

    fn last(&self) -> Option<f64> {
        self.points.iter().rev().find_map(|(_, value)| *value)
    }
}

/// Pixels.
const TITLE: f64 = 30.0;
const TITLE_SIZE: f64 = 12.5;
const LABEL_SIZE: f64 = 10.0;
const LEGEND_LINE: f64 = 15.0;
const LEGEND_SWATCH: f64 = 9.0;
const LEGEND_GAP: f64 = 14.0;
const TIMES: f64 = 20.0;
const PADDING: f64 = 8.0;

/// Lines of a legend.
const MAX_LEGEND: usize = 4;

/// Pixels between two lines of the grid, at least.
const GRID: (f64, f64) = (70.0, 34.0);

impl Chart {
    /// Draws it into its place.
    pub(crate) fn draw(&self, document: &mut Document, place: Rect) {
        let title = Text { size: TITLE_SIZE, bold: true, ..Text::default() };
        let room = place.width - 2.0 * PADDING;
        if !self.title.is_empty() {
            document.text((place.x + PADDING, place.y + 18.0), &fit(&self.title, TITLE_SIZE, room), &title);
        }
        let Some(period) = self.period.or_else(|| self.times()) else {
            return no_data(document, place);
        };
        if self.series.iter().all(|series| series.last().is_none()) {
            return no_data(document, place);
        }
        let legend = self.legend(room);
        let below = TIMES + legend.len() as f64 * LEGEND_LINE + PADDING;
        let above = if self.title.is_empty() { PADDING } else { TITLE };
        let height = (place.height - above - below).max(GRID.1);
        let heights = self.stack();
        let left = self.scale(&self.left, Sides::Left, height, &heights);
        let right = self.right.as_ref().map(|axis| (axis, self.scale(axis, Sides::Right, height, &heights)));
        let inset = |axis: &Axis, scale: &Scale| {
            let marks = scale.marks.iter().map(|mark| width(&axis.unit.format(*mark), LABEL_SIZE));
            let label = if axis.label.is_empty() { 0.0 } else { LABEL_SIZE + 6.0 };
            marks.fold(0.0, f64::max) + label + PADDING + 4.0
        };
        let start = place.x + inset(&self.left, &left).max(self.insets.0);
        let beyond = right.as_ref().map_or(2.0 * PADDING, |(axis, scale)| inset(axis, scale));
        let end = place.x + place.width - beyond.max(self.insets.1);
        let plot = Rect { x: start, y: place.y + above, width: (end - start).max(GRID.0), height };

        let origin = if self.clock == Clock::Elapsed { period.0 } else { 0.0 };
        let time = Scale::time(period.0, period.1, (plot.width / GRID.0).floor().max(1.0), origin);
        let frame = Frame { plot, time };
        frame.grid(document, &left, self.clock);
        frame.axis(document, &self.left, &left, Sides::Left, place);
        if let Some((axis, scale)) = &right {
            frame.axis(document, axis, scale, Sides::Right, place);
        }
        for (value, colour) in &self.thresholds {
            if (left.from..=left.to).contains(value) {
                let y = frame.y(&left, *value);
                document.threshold(colour, (plot.x, y), (plot.x + plot.width, y));
            }
        }
        for (index, series) in self.series.iter().enumerate() {
            let scale = match (&right, series.side) {
                (Some((_, scale)), Sides::Right) => scale,
                _ => &left,
            };
            let colour = series.colour.unwrap_or_else(|| colour::of(index));
            let pieces = frame.pieces(scale, series.line, &heights[index].above);
            if self.stacked {
                for (above, below) in
                    pieces.iter().zip(frame.pieces(scale, series.line, &heights[index].below))
                {
                    document.area(above, &below, colour);
                }
            }
            document.polyline(&pieces, colour, series.dashed);
        }
        let top = plot.y + plot.height + TIMES;
        for (n, entries) in legend.iter().enumerate() {
            let y = top + n as f64 * LEGEND_LINE;
            let mut x = place.x + PADDING;
            for entry in entries {
                if let Some(colour) = entry.colour {
                    document.swatch((x, y + 2.0), LEGEND_SWATCH, colour);
                }
                let style = Text { size: LABEL_SIZE, faint: true, ..Text::default() };
                let indent = if entry.colour.is_some() { LEGEND_SWATCH + 4.0 } else { 0.0 };
                document.text((x + indent, y + 10.0), &entry.text, &style);
                x += entry.width();
            }
        }
    }

    /// The first and the last time of all points.
    fn times(&self) -> Option<(f64, f64)> {
        let times = || self.series.iter().flat_map(|series| series.points.iter().map(|(time, _)| *time));
        let (from, to) = (times().fold(f64::INFINITY, f64::min), times().fold(f64::NEG_INFINITY, f64::max));
        from.is_finite().then_some((from, if to > from { to } else { from + 1.0 }))
    }

    /// How high each series' line is, and on what it stands. Series that are stacked have their points at the same times.
    fn stack(&self) -> Vec<Heights> {
        let mut ground: Vec<f64> = Vec::new();
        let mut heights = Vec::new();
        for series in &self.series {
            let below: Vec<_> = (0..series.points.len())
                .map(|n| if self.stacked { ground.get(n).copied().unwrap_or_default() } else { 0.0 })
                .collect();
            let points = series.points.iter().zip(&below);
            let above: Vec<_> = points
                .clone()
                .map(|((time, value), ground)| (*time, value.map(|value| value + ground)))
                .collect();
            let below = points.map(|((time, value), ground)| (*time, value.map(|_| *ground))).collect();
            ground.resize(ground.len().max(above.len()), 0.0);
            for (ground, (_, value)) in ground.iter_mut().zip(&above) {
                *ground = value.unwrap_or(*ground);
            }
            heights.push(Heights { above, below });
        }
        heights
    }

    fn scale(&self, axis: &Axis, side: Sides, height: f64, heights: &[Heights]) -> Scale {
        let mine = self.series.iter().zip(heights).filter(|(series, _)| series.side == side);
        let values: Vec<_> =
            mine.flat_map(|(_, heights)| heights.above.iter().filter_map(|(_, value)| *value)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let from = axis.minimum.unwrap_or(least).min(least);
        let from = if from.is_finite() { from } else { 0.0 };
        let most = most.max(axis.soft_maximum.unwrap_or(f64::NEG_INFINITY));
        let to = axis.maximum.unwrap_or(most).max(most);
        let to = if to.is_finite() { to } else { from + 1.0 };
        let count = (height / GRID.1).floor().max(1.0);
        let mut base = axis.unit.step_base(to);
        if axis.whole && (to - from) / count < 1.0 {
            // One to a step, and no line between.
            base = 1.0;
            return Scale::values(from, to.max(from + 1.0), (to - from).max(1.0), base);
        }
        Scale::values(from, to, count, base)
    }

    /// The legend's lines, as many as there may be; of a line of its own for each side.
    fn legend(&self, room: f64) -> Vec<Vec<Entry>> {
        let mut lines: Vec<Vec<Entry>> = Vec::new();
        let mut used = f64::INFINITY;
        for (index, series) in self.series.iter().enumerate() {
            let axis = match (&self.right, series.side) {
                (Some(axis), Sides::Right) => axis,
                _ => &self.left,
            };
            // Of a series that has ended, no value is the last.
            let last =
                series.points.last().and_then(|(_, value)| *value).map(|value| axis.unit.format(value));
            let text = match last {
                Some(last) if self.last_values => format!("{}  {last}", series.name),
                _ => series.name.clone(),
            };
            let colour = Some(series.colour.unwrap_or_else(|| colour::of(index)));
            let entry = Entry { text: fit(&text, LABEL_SIZE, room - LEGEND_SWATCH - LEGEND_GAP), colour };
            if used + entry.width() > room + LEGEND_GAP {
                if lines.len() == MAX_LEGEND {
                    let rest = self.series.len() - index;
                    let more = Entry { text: format!("and {rest} more"), colour: None };
                    // In the place of what would not have fitted beside it.
                    if let Some(line) = lines.last_mut() {
                        while line.iter().map(Entry::width).sum::<f64>() + more.width() > room + LEGEND_GAP {
                            line.pop();
                        }
                        line.push(more);
                    }
                    break;
                }
                lines.push(Vec::new());
                used = 0.0;
            }
            used += entry.width();
            if let Some(line) = lines.last_mut() {
                line.push(entry);
            }
        }
        lines
    }
}

/// A series' line, and the one on which it stands.
struct Heights {
    above: Vec<(f64, Option<f64>)>,
    below: Vec<(f64, Option<f64>)>,
}

/// One entry of a legend.
struct Entry {
    text: String,
    colour: Option<&'static str>,
}

impl Entry {
    fn width(&self) -> f64 {
        LEGEND_SWATCH + 4.0 + width(&self.text, LABEL_SIZE) + LEGEND_GAP
    }
}

fn no_data(document: &mut Document, place: Rect) {
    let style = Text { anchor: Anchor::Middle, faint: true, ..Text::default() };
    document.text((place.x + place.width / 2.0, place.y + place.height / 2.0 + 8.0), "no data", &style);
}

/// Where the lines are.
struct Frame {
    plot: Rect,
    time: Scale,
}

impl Frame {
    fn x(&self, time: f64) -> f64 {
        self.plot.x + self.plot.width * self.time.place(time)
    }

    fn y(&self, scale: &Scale, value: f64) -> f64 {
        self.plot.y + self.plot.height * (1.0 - scale.place(value))
    }

    fn grid(&self, document: &mut Document, scale: &Scale, clock: Clock) {
        let Rect { x, y, width: wide, height } = self.plot;
        for mark in &scale.marks {
            let at = self.y(scale, *mark);
            document.rule("grid", (x, at), (x + wide, at));
        }
        document.rule("axis", (x, y + height), (x + wide, y + height));
        let seconds = self.time.marks.iter().any(|mark| mark.rem_euclid(60.0) != 0.0);
        for mark in &self.time.marks {
            let at = self.x(*mark);
            document.rule("axis", (at, y + height), (at, y + height + 3.0));
            let text = match clock {
                Clock::Elapsed => elapsed(mark - self.time.from),
                Clock::Utc => time_of_day(*mark, seconds),
            };
            // Within the picture, also at its edges.
            let half = width(&text, LABEL_SIZE) / 2.0;
            let at = at.clamp(x + half - PADDING, x + wide + 2.0 * PADDING - half);
            let style = Text { size: LABEL_SIZE, anchor: Anchor::Middle, faint: true, ..Text::default() };
            document.text((at, y + height + 15.0), &text, &style);
        }
    }

    fn axis(&self, document: &mut Document, axis: &Axis, scale: &Scale, side: Sides, place: Rect) {
        let plot = self.plot;
        let (x, anchor, edge) = match side {
            Sides::Left => (plot.x - 5.0, Anchor::End, place.x + PADDING + 4.0),
            Sides::Right => (plot.x + plot.width + 5.0, Anchor::Start, place.x + place.width - 4.0),
        };
        for mark in &scale.marks {
            let style = Text { size: LABEL_SIZE, anchor, faint: true, ..Text::default() };
            document.text((x, self.y(scale, *mark) + 3.5), &axis.unit.format(*mark), &style);
        }
        if !axis.label.is_empty() {
            let style = Text {
                size: LABEL_SIZE,
                anchor: Anchor::Middle,
                faint: true,
                upright: true,
                ..Text::default()
            };
            let middle = plot.y + plot.height / 2.0;
            document.text((edge, middle), &fit(&axis.label, LABEL_SIZE, plot.height), &style);
        }
    }

    /// A line's pieces between its gaps, in pixels.
    fn pieces(&self, scale: &Scale, line: Line, points: &[(f64, Option<f64>)]) -> Vec<Vec<(f64, f64)>> {
        let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut goes_on = false;
        for (time, value) in points {
            let Some(value) = value else {
                goes_on = false;
                continue;
            };
            let point = (self.x(*time), self.y(scale, *value));
            match pieces.last_mut() {
                Some(piece) if goes_on => {
                    if let (Line::Step, Some((_, before))) = (line, piece.last().copied()) {
                        piece.push((point.0, before));
                    }
                    piece.push(point);
                }
                _ => pieces.push(vec![point]),
            }
            goes_on = true;
        }
        pieces
    }
}

/// Minutes and seconds, or hours too.
fn elapsed(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn time_of_day(since_1970: f64, with_seconds: bool) -> String {
    let seconds = since_1970.round().max(0.0) as u64 % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if with_seconds {
        format!("{hours:02}:{minutes:02}:{seconds:02}")
    } else {
        format!("{hours:02}:{minutes:02}")
    }
}

#[cfg(test)]
mod tests;
