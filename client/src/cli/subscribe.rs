//! `tickwire subscribe`: ticks as lines on standard output, everything else on standard error.

use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tickwire_client::{Error, Event, LinkError, Request};
use tokio::time::{Instant, sleep_until};

use super::line::{Lines, json};
use super::{ServerArgs, StreamArgs, chain, duration};

/// Print ticks, a line each, until --count, --for or Ctrl-C.
///
/// Ticks go to standard output, everything else to standard error. A lost connection is taken up where it was lost. Ends with status
/// 1 where the server refuses, and where it broke the numbering of its batches.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// One JSON object per line; prices and volumes in 1e-9 units.
    #[arg(long)]
    json: bool,
    /// End after so many ticks.
    #[arg(long, value_name = "TICKS")]
    count: Option<u64>,
    /// End after so long, such as 10s.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    period: Option<Duration>,
    /// Start after this sequence of the server's log, as far as it is kept; 0: with its very first tick.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Keep trying where no address can be connected to at first.
    #[arg(long)]
    wait: bool,
    /// Print nothing but ticks and errors.
    #[arg(long, short)]
    quiet: bool,
}

/// Answers whether all went well.
pub(crate) fn run(args: Args) -> Result<bool> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(subscribe(args))
}

/// What has been seen, for the line at the end.
#[derive(Debug, Default)]
struct Seen {
    ticks: u64,
    batches: u64,
    range: Option<(u64, u64)>,
    connections: u64,
    /// Attempts to connect that failed before the first that did not.
    failed: usize,
    broken: u64,
}

async fn subscribe(args: Args) -> Result<bool> {
    let mut request = Request::new(args.stream.mode.into()).symbols(args.stream.symbols.clone());
    if let Some(after) = args.after {
        request = request.resume(0, after);
    }
    let mut subscription = args.server.clone().client()?.subscribe(request);
    let end = args.period.map(|period| Instant::now() + period);
    let mut printer = Printer::new(&args);
    let mut seen = Seen::default();
    loop {
        let event = tokio::select! {
            event = subscription.next() => event,
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => break,
            _ = tokio::signal::ctrl_c() => break,
        };
        match printer.take(event, &mut seen, &args) {
            Ok(true) => {}
            Ok(false) => break,
            // The reader has seen enough: `tickwire subscribe | head`.
            Err(error) if is_broken_pipe(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
        // Lines are gathered while more is there at once, and written when there is not.
        if subscription.is_idle() && !written(printer.out.flush())? {
            return Ok(true);
        }
    }
    printer
        .out
        .flush()
        .or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
    if !args.quiet {
        let Seen { ticks, batches, range, connections, failed: _, broken } = &seen;
        let range =
            range.map_or("no sequences".into(), |(first, last)| format!("sequences {first} to {last}"));
        eprintln!(
            "{ticks} ticks in {batches} batches, {range}, {connections} connections, {broken} discontinuities"
        );
    }
    Ok(seen.broken == 0)
}

/// Answers whether there still is a reader.
fn written(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// An error, with the address where its own words do not have it.
fn of(address: &str, error: &LinkError) -> String {
    let text = chain(error);
    if text.contains(address) { text } else { format!("{address}: {text}") }
}

struct Printer {
    out: BufWriter<io::Stdout>,
    lines: Lines,
    started: bool,
}

impl Printer {
    fn new(args: &Args) -> Self {
        let set = |name| std::env::var_os(name).is_some();
        let color = set("CLICOLOR_FORCE") || (io::stdout().is_terminal() && !set("NO_COLOR"));
        let lines = Lines::new(args.stream.mode.into(), color);
        Self { out: BufWriter::new(io::stdout()), lines, started: false }
    }

    /// Prints an event. Answers whether to go on.
    fn take(&mut self, event: Result<Event, Error>, seen: &mut Seen, args: &Args) -> Result<bool> {
        let say = |text: String| {
            if !args.quiet {
                eprintln!("{text}");
            }
        };
        match event {
            Ok(Event::Batch(batch)) => {
                seen.batches += 1;
                let first = seen.range.map_or(batch.first_sequence, |(first, _)| first);
                seen.range = Some((first, batch.last_sequence));
                for tick in &batch.ticks().context("the server sent a batch whose ticks do not parse")? {
                    if args.json {
                        writeln!(self.out, "{}", json(tick))?;
                    } else {
                        if !self.started && !args.quiet {
                            writeln!(self.out, "{}", self.lines.header())?;
                        }
                        writeln!(self.out, "{}", self.lines.line(tick))?;
                    }
                    self.started = true;
                    seen.ticks += 1;
                    if args.count.is_some_and(|count| seen.ticks >= count) {
                        return Ok(false);
                    }
                }
            }
            Ok(Event::Connected { address, first }) => {
                seen.connections += 1;
                say(format!("connected to {address}; what follows starts at sequence {first}"));
            }
            Ok(Event::Disconnected { address, error, retry_in }) => {
                seen.failed += usize::from(seen.connections == 0);
                if seen.connections == 0 && seen.failed >= args.server.addresses() && !args.wait {
                    let hint = if matches!(error, LinkError::Connect { .. }) {
                        "is a server running there? "
                    } else {
                        ""
                    };
                    bail!("{}; {hint}--wait keeps trying", of(&address, &error));
                }
                say(format!("{}; trying again in {retry_in:.1?}", of(&address, &error)));
            }
            Ok(Event::Draining { leave_in }) => {
                say(format!("the server is about to leave; moving to another in {leave_in:.1?}"));
            }
            Err(error) if error.is_final() => bail!("{}", chain(&error)),
            Err(error) => {
                seen.broken += u64::from(matches!(error, Error::Discontinuity(_)));
                eprintln!("tickwire: {}", chain(&error));
            }
        }
        Ok(true)
    }
}
