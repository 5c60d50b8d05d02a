//! `tickwire publish`: trades into a JetStream stream, in order and each once, whatever happens to NATS meanwhile.
//!
//! ```text
//! source → intake (paces, stamps) → outbox (what is under way) → session (one connection) → NATS
//!                                        ↑ what is not acknowledged is sent again by the next session
//! ```

mod ack;
mod intake;
mod nats;
mod outbox;
mod pace;
mod session;
mod source;
mod stop;
mod stream;
mod subject;
mod synthetic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::chain;
use ack::Ack;
use intake::Intake;
use nats::NatsArgs;
use outbox::{Outbox, Tally, WINDOW};
use pace::{Pace, Pacer, Speed};
use session::{Ended, Session};
use source::{Format, Source};
use stop::Stop;
use stream::StreamArgs;
use subject::{Prefix, Subjects};
use synthetic::{Count, Names, Synthetic};

/// Send trades to a NATS JetStream stream, from which servers with FEED=nats take them.
///
/// Trades come from a CSV with the header time,symbol,price,size, or as a JSON object per line. Each goes to the subject SUBJECT.SYMBOL, and is
/// acknowledged by NATS. Where the connection is lost, publish waits for NATS and goes on with the first trade that was not acknowledged;
/// what NATS has already is not stored twice. Ends with status 1 where not everything was stored.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; - or nothing: standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the file is; without it, JSON where it begins with {, and CSV elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    stream: StreamArgs,
    /// What subjects begin with; trades of BTCUSDT go to SUBJECT.BTCUSDT.
    #[arg(long, value_name = "SUBJECT", default_value = "ticks")]
    subject: Prefix,
    /// How trades are written into messages; servers read both.
    #[arg(long, value_enum, default_value = "protobuf")]
    encoding: Encoding,
    /// Begins the ids by which NATS knows a message again; the row's number follows. Without it, another one each time. Who publishes the same file
    /// again with the same PREFIX, within the stream's duplicate window, adds only what was not stored.
    #[arg(long, value_name = "PREFIX", value_parser = id_prefix)]
    id: Option<String>,
    /// `recorded`: at the distances that the trades' times have; or so many a second. Without it, as fast as it goes.
    #[arg(long, visible_alias = "rate", value_name = "PER SECOND|recorded")]
    pace: Option<Pace>,
    /// How many times faster than recorded, with --pace recorded.
    #[arg(long, value_name = "FACTOR", default_value = "1", requires = "pace")]
    speed: Speed,
    /// Replace the trades' times by the time at which they are sent.
    #[arg(long)]
    now: bool,
    /// In the end, say that the last trade's minute is over, so that its bars end. Trades of that minute that come later are late.
    #[arg(long)]
    end: bool,
    /// Keep trying where NATS cannot be reached at first.
    #[arg(long)]
    wait: bool,
    /// Instead of a file: so many made-up trades with the current time, or `forever`.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["file", "format", "now"], help_heading = "Made-up trades")]
    synthetic: Option<Count>,
    /// Their symbols, separated by commas, or how many (SYM0001, SYM0002, …).
    #[arg(
        long,
        value_name = "NAMES",
        default_value = "BTCUSDT,ETHUSDT,SOLUSDT,XRPUSDT",
        requires = "synthetic",
        help_heading = "Made-up trades"
    )]
    symbols: Names,
    #[command(flatten)]
    nats: NatsArgs,
}

/// How a trade is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// The longest beginning of an id: NATS keeps every id of its duplicate window in memory.
const MAX_ID_LEN: usize = 64;

fn id_prefix(text: &str) -> Result<String, String> {
    if (1..=MAX_ID_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {MAX_ID_LEN} letters of printable ASCII, without spaces"))
    }
}

/// Between attempts to reach NATS again.
const RETRY: Duration = Duration::from_millis(250);

/// How many messages of the stream are looked through for those that were under way: they, and as many of others among them.
const LOOKED_THROUGH: u64 = 2 * WINDOW as u64;

/// Answers whether everything was stored.
pub(crate) fn run(args: Args) -> Result<bool> {
    ensure!(
        args.speed.is_real() || matches!(args.pace, Some(Pace::Recorded)),
        "--speed is for --pace recorded"
    );
    ensure!(
        args.synthetic.is_none() || args.pace != Some(Pace::Recorded),
        "made-up trades are not recorded; give --pace as so many a second"
    );
    args.nats.check()?;
    // Made-up trades are of the moment at which they are sent.
    let now = args.now || args.synthetic.is_some();
    let source = match args.synthetic {
        Some(count) => Source::Synthetic(Synthetic::new(count, args.symbols)),
        None => Source::open(args.file.as_deref(), args.format)?,
    };
    let pacer = Pacer::new(args.pace, args.speed);
    let mut publisher = Publisher {
        intake: Intake::new(source, pacer, now, args.end),
        outbox: Outbox::default(),
        subjects: Subjects::new(args.subject),
        id: args.id.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>())),
        encoding: args.encoding,
        nats: args.nats,
        stream: args.stream,
        wait: args.wait,
        progress: Progress::default(),
    };
    let began = Instant::now();
    let outcome = publisher.run();
    publisher.summarize(began.elapsed());
    outcome.map(|Finished| !publisher.intake.is_cut())
}

