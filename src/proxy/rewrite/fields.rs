//! Fields that an operator has set, added or removed, on requests or on answers.
//!
//! Which names those may be is decided here, once, for the configuration: what delimits messages,
//! what ends with a connection, and what the gate itself says is not theirs to write.

use crate::proxy::headers::{fold, is_hop_by_hop, is_reserved};

/// Changes of the fields of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// The names whose fields as they came are not passed on, folded.
    replaced: Vec<Box<[u8]>>,
    /// What such names begin with.
    removed_prefixes: Vec<Box<[u8]>>,
    /// What is added, in this order.
    added: Vec<(Box<str>, Box<[u8]>)>,
    /// What stands in `Host` instead of what the client asked for.
    host: Option<Box<str>>,
}

/// Which way a field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To the backend.
    Request,
    /// To the client.
    Answer,
}

/// Why a field cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEdit {
    /// No field has such a name.
    #[error("a header name has 1 to 64 characters from A-Z a-z 0-9 - _ and a few others, no space")]
    Name,
    /// No such names can be told apart.
    #[error("a * may only end a name, for all that begin so")]
    Pattern,
    /// The value could end the line or has no business in one.
    #[error("a header value is one line of visible characters and spaces, up to 4096 bytes")]
    Value,
    /// It says where a message ends or belongs to one connection.
    #[error("it is about one connection and is written anew on each")]
    Connection,
    /// The gate writes it.
    #[error("only the gate writes it, or clients could be taken for others")]
    Reserved,
    /// The gate writes it, under a name of its own in the configuration.
    #[error("the request id is the gate's")]
    RequestId,
    /// There is a section for it.
    #[error("use tls.hsts for it")]
    StrictTransport,
    /// There is a section for it, which keeps the secret in a file.
    #[error("use upstreams.NAME.login to log in to a backend")]
    Authorization,
    /// A request has one.
    #[error("a request has one Host: set it, nothing else")]
    Host,
    /// Not a host, with or without a port.
    #[error("expected a host name, with or without a port")]
    HostValue,
    /// Cookies have keys of their own.
    #[error("cookies of the backend are changed under cookies; here they can only be removed")]
    SetCookie,
}

impl FieldEdits {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            replaced,
            removed_prefixes,
            added,
            host,
        } = self;
        replaced.is_empty() && removed_prefixes.is_empty() && added.is_empty() && host.is_none()
    }

    /// Puts `values` in the place of whatever came under that name.
    ///
    /// # Errors
    /// [`InvalidEdit`]; nothing is changed then.
    pub fn set(&mut self, side: Side, name: &str, values: &[&str]) -> Result<(), InvalidEdit> {
        if side == Side::Request && name.eq_ignore_ascii_case("host") {
            return self.set_host(values);
        }
        check(side, name, values)?;
        self.replaced.push(folded(name.as_bytes()).collect());
        self.push(name, values);
        Ok(())
    }

    /// Adds `values` to whatever came under that name.
    ///
    /// # Errors
    /// [`InvalidEdit`]; nothing is changed then.
    pub fn add(&mut self, side: Side, name: &str, values: &[&str]) -> Result<(), InvalidEdit> {
        check(side, name, values)?;
        self.push(name, values);
        Ok(())
    }

    /// Passes on nothing that came under that name, or, where it ends with `*`, under one that begins
    /// like it.
    ///
    /// # Errors
    /// [`InvalidEdit`]; nothing is changed then.
    pub fn remove(&mut self, side: Side, name: &str) -> Result<(), InvalidEdit> {
        if let Some(prefix) = name.strip_suffix('*') {
            if prefix.is_empty() || prefix.contains('*') {
                return Err(InvalidEdit::Pattern);
            }
            if check(side, prefix, &[]) == Err(InvalidEdit::Name) {
                return Err(InvalidEdit::Name);
            }
            self.removed_prefixes
                .push(folded(prefix.as_bytes()).collect());
            return Ok(());
        }
        if name.contains('*') {
            return Err(InvalidEdit::Pattern);
        }
        match check(side, name, &[]) {
            // Either may be taken away from backends and clients.
            Ok(()) | Err(InvalidEdit::Authorization | InvalidEdit::SetCookie) => {}
            Err(why) => return Err(why),
        }
        self.replaced.push(folded(name.as_bytes()).collect());
        Ok(())
    }

    fn set_host(&mut self, values: &[&str]) -> Result<(), InvalidEdit> {
        let [host] = values else {
            return Err(InvalidEdit::Host);
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if host.is_empty() || host.len() > 255 || !host.bytes().all(legal) {
            return Err(InvalidEdit::HostValue);
        }
        self.host = Some((*host).into());
        Ok(())
    }

    fn push(&mut self, name: &str, values: &[&str]) {
        let lines = values
            .iter()
            .map(|value| (name.into(), value.as_bytes().into()));
        self.added.extend(lines);
    }

    /// Whether a field of that name is not passed on as it came. A name counts in any case, and with
    /// other signs for its dashes: some backends cannot tell them apart.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        let begins = |with: &[u8]| {
            name.len() >= with.len() && folded(&name[..with.len()]).eq(with.iter().copied())
        };
        let is = |whole: &[u8]| whole.len() == name.len() && begins(whole);
        self.replaced.iter().any(|it| is(it)) || self.removed_prefixes.iter().any(|it| begins(it))
    }

    /// The fields that are added.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.added.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What stands in `Host`, where it is not what the client asked for.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().copied().map(fold)
}

