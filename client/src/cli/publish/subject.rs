//! Where a trade goes: a subject for each symbol, which the stream has to keep.

use std::collections::HashMap;
use std::str::FromStr;

use async_nats::Subject;
use tickwire_proto::trade::Message;

/// How many symbols' subjects are kept ready; those of more are put together each time. As many symbols as a feed may have.
const MAX_KNOWN: usize = 10_000;

/// The last part of the subject of what is no trade: how far time has come.
const WATERMARK: &str = "_time";

/// What all subjects begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.split('.').all(is_token) {
            Ok(Self(text.to_owned()))
        } else {
            Err("not a subject; write it like ticks or market.ticks, without wildcards and spaces")
        }
    }
}

/// Whether NATS takes it between two points of a subject.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>".contains(&byte))
}

/// Why a trade has no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubjectError {
    /// NATS does not take such a subject.
    #[error(
        "no part of a subject, which has no spaces and none of * and >, and no point at its ends or after a point"
    )]
    Symbol,
    /// The stream does not keep it.
    #[error("the stream {stream} keeps {kept}, and not {subject}; --subject must be one that it keeps")]
    NotKept { stream: String, kept: String, subject: String },
}

/// Whether trades of a symbol have a subject. A symbol with points takes several parts of it.
///
/// # Errors
///
/// [`SubjectError::Symbol`].
pub(super) fn check(symbol: &str) -> Result<(), SubjectError> {
    if symbol.split('.').all(is_token) { Ok(()) } else { Err(SubjectError::Symbol) }
}

/// The subjects of a publisher.
#[derive(Debug)]
pub(super) struct Subjects {
    prefix: Prefix,
    stream: String,
    kept: Vec<String>,
    known: HashMap<String, Subject>,
}

impl Subjects {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix, stream: String::new(), kept: Vec::new(), known: HashMap::new() }
    }

    /// All of them, with a wildcard.
    pub(super) fn all(&self) -> String {
        format!("{}.>", self.prefix.0)
    }

    /// The stream that is to keep them.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// Which stream is to keep them, and what it keeps.
    pub(super) fn kept_by(&mut self, stream: &str, kept: Vec<String>) {
        self.stream = stream.to_owned();
        if kept != self.kept {
            self.known.clear();
            self.kept = kept;
        }
    }

    /// Where a message goes.
    ///
    /// # Errors
    ///
    /// [`SubjectError`], where it would not be kept.
    pub(super) fn of(&mut self, message: &Message<'_>) -> Result<Subject, SubjectError> {
        let symbol = match message {
            Message::Trade(trade) => &*trade.symbol,
            Message::Watermark(_) => WATERMARK,
        };
        if let Some(subject) = self.known.get(symbol) {
            return Ok(subject.clone());
        }
        check(symbol)?;
        let subject = format!("{}.{symbol}", self.prefix.0);
        if !self.kept.iter().any(|pattern| matches(pattern, &subject)) {
            let (stream, kept) = (self.stream.clone(), self.kept.join(", "));
            return Err(SubjectError::NotKept { stream, kept, subject });
        }
        let subject = Subject::from(subject);
        if self.known.len() < MAX_KNOWN {
            self.known.insert(symbol.to_owned(), subject.clone());
        }
        Ok(subject)
    }
}

/// Whether a pattern of NATS has this subject: * is one part, > is one or more at the end.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(expected), Some(part)) if expected == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tickwire_proto::trade::Trade;

    use super::*;

    fn trade(symbol: &str) -> Message<'_> {
        Message::Trade(Trade { symbol: symbol.into(), time: 1, price: 1, size: 1 })
    }

    #[test]
    fn patterns_are_understood_as_nats_does() {
        for (pattern, subject, expected) in [
            ("ticks.>", "ticks.A", true),
            ("ticks.>", "ticks.A.B", true),
            ("ticks.>", "ticks", false),
            ("ticks.*", "ticks.A", true),
            ("ticks.*", "ticks.A.B", false),
            ("*.A", "ticks.A", true),
            ("ticks.A", "ticks.A", true),
            ("ticks.A", "ticks.B", false),
            ("tick.>", "ticks.A", false),
            (">", "ticks.A", true),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn each_symbol_has_a_subject_if_the_stream_keeps_it() {
        let mut subjects = Subjects::new("ticks".parse().unwrap());
        subjects.kept_by("TICKS", vec!["ticks.>".into()]);
        assert_eq!(subjects.of(&trade("BTCUSDT")).unwrap().as_str(), "ticks.BTCUSDT");
        assert_eq!(subjects.of(&trade("BRK.B")).unwrap().as_str(), "ticks.BRK.B");
        assert_eq!(subjects.of(&Message::Watermark(1)).unwrap().as_str(), "ticks._time");
        for symbol in ["A*", ">", "A B", ".A", "A.", "A..B"] {
            assert_eq!(subjects.of(&trade(symbol)), Err(SubjectError::Symbol), "{symbol}");
        }
        subjects.kept_by("TICKS", vec!["quotes.>".into(), "trades.*".into()]);
        assert_eq!(
            subjects.of(&trade("BTCUSDT")).unwrap_err().to_string(),
            "the stream TICKS keeps quotes.>, trades.*, and not ticks.BTCUSDT; --subject must be one that it keeps"
        );
        for prefix in ["", "a..b", "a.*", "a b", "a.>"] {
            assert!(prefix.parse::<Prefix>().is_err(), "{prefix}");
        }
    }
}