/// Everything that outlives a connection.
struct Publisher {
    nats: NatsArgs,
    stream: StreamArgs,
    subjects: Subjects,
    intake: Intake,
    outbox: Outbox,
    id: String,
    encoding: Encoding,
    /// Whether the first connection may fail.
    wait: bool,
    progress: Progress,
}

/// How far the connections have come.
#[derive(Debug, Default)]
struct Progress {
    /// What the stream had before this publisher's first message; `None`: there was no connection yet.
    found: Option<u64>,
    /// Since when there is no connection.
    lost: Option<Instant>,
    /// What was said of that.
    said: Option<String>,
}

struct Finished;

impl Publisher {
    fn run(&mut self) -> Result<Finished> {
        let mut stop = None;
        loop {
            // A runtime for each connection, which ends with it: the NATS client reconnects by itself, and would then send what it still holds,
            // behind a gap of what was lost with the old connection.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let stop = match &mut stop {
                Some(stop) => stop,
                None => stop.insert(runtime.block_on(async { Stop::new() })?),
            };
            let reason = match runtime.block_on(self.connection(stop))? {
                Ended::Done => return Ok(Finished),
                Ended::Stopped => bail!("stopped before NATS had everything"),
                Ended::Lost(reason) => reason,
            };
            self.lost(reason);
            let stopped = runtime.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => false,
                    () = stop.told() => true,
                }
            });
            ensure!(!stopped, "stopped while NATS was away");
        }
    }

    /// Says so once, not at every attempt.
    fn lost(&mut self, reason: String) {
        self.outbox.lost();
        self.progress.lost.get_or_insert_with(Instant::now);
        if self.progress.said.as_ref() != Some(&reason) {
            eprintln!("tickwire: {reason}; trying until NATS is back");
            self.progress.said = Some(reason);
        }
    }

    /// One connection, from its beginning to its end.
    async fn connection(&mut self, stop: &mut Stop) -> Result<Ended> {
        let connection = tokio::select! {
            connection = self.nats.connect() => connection,
            // Nothing has been sent on what is given up.
            () = stop.told() => return Ok(Ended::Stopped),
        };
        let first = self.progress.found.is_none();
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) if !first || self.wait => return Ok(Ended::Lost(chain(&error))),
            Err(error) => bail!("{}; --wait keeps trying", chain(&error)),
        };
        let stream = match self.stream.find(&connection.client, &self.subjects).await {
            Ok(stream) => stream,
            Err(error) if !first && error.may_pass() => return Ok(Ended::Lost(chain(&error))),
            Err(error) => return Err(error.into()),
        };
        if self.progress.said.take().is_some() {
            eprintln!("tickwire: NATS is there");
        }
        let found = *self.progress.found.get_or_insert(stream.last_sequence);
        let away = self.progress.lost.take().map(|lost| lost.elapsed());
        // By then NATS may have forgotten the ids of what it stored just before.
        if away.is_some_and(|away| away >= stream.duplicate_window / 2) {
            let behind = self.outbox.done_sequence().max(found);
            for (row, sequence) in stream.rows_of(&self.id, behind, LOOKED_THROUGH).await {
                self.outbox.acknowledge(row, Ack { sequence, duplicate: true });
            }
        }
        self.subjects.kept_by(&stream.name, stream.subjects);
        let mut session = Session {
            connection: &connection,
            outbox: &mut self.outbox,
            intake: &mut self.intake,
            subjects: &mut self.subjects,
            id: &self.id,
            encoding: self.encoding,
        };
        session.run(stop).await
    }

    fn summarize(&self, elapsed: Duration) {
        let Tally { stored, there_already, sequences } = self.outbox.tally();
        let range = sequences
            .map_or_else(|| "no sequences".into(), |(first, last)| format!("sequences {first} to {last}"));
        let rate = stored as f64 / elapsed.as_secs_f64();
        eprintln!(
            "{stored} messages stored in {}, {there_already} were there already, {range}, {:.1} s, {rate:.0} per second",
            self.stream.name(),
            elapsed.as_secs_f64()
        );
        let missing = self.outbox.len();
        if missing > 0 {
            eprintln!("{missing} messages were NOT acknowledged");
        }
    }
}
