//! A timeline as text: a header, then rows of numbers, the first of which is the time in seconds. An empty field is a value that is not known.

use anyhow::{Context as _, Result, bail, ensure};

/// One series.
#[derive(Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Reads all columns but the first, with its times.
///
/// # Errors
///
/// Where it is no such timeline; the message names the line.
pub(super) fn parse(text: &str) -> Result<Vec<Column>> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().context("it is empty; it should begin with a header: seconds,NAME,…")?;
    let mut names = header.split(',').map(str::trim);
    let first = names.next().unwrap_or_default();
    ensure!(first == "seconds", "its first column is {first:?}; it should be seconds");
    let mut columns: Vec<_> =
        names.map(|name| Column { name: name.to_owned(), points: Vec::new() }).collect();
    ensure!(!columns.is_empty(), "it has no column but seconds");
    let mut before = f64::NEG_INFINITY;
    for (index, line) in lines {
        let number = index + 1;
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        let [time, values @ ..] = fields.as_slice() else { continue };
        ensure!(
            values.len() == columns.len(),
            "line {number} has {} fields, the header {}",
            fields.len(),
            columns.len() + 1
        );
        let time = finite(time).with_context(|| format!("line {number}: {time:?} is no time in seconds"))?;
        ensure!(time >= before, "line {number}: its time, {time}, is before that of the line before");
        before = time;
        for (column, value) in columns.iter_mut().zip(values) {
            let value = match *value {
                "" => None,
                value => match finite(value) {
                    Some(value) => Some(value),
                    None => bail!("line {number}: {value:?} of {} is no number", column.name),
                },
            };
            column.points.push((time, value));
        }
    }
    ensure!(before.is_finite(), "it has no rows");
    Ok(columns)
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_a_series_and_an_empty_field_a_gap() {
        let columns = parse("seconds, a,b\n0,1,2\n\n1.5,,-3\n").unwrap();
        assert_eq!(
            columns,
            [
                Column { name: "a".into(), points: vec![(0.0, Some(1.0)), (1.5, None)] },
                Column { name: "b".into(), points: vec![(0.0, Some(2.0)), (1.5, Some(-3.0))] },
            ]
        );
    }

    #[test]
    fn what_is_no_timeline_is_refused_with_its_line() {
        for (text, expected) in [
            ("", "it is empty"),
            ("time,a\n", "its first column is \"time\"; it should be seconds"),
            ("seconds\n0\n", "it has no column but seconds"),
            ("seconds,a\n", "it has no rows"),
            ("seconds,a\n0,1\n1,2,3\n", "line 3 has 3 fields, the header 2"),
            ("seconds,a\nx,1\n", "line 2: \"x\" is no time in seconds"),
            ("seconds,a\n0,many\n", "line 2: \"many\" of a is no number"),
            ("seconds,a\n0,inf\n", "line 2: \"inf\" of a is no number"),
            ("seconds,a\n2,1\n1,1\n", "line 3: its time, 1, is before that of the line before"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
