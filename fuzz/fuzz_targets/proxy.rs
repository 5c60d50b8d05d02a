//! A load balancer's header: what `proxy::parse` answers for some bytes must hold for more of them, and must not depend on how they come.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use tickwire_fuzz::{Decisions, Segments};
use tickwire_server::proxy::{MAX_HEADER, NoHeader, Parsed, parse};
use tickwire_server::shard::input::{Input, Proxied};

/// "The maximum line lengths the receiver must support including the CRLF": the specification, 2.1.
const MAX_LINE: usize = 107;

/// "The 12-byte signature", 2.2; version and command, family, and the length of what follows come behind it.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_LEN: usize = 16;

/// Up to here every beginning is looked at, and from here on each of so many.
const EVERY: usize = 128;
const STRIDE: usize = 61;

fuzz_target!(|input: &[u8]| {
    let mut decisions = Decisions::new(input);
    let sizes = Segments::sizes(&mut decisions);
    let mut bytes = Vec::new();
    let kind = decisions.byte();
    if kind % 2 == 1 {
        let header = Header::decide(&mut decisions);
        header.write(&mut bytes);
        bytes.extend(decisions.rest());
        assert_eq!(parse(&bytes), header.expected(), "{header:?}");
    } else {
        bytes.extend(decisions.rest());
    }
    check_beginnings(&bytes);
    check_segments(Segments::new(sizes, &bytes), &bytes);
});

/// A good header, or one that is too long.
#[derive(Debug)]
enum Header {
    /// Version 1, without a client.
    Unknown,
    /// Version 1.
    Line { source: SocketAddr, destination: SocketAddr },
    /// Version 2.
    Binary { addresses: Addresses, extensions: usize },
    /// Version 2, in which the proxy speaks for itself: "the receiver must … discard the protocol block including the family", 2.2.
    Local { family: u8, len: usize },
}

#[derive(Clone, Copy, Debug)]
enum Addresses {
    None,
    V4([u8; 12], Transport),
    V6([u8; 36], Transport),
    Unix([u8; 8], Transport),
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Stream = 1,
    Datagram = 2,
}

impl Header {
    fn decide(decisions: &mut Decisions<'_>) -> Self {
        let kind = decisions.byte();
        let mut v4 = || SocketAddr::from((decisions.array::<4>(), decisions.u16()));
        match kind % 8 {
            0 => Self::Unknown,
            1 => Self::Line { source: v4(), destination: v4() },
            2 => {
                let mut v6 = || SocketAddr::from((decisions.array::<16>(), decisions.u16()));
                Self::Line { source: v6(), destination: v6() }
            }
            3 => Self::Local { family: decisions.byte(), len: length(decisions, FIXED_LEN) },
            _ => {
                let transport = decisions.one_of(&[Transport::Stream, Transport::Datagram]);
                let addresses = match decisions.byte() % 4 {
                    0 => Addresses::V4(decisions.array(), transport),
                    1 => Addresses::V6(decisions.array(), transport),
                    2 => Addresses::Unix(decisions.array(), transport),
                    _ => Addresses::None,
                };
                let extensions = length(decisions, FIXED_LEN + addresses.to_bytes().len());
                Self::Binary { addresses, extensions }
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unknown => out.extend(b"PROXY UNKNOWN\r\n"),
            Self::Line { source, destination } => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (source.ip(), destination.ip());
                let line = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
                out.extend(line.bytes());
            }
            Self::Binary { addresses, extensions } => {
                let addresses_len = addresses.to_bytes().len();
                out.extend(fixed(0x21, addresses.family(), addresses_len + extensions));
                out.extend(addresses.to_bytes());
                out.resize(out.len() + extensions, 0);
            }
            Self::Local { family, len } => {
                out.extend(fixed(0x20, *family, *len));
                out.resize(out.len() + len, 0);
            }
        }
    }

    /// What becomes of it.
    fn expected(&self) -> Result<Parsed, NoHeader> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        let client = match self {
            Self::Unknown | Self::Local { .. } => None,
            Self::Line { source, .. } => Some(*source),
            Self::Binary { addresses, .. } => addresses.source(),
        };
        let len = bytes.len();
        if len > MAX_HEADER { Err(NoHeader) } else { Ok(Parsed::Header { client, len }) }
    }
}

