//! Which certificate a client gets for the name that it asks for (SNI, RFC 6066 section 3).
//!
//! Matching is that of clients (RFC 6125 section 6.4): case does not matter, nor does a dot at the
//! end, and `*` stands for one whole label at the beginning.

use std::collections::HashMap;

use crate::identity::host::HostName;

/// What is found by name: exactly, else by wildcard.
#[derive(Debug)]
pub(super) struct Names<T> {
    exact: HashMap<String, T>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, T>,
}

impl<T: Default> Names<T> {
    pub(super) fn new() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// What belongs to a name as a certificate has it, possibly nothing yet.
    pub(super) fn entry(&mut self, name: &str) -> &mut T {
        let name = HostName::of_name(name);
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.to_owned()).or_default(),
            None => self.exact.entry(name.as_str().to_owned()).or_default(),
        }
    }

    /// The same, where it is there.
    pub(super) fn of(&self, name: &str) -> Option<&T> {
        let name = HostName::of_name(name);
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcard.get(parent),
            None => self.exact.get(name.as_str()),
        }
    }

    /// What belongs to a name that a client asks for: exactly, then by wildcard.
    pub(super) fn find(&self, name: &HostName) -> impl Iterator<Item = &T> + Clone + use<'_, T> {
        let name = name.as_str();
        let by_wildcard = name
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).into_iter().chain(by_wildcard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<&'static str> {
        let mut names = Names::new();
        for name in ["a.example", "*.example", "*.B.example.", "C.example"] {
            *names.entry(name) = name;
        }
        names
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard() {
        for (asked, found) in [
            ("a.example", Some("a.example")),
            ("A.EXAMPLE.", Some("a.example")),
            ("c.example", Some("C.example")),
            ("d.example", Some("*.example")),
            ("x.b.example", Some("*.B.example.")),
            ("x.y.b.example", None),
            ("x.a.example", None),
            ("example", None),
            (".example", None),
            ("", None),
            (".", None),
        ] {
            let asked = HostName::of_name(asked);
            assert_eq!(names().find(&asked).next().copied(), found, "{asked:?}");
        }
    }
}
