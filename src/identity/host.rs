//! The one way in which host names are compared: routes by host and TLS policies by name must never
//! disagree about which name a request is for.

/// A host name as it is compared: lower case, no port, no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// From a Host or `:authority` value, `host[:port]`.
    #[must_use]
    pub fn from_authority(authority: &str) -> Self {
        let host = match authority.rfind(':') {
            // The colons inside an IPv6 literal are not a port's.
            Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
            _ => authority,
        };
        Self::of_name(host)
    }

    /// From a name without a port: what a client asks for in its TLS hello, or what is configured.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        Self(name.to_ascii_lowercase())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_port_and_a_dot_at_the_end_make_no_other_name() {
        for (authority, name) in [
            ("a.example", "a.example"),
            ("A.Example.:8443", "a.example"),
            ("a.example.", "a.example"),
            ("[::1]:443", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(HostName::from_authority(authority).as_str(), name);
        }
        for name in ["a.example", "A.Example.", "a..", ".", ""] {
            assert_eq!(HostName::of_name(name), HostName::from_authority(name));
        }
    }
}
