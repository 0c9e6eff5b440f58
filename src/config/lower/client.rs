//! The sections `headers`, `limits`, `timeouts` and `buffering`: what a client may send, how long it
//! may take, and what is kept of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{BufferingFile, HeadersFile, LimitsFile, TimeoutsFile};
use crate::config::scalar::Size;
use crate::http1::head::HeadLimits;
use crate::proxy::spec::{BufferingSpec, ClientTimeouts, Limits, Underscores};

use super::{HOUR, choose_word, in_range, path, span_within};

const UNDERSCORES: [(&str, Option<Underscores>); 3] = [
    ("keep", Some(Underscores::Keep)),
    ("drop", Some(Underscores::Drop)),
    ("reject", Some(Underscores::Reject)),
];

/// What becomes of fields with an underscore in their name.
pub(super) fn lower_underscores(written: HeadersFile, at: &At<'_>) -> Underscores {
    let HeadersFile { underscores } = written;
    let underscores =
        underscores.and_then(|word| choose_word(&word, &UNDERSCORES, &at.key("underscores")));
    underscores.unwrap_or_default()
}

/// How much a client may send.
pub(super) fn lower_limits(written: LimitsFile, at: &At<'_>) -> Limits {
    let LimitsFile {
        header_bytes,
        header_fields,
        body,
    } = written;
    let default = Limits::default();
    Limits {
        head: HeadLimits {
            bytes: lower_header_bytes(header_bytes, default.head.bytes, &at.key("header_bytes")),
            fields: in_range(
                header_fields,
                default.head.fields,
                1..=1000,
                &at.key("header_fields"),
            ),
        },
        body: body.map_or(default.body, |body| body.0),
        ..default
    }
}

/// Below 1 KiB no browser's head would fit; above 1 MiB each connection could take too much memory.
fn lower_header_bytes(written: Option<Size>, default: usize, at: &At<'_>) -> usize {
    let Some(Size(bytes)) = written else {
        return default;
    };
    match usize::try_from(bytes) {
        Ok(bytes @ 0x400..=0x10_0000) => bytes,
        _ => {
            at.problem("must be from 1KiB to 1MiB");
            default
        }
    }
}

/// How request bodies are kept until they are whole.
pub(super) fn lower_buffering(
    written: BufferingFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> BufferingSpec {
    let BufferingFile { total, folder } = written;
    let place = match folder.is_some() {
        true => at.key("folder").place(),
        false => at.place(),
    };
    let default = BufferingSpec::default();
    let folder = folder.and_then(|folder| path(&folder, source, &at.key("folder")));
    let temporary = || (source.variables)("TMPDIR").filter(|folder| folder.starts_with('/'));
    let folder = folder.or_else(|| temporary().map(PathBuf::from));
    BufferingSpec {
        total: lower_total(total, default.total, &at.key("total")),
        folder: folder.unwrap_or(default.folder),
        place,
    }
}

/// Below what one body has in memory, none of a usual size would be kept.
fn lower_total(written: Option<Size>, default: u64, at: &At<'_>) -> u64 {
    match written {
        None => default,
        Some(Size(total @ 0x1_0000..)) => total,
        Some(Size(_)) => {
            at.problem("must be at least 64KiB");
            default
        }
    }
}

/// How long a client may take.
pub(super) fn lower_timeouts(written: TimeoutsFile, at: &At<'_>) -> ClientTimeouts {
    let TimeoutsFile {
        handshake,
        head,
        body,
        idle,
    } = written;
    let default = ClientTimeouts::default();
    let within = |span, default, key| {
        span_within(span, default, Duration::from_millis(1)..=HOUR, &at.key(key))
    };
    ClientTimeouts {
        handshake: within(handshake, default.handshake, "handshake"),
        head: within(head, default.head, "head"),
        body: within(body, default.body, "body"),
        idle: within(idle, default.idle, "idle"),
    }
}
