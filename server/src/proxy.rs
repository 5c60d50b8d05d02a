//! The PROXY protocol's header, by which a load balancer says who the client is. Source: "The PROXY protocol, versions 1 & 2",
//! haproxy.org.
//!
//! It is believed from the networks that PROXY_PROTOCOL_FROM names, where it must be there; from anywhere else it is not looked for.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};

/// The longest header, in bytes. Version 1 has at most 107; version 2 has 16, at most 36 of TCP addresses, and extensions, which load
/// balancers use for some hundred bytes.
pub const MAX_HEADER: usize = 2048;

/// The longest header of version 1, in bytes. Source: section 2.1.
const MAX_V1: usize = 107;

/// What the bytes at hand amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not yet a header.
    Incomplete,
    /// A whole header.
    Header {
        /// The client; `None`: the proxy speaks for itself, as for a health check, or does not know.
        client: Option<SocketAddr>,
        /// How many of the bytes it took; the client's own begin there.
        len: usize,
    },
}

/// The bytes are no PROXY header, or one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header, versions 1 or 2, of at most {MAX_HEADER} bytes")]
pub struct NoHeader;

/// Reads the header at the start of `bytes`.
///
/// # Errors
///
/// [`NoHeader`], for a header that cannot become one whatever follows; at the latest once [`MAX_HEADER`] bytes have come.
pub fn parse(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    if let Some(len) = local(bytes) {
        return match len {
            ..=MAX_HEADER if len <= bytes.len() => Ok(Parsed::Header { client: None, len }),
            ..=MAX_HEADER => Ok(Parsed::Incomplete),
            _ => Err(NoHeader),
        };
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        // The parser looks at a length only where a header has come in part; whole or not must make no difference.
        Ok((_, len)) if len > if bytes.starts_with(b"P") { MAX_V1 } else { MAX_HEADER } => Err(NoHeader),
        Ok((header, len)) => {
            Ok(Parsed::Header { client: header.proxied_address().map(|address| address.source), len })
        }
        Err(Error::BufferTooShort) if bytes.len() < MAX_HEADER => Ok(Parsed::Incomplete),
        Err(_) => Err(NoHeader),
    }
}

/// How a header of version 2 begins in which the proxy speaks for itself (command LOCAL).
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20";

/// The length of such a header. What it has for addresses is of no interest, and may be anything.
fn local(bytes: &[u8]) -> Option<usize> {
    let [_family, high, low, ..] = *bytes.strip_prefix(LOCAL)? else { return None };
    Some(LOCAL.len() + 3 + usize::from(u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 21591\r\n";

    fn v2(command: u8, family: u8, addresses: &[u8], extensions: usize) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        let len = u16::try_from(addresses.len() + extensions).unwrap();
        header.extend([0x20 | command, family]);
        header.extend(len.to_be_bytes());
        header.extend(addresses);
        header.resize(header.len() + extensions, 0);
        header
    }

    const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x54, 0x57];

    #[test]
    fn both_versions_tell_the_client_whatever_the_segments() {
        for header in [V1.to_vec(), v2(1, 0x11, &ADDRESSES, 0), v2(1, 0x11, &ADDRESSES, 700)] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(Parsed::Incomplete), "{end} of {header:?}");
            }
            let expected =
                Parsed::Header { client: Some("192.0.2.7:40000".parse().unwrap()), len: header.len() };
            assert_eq!(parse(&header), Ok(expected));
            assert_eq!(parse(&[&header[..], b"TW\x01"].concat()), Ok(expected), "the rest is the client's");
        }
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            v2(0, 0x00, &[], 0),
            v2(0, 0x11, &ADDRESSES, 0),
            v2(0, 0x11, &[], 3),
        ] {
            assert_eq!(parse(&header), Ok(Parsed::Header { client: None, len: header.len() }), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_early_as_it_shows() {
        for bytes in
            [&b"TW\x01\x01"[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 not an address\r\n"]
        {
            assert_eq!(parse(bytes), Err(NoHeader), "{bytes:?}");
        }
        assert_eq!(parse(&v2(1, 0x11, &ADDRESSES, 4_000)), Err(NoHeader), "too long");
        assert_eq!(parse(&v2(1, 0x11, &ADDRESSES, 4_000)[..MAX_HEADER]), Err(NoHeader), "too long, in part");
        assert_eq!(parse(&[b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat()), Err(NoHeader));
    }

    /// Found by fuzzing: 108 bytes were a header when they came at once, and none when they came in two segments.
    #[test]
    fn a_header_of_version_1_that_is_too_long_is_none_whether_it_comes_whole_or_not() {
        let header =
            |len: usize| [b"PROXY UNKNOWN".to_vec(), vec![b' '; len - 15], b"\r\n".to_vec()].concat();
        assert_eq!(parse(&header(107)), Ok(Parsed::Header { client: None, len: 107 }));
        assert_eq!(parse(&header(108)), Err(NoHeader));
        assert_eq!(parse(&header(108)[..107]), Err(NoHeader));
    }
}
