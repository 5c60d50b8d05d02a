//! This crate against the golden vectors, read as a stranger would: from the files.

#![expect(clippy::unwrap_used, reason = "a test fails where its world does")]

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tickwire_proto::message::{Auth, DataBatch, Error, ErrorCode, Heartbeat, Subscribe};
use tickwire_proto::{FrameType, Parsed, parse};

#[derive(Deserialize)]
struct Index {
    max_msg_size: usize,
    valid: Vec<Valid>,
    invalid: Vec<Invalid>,
}

#[derive(Deserialize)]
struct Valid {
    file: PathBuf,
    #[serde(rename = "type")]
    kind: u8,
}

#[derive(Deserialize)]
struct Invalid {
    file: PathBuf,
    code: i32,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn index() -> Index {
    serde_json::from_slice(&std::fs::read(folder().join("vectors.json")).unwrap()).unwrap()
}

#[test]
fn every_valid_vector_is_one_frame_of_its_type_and_encodes_to_the_same_bytes() {
    let index = index();
    let mut seen = Vec::new();
    for Valid { file, kind } in index.valid {
        let bytes = std::fs::read(folder().join(&file)).unwrap();
        let Ok(Parsed::Frame { frame, len }) = parse(&bytes, index.max_msg_size) else {
            panic!("{} is not a frame", file.display());
        };
        assert_eq!((len, frame.kind as u8), (bytes.len(), kind), "{}", file.display());
        use tickwire_proto::encode::FrameMessage as _;
        let again = match frame.kind {
            FrameType::Auth => frame.decode::<Auth>().unwrap().to_frame(),
            FrameType::Subscribe => frame.decode::<Subscribe>().unwrap().to_frame(),
            FrameType::Heartbeat => frame.decode::<Heartbeat>().unwrap().to_frame(),
            FrameType::DataBatch => frame.decode::<DataBatch>().unwrap().to_frame(),
            FrameType::Error => frame.decode::<Error>().unwrap().to_frame(),
        };
        assert_eq!(again, bytes, "{}", file.display());
        seen.push(frame.kind);
    }
    for kind in FrameType::ALL {
        assert!(seen.contains(&kind), "no vector of type {kind}");
    }
}

#[test]
fn every_invalid_vector_gets_its_error() {
    let index = index();
    let mut seen = Vec::new();
    for Invalid { file, code } in index.invalid {
        let bytes = std::fs::read(folder().join(&file)).unwrap();
        let got = match parse(&bytes, index.max_msg_size) {
            Err(error) => error.code(),
            Ok(Parsed::Frame { frame, .. }) if frame.decode::<Auth>().is_err() => ErrorCode::Malformed,
            other => panic!("{}: {other:?}", file.display()),
        };
        assert_eq!(got as i32, code, "{}", file.display());
        seen.push(got);
    }
    for code in ErrorCode::ALL.into_iter().filter(|code| (*code as i32) < 100) {
        assert!(seen.contains(&code), "no vector for {}", code.name());
    }
}
