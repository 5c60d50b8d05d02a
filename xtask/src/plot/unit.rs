//! Numbers as people read them. The units are Grafana's, by its names.

/// In what something is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A count, or a ratio.
    #[default]
    Short,
    /// Bytes, in powers of 1,024.
    Bytes,
    /// Bytes per second, in powers of 1,000.
    BytesPerSecond,
    /// Events per second.
    PerSecond,
    Seconds,
    Milliseconds,
    /// A part of 1.
    Percent,
}

/// A thousand, a million and so on, from the largest.
const THOUSANDS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
const BINARY: [(f64, &str); 4] =
    [(1_099_511_627_776.0, " TiB"), (1_073_741_824.0, " GiB"), (1_048_576.0, " MiB"), (1024.0, " KiB")];
/// A time is told in the largest of these that it has at least one of; in minutes, hours and days from two on, as 90 s says more than 1.5 min.
const TIMES: [(f64, &str); 3] = [(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")];
const LONG_TIMES: [(f64, &str); 3] = [(86_400.0, " d"), (3_600.0, " h"), (60.0, " min")];

impl Unit {
    /// The unit of that name in Grafana; `None`: it is not known here.
    pub(crate) fn of_grafana(name: &str) -> Option<Self> {
        Some(match name {
            "short" | "none" => Self::Short,
            "bytes" => Self::Bytes,
            "Bps" => Self::BytesPerSecond,
            "cps" => Self::PerSecond,
            "s" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "percentunit" => Self::Percent,
            _ => return None,
        })
    }

    /// A value with its unit, in about three digits.
    pub(crate) fn format(self, value: f64) -> String {
        match self {
            Self::Short => scaled(value, &THOUSANDS, ""),
            Self::Bytes => scaled(value, &BINARY, " B"),
            Self::BytesPerSecond => {
                let (number, prefix) = split(value, &THOUSANDS);
                format!("{number} {prefix}B/s")
            }
            Self::PerSecond => scaled(value, &THOUSANDS, "") + "/s",
            Self::Seconds => time(value, " s"),
            Self::Milliseconds => time(value / 1e3, " ms"),
            Self::Percent => digits(value * 100.0) + " %",
        }
    }

    /// By what steps of an axis are multiplied, so that they are round in the unit that is shown; for values up to `most`.
    pub(crate) fn step_base(self, most: f64) -> f64 {
        let base = |scales: &[(f64, &str)]| {
            scales.iter().find(|(scale, _)| most >= *scale).map_or(1.0, |(scale, _)| *scale)
        };
        match self {
            Self::Bytes => base(&BINARY),
            // Minutes, hours and days are no powers of ten.
            Self::Seconds => long(most).map_or(1.0, |(scale, _)| scale),
            _ => 1.0,
        }
    }
}

fn time(seconds: f64, least: &str) -> String {
    match long(seconds) {
        Some((scale, suffix)) => digits(seconds / scale) + suffix,
        None => scaled(seconds, &TIMES, least),
    }
}

/// The largest of minutes, hours and days that a time has two of.
fn long(seconds: f64) -> Option<(f64, &'static str)> {
    LONG_TIMES.iter().find(|(scale, _)| seconds.abs() >= 2.0 * scale).copied()
}

fn scaled(value: f64, scales: &[(f64, &str)], least: &str) -> String {
    let (number, suffix) = split(value, scales);
    number + if suffix.is_empty() { least } else { suffix }
}

/// The number before the largest unit that it has at least one of.
fn split<'a>(value: f64, scales: &[(f64, &'a str)]) -> (String, &'a str) {
    let whole = scales.iter().find(|(scale, _)| value.abs() >= *scale);
    whole.map_or_else(|| (digits(value), ""), |(scale, suffix)| (digits(value / scale), suffix))
}

/// Three digits that count, without zeros at the end.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits_and_their_unit() {
        for (unit, value, expected) in [
            (Unit::Short, 0.0, "0"),
            (Unit::Short, -0.0, "0"),
            (Unit::Short, 12_345.0, "12.3k"),
            (Unit::Short, 1.5, "1.5"),
            (Unit::Short, -2_000_000.0, "-2M"),
            (Unit::Bytes, 1536.0, "1.5 KiB"),
            (Unit::Bytes, 10.0, "10 B"),
            (Unit::BytesPerSecond, 2_500_000.0, "2.5 MB/s"),
            (Unit::PerSecond, 1_000.0, "1k/s"),
            (Unit::Seconds, 0.025, "25 ms"),
            (Unit::Seconds, 0.000_5, "500 µs"),
            (Unit::Seconds, 90.0, "90 s"),
            (Unit::Seconds, 150.0, "2.5 min"),
            (Unit::Seconds, 86_400.0, "24 h"),
            (Unit::Seconds, 604_800.0, "7 d"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::Milliseconds, 2.5, "2.5 ms"),
            (Unit::Milliseconds, 2_500.0, "2.5 s"),
            (Unit::Percent, 0.125, "12.5 %"),
        ] {
            assert_eq!(unit.format(value), expected, "{value} as {unit:?}");
        }
    }
}
