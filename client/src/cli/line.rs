//! A tick as a line: for people, readable at a glance; for machines, one JSON object.

use std::collections::HashMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use tickwire_client::{Mode, Tick};

const UNITS: u64 = 1_000_000_000;

/// Writes lines for people. It remembers each symbol's last price, to show whether it went up or down.
#[derive(Debug)]
pub(crate) struct Lines {
    mode: Mode,
    color: bool,
    last: HashMap<String, i64>,
}

impl Lines {
    pub(crate) fn new(mode: Mode, color: bool) -> Self {
        Self { mode, color, last: HashMap::new() }
    }

    /// What the columns are.
    pub(crate) fn header(&self) -> String {
        match self.mode {
            Mode::Tick => format!("{:<12}  {:<10}  {:>16}   {:>14}", "time (UTC)", "symbol", "price", "size"),
            _ => format!(
                "{:<12}  {:<10}  {:>16}   {:>16}  {:>16}  {:>16}  {:>14}  {:>6}",
                "until (UTC)", "symbol", "close", "open", "high", "low", "volume", "trades"
            ),
        }
    }

    pub(crate) fn line(&mut self, tick: &Tick) -> String {
        let before = self.last.insert(tick.symbol.clone(), tick.close);
        let (arrow, color) = match before.map(|before| tick.close.cmp(&before)) {
            Some(std::cmp::Ordering::Greater) => ("▲", "\x1b[32m"),
            Some(std::cmp::Ordering::Less) => ("▼", "\x1b[31m"),
            _ => (" ", ""),
        };
        let mut line = format!("{}  {:<10}  ", time(tick.time_unix_nano, self.mode), tick.symbol);
        let price = format!("{:>16} {arrow}", decimal(tick.close, 2));
        let _infallible = if self.color && !color.is_empty() {
            write!(line, "{color}{price}\x1b[0m")
        } else {
            write!(line, "{price}")
        };
        let volume = amount(tick.volume);
        let _infallible = match self.mode {
            Mode::Tick => write!(line, " {volume:>14}"),
            _ => write!(
                line,
                " {:>16}  {:>16}  {:>16}  {volume:>14}  {:>6}",
                decimal(tick.open, 2),
                decimal(tick.high, 2),
                decimal(tick.low, 2),
                tick.trades
            ),
        };
        line
    }
}

/// One JSON object; numbers are the wire's integers, in 1e-9 units.
pub(crate) fn json(tick: &Tick) -> String {
    serde_json::json!({
        "symbol": tick.symbol,
        "time_unix_nano": tick.time_unix_nano,
        "open": tick.open,
        "high": tick.high,
        "low": tick.low,
        "close": tick.close,
        "volume": tick.volume,
        "trades": tick.trades,
    })
    .to_string()
}

/// The time of day: of a trade to the millisecond, of a bar's end to the second.
fn time(nanos: u64, mode: Mode) -> String {
    let format = if mode == Mode::Tick { "%H:%M:%S%.3f" } else { "%H:%M:%S    " };
    match Timestamp::from_nanosecond(nanos.into()) {
        Ok(time) => time.strftime(format).to_string(),
        Err(_) => nanos.to_string(),
    }
}

/// 1e-9 units with the decimals that matter, and at least so many.
fn decimal(units: i64, at_least: usize) -> String {
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{}", unsigned(units.unsigned_abs(), at_least))
}

fn amount(units: u64) -> String {
    unsigned(units, 0)
}

fn unsigned(units: u64, at_least: usize) -> String {
    let fraction = format!("{:09}", units % UNITS);
    let mut fraction = fraction.trim_end_matches('0').to_owned();
    while fraction.len() < at_least {
        fraction.push('0');
    }
    let whole = units / UNITS;
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_as_short_as_they_can_be() {
        assert_eq!(decimal(39_432_480_000_000, 2), "39432.48");
        assert_eq!(decimal(-1, 2), "-0.000000001");
        assert_eq!(decimal(5_000_000_000, 2), "5.00");
        assert_eq!(amount(263_000), "0.000263");
        assert_eq!(amount(u64::MAX), "18446744073.709551615");
    }

    #[test]
    fn a_line_shows_where_the_price_went() {
        let mut lines = Lines::new(Mode::Tick, false);
        let tick = |close| Tick {
            symbol: "BTCUSDT".into(),
            time_unix_nano: 1_610_064_000_278_000_000,
            close,
            volume: 263_000,
            ..Tick::default()
        };
        lines.line(&tick(39_432_480_000_000));
        let up = lines.line(&tick(39_432_490_000_000));
        assert_eq!(up, "00:00:00.278  BTCUSDT             39432.49 ▲       0.000263");
    }
}
