//! `Destination`, where WebDAV's COPY and MOVE write to (RFC 4918 section 10.3): a second path, which
//! the gate decides about like the first, and which the backend gets as it gets the first. And the
//! fields by which a PUT to an object store reads from a second path instead of from its body.
//!
//! Which of them may go where is the gate's to say.

use std::borrow::Cow;

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

/// Where object stores of Amazon, Google, OpenStack and Azure are told what to copy.
const SOURCES: [&str; 5] = [
    "x-amz-copy-source",
    "x-goog-copy-source",
    "x-copy-from",
    "x-ms-copy-source",
    "x-ms-rename-source",
];

/// The second path of a request.
pub(super) fn second_path(head: &RequestHead) -> Destination<'_> {
    let source = source_of(head);
    match (of(head), source) {
        (Err(Destination::None), None) => Destination::None,
        (Err(Destination::None), Some(Some(source))) => Destination::Path(source),
        (Ok(written), None) => Destination::Path(written.path().into()),
        // One of them that cannot be told, or both.
        _ => Destination::Elsewhere,
    }
}

/// What is to be copied, where that is said: the raw path, or nothing that can be told. Reading asks
/// for nothing of the kind, and is spared the search.
fn source_of(head: &RequestHead) -> Option<Option<Cow<'_, str>>> {
    if !matches!(head.method().as_str(), "PUT" | "POST") {
        return None;
    }
    let fields = head.fields();
    let mut named = SOURCES.iter().flat_map(|name| fields.get_all(name));
    let value = std::str::from_utf8(named.next()?).ok();
    // Of another account, or by a name that has no path: where that is nobody can tell.
    let is_elsewhere = |value: &&str| value.starts_with("arn:");
    let value = value.filter(|it| !is_elsewhere(it) && !fields.contains("x-copy-from-account"));
    let path = value.and_then(|value| {
        // Most programs write `bucket/key`.
        if value.starts_with('/') || value.contains("://") {
            return Some(Written::read(value, head.authority())?.path().into());
        }
        let value = format!("/{value}");
        Some(Written::read(&value, None)?.path().to_owned().into())
    });
    Some(path.filter(|_| named.next().is_none()))
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
    let is_here = !head.fields().contains("destination-account");
    let value = std::str::from_utf8(value).ok().filter(|_| is_here);
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
    // What is to be copied may be signed, and is not ours to write anew.
    if !request.rewrite.path.changes_nothing()
        && let Some(Some(source)) = source_of(request.head)
        && request.rewrite.path.target(&source, source.len())?.target != source
    {
        return Err(PrefixMismatch);
    }
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
