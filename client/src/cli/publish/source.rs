//! Where trades come from: a file or standard input, read by a thread of its own, as reading may take as long as it likes.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tickwire_proto::trade::csv::{Column, CsvError, Row, Rows};
use tickwire_proto::trade::{MAX_MESSAGE_LEN, Message, Trade, TradeError, parse};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::subject::{self, SubjectError};
use super::synthetic::Synthetic;
use crate::cli::chain;

/// Trades read ahead of what is sent.
const READ_AHEAD: usize = 4096;

/// Bytes read at once.
const BUFFER_LEN: usize = 256 * 1024;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// With the header time,symbol,price,size.
    Csv,
    /// An object per line, with symbol, time, price and size.
    Json,
}

/// Why there is no further trade.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{name}")]
    Csv { name: String, source: CsvError },
    #[error("{name}, line {line}: {problem}")]
    Line { name: String, line: u64, problem: String },
    #[error("{name} cannot be read")]
    Read { name: String, source: io::Error },
}

/// A source of trades.
#[derive(Debug)]
pub(super) enum Source {
    Read(Receiver<Result<Message<'static>, SourceError>>),
    Synthetic(Synthetic),
}

impl Source {
    /// Starts reading a file; `None` or -: standard input.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened.
    pub(super) fn open(file: Option<&Path>, format: Option<Format>) -> Result<Self> {
        let (tell, told) = channel(READ_AHEAD);
        let (name, input): (_, Box<dyn Read + Send>) = match file.filter(|file| *file != Path::new("-")) {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
                (name, Box::new(file))
            }
            None => ("standard input".to_owned(), Box::new(io::stdin())),
        };
        let input = BufReader::with_capacity(BUFFER_LEN, input);
        // It ends with its input, or where nobody wants more; one that waits for standard input ends with the process.
        thread::Builder::new().name("source".into()).spawn(move || {
            if let Err(error) = read(name, input, format, &tell) {
                // Whoever has gone does not want to know.
                let _told = tell.blocking_send(Err(error));
            }
        })?;
        Ok(Self::Read(told))
    }

    /// Whether it goes on until it is told to stop.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self, Self::Synthetic(market) if market.is_endless())
    }

    /// The next trade, or why there is none; `None`: there is none left. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message<'static>, SourceError>> {
        match self {
            Self::Read(told) => told.recv().await,
            Self::Synthetic(market) => market.next().map(Ok),
        }
    }
}

type Told = Sender<Result<Message<'static>, SourceError>>;

/// Reads all of it, until nobody wants more.
fn read(
    name: String,
    mut input: impl BufRead,
    format: Option<Format>,
    tell: &Told,
) -> Result<(), SourceError> {
    let format = match format {
        Some(format) => format,
        None => match input.fill_buf() {
            Ok([b'{', ..]) => Format::Json,
            Ok(_) => Format::Csv,
            Err(source) => return Err(SourceError::Read { name, source }),
        },
    };
    match format {
        Format::Csv => read_csv(&name, input, tell),
        Format::Json => read_json(&name, input, tell),
    }
}

fn read_csv(name: &str, input: impl Read, tell: &Told) -> Result<(), SourceError> {
    let csv = |source| SourceError::Csv { name: name.to_owned(), source };
    let mut rows = Rows::new(input).map_err(csv)?;
    while let Some(row) = rows.next_row().map_err(csv)? {
        let message = from_row(&row).map_err(csv)?;
        if tell.blocking_send(Ok(message)).is_err() {
            break;
        }
    }
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<Message<'static>, CsvError> {
    let message = Message::Trade(owned(&row.trade));
    subject::check(&row.trade.symbol).map_err(|problem| row.wrong(Column::Symbol, &problem))?;
    match message.check() {
        Ok(()) => Ok(message),
        Err(TradeError::Field { problem, .. }) => Err(row.wrong(Column::Symbol, &problem)),
        Err(error) => Err(CsvError::Shape { line: row.line, problem: chain(&error) }),
    }
}

