//! Socket addresses as listeners and the admin listener write them.

use std::net::SocketAddr;

use crate::config::document::At;

/// Reads `host:port`, where the host is an IP address, `localhost`, or left out for all IPv4
/// addresses. Names are not looked up: what a listener binds to must not depend on a resolver.
pub(super) fn lower(written: &str, at: &At<'_>) -> Option<SocketAddr> {
    let address = if let Some(port) = written.strip_prefix(':') {
        format!("0.0.0.0:{port}")
    } else if let Some(port) = written.strip_prefix("localhost:") {
        format!("127.0.0.1:{port}")
    } else {
        written.to_owned()
    };
    let parsed = address.parse().ok();
    if parsed.is_none() {
        let got = at.quoted(written);
        at.problem(format!(
            "expected host:port with an IP address, like 0.0.0.0:8443 or [::]:8443, got {got}"
        ));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::lower::testing::at_top;

    #[test]
    fn an_address_is_an_ip_address_and_a_port() {
        for (written, expected) in [
            ("0.0.0.0:8443", Some("0.0.0.0:8443")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::]:8443", Some("[::]:8443")),
            ("localhost:8443", Some("127.0.0.1:8443")),
            (":8443", Some("0.0.0.0:8443")),
            ("8443", None),
            ("0.0.0.0", None),
            ("0.0.0.0:65536", None),
            ("::1:80", None),
            ("example.com:80", None),
            ("http://0.0.0.0:80", None),
            ("*:80", None),
            ("", None),
        ] {
            let (found, problems) = at_top(|at| lower(written, at));
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(found, expected, "{written}");
            assert_eq!(problems.is_empty(), expected.is_some(), "{written}");
        }
    }
}
