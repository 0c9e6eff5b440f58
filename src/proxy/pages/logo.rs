//! The picture above the forms: a small file that travels inside each page, so that no page asks
//! for anything.
//!
//! Browsers take it for a picture only (`<img>`), whatever is in it: an SVG there runs no scripts
//! and loads nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A picture, as a `data:` URI.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Logo(String);

/// Why a file is no logo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLogo {
    /// It would travel with every page.
    #[error("larger than {} KiB, which every page would carry", Logo::MAX_BYTES >> 10)]
    TooLarge,
    /// Nothing that is known begins like this.
    #[error("neither SVG, PNG, JPEG nor WebP")]
    UnknownFormat,
    /// Browsers show such a one in a page of their own, and not as a picture.
    #[error("an SVG without xmlns=\"http://www.w3.org/2000/svg\", which browsers do not show")]
    NoNamespace,
}

impl Logo {
    /// The largest file, in bytes.
    pub const MAX_BYTES: usize = 64 << 10;

    /// What is in a file, whatever its name says.
    ///
    /// # Errors
    /// [`NoLogo`].
    pub fn read(bytes: &[u8]) -> Result<Self, NoLogo> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(NoLogo::TooLarge);
        }
        let media_type = media_type(bytes).ok_or(NoLogo::UnknownFormat)?;
        let namespace = b"http://www.w3.org/2000/svg";
        if media_type == "image/svg+xml"
            && !bytes.windows(namespace.len()).any(|it| it == namespace)
        {
            return Err(NoLogo::NoNamespace);
        }
        let encoded = STANDARD.encode(bytes);
        Ok(Self(format!("data:{media_type};base64,{encoded}")))
    }

    /// What the `src` of an `<img>` takes.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Logo {
    /// Without the picture.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({} bytes)", self.0.len())
    }
}

fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => is_svg(std::str::from_utf8(bytes).ok()?).then_some("image/svg+xml"),
    }
}

/// Whether `<svg` comes first after what XML allows before it.
fn is_svg(text: &str) -> bool {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    loop {
        rest = rest.trim_start();
        let end = match rest {
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!--") => "-->",
            // Some programs declare entities in it, in brackets.
            _ if rest.starts_with("<!DOCTYPE svg") => match rest.find(['[', '>']) {
                Some(at) if rest[at..].starts_with('[') => "]>",
                _ => ">",
            },
            _ => {
                let name_ends = |c: char| c == '>' || c.is_ascii_whitespace();
                return rest
                    .strip_prefix("<svg")
                    .is_some_and(|it| it.starts_with(name_ends));
            }
        };
        match rest.split_once(end) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

    #[test]
    fn a_picture_is_known_by_what_is_in_it() {
        let svg = |before: &str| format!("{before}{SVG}").into_bytes();
        for (bytes, expected) in [
            (b"\x89PNG\r\n\x1a\n...".to_vec(), "image/png"),
            (b"\xff\xd8\xff\xe0...".to_vec(), "image/jpeg"),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 ".to_vec(), "image/webp"),
            (svg(""), "image/svg+xml"),
            (
                svg("\u{feff}<?xml version=\"1.0\"?>\n<!-- <b> -->\n<!DOCTYPE svg PUBLIC \"x\">\n"),
                "image/svg+xml",
            ),
            (svg("<!DOCTYPE svg [ <!ENTITY a \"b\"> ]>"), "image/svg+xml"),
        ] {
            let logo = Logo::read(&bytes).unwrap();
            let begins = format!("data:{expected};base64,");
            assert!(logo.uri().starts_with(&begins), "{}", logo.uri());
        }
    }

    #[test]
    fn what_no_browser_would_show_is_no_logo() {
        for bytes in [
            &b""[..],
            b"GIF89a",
            b"<html><svg xmlns=\"http://www.w3.org/2000/svg\"></html>",
            b"<svgx xmlns=\"http://www.w3.org/2000/svg\">",
            b"<!-- <svg xmlns=\"http://www.w3.org/2000/svg\">",
            b"\x89PNG",
            b"RIFF\x01\x02\x03\x04WAVE",
            b"\xff\xfe<\0s\0v\0g\0",
        ] {
            assert_eq!(Logo::read(bytes), Err(NoLogo::UnknownFormat), "{bytes:?}");
        }
        assert_eq!(Logo::read(b"<svg>"), Err(NoLogo::NoNamespace));
        let padded = format!("{SVG}{}", " ".repeat(Logo::MAX_BYTES - SVG.len()));
        assert!(Logo::read(padded.as_bytes()).is_ok());
        let longer = Logo::read(format!("{padded} ").as_bytes());
        assert_eq!(longer, Err(NoLogo::TooLarge));
    }
}
