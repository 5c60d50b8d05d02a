//! Bytes into frames and messages: what `tickwire_proto` answers must be what docs/PROTOCOL.md says, however the bytes come.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tickwire_fuzz::messages::check_payload;
use tickwire_fuzz::{Decisions, Segments, frames};
use tickwire_proto::codec::{CodecError, FrameCodec, OwnedFrame};
use tickwire_proto::message::ErrorCode;
use tickwire_proto::{
    Frame, FrameType, HEADER_LEN, MAX_PAYLOAD_LEN, OVERHEAD, ParseError, Parsed, TRAILER_LEN, encode, parse,
};
use tokio_util::codec::{Decoder as _, Encoder as _};

const LIMITS: [usize; 8] = [65_536, 4096, 0, 1, 16, 300, MAX_PAYLOAD_LEN, u32::MAX as usize];

/// Of a frame's beginnings, those of up to so many bytes are looked at, those that lack up to so many, and some between them.
const EVERY: usize = 32;
const STRIDE: usize = 509;

fuzz_target!(|input: &[u8]| {
    let mut decisions = Decisions::new(input);
    let max_payload = decisions.one_of(&LIMITS);
    let sizes = Segments::sizes(&mut decisions);
    let written = decisions.byte() % 2 == 1;
    let bytes = if written {
        frames::write(&mut decisions).bytes
    } else {
        let bytes = decisions.rest();
        check_payload(bytes);
        bytes.to_vec()
    };

    let (frames, end) = parse_all(&bytes, max_payload);
    for frame in &frames {
        check_payload(frame.payload);
    }
    check_codec(&bytes, Segments::new(sizes, &bytes), max_payload, &frames, end);
});

/// Where a run of frames ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// So many bytes are left, which are not a whole frame.
    Incomplete(usize),
    Wrong(ParseError),
}

/// All frames of `bytes`, each of which is checked.
fn parse_all(bytes: &[u8], max_payload: usize) -> (Vec<Frame<'_>>, End) {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    loop {
        check_against_the_page(rest, max_payload);
        match parse(rest, max_payload) {
            Ok(Parsed::Frame { frame, len }) => {
                check_encoding(&frame, &rest[..len]);
                frames.push(frame);
                rest = &rest[len..];
            }
            Ok(Parsed::Incomplete { .. }) => return (frames, End::Incomplete(rest.len())),
            Err(error) => return (frames, End::Wrong(error)),
        }
    }
}

/// What the page says of the first frame of some bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    /// What is wrong with it, and how many bytes show that.
    Wrong {
        code: ErrorCode,
        shown_by: usize,
    },
    /// How many bytes it lacks, or its header does.
    Missing(usize),
    Whole {
        len: usize,
    },
}

/// The first frame of `bytes` as docs/PROTOCOL.md has it, "Frames": "A reader checks in the order of the bytes, and as soon as it has them:
/// magic, version, type, length, then the checksum". Written from there and not from the code.
fn page(bytes: &[u8], max_payload: usize) -> Said {
    let fixed: [(&[u8], ErrorCode); 4] = [
        (b"T", ErrorCode::BadMagic),
        (b"W", ErrorCode::BadMagic),
        (&[1], ErrorCode::BadVersion),
        (&[1, 2, 3, 4, 5], ErrorCode::UnexpectedType),
    ];
    for (at, (byte, (right, code))) in bytes.iter().zip(fixed).enumerate() {
        if !right.contains(byte) {
            return Said::Wrong { code, shown_by: at + 1 };
        }
    }
    let Some(len) = announced_len(bytes) else { return Said::Missing(8 - bytes.len()) };
    if len - 12 > max_payload {
        Said::Wrong { code: ErrorCode::FrameTooLarge, shown_by: 8 }
    } else if bytes.len() < len {
        Said::Missing(len - bytes.len())
    } else if crc32c(&bytes[8..len - 4]).to_be_bytes() != bytes[len - 4..len] {
        Said::Wrong { code: ErrorCode::BadChecksum, shown_by: len }
    } else {
        Said::Whole { len }
    }
}

/// The length of a whole frame, where there is a header.
fn announced_len(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(4..8)?.try_into().expect("there are four");
    Some(8 + u32::from_be_bytes(length) as usize + 4)
}