/// How much follows the `before` bytes that a header has already: mostly little, and sometimes exactly what is accepted still, or what is
/// not any more.
fn length(decisions: &mut Decisions<'_>, before: usize) -> usize {
    let decision = usize::from(decisions.u16());
    match decisions.byte() {
        0..=199 => decision % 64,
        200..=227 => MAX_HEADER - before + decision % 3 - 1,
        _ => decision % (2 * MAX_HEADER),
    }
}

/// What a header of version 2 begins with.
fn fixed(version_and_command: u8, family: u8, len: usize) -> Vec<u8> {
    let len = u16::try_from(len).expect("it is bounded in `length`");
    [&SIGNATURE[..], &[version_and_command, family], &len.to_be_bytes()].concat()
}

impl Addresses {
    fn family(self) -> u8 {
        match self {
            Self::None => 0,
            Self::V4(_, transport) => 0x10 | transport as u8,
            Self::V6(_, transport) => 0x20 | transport as u8,
            Self::Unix(_, transport) => 0x30 | transport as u8,
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::V4(bytes, _) => bytes.to_vec(),
            Self::V6(bytes, _) => bytes.to_vec(),
            // Two paths of 108 bytes.
            Self::Unix(bytes, _) => bytes.repeat(216 / bytes.len()),
        }
    }

    fn source(self) -> Option<SocketAddr> {
        let (ip, port): (IpAddr, _) = match self {
            Self::None | Self::Unix(..) => return None,
            Self::V4([a, b, c, d, _, _, _, _, high, low, ..], _) => {
                (Ipv4Addr::new(a, b, c, d).into(), [high, low])
            }
            Self::V6(bytes, _) => {
                let ip: [u8; 16] = bytes[..16].try_into().expect("there are 36");
                (Ipv6Addr::from(ip).into(), [bytes[32], bytes[33]])
            }
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
    }
}

/// The answers for longer and longer beginnings are: incomplete, incomplete, …, and then one and the same for ever.
fn check_beginnings(bytes: &[u8]) {
    let mut decided: Option<(usize, Result<Parsed, NoHeader>)> = None;
    let ends = (0..=bytes.len()).filter(|end| {
        *end <= EVERY || end % STRIDE == 0 || end.abs_diff(MAX_HEADER) <= 1 || *end == bytes.len()
    });
    for end in ends {
        let answer = parse(&bytes[..end]);
        if let Some((decided_at, before)) = decided {
            assert_eq!(answer, before, "{end} bytes of {bytes:02x?}, where {decided_at} had been enough");
            continue;
        }
        match answer {
            Ok(Parsed::Incomplete) => assert!(end < MAX_HEADER, "{end} bytes are not enough: {bytes:02x?}"),
            Ok(Parsed::Header { len, .. }) => {
                assert!(len <= end, "the header is longer than {end} bytes");
                check_header(&bytes[..len]);
                decided = Some((end, answer));
            }
            Err(NoHeader) => decided = Some((end, answer)),
        }
    }
}

/// What was taken for a header looks like one.
fn check_header(header: &[u8]) {
    assert!(header.len() <= MAX_HEADER);
    if let Some(rest) = header.strip_prefix(SIGNATURE) {
        let announced = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        assert_eq!(header.len(), FIXED_LEN + announced);
    } else {
        assert!(header.starts_with(b"PROXY"), "{header:02x?}");
        assert!(header.ends_with(b"\r\n"), "{header:02x?}");
        assert_eq!(header.iter().filter(|byte| **byte == b'\r').count(), 1, "{header:02x?}");
        assert!(header.len() <= MAX_LINE, "a line of {} bytes: {header:02x?}", header.len());
    }
}

/// `Input` finds the same, and where the client's own bytes begin.
fn check_segments(segments: Segments<'_>, bytes: &[u8]) {
    let whole = parse(bytes);
    let (mut input, mut came) = (Input::default(), 0);
    for segment in segments {
        came += segment.len();
        match input.proxy_header(segment) {
            Ok(None) => {
                assert_eq!(input.held(), came);
                assert!(came < MAX_HEADER);
            }
            Ok(Some(Proxied { client, rest })) => {
                let len = came - rest.len();
                assert_eq!(
                    whole,
                    Ok(Parsed::Header { client, len }),
                    "segments make a difference: {bytes:02x?}"
                );
                assert_eq!(rest, bytes[len..came]);
                assert_eq!(input.held(), 0);
                return;
            }
            Err(NoHeader) => {
                assert_eq!(whole, Err(NoHeader), "{came} bytes are no header: {bytes:02x?}");
                return;
            }
        }
    }
    assert_eq!(whole, Ok(Parsed::Incomplete), "{bytes:02x?}");
}
