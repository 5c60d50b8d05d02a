//! Golden vectors: frames as files, for implementations in any language.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tickwire_proto::encode::{FrameMessage, frame};
use tickwire_proto::message::{Auth, DataBatch, Error, ErrorCode, Heartbeat, Mode, Resume, Subscribe, Tick};
use tickwire_proto::{FrameType, ParseError, parse};

use super::Generated;

/// The limit that a reader of the vectors is to have, in bytes.
const MAX_MSG_SIZE: usize = 65_536;

pub(super) fn generate(root: &Path) -> Result<Vec<Generated>> {
    let folder = root.join("proto/vectors");
    let mut files = Vec::new();
    let (mut valid, mut invalid) = (Vec::new(), Vec::new());
    for (name, kind, bytes, message) in valid_frames() {
        let file = format!("valid/{name}.bin");
        valid.push(json!({ "file": file, "type": kind as u8, "name": kind.to_string(), "message": message }));
        files.push(Generated { path: folder.join(file), content: bytes });
    }
    for (name, code, bytes, why) in invalid_frames() {
        if let Err(error) = parse(&bytes, MAX_MSG_SIZE) {
            ensure!(ParseError::code(&error) == code, "vector {name} is {error:?}, not {code:?}");
        }
        let file = format!("invalid/{name}.bin");
        invalid.push(json!({ "file": file, "error": code.name(), "code": code as i32, "why": why }));
        files.push(Generated { path: folder.join(file), content: bytes });
    }
    let index = json!({ "max_msg_size": MAX_MSG_SIZE, "valid": valid, "invalid": invalid });
    let mut content = serde_json::to_vec_pretty(&index)?;
    content.push(b'\n');
    files.push(Generated { path: folder.join("vectors.json"), content });
    Ok(files)
}

fn valid_frames() -> Vec<(&'static str, FrameType, Vec<u8>, Value)> {
    let auth = Auth { username: "demo".into(), password: "päss wörd".into() };
    let all = Subscribe { mode: Mode::Second.into(), resume: None, symbols: vec![] };
    let resumed = Subscribe {
        mode: Mode::Tick.into(),
        resume: Some(Resume { epoch: 0x0123_4567_89ab_cdef, after_sequence: 1_000_000_000_007 }),
        symbols: vec!["BTCUSDT".into(), "ETHUSDT".into()],
    };
    let opening = DataBatch {
        schema_version: 1,
        ticks: vec![],
        epoch: 0x0123_4567_89ab_cdef,
        first_sequence: 1_000_000_000_008,
        last_sequence: 1_000_000_000_007,
    };
    let batch = DataBatch {
        schema_version: 1,
        ticks: vec![
            Tick {
                symbol: "BTCUSDT".into(),
                time_unix_nano: 1_610_064_001_000_000_000,
                open: 39_432_480_000_000,
                high: 39_439_440_000_000,
                low: 39_432_480_000_000,
                close: 39_439_060_000_000,
                volume: 9_326_000,
                trades: 4,
            },
            Tick {
                symbol: "CALSPREAD".into(),
                time_unix_nano: 1_610_064_001_000_000_000,
                open: -1_250_000_000,
                high: -1_000_000_000,
                low: -1_500_000_000,
                close: -1,
                volume: u64::MAX,
                trades: 1,
            },
        ],
        epoch: u64::MAX,
        first_sequence: 1_000_000_000_008,
        last_sequence: 1_000_000_000_019,
    };
    let error = Error {
        code: ErrorCode::Draining.into(),
        message: "this server is about to leave".into(),
        retry_after_ms: 1_734,
    };
    let subscribe = |message: &Subscribe| {
        json!({
            "mode": message.mode,
            "resume": message.resume.map(|at| json!({ "epoch": at.epoch.to_string(),
                "after_sequence": at.after_sequence.to_string() })),
            "symbols": message.symbols,
        })
    };
    let data = |message: &DataBatch| {
        json!({
            "schema_version": message.schema_version,
            "ticks": message.ticks.iter().map(tick).collect::<Vec<_>>(),
            "epoch": message.epoch.to_string(),
            "first_sequence": message.first_sequence.to_string(),
            "last_sequence": message.last_sequence.to_string(),
        })
    };
    vec![
        (
            "auth",
            FrameType::Auth,
            auth.to_frame().to_vec(),
            json!({ "username": auth.username, "password": auth.password }),
        ),
        ("subscribe_all", FrameType::Subscribe, all.to_frame().to_vec(), subscribe(&all)),
        ("subscribe_resume", FrameType::Subscribe, resumed.to_frame().to_vec(), subscribe(&resumed)),
        ("heartbeat", FrameType::Heartbeat, Heartbeat {}.to_frame().to_vec(), json!({})),
        ("data_batch_opening", FrameType::DataBatch, opening.to_frame().to_vec(), data(&opening)),
        ("data_batch", FrameType::DataBatch, batch.to_frame().to_vec(), data(&batch)),
        (
            "error",
            FrameType::Error,
            error.to_frame().to_vec(),
            json!({ "code": error.code, "message": error.message, "retry_after_ms": error.retry_after_ms }),
        ),
    ]
}

/// 64-bit integers are strings in the JSON, as many readers of JSON hold numbers in 53 bits.
fn tick(tick: &Tick) -> Value {
    json!({
        "symbol": tick.symbol,
        "time_unix_nano": tick.time_unix_nano.to_string(),
        "open": tick.open.to_string(),
        "high": tick.high.to_string(),
        "low": tick.low.to_string(),
        "close": tick.close.to_string(),
        "volume": tick.volume.to_string(),
        "trades": tick.trades.to_string(),
    })
}

fn invalid_frames() -> Vec<(&'static str, ErrorCode, Vec<u8>, &'static str)> {
    let good = Auth { username: "demo".into(), password: "secret".into() }.to_frame().to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let last = good.len() - 1;
    let oversized = b"TW\x01\x01\x00\x01\x00\x01".to_vec();
    // Field 1, length-delimited, says 127 bytes and has two.
    let malformed = frame(FrameType::Auth, b"\x0a\x7fab").to_vec();
    vec![
        ("bad_magic", ErrorCode::BadMagic, with(1, b'X'), "the second byte is not 'W'"),
        ("bad_version", ErrorCode::BadVersion, with(2, 2), "version 2"),
        ("unknown_type", ErrorCode::UnexpectedType, with(3, 0x7f), "type 0x7f"),
        (
            "frame_too_large",
            ErrorCode::FrameTooLarge,
            oversized,
            "a header alone that announces 65,537 bytes; a reader must not wait for them",
        ),
        (
            "bad_checksum",
            ErrorCode::BadChecksum,
            with(last, good[last] ^ 1),
            "the checksum's last bit is flipped",
        ),
        (
            "malformed",
            ErrorCode::Malformed,
            malformed,
            "the checksum is right; the payload is not an Auth message",
        ),
    ]
}