fn check(side: Side, name: &str, values: &[&str]) -> Result<(), InvalidEdit> {
    const MOST: usize = 4096;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(token) {
        return Err(InvalidEdit::Name);
    }
    let visible = |byte: u8| byte == b' ' || byte == b'\t' || (byte > b' ' && byte != 0x7f);
    let fits = |value: &&str| value.len() <= MOST && value.bytes().all(visible);
    if !values.iter().all(fits) {
        return Err(InvalidEdit::Value);
    }
    let folded: Vec<u8> = folded(name.as_bytes()).collect();
    match (side, folded.as_slice()) {
        (_, b"content-length" | b"expect") => Err(InvalidEdit::Connection),
        (_, name) if is_hop_by_hop(name) => Err(InvalidEdit::Connection),
        (Side::Request, b"host") => Err(InvalidEdit::Host),
        (Side::Request, b"authorization") => Err(InvalidEdit::Authorization),
        (Side::Request, b"traceparent" | b"tracestate") => Err(InvalidEdit::Reserved),
        (Side::Request, name) if is_reserved(name) => Err(InvalidEdit::Reserved),
        (Side::Answer, b"x-request-id") => Err(InvalidEdit::RequestId),
        (Side::Answer, b"strict-transport-security") => Err(InvalidEdit::StrictTransport),
        (Side::Answer, b"set-cookie") => Err(InvalidEdit::SetCookie),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_or_removed_takes_the_place_of_every_spelling() {
        let mut edits = FieldEdits::default();
        assert!(edits.is_empty());
        edits.set(Side::Request, "X-Env", &["a", "b"]).unwrap();
        edits.add(Side::Request, "X-More", &["c"]).unwrap();
        edits.remove(Side::Request, "X_Debug").unwrap();
        edits.set(Side::Request, "host", &["plc:81"]).unwrap();
        assert!(!edits.is_empty());
        for name in ["X-Env", "x_env", "X.Env", "X-DEBUG"] {
            assert!(edits.replaces(name.as_bytes()), "{name}");
        }
        for name in ["X-Environment", "X-More", "XEnv", "Host", ""] {
            assert!(!edits.replaces(name.as_bytes()), "{name}");
        }
        let lines: Vec<_> = edits.lines().collect();
        let expected = [("X-Env", "a"), ("X-Env", "b"), ("X-More", "c")];
        assert_eq!(
            lines,
            expected.map(|(name, value)| (name, value.as_bytes()))
        );
        assert_eq!(edits.host(), Some("plc:81"));
    }

    #[test]
    fn what_is_the_gates_cannot_be_written_by_hand() {
        use InvalidEdit as No;
        let mut edits = FieldEdits::default();
        for (side, name, why) in [
            (Side::Request, "Content-Length", No::Connection),
            (Side::Answer, "transfer_encoding", No::Connection),
            (Side::Answer, "Connection", No::Connection),
            (Side::Request, "X-Forwarded-User", No::Reserved),
            (Side::Request, "x_real_ip", No::Reserved),
            (Side::Request, "Traceparent", No::Reserved),
            (Side::Request, "Authorization", No::Authorization),
            (
                Side::Answer,
                "Strict-Transport-Security",
                No::StrictTransport,
            ),
            (Side::Answer, "X-Request-Id", No::RequestId),
            (Side::Answer, "Set-Cookie", No::SetCookie),
            (Side::Request, "a b", No::Name),
            (Side::Request, "", No::Name),
        ] {
            assert_eq!(edits.set(side, name, &["x"]), Err(why), "{name}");
            assert_eq!(edits.add(side, name, &["x"]), Err(why), "{name}");
        }
        for value in ["a\r\nb: c", "a\0", "a\nb", "\u{7f}"] {
            assert_eq!(edits.set(Side::Answer, "X", &[value]), Err(No::Value));
        }
        assert_eq!(edits.add(Side::Request, "Host", &["a"]), Err(No::Host));
        assert_eq!(
            edits.set(Side::Request, "Host", &["a/b"]),
            Err(No::HostValue)
        );
        assert_eq!(edits.remove(Side::Request, "Host"), Err(No::Host));
        assert!(edits.is_empty());
        edits.remove(Side::Request, "Authorization").unwrap();
        edits.remove(Side::Answer, "Set-Cookie").unwrap();
        edits.set(Side::Answer, "X-Real-Ip", &["x"]).unwrap();
    }
}
