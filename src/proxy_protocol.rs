//! The PROXY protocol, versions 1 and 2: whom a proxy says that a connection is from, read and
//! written. From HAProxy's `proxy-protocol.txt`, whose sections are named here.
//!
//! No I/O and no policy: who may send a header, and how long it may take, is the listener's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most bytes of a header of version 1, its line end included (section 2.1).
const LONGEST_V1: usize = 107;

/// The most bytes of a header of version 2 that are read. The protocol has room for 64 KiB, which
/// nobody needs: what proxies add to the addresses are some names and a checksum.
pub const LONGEST_V2: usize = 4 << 10;

/// How every header of version 2 begins (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of a header of version 2 before the addresses.
const V2_HEAD: usize = 16;

/// The type of the TLV that holds a CRC-32C of the whole header (section 2.2.3).
const CRC32C: u8 = 0x03;

/// What a proxy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is the proxy's own (a health check), or from something without an IP address: nothing is
    /// known but who has connected.
    Local,
    /// It is from this client.
    Proxied {
        /// Where the client connected from.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

/// Why bytes are not the beginning of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// They begin as no version does.
    #[error("it begins with no PROXY protocol header")]
    NoHeader,
    /// A header of version 1 that is too long or malformed.
    #[error("the PROXY protocol header, version 1, is malformed")]
    Line,
    /// A version other than 2 behind the signature, or an unknown command.
    #[error("the PROXY protocol header has an unknown version or command")]
    Version,
    /// A header of version 2 with too little room for its addresses, or with an unknown family.
    #[error("the PROXY protocol header has no addresses of a known kind")]
    Addresses,
    /// More than [`LONGEST_V2`] bytes of version 2.
    #[error("the PROXY protocol header is longer than {LONGEST_V2} bytes")]
    TooLong,
    /// A part of version 2 that reaches beyond the end.
    #[error("the PROXY protocol header has a part that is cut short")]
    Parts,
    /// The checksum is not that of the header.
    #[error("the PROXY protocol header has another checksum than it says")]
    Checksum,
}

impl Header {
    /// Reads the header at the front of a connection's first bytes: what it says, and how many bytes
    /// it has. `None` while more is needed, which is at most [`LONGEST_V2`] bytes in all.
    ///
    /// # Errors
    /// [`InvalidHeader`], as soon as that is certain.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidHeader> {
        const V1: &[u8] = b"PROXY ";
        let begins = |with: &[u8]| {
            let length = bytes.len().min(with.len());
            bytes[..length] == with[..length]
        };
        match bytes {
            _ if begins(&SIGNATURE) => parse_v2(bytes),
            _ if begins(V1) => parse_v1(bytes),
            _ => Err(InvalidHeader::NoHeader),
        }
    }

    /// Writes it as version 1.
    pub fn write_v1(&self, out: &mut Vec<u8>) {
        let text = match self.same_family() {
            Self::Local => "PROXY UNKNOWN\r\n".to_owned(),
            Self::Proxied {
                source,
                destination,
            } => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (source.ip(), destination.ip());
                let (from_port, to_port) = (source.port(), destination.port());
                format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n")
            }
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Writes it as version 2, without anything beside the addresses.
    pub fn write_v2(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&SIGNATURE);
        match self.same_family() {
            Self::Local => out.extend_from_slice(&[0x20, 0x00, 0, 0]),
            Self::Proxied {
                source,
                destination,
            } => {
                let (family, length) = if source.is_ipv4() {
                    (0x11, 12)
                } else {
                    (0x21, 36)
                };
                out.extend_from_slice(&[0x21, family, 0, length]);
                for address in [source, destination] {
                    match address.ip() {
                        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
                    }
                }
                for address in [source, destination] {
                    out.extend_from_slice(&address.port().to_be_bytes());
                }
            }
        }
    }

    /// The same with both addresses of one family, which is all that can be written: IPv4 within IPv6
    /// where they differ.
    fn same_family(self) -> Self {
        let Self::Proxied {
            source,
            destination,
        } = self
        else {
            return self;
        };
        let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
        let mapped = |it: SocketAddr| match it.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), it.port()),
            IpAddr::V6(_) => it,
        };
        let (source, destination) = (canonical(source), canonical(destination));
        if source.is_ipv4() == destination.is_ipv4() {
            return Self::Proxied {
                source,
                destination,
            };
        }
        Self::Proxied {
            source: mapped(source),
            destination: mapped(destination),
        }
    }
}

