//! Tests of the parent module: the examples of the specification, and all that is nearly a header.

use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn from_to(source: &str, destination: &str) -> Header {
    Header::Proxied {
        source: socket(source),
        destination: socket(destination),
    }
}

/// Version 2: command, family, and what follows the length.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, payload].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x01, 0xBB];

/// Checks that the bytes are read so, with anything behind them, and that less of them is never read
/// as anything else.
#[track_caller]
fn check(bytes: &[u8], expected: Result<Header, InvalidHeader>) {
    let with_more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
    let read = Header::parse(&with_more);
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(
        read,
        expected.map(|header| Some((header, bytes.len()))),
        "{shown:?}"
    );
    for length in 0..bytes.len() {
        match (Header::parse(&bytes[..length]), expected) {
            (Ok(None), _) => {}
            (Err(early), Err(late)) => assert_eq!(early, late, "{length} of {shown:?}"),
            (read, _) => panic!("{length} of {shown:?}: {read:?}"),
        }
    }
}

#[test]
fn the_lines_of_version_1_are_read() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
            from_to("192.0.2.1:56324", "192.0.2.2:443"),
        ),
        // The longest of each kind, from section 2.1.
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            from_to("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            from_to(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 1 0\r\n",
            from_to("[2001:db8::1]:1", "[::1]:0"),
        ),
        ("PROXY UNKNOWN\r\n", Header::Local),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Header::Local,
        ),
    ] {
        check(line.as_bytes(), Ok(expected));
    }
}

#[test]
fn what_is_nearly_a_line_of_version_1_is_refused() {
    for line in [
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
    ] {
        let expected = match line {
            // So far, the first of these may still become the beginning of a header.
            "PROXY\r\n" => InvalidHeader::NoHeader,
            _ => InvalidHeader::Line,
        };
        check(line.as_bytes(), Err(expected));
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_V1));
    assert_eq!(Header::parse(long.as_bytes()), Err(InvalidHeader::Line));
    let bare = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nGET / HTTP/1.1\r\n";
    assert_eq!(Header::parse(bare.as_bytes()), Err(InvalidHeader::Line));
}

#[test]
fn what_begins_otherwise_has_no_header() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"proxy TCP4",
        b"P R",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\n",
        b" PROXY TCP4",
    ] {
        assert_eq!(Header::parse(bytes), Err(InvalidHeader::NoHeader));
    }
    assert_eq!(Header::parse(b""), Ok(None));
}

#[test]
fn the_headers_of_version_2_are_read() {
    let ipv6: Vec<u8> = {
        let from: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let ports = [0xDC, 0x04, 0x01, 0xBB];
        [&from.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &ports].concat()
    };
    let ipv4 = from_to("192.0.2.1:56324", "192.0.2.2:443");
    check(&v2(0x21, 0x11, &IPV4), Ok(ipv4));
    check(&v2(0x21, 0x12, &IPV4), Ok(ipv4));
    let expected = from_to("[2001:db8::1]:56324", "[::1]:443");
    check(&v2(0x21, 0x21, &ipv6), Ok(expected));
    // The proxy's own, whatever else is in it.
    check(&v2(0x20, 0x00, &[]), Ok(Header::Local));
    check(&v2(0x20, 0x11, &IPV4), Ok(Header::Local));
    check(&v2(0x20, 0xFF, &[1, 2, 3]), Ok(Header::Local));
    // No addresses that could be used.
    check(&v2(0x21, 0x00, &[]), Ok(Header::Local));
    check(&v2(0x21, 0x31, &[0; 216]), Ok(Header::Local));
}

#[test]
fn what_is_nearly_a_header_of_version_2_is_refused() {
    use InvalidHeader::*;
    check(&v2(0x11, 0x11, &IPV4), Err(Version));
    check(&v2(0x22, 0x11, &IPV4), Err(Version));
    check(&v2(0x21, 0x13, &IPV4), Err(Addresses));
    check(&v2(0x21, 0x41, &IPV4), Err(Addresses));
    check(&v2(0x21, 0x11, &IPV4[..11]), Err(Addresses));
    check(&v2(0x21, 0x21, &[0; 35]), Err(Addresses));
    check(&v2(0x21, 0x31, &[0; 215]), Err(Addresses));
    let much = [&IPV4[..], &[0x04, 0x0F, 0xF1], &[0; 0xFF1]].concat();
    check(&v2(0x21, 0x11, &much), Err(TooLong));
}

#[test]
fn parts_behind_the_addresses_are_skipped_and_have_to_be_whole() {
    let with = |parts: &[u8]| v2(0x21, 0x11, &[&IPV4[..], parts].concat());
    let ipv4 = from_to("192.0.2.1:56324", "192.0.2.2:443");
    for parts in [
        &[][..],
        b"\x01\x00\x02h2",
        b"\x04\x00\x00",
        b"\xE0\x00\x01x\x02\x00\x03a.b",
    ] {
        check(&with(parts), Ok(ipv4));
    }
    for parts in [&[1][..], b"\x01\x00", b"\x01\x00\x01", b"\x01\xFF\xFFx"] {
        check(&with(parts), Err(InvalidHeader::Parts));
    }
    let most = [&b"\x04\x0F\xE1"[..], &[0; 0xFE1]].concat();
    let longest = with(&most);
    assert_eq!(longest.len(), LONGEST_V2);
    check(&longest, Ok(ipv4));
}

#[test]
fn a_checksum_has_to_be_right() {
    assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
    let summed = |sum: [u8; 4]| {
        let part = [&[CRC32C, 0, 4][..], &sum, b"\x01\x00\x02h2"].concat();
        v2(0x21, 0x11, &[&IPV4[..], &part].concat())
    };
    let right = (!crc32c(!0, &summed([0; 4]))).to_be_bytes();
    let ipv4 = from_to("192.0.2.1:56324", "192.0.2.2:443");
    check(&summed(right), Ok(ipv4));
    let mut wrong = right;
    wrong[3] ^= 1;
    check(&summed(wrong), Err(InvalidHeader::Checksum));
    let mut changed = summed(right);
    changed[16] ^= 1;
    check(&changed, Err(InvalidHeader::Checksum));
    let short = [&IPV4[..], &[CRC32C, 0, 3, 0, 0, 0]].concat();
    check(&v2(0x21, 0x11, &short), Err(InvalidHeader::Parts));
}

#[test]
fn what_is_written_is_read_again() {
    for (header, expected) in [
        (Header::Local, Header::Local),
        (
            from_to("192.0.2.1:56324", "192.0.2.2:443"),
            from_to("192.0.2.1:56324", "192.0.2.2:443"),
        ),
        (
            from_to("[2001:db8::1]:56324", "[::1]:443"),
            from_to("[2001:db8::1]:56324", "[::1]:443"),
        ),
        // An IPv4 client of a listener for both.
        (
            from_to("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"),
            from_to("192.0.2.1:1", "192.0.2.2:2"),
        ),
        (
            from_to("192.0.2.1:1", "[::1]:2"),
            from_to("[::ffff:192.0.2.1]:1", "[::1]:2"),
        ),
    ] {
        for write in [Header::write_v1, Header::write_v2] {
            let mut out = Vec::new();
            write(&header, &mut out);
            check(&out, Ok(expected));
        }
    }
    let mut out = Vec::new();
    from_to("192.0.2.1:56324", "192.0.2.2:443").write_v1(&mut out);
    assert_eq!(out, b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n");
}
