//! A CSV of trades, row by row: of any length, from whatever can be read.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use super::{MAX_SYMBOL_LEN, MAX_TIME, Problem, Trade};
use crate::decimal;

/// The header that there must be.
pub const HEADER: [&str; 4] = ["time", "symbol", "price", "size"];

/// A column of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// RFC 3339, from 1970 to 2200.
    Time,
    /// 1 to [`MAX_SYMBOL_LEN`] bytes.
    Symbol,
    /// A decimal number.
    Price,
    /// A decimal number, 0 or more.
    Size,
}

/// Why a CSV is not one of trades.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// A row is not a trade.
    #[error("line {line}, column {column}: {value:?} is {problem}")]
    Row {
        /// From 1, the header's.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The whole is not one of trades.
    #[error("line {line}: {problem}")]
    Shape {
        /// From 1, the header's.
        line: u64,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

/// The rows of a CSV with the header [`HEADER`].
#[derive(Debug)]
pub struct Rows<R> {
    reader: csv::Reader<R>,
    record: csv::StringRecord,
    line: u64,
}

/// A trade, and where it stands.
#[derive(Debug)]
pub struct Row<'a> {
    /// From 1, the header's.
    pub line: u64,
    /// What the row says.
    pub trade: Trade<'a>,
    record: &'a csv::StringRecord,
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`CsvError`], where it is another one.
    pub fn new(reader: R) -> Result<Self, CsvError> {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
        let mut rows = Self { reader, record: csv::StringRecord::new(), line: 1 };
        if !rows.read()? || rows.record.iter().ne(HEADER) {
            let found = rows.record.iter().collect::<Vec<_>>().join(",");
            let problem = format!("the header is {found:?}; it must be {:?}", HEADER.join(","));
            return Err(CsvError::Shape { line: 1, problem });
        }
        Ok(rows)
    }

    /// Reads one record. Answers whether there was one.
    fn read(&mut self) -> Result<bool, CsvError> {
        let more = self.reader.read_record(&mut self.record);
        self.line = self.record.position().map_or(self.line, csv::Position::line);
        more.map_err(|error| {
            let line = error.position().map_or(self.line, csv::Position::line);
            match error.into_kind() {
                csv::ErrorKind::Io(error) => CsvError::Read(error),
                _ => CsvError::Shape { line, problem: "not UTF-8 text".into() },
            }
        })
    }

    /// Reads the next row; `None`: there is none left.
    ///
    /// # Errors
    ///
    /// [`CsvError`]. The next call goes on behind the row.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, CsvError> {
        if !self.read()? {
            return Ok(None);
        }
        let (line, record) = (self.line, &self.record);
        if record.len() != HEADER.len() {
            let problem =
                format!("{} fields; there must be {}: {}", record.len(), HEADER.len(), HEADER.join(","));
            return Err(CsvError::Shape { line, problem });
        }
        let bad = |column: Column, problem: Problem| wrong(record, line, column, &problem);
        let time = time(&record[0]).map_err(|problem| bad(Column::Time, problem))?;
        if !(1..=MAX_SYMBOL_LEN).contains(&record[1].len()) {
            return Err(bad(Column::Symbol, Problem::SymbolLength));
        }
        let price = decimal::parse(&record[2]).map_err(|problem| bad(Column::Price, problem.into()))?;
        let size = decimal::parse(&record[3]).map_err(|problem| bad(Column::Size, problem.into()))?;
        let size = u64::try_from(size).map_err(|_| bad(Column::Size, Problem::NegativeSize))?;
        let trade = Trade { symbol: Cow::Borrowed(&record[1]), time, price, size };
        Ok(Some(Row { line, trade, record }))
    }
}

impl Row<'_> {
    /// The error that says what else is wrong with one of this row's values.
    pub fn wrong(&self, column: Column, problem: &dyn fmt::Display) -> CsvError {
        wrong(self.record, self.line, column, problem)
    }
}

fn wrong(record: &csv::StringRecord, line: u64, column: Column, problem: &dyn fmt::Display) -> CsvError {
    let column = column as usize;
    CsvError::Row {
        line,
        column: HEADER[column],
        value: record[column].to_owned(),
        problem: problem.to_string(),
    }
}

/// RFC 3339, after 1970 and up to 2200, in nanoseconds since 1970 (UTC).
pub(super) fn time(text: &str) -> Result<u64, Problem> {
    let time: jiff::Timestamp = text.parse().map_err(|_| Problem::Time)?;
    let nanos = u64::try_from(time.as_nanosecond()).map_err(|_| Problem::Time)?;
    if (1..=MAX_TIME).contains(&nanos) { Ok(nanos) } else { Err(Problem::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that has one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }

    #[test]
    fn rows_come_one_by_one_however_the_bytes_do() {
        let text = "time,symbol,price,size\n2021-01-08T00:00:00.278Z,BTCUSDT,39432.48,0.000263\n\"2021-01-08T01:00:00+01:00\",A,-1,0";
        let mut rows = Rows::new(Slow(text.as_bytes())).unwrap();
        let row = rows.next_row().unwrap().unwrap();
        let trade = Trade {
            symbol: "BTCUSDT".into(),
            time: 1_610_064_000_278_000_000,
            price: 39_432_480_000_000,
            size: 263_000,
        };
        assert_eq!((row.line, row.trade), (2, trade));
        let row = rows.next_row().unwrap().unwrap();
        let trade =
            Trade { symbol: "A".into(), time: 1_610_064_000_000_000_000, price: -1_000_000_000, size: 0 };
        assert_eq!((row.line, row.trade), (3, trade));
        assert!(rows.next_row().unwrap().is_none());
    }

    #[test]
    fn a_bad_row_is_told_by_line_and_column_and_the_next_is_read_all_the_same() {
        let text = "time,symbol,price,size\n2021-01-08T00:00:00Z,A,1e3,1\n2021-01-08T00:00:00Z,A,1,1\n";
        let mut rows = Rows::new(text.as_bytes()).unwrap();
        let error = rows.next_row().unwrap_err().to_string();
        assert_eq!(error, r#"line 2, column price: "1e3" is not a decimal number; write it like 39432.48"#);
        let row = rows.next_row().unwrap().unwrap();
        let error = row.wrong(Column::Symbol, &"unknown").to_string();
        assert_eq!(error, r#"line 3, column symbol: "A" is unknown"#);
    }

    #[test]
    fn another_header_and_what_is_no_text_are_told() {
        let error = Rows::new(&b"a,b\n"[..]).unwrap_err().to_string();
        assert_eq!(error, r#"line 1: the header is "a,b"; it must be "time,symbol,price,size""#);
        let error = Rows::new(&b""[..]).unwrap_err().to_string();
        assert_eq!(error, r#"line 1: the header is ""; it must be "time,symbol,price,size""#);
        let mut rows = Rows::new(&b"time,symbol,price,size\n\xff,A,1,1\n"[..]).unwrap();
        assert_eq!(rows.next_row().unwrap_err().to_string(), "line 2: not UTF-8 text");
    }
}
