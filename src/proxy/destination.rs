//! `Destination`, where WebDAV's COPY and MOVE write to (RFC 4918 section 10.3): a second path, which
//! the gate decides about like the first, and which the backend gets as it gets the first.
//!
//! Which of them may go where is the gate's to say.

use super::headers::UpstreamRequest;
use super::rewrite::PrefixMismatch;
use crate::gate::request::Destination;
use crate::http1::head::RequestHead;

/// What the request of a client writes to besides its own path: the path and the query, and where
/// the query begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written<'h> {
    target: &'h str,
    path_length: usize,
}

/// That of a request, or why there is none. Other methods have none: to them it is a field like any
/// other.
pub(super) fn of(head: &RequestHead) -> Result<Written<'_>, Destination<'_>> {
    if !matches!(head.method().as_str(), "COPY" | "MOVE") {
        return Err(Destination::None);
    }
    let mut values = head.fields().get_all("destination");
    let Some(value) = values.next() else {
        return Err(Destination::None);
    };
    let value = std::str::from_utf8(value).ok();
    let written = value.and_then(|value| Written::read(value, head.authority()));
    match (written, values.next()) {
        (Some(written), None) => Ok(written),
        _ => Err(Destination::Elsewhere),
    }
}

impl<'h> Written<'h> {
    /// Reads an absolute path, or a URL on the host that was asked for.
    fn read(value: &'h str, authority: Option<&str>) -> Option<Self> {
        let target = match value.split_once("://") {
            Some((scheme, rest)) if !value.starts_with('/') => {
                let known = ["http", "https"].map(|it| it.eq_ignore_ascii_case(scheme));
                let (named, _) = rest.split_at(rest.find('/')?);
                let same = authority.is_some_and(|asked| named.eq_ignore_ascii_case(asked));
                (known.contains(&true) && same).then(|| &rest[named.len()..])?
            }
            _ => value,
        };
        let visible = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !target.starts_with('/') || target.starts_with("//") || target.contains('#') || !visible
        {
            return None;
        }
        Some(Self {
            target,
            path_length: target.find('?').unwrap_or(target.len()),
        })
    }

    /// Its raw path.
    pub(super) fn path(&self) -> &'h str {
        &self.target[..self.path_length]
    }
}

/// What the backend is to get as `Destination`, where it gets one: a URL of its own. A server that is
/// told of a scheme or a host that it does not have refuses to write there.
pub(super) fn for_backend(request: &UpstreamRequest<'_>) -> Result<Option<String>, PrefixMismatch> {
    let Ok(written) = of(request.head) else {
        return Ok(None);
    };
    let target = request
        .rewrite
        .path
        .target(written.target, written.path_length)?;
    let scheme = match request.upstream.spec.tls {
        Some(_) => "https",
        None => "http",
    };
    Ok(Some(format!(
        "{scheme}://{}{}",
        request.host(),
        target.target
    )))
}
