//! Frames written by decisions: most of them good, and some damaged in one place.

use tickwire_proto::encode::frame;
use tickwire_proto::{FrameType, HEADER_LEN, TRAILER_LEN};

use crate::Decisions;
use crate::messages::AnyMessage;

/// A conversation's frames at most, and their bytes: an execution is to take a fraction of a millisecond.
const MAX_FRAMES: usize = 32;
const MAX_BYTES: usize = 128 << 10;

/// A run of frames.
#[derive(Debug, Default)]
pub struct Written {
    /// As they stand on the wire.
    pub bytes: Vec<u8>,
    /// The messages up to the first frame that was damaged, or did not come from a message. Good frames and nothing else stand there.
    pub intact: Vec<AnyMessage>,
}

/// What is done to a frame.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit, anywhere, is another.
    Flip,
    /// Its end is missing.
    Truncate,
    /// A byte stands where none was.
    Insert,
    /// Any bytes are its payload, with the right checksum.
    AnyPayload,
    /// Any bytes are its payload, with a wrong checksum.
    WrongChecksum,
    /// A message with something behind it, with the right checksum: most often an unknown field.
    Extend,
    /// Another type, with the right checksum.
    Retype,
    /// Only a header, with any length.
    HeaderAlone,
    /// No frame at all.
    NoFrame,
}

const DAMAGES: [Damage; 9] = [
    Damage::Flip,
    Damage::Truncate,
    Damage::Insert,
    Damage::AnyPayload,
    Damage::Extend,
    Damage::Retype,
    Damage::HeaderAlone,
    Damage::NoFrame,
    Damage::WrongChecksum,
];

/// A byte decides about a frame: its low part what it is, and only its highest values that it is damaged.
const FIRST_DAMAGE: u8 = 0xc0;

/// Writes frames until nothing is left to be decided.
pub fn write(decisions: &mut Decisions<'_>) -> Written {
    let mut written = Written::default();
    let mut intact = true;
    for _ in 0..MAX_FRAMES {
        if decisions.is_empty() || written.bytes.len() > MAX_BYTES {
            break;
        }
        let decision = decisions.byte();
        let kind = FrameType::ALL[usize::from(decision) % FrameType::ALL.len()];
        let message = AnyMessage::decide(kind, decisions);
        let good = message.to_frame();
        if decision < FIRST_DAMAGE {
            written.bytes.extend(&good);
            if intact {
                written.intact.push(message);
            }
        } else {
            intact = false;
            let damage = decisions.one_of(&DAMAGES);
            written.bytes.extend(damaged(kind, &good, damage, decisions));
        }
    }
    written
}

fn damaged(kind: FrameType, good: &[u8], damage: Damage, decisions: &mut Decisions<'_>) -> Vec<u8> {
    let payload = &good[HEADER_LEN..good.len() - TRAILER_LEN];
    let mut bytes = good.to_vec();
    match damage {
        Damage::Flip => {
            let bit = usize::from(decisions.u16()) % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Damage::Truncate => bytes.truncate(usize::from(decisions.u16()) % bytes.len()),
        Damage::Insert => bytes.insert(usize::from(decisions.u16()) % bytes.len(), decisions.byte()),
        Damage::AnyPayload => {
            let len = usize::from(decisions.byte());
            return frame(kind, decisions.take(len)).into();
        }
        Damage::WrongChecksum => {
            let len = usize::from(decisions.byte());
            let mut bytes = frame(kind, decisions.take(len)).to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1 << (len % 8);
            return bytes;
        }
        Damage::Extend => {
            let len = usize::from(decisions.byte() % 32);
            return frame(kind, &[payload, decisions.take(len)].concat()).into();
        }
        Damage::Retype => return frame(decisions.one_of(&FrameType::ALL), payload).into(),
        Damage::HeaderAlone => {
            bytes.truncate(HEADER_LEN - size_of::<u32>());
            // Small ones are as likely as large ones.
            let shift = decisions.byte() % 32;
            bytes.extend((u32::from_be_bytes(decisions.array()) >> shift).to_be_bytes());
        }
        Damage::NoFrame => {
            let len = usize::from(decisions.byte());
            return decisions.take(len).to_vec();
        }
    }
    bytes
}
