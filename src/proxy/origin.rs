//! Whether the page that makes a request is of the host that it asks (RFC 6454).

use super::client::Scheme;

/// Whether an `Origin` is the host that is asked, over one of these schemes.
#[must_use]
pub(super) fn is_of(origin: &[u8], authority: Option<&str>, schemes: &[Scheme]) -> bool {
    let Some(authority) = authority else {
        return false;
    };
    schemes.iter().any(|scheme| {
        let scheme = scheme.as_str();
        let host = strip_ignoring_case(origin, scheme.as_bytes());
        let host = host.and_then(|rest| rest.strip_prefix(b"://"));
        host.is_some_and(|host| {
            let port = default_port(scheme);
            let bare = |host: &[u8]| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
            bare(host) == bare(authority.as_bytes())
        })
    })
}

/// The port that need not be written, with its colon.
fn default_port(scheme: &str) -> &'static [u8] {
    match scheme {
        "https" => b":443",
        _ => b":80",
    }
}

fn strip_ignoring_case<'b>(bytes: &'b [u8], prefix: &[u8]) -> Option<&'b [u8]> {
    let (front, rest) = bytes.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_of_the_host_that_it_asks_when_scheme_host_and_port_are_the_same() {
        let https = [Scheme::Https];
        let check = |origin: &str, authority: &str, schemes: &[Scheme], expected: bool| {
            let is = is_of(origin.as_bytes(), Some(authority), schemes);
            assert_eq!(is, expected, "{origin} {authority} {schemes:?}");
        };
        check("https://a.example", "a.example", &https, true);
        check("https://A.example", "a.Example", &https, true);
        check("https://a.example", "a.example:443", &https, true);
        check("https://a.example:8443", "a.example:8443", &https, true);
        check("https://[::1]:8443", "[::1]:8443", &https, true);
        for other in [
            "http://a.example",
            "https://a.example:8443",
            "https://b.example",
            "https://a.example.evil.example",
            "https://evil.example/a.example",
            "https://a.example/",
            "https://a.example:80",
            "a.example",
            "null",
            "",
        ] {
            check(other, "a.example", &https, false);
        }
        let both = [Scheme::Https, Scheme::Http];
        check("http://a.example", "a.example", &both, true);
        check("http://a.example:80", "a.example", &both, true);
        assert!(!is_of(b"https://a.example", None, &https));
    }
}
