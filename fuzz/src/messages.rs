//! Any message, and what must hold of any payload.

use std::fmt::Debug;

use tickwire_proto::FrameType;
use tickwire_proto::encode::FrameMessage as _;
use tickwire_proto::message::{Auth, DataBatch, Error, Heartbeat, Resume, Subscribe, Tick};

use crate::Decisions;

/// Lengths on both sides of the bounds that docs/PROTOCOL.md gives: symbols (32), usernames (255), passwords (1,024); and one that makes
/// an AUTH larger than what a stranger may send (4,096).
const TEXT_LENGTHS: [usize; 8] = [32, 33, 254, 255, 256, 1024, 1025, 4096];

/// A message of any type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum AnyMessage {
    Auth(Auth),
    Subscribe(Subscribe),
    Heartbeat(Heartbeat),
    DataBatch(DataBatch),
    Error(Error),
}

impl AnyMessage {
    /// A message of this type.
    pub fn decide(kind: FrameType, decisions: &mut Decisions<'_>) -> Self {
        match kind {
            FrameType::Auth => Self::Auth(Auth { username: text(decisions), password: text(decisions) }),
            FrameType::Subscribe => Self::Subscribe(subscribe(decisions)),
            FrameType::Heartbeat => Self::Heartbeat(Heartbeat {}),
            FrameType::DataBatch => Self::DataBatch(DataBatch {
                schema_version: decisions.byte().into(),
                ticks: (0..decisions.byte() % 4).map(|_| tick(decisions)).collect(),
                epoch: decisions.u64(),
                first_sequence: decisions.u64(),
                last_sequence: decisions.u64(),
            }),
            FrameType::Error => Self::Error(Error {
                code: decisions.u16().into(),
                message: text(decisions),
                retry_after_ms: decisions.u16().into(),
            }),
        }
    }

    /// The frame that carries it.
    #[must_use]
    pub fn to_frame(&self) -> bytes::Bytes {
        match self {
            Self::Auth(message) => message.to_frame(),
            Self::Subscribe(message) => message.to_frame(),
            Self::Heartbeat(message) => message.to_frame(),
            Self::DataBatch(message) => message.to_frame(),
            Self::Error(message) => message.to_frame(),
        }
    }
}

fn subscribe(decisions: &mut Decisions<'_>) -> Subscribe {
    let mode = i32::from(decisions.byte().cast_signed());
    let resume = (decisions.byte() % 2 == 1)
        .then(|| Resume { epoch: decisions.u64(), after_sequence: decisions.u64() });
    let symbols = (0..decisions.byte() % 8).map(|_| text(decisions)).collect();
    Subscribe { mode, resume, symbols }
}

fn tick(decisions: &mut Decisions<'_>) -> Tick {
    let mut price = || decisions.u64().cast_signed();
    let [open, high, low, close] = [price(), price(), price(), price()];
    Tick {
        symbol: text(decisions),
        time_unix_nano: decisions.u64(),
        open,
        high,
        low,
        close,
        volume: decisions.u64(),
        trades: decisions.u64(),
    }
}

fn text(decisions: &mut Decisions<'_>) -> String {
    match decisions.byte() {
        len @ 0..=239 => String::from_utf8_lossy(decisions.take(usize::from(len % 48))).into_owned(),
        _ => "x".repeat(decisions.one_of(&TEXT_LENGTHS)),
    }
}

/// Decodes a payload as each type of message. What is one must be the same after it has been encoded and decoded again, and its
/// encoding must be as long as announced: what is unknown, not minimal or repeated is gone after the first time.
///
/// # Panics
///
/// Where that does not hold.
pub fn check_payload(payload: &[u8]) {
    check::<Auth>(payload);
    check::<Subscribe>(payload);
    check::<Heartbeat>(payload);
    check::<DataBatch>(payload);
    check::<Error>(payload);
    check::<Tick>(payload);
}

fn check<M: prost::Message + Default + PartialEq + Debug>(payload: &[u8]) {
    let Ok(message) = M::decode(payload) else { return };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len(), "the announced length of {message:?}");
    let again = M::decode(&encoded[..]).expect("what has been encoded can be decoded");
    assert_eq!(again, message);
    assert_eq!(again.encode_to_vec(), encoded, "the second encoding of {message:?}");
}