// === Version 1 ===

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, InvalidHeader> {
    let window = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = window.windows(2).position(|it| it == b"\r\n") else {
        return match window.len() < LONGEST_V1 {
            true => Ok(None),
            false => Err(InvalidHeader::Line),
        };
    };
    let line = std::str::from_utf8(&window[..end]).map_err(|_| InvalidHeader::Line)?;
    let header = read_line(line).ok_or(InvalidHeader::Line)?;
    Ok(Some((header, end + 2)))
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`: single spaces, and numbers as anybody would write
/// them.
fn read_line(line: &str) -> Option<Header> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows must be ignored (section 2.1).
        return Some(Header::Local);
    }
    let mut address = || words.next()?.parse::<IpAddr>().ok();
    let (from, to) = (address()?, address()?);
    let fits = match family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    let mut port = || read_port(words.next()?);
    let (from_port, to_port) = (port()?, port()?);
    if !fits || words.next().is_some() {
        return None;
    }
    Some(Header::Proxied {
        source: SocketAddr::new(from, from_port),
        destination: SocketAddr::new(to, to_port),
    })
}

fn read_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && canonical)
}

// === Version 2 ===

fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, InvalidHeader> {
    let Some(&version_and_command) = bytes.get(12) else {
        return Ok(None);
    };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(InvalidHeader::Version),
    };
    let Some(&[family, high, low]) = bytes.get(13..V2_HEAD) else {
        return Ok(None);
    };
    let length = V2_HEAD + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 {
        return Err(InvalidHeader::TooLong);
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    let payload = &header[V2_HEAD..];
    let addresses = read_addresses(family, payload);
    let (addresses, rest) = match (addresses, is_local) {
        (Some(read), _) => read,
        // A receiver must not look at what it does not know in a header of this command.
        (None, true) => (Header::Local, &[][..]),
        (None, false) => return Err(InvalidHeader::Addresses),
    };
    check_parts(header, length - rest.len())?;
    let said = if is_local { Header::Local } else { addresses };
    Ok(Some((said, length)))
}

/// The addresses, and what follows them. Datagrams and Unix sockets have none that could be used.
fn read_addresses(family: u8, payload: &[u8]) -> Option<(Header, &[u8])> {
    let rest_after = |length| payload.get(length..);
    match family {
        0x00 => Some((Header::Local, payload)),
        0x11 | 0x12 => {
            let (addresses, rest) = payload.split_first_chunk::<12>()?;
            let ip = |at: usize| {
                let octets = [0, 1, 2, 3].map(|byte| addresses[at + byte]);
                IpAddr::V4(Ipv4Addr::from(octets))
            };
            Some((proxied(ip(0), ip(4), &addresses[8..]), rest))
        }
        0x21 | 0x22 => {
            let (addresses, rest) = payload.split_first_chunk::<36>()?;
            let ip = |at: usize| {
                let octets: [u8; 16] = std::array::from_fn(|byte| addresses[at + byte]);
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            Some((proxied(ip(0), ip(16), &addresses[32..]), rest))
        }
        0x31 | 0x32 => Some((Header::Local, rest_after(216)?)),
        _ => None,
    }
}

fn proxied(from: IpAddr, to: IpAddr, ports: &[u8]) -> Header {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Header::Proxied {
        source: SocketAddr::new(from, port(0)),
        destination: SocketAddr::new(to, port(2)),
    }
}

/// Goes through the parts behind the addresses, which begin at `begin`: none is used, but a checksum
/// has to be right.
fn check_parts(header: &[u8], begin: usize) -> Result<(), InvalidHeader> {
    let mut at = begin;
    while let Some(rest) = header.get(at..).filter(|rest| !rest.is_empty()) {
        let &[kind, high, low, ref value @ ..] = rest else {
            return Err(InvalidHeader::Parts);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = value.get(..length).ok_or(InvalidHeader::Parts)?;
        let value_at = at + 3;
        if kind == CRC32C {
            check_sum(header, value_at, value)?;
        }
        at = value_at + length;
    }
    Ok(())
}

/// The sum is over the whole header, with zeros in its own place.
fn check_sum(header: &[u8], at: usize, value: &[u8]) -> Result<(), InvalidHeader> {
    let said: [u8; 4] = value.try_into().map_err(|_| InvalidHeader::Parts)?;
    let before = crc32c(!0, &header[..at]);
    let own_place = crc32c(before, &[0; 4]);
    let whole = !crc32c(own_place, &header[at + said.len()..]);
    match whole.to_be_bytes() == said {
        true => Ok(()),
        false => Err(InvalidHeader::Checksum),
    }
}

/// Goes on with a CRC-32C (Castagnoli). Bit by bit: it is for few bytes, once a connection.
fn crc32c(mut sum: u32, bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82F6_3B78;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let low = sum & 1;
            sum = (sum >> 1) ^ (REVERSED_POLYNOMIAL & low.wrapping_neg());
        }
    }
    sum
}

#[cfg(test)]
mod tests;
