//! Where the lines of a grid stand: at round numbers.

/// A range, and the round numbers in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) marks: Vec<f64>,
}

impl Scale {
    /// From a round number at or below `from` to one at or above `to`, with about `count` marks; steps are 1, 2 or 5 times a power of ten, times
    /// `base`.
    pub(super) fn values(from: f64, to: f64, count: f64, base: f64) -> Self {
        // A line that is flat has room above it.
        let to = if to > from { to } else { from + from.abs().max(base) };
        let step = round_step((to - from) / count / base) * base;
        let (first, last) = ((from / step + ROUNDING).floor(), (to / step - ROUNDING).ceil());
        let marks = (0..).map(|n| (first + f64::from(n)) * step).take_while(|mark| *mark <= last * step);
        Self { from: first * step, to: last * step, marks: marks.collect() }
    }

    /// Exactly this range of time, with at most `count` marks at whole seconds, minutes or hours since `origin`; and with one at least.
    pub(super) fn time(from: f64, to: f64, count: f64, origin: f64) -> Self {
        let wanted = (to - from) / count;
        let fitting = TIME_STEPS.iter().position(|step| *step >= wanted);
        let days = (wanted / DAY).ceil() * DAY;
        let marks = |step: f64| -> Vec<f64> {
            let first = ((from - origin) / step - ROUNDING).ceil();
            (0..)
                .map(|n| origin + (first + f64::from(n)) * step)
                .take_while(|mark| *mark <= to + step * ROUNDING)
                .collect()
        };
        // Where none is in the range, as the next whole hour is not in ten minutes, finer ones are taken.
        let finer = TIME_STEPS[..fitting.map_or(TIME_STEPS.len(), |index| index + 1)].iter().rev().copied();
        let steps = fitting.is_none().then_some(days).into_iter().chain(finer);
        let marks = steps.map(marks).find(|marks| !marks.is_empty()).unwrap_or_default();
        Self { from, to, marks }
    }

    /// Where a value lies, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.to > self.from { (value - self.from) / (self.to - self.from) } else { 0.0 }
    }
}

/// What floating point may be off, of a step.
const ROUNDING: f64 = 1e-9;

const DAY: f64 = 86_400.0;

/// Seconds that people count in.
const TIME_STEPS: [f64; 15] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0];

/// The smallest of 1, 2 and 5 times a power of ten that is at least so much.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least * (1.0 - ROUNDING))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_enclose_what_is_shown() {
        let scale = Scale::values(0.0, 3_217.0, 4.0, 1.0);
        assert_eq!(
            scale,
            Scale { from: 0.0, to: 4_000.0, marks: vec![0.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0] }
        );
        let scale = Scale::values(-3.0, 3.0, 4.0, 1.0);
        assert_eq!(scale.marks, [-4.0, -2.0, 0.0, 2.0, 4.0]);
        assert_eq!(Scale::values(0.0, 4.0, 4.0, 1.0).to, 4.0);
        assert_eq!(Scale::values(0.0, 3_000.0, 3.0, 1024.0).marks, [0.0, 1024.0, 2048.0, 3072.0]);
    }

    #[test]
    fn a_flat_line_has_a_scale() {
        assert_eq!(Scale::values(0.0, 0.0, 4.0, 1.0).marks, [0.0, 0.5, 1.0]);
        let scale = Scale::values(7.0, 7.0, 4.0, 1.0);
        assert!(scale.from <= 7.0 && scale.to > 7.0, "{scale:?}");
    }

    #[test]
    fn times_are_marked_at_whole_units() {
        assert_eq!(Scale::time(0.0, 100.0, 6.0, 0.0).marks, [0.0, 30.0, 60.0, 90.0]);
        // The next whole minute is not in the range.
        assert_eq!(Scale::time(65.0, 110.0, 1.0, 0.0).marks, [90.0]);
        assert_eq!(Scale::time(103.0, 130.0, 6.0, 0.0).marks, [105.0, 110.0, 115.0, 120.0, 125.0, 130.0]);
        assert_eq!(
            Scale::time(0.0, 400_000.0, 5.0, 0.0).marks,
            [0.0, 86_400.0, 172_800.0, 259_200.0, 345_600.0]
        );
    }
}