fn read_json(name: &str, mut input: impl BufRead, tell: &Told) -> Result<(), SourceError> {
    let mut line = Vec::new();
    for number in 1.. {
        let wrong = |problem: String| SourceError::Line { name: name.to_owned(), line: number, problem };
        line.clear();
        // One byte more than a message has, and the line's end: what is longer is seen, and not kept.
        let most = MAX_MESSAGE_LEN as u64 + 2;
        let read = input.by_ref().take(most).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(source) => return Err(SourceError::Read { name: name.to_owned(), source }),
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if text[0] != b'{' {
            return Err(wrong("no JSON object; it must begin with {".into()));
        }
        let message =
            if line.len() as u64 == most { Err(TradeError::Length { len: line.len() }) } else { parse(text) };
        let message = message.map_err(|error| wrong(chain(&error)))?;
        let message = match message {
            Message::Trade(trade) => {
                subject::check(&trade.symbol).map_err(|problem: SubjectError| {
                    wrong(format!("symbol: {:?} is {problem}", trade.symbol))
                })?;
                Message::Trade(owned(&trade))
            }
            Message::Watermark(time) => Message::Watermark(time),
        };
        if tell.blocking_send(Ok(message)).is_err() {
            break;
        }
    }
    Ok(())
}

fn owned(trade: &Trade<'_>) -> Trade<'static> {
    let Trade { symbol, time, price, size } = trade;
    Trade { symbol: Cow::Owned(symbol.to_string()), time: *time, price: *price, size: *size }
}

/// By the clock on the wall, in nanoseconds since 1970 (UTC).
pub(super) fn wall_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u64::try_from(now).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The prices of what is read, and the error at the end if there is one.
    fn all(text: &str, format: Option<Format>) -> (Vec<i64>, Option<String>) {
        let (tell, mut told) = channel(100);
        let error = read("trades".into(), text.as_bytes(), format, &tell).err();
        drop(tell);
        let mut prices = Vec::new();
        while let Ok(message) = told.try_recv() {
            let Ok(Message::Trade(trade)) = message else { panic!("a trade") };
            prices.push(trade.price / 1_000_000_000);
        }
        (prices, error.map(|error| chain(&error)))
    }

    const CSV: &str =
        "time,symbol,price,size\n2021-01-08T00:00:00.278Z,BTCUSDT,1,1\n2021-01-08T00:00:00Z,BRK.B,2,1\n";
    const JSON: &str = "{\"symbol\":\"A\",\"time\":1,\"price\":\"1\",\"size\":\"1\"}\r\n\n{\"symbol\":\"A\",\"time\":1,\"price\":\"2\",\"size\":\"1\"}";

    #[test]
    fn the_first_byte_tells_what_a_file_is_unless_it_is_said() {
        for text in [CSV, JSON] {
            assert_eq!(all(text, None), (vec![1, 2], None));
        }
        assert_eq!(all(JSON, Some(Format::Json)), (vec![1, 2], None));
        let (prices, error) = all(JSON, Some(Format::Csv));
        assert!(prices.is_empty() && error.unwrap().contains("it must be \"time,symbol,price,size\""));
    }

    #[test]
    fn the_first_bad_line_is_told_and_those_before_it_are_read() {
        for (line, expected) in [
            (
                "2021-01-08T00:00:00Z,A,1.x,1",
                "trades: line 4, column price: \"1.x\" is not a decimal number; write it like 39432.48",
            ),
            (
                "2021-01-08T00:00:00Z,A*,1,1",
                "trades: line 4, column symbol: \"A*\" is no part of a subject, which has no spaces and none of * and >, and no point at its ends or after a point",
            ),
            (
                "2021-01-08T00:00:00Z,\"A,B\",1,1",
                "trades: line 4, column symbol: \"A,B\" is not a symbol; it must be of printable ASCII, without spaces and commas",
            ),
        ] {
            assert_eq!(all(&format!("{CSV}{line}\n"), None), (vec![1, 2], Some(expected.into())));
        }
        for (line, expected) in [
            ("[1]", "trades, line 4: no JSON object; it must begin with {".to_owned()),
            (
                r#"{"symbol":"A","time":1,"price":1,"size":"1"}"#,
                r#"trades, line 4: price: "1" is not a text; write it in quotes, like "39432.48", so that no digit is lost"#.to_owned(),
            ),
            (
                &format!("{{{}}}", " ".repeat(5000)),
                "trades, line 4: a message of 4098 bytes; a trade has 1 to 4096".to_owned(),
            ),
        ] {
            assert_eq!(all(&format!("{JSON}\n{line}\n"), None), (vec![1, 2], Some(expected)));
        }
    }
}
