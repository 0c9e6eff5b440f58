//! Feeds the reader of PROXY protocol headers with arbitrary bytes and holds it to four rules: it
//! never panics; how the bytes are cut into reads makes no difference; what it reads, it reads no
//! further than the protocol says; what it writes, it reads back.
//!
//! Run it from the root of the repository; a stable toolchain will do:
//!
//! ```text
//! mkdir -p fuzz/corpus/proxy_protocol
//! RUSTC_BOOTSTRAP=1 cargo fuzz run proxy_protocol fuzz/corpus/proxy_protocol \
//!   fuzz/seeds/proxy_protocol -- -max_len=4200
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;

use proxy_protocol::{Header, InvalidHeader, LONGEST_V2};

#[allow(dead_code)]
#[path = "../../src/proxy_protocol.rs"]
mod proxy_protocol;

/// The longest line of version 1, its end included.
const LONGEST_V1: usize = 107;

fuzz_target!(|input: &[u8]| {
    let whole = Header::parse(input);
    let piecemeal = feed(input);
    match (whole, piecemeal) {
        (Ok(None), None) => assert!(input.len() < LONGEST_V2),
        (Ok(Some(read)), Some(Ok(again))) => assert_eq!(read, again),
        (Err(_), Some(Err(_))) => {}
        different => panic!("{different:?}"),
    }
    if let Ok(Some((header, length))) = whole {
        let is_v2 = input[0] == b'\r';
        assert!(length <= if is_v2 { LONGEST_V2 } else { LONGEST_V1 });
        // What follows it is nobody's business here.
        assert_eq!(Header::parse(&input[..length]), whole);
        read_back(header);
    }
});

/// The same byte by byte, until something is certain.
fn feed(input: &[u8]) -> Option<Result<(Header, usize), InvalidHeader>> {
    (0..=input.len()).find_map(|length| Header::parse(&input[..length]).transpose())
}

fn read_back(header: Header) {
    for write in [Header::write_v1, Header::write_v2] {
        let mut out = Vec::new();
        write(&header, &mut out);
        let read = Header::parse(&out).expect("what is written is a header");
        let (again, length) = read.expect("and a whole one");
        assert_eq!(length, out.len());
        match (header, again) {
            (Header::Local, Header::Local) => {}
            (
                Header::Proxied {
                    source,
                    destination,
                },
                Header::Proxied {
                    source: from,
                    destination: to,
                },
            ) => {
                for (before, after) in [(source, from), (destination, to)] {
                    assert_eq!(before.ip().to_canonical(), after.ip().to_canonical());
                    assert_eq!(before.port(), after.port());
                }
            }
            different => panic!("{different:?}"),
        }
    }
}