/// "Polynomial 0x82F63B78 in the usual right-shifting table, initial value and final XOR 0xFFFFFFFF".
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut entry, mut bit) = (index as u32, 0);
            while bit < 8 {
                entry = if entry & 1 == 1 { entry >> 1 ^ 0x82F6_3B78 } else { entry >> 1 };
                bit += 1;
            }
            table[index] = entry;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// The page and the code agree about all of `bytes`, and about beginnings of it: so what is wrong is said at the first byte that shows it,
/// and no more bytes are asked for than the frame lacks.
fn check_against_the_page(bytes: &[u8], max_payload: usize) {
    let said = page(bytes, max_payload);
    let enough = match said {
        Said::Wrong { shown_by, .. } => shown_by,
        Said::Whole { len } => len,
        Said::Missing(_) => bytes.len(),
    };
    for end in (0..enough).filter(|end| *end <= EVERY || end % STRIDE == 0 || enough - end <= EVERY) {
        let missing = announced_len(&bytes[..end]).unwrap_or(8) - end;
        let answer = parse(&bytes[..end], max_payload);
        assert_eq!(answer, Ok(Parsed::Incomplete { missing }), "{end} bytes of {bytes:02x?}");
    }
    for end in [enough, bytes.len()] {
        let same = match (parse(&bytes[..end], max_payload), said) {
            (Ok(Parsed::Frame { len, .. }), Said::Whole { len: right }) => len == right,
            (Ok(Parsed::Incomplete { missing }), Said::Missing(right)) => missing == right,
            (Err(error), Said::Wrong { code, .. }) => error.code() == code,
            _ => false,
        };
        assert!(same, "{end} bytes of {bytes:02x?}, at most {max_payload}, should be {said:?}");
    }
}

/// A frame encodes to the bytes that it was parsed from.
fn check_encoding(frame: &Frame<'_>, bytes: &[u8]) {
    assert_eq!(frame.payload.len() + OVERHEAD, bytes.len());
    assert_eq!(encode::frame(frame.kind, frame.payload), bytes);
    assert_eq!(FrameType::from_byte(bytes[3]), Some(frame.kind));

    // The same in a buffer with something else in it.
    let mut out = BytesMut::from(&b"before"[..]);
    let start = encode::begin(frame.kind, &mut out);
    out.extend_from_slice(frame.payload);
    encode::finish(start, &mut out);
    assert_eq!(out[start..], *bytes);
    assert_eq!(out[..start], *b"before");
    FrameCodec::default().encode(out.split_off(start).freeze(), &mut out).expect("it goes into a buffer");
    assert_eq!(out[start..], *bytes);
}

/// The tokio-util codec gives the same frames and the same end out of any segments.
fn check_codec(bytes: &[u8], segments: Segments<'_>, max_payload: usize, frames: &[Frame<'_>], end: End) {
    if max_payload > MAX_PAYLOAD_LEN {
        // The codec's limit is another one.
        return;
    }
    let mut codec = FrameCodec::new(max_payload);
    let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
    let mut wrong = None;
    'segments: for segment in segments {
        buffer.extend_from_slice(segment);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => got.push(frame),
                Ok(None) => break,
                Err(CodecError::Parse(error)) => {
                    wrong = Some(error);
                    break 'segments;
                }
                Err(CodecError::Io(error)) => panic!("no I/O was made: {error}"),
            }
        }
    }
    let expected = frames
        .iter()
        .map(|frame| OwnedFrame { kind: frame.kind, payload: bytes::Bytes::copy_from_slice(frame.payload) });
    assert!(got.iter().cloned().eq(expected), "the codec gave {got:?} for {bytes:02x?}");
    match (end, wrong) {
        (End::Wrong(expected), Some(error)) => assert_eq!(error, expected),
        (End::Incomplete(left), None) => {
            assert_eq!(buffer.len(), left);
            assert_eq!(buffer[..], bytes[bytes.len() - left..]);
            assert_eq!(codec.decode_eof(&mut buffer).is_err(), left > 0, "half a frame at the end");
        }
        differing => panic!("parse and codec end differently: {differing:?} for {bytes:02x?}"),
    }
    // What the page calls a frame's overhead is what the crate calls so.
    assert_eq!((HEADER_LEN, TRAILER_LEN), (8, 4));
}
