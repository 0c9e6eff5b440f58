//! The URLs of an upstream.

use crate::config::document::At;
use crate::config::file::{UpstreamUrlFile, UpstreamUrlSettingsFile};
use crate::config::scalar::{Flag, Items};
use crate::proxy::spec::{ServerRole, UpstreamPlace, UpstreamServer};

use super::upstream_balance::small;

/// The most requests that one address may get for one that another gets.
const MOST_WEIGHT: u32 = 256;

/// The places of an upstream, and how all of them are spoken to. `at` is the upstream.
pub(super) fn lower(
    url: Option<String>,
    urls: Option<Items<UpstreamUrlFile>>,
    at: &At<'_>,
) -> Option<(Scheme, Vec<UpstreamServer>)> {
    let Some(urls) = urls else {
        if url.is_none() && at.key("urls").is_refused() {
            return None;
        }
        let hint = "write the address of the backend, as http://127.0.0.1:8080";
        let url = at.required("url", url, hint)?;
        let (scheme, place) = lower_url(&url, &at.key("url"))?;
        return Some((scheme, vec![place.into()]));
    };
    if url.is_some() {
        at.key("url")
            .key_problem("urls is there too; write all of them there");
    }
    let at = at.key("urls");
    if urls.0.is_empty() {
        at.problem("none; write the addresses of the backend, as [http://10.0.0.1:8080]");
    }
    let count = urls.0.len();
    let mut servers: Vec<UpstreamServer> = Vec::new();
    let mut spoken = None;
    for (at, written) in at.items(urls) {
        let Some((scheme, server)) = lower_one(written, &at) else {
            continue;
        };
        if *spoken.get_or_insert(scheme) != scheme {
            at.problem(
                "all urls of an upstream are spoken to alike, over https:// or in the clear; make \
                 another upstream of those that differ",
            );
        }
        if servers.iter().any(|other| other.place == server.place) {
            at.problem("stands there twice; give one of them a weight");
        }
        servers.push(server);
    }
    if servers.len() == count && count > 0 {
        let is_backup = |server: &UpstreamServer| server.role == ServerRole::Backup;
        if servers.iter().all(is_backup) {
            at.problem("all are backups; leave backup out where requests should go first");
        }
    }
    spoken.filter(|_| servers.len() == count).zip(Some(servers))
}

fn lower_one(written: UpstreamUrlFile, at: &At<'_>) -> Option<(Scheme, UpstreamServer)> {
    let settings = match written {
        UpstreamUrlFile::Url(url) => {
            let (scheme, place) = lower_url(&url, at)?;
            return Some((scheme, place.into()));
        }
        UpstreamUrlFile::Settings(settings) => settings,
    };
    let UpstreamUrlSettingsFile {
        url,
        weight,
        backup,
    } = settings;
    let weight = small(weight, 1, 1..=MOST_WEIGHT, &at.key("weight"));
    let url = at.required("url", url, "write the address, as http://127.0.0.1:8080")?;
    let (scheme, place) = lower_url(&url, &at.key("url"))?;
    let server = UpstreamServer {
        place,
        weight,
        role: match backup {
            Some(Flag(true)) => ServerRole::Backup,
            Some(Flag(false)) | None => ServerRole::Primary,
        },
    };
    Some((scheme, server))
}

/// Where a URL leads. A user and password in it is never repeated.
pub(super) fn lower_url(url: &str, at: &At<'_>) -> Option<(Scheme, UpstreamPlace)> {
    let error = match split_url(url) {
        Ok(endpoint) => return Some(endpoint),
        Err(error) => error,
    };
    let is_private = at.is_private(url) || url.contains('@');
    at.problem(match error {
        UrlError::Unknown if url.contains('@') => error.to_string(),
        UrlError::Unknown => {
            let meant = (!is_private).then(|| what_was_meant(url)).flatten();
            let meant = meant.map(|meant| format!("; did you mean {meant}?"));
            format!("{error}, got {}{}", at.quoted(url), meant.unwrap_or_default())
        }
        UrlError::Path if !is_private => match split_path(url) {
            Some((url, path)) => format!(
                "requests keep their own path; write {url} here, and add_prefix: {path} in the routes"
            ),
            None => error.to_string(),
        },
        error => error.to_string(),
    });
    None
}

/// What somebody most likely meant who wrote a URL without one of our schemes.
fn what_was_meant(url: &str) -> Option<String> {
    const OTHERS: [(&str, &str, &str); 9] = [
        ("grpc", "h2c", " (or https:// with version: \"2\")"),
        ("h2", "h2c", " (or https:// with version: \"2\")"),
        ("http2", "h2c", " (or https:// with version: \"2\")"),
        ("grpcs", "https", " with version: \"2\""),
        ("tcp", "http", ""),
        ("ws", "http", ""),
        ("wss", "https", ""),
        ("http", "http", ""),
        ("https", "https", ""),
    ];
    let (meant, note) = match url.split_once("://") {
        None if url.starts_with('/') => (format!("unix:{url}"), ""),
        None => (format!("http://{url}"), ""),
        Some((scheme, rest)) => {
            let same = |(other, _, _): &&(&str, _, _)| scheme.eq_ignore_ascii_case(other);
            let (_, ours, note) = OTHERS.iter().find(same)?;
            (format!("{ours}://{rest}"), *note)
        }
    };
    split_url(&meant).is_ok().then(|| meant + note)
}

/// A URL without its path, and the path, if that is all there is too much.
fn split_path(url: &str) -> Option<(&str, &str)> {
    let start = url.find("://")? + 3;
    let at = start + url[start..].find('/')?;
    let (url, path) = url.split_at(at);
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    let is_path = path.bytes().all(plain) && split_url(url).is_ok();
    is_path.then_some((url, path))
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    /// HTTP/2 in the clear.
    H2c,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum UrlError {
    #[error("a user or password in the URL is not sent to the backend; take it out")]
    UserInfo,
    #[error(
        "requests keep their own path; write the URL without path and query, like http://127.0.0.1:8080"
    )]
    Path,
    #[error("the port must be from 1 to 65535")]
    Port,
    #[error("expected the path of a socket from the root on, like unix:/run/app.sock")]
    Socket,
    #[error("a socket is written as it is, like unix:/run/app.sock, and spoken to over HTTP/1.1")]
    SocketInUrl,
    #[error(
        "expected a URL like http://127.0.0.1:8080, with http://, https://, h2c:// or unix:/path"
    )]
    Unknown,
}

fn split_url(url: &str) -> Result<(Scheme, UpstreamPlace), UrlError> {
    if let Some(path) = url.strip_prefix("unix:") {
        return split_socket(path);
    }
    const SCHEMES: [(&str, Scheme, u16); 3] = [
        ("http://", Scheme::Http, 80),
        ("https://", Scheme::Https, 443),
        ("h2c://", Scheme::H2c, 80),
    ];
    let mut schemes = SCHEMES.into_iter();
    let found = schemes.find_map(|(start, scheme, port)| {
        let rest = url.strip_prefix(start)?;
        Some((scheme, port, rest))
    });
    let (scheme, port, rest) = found.ok_or(UrlError::Unknown)?;
    if rest.starts_with("unix:/") {
        return Err(UrlError::SocketInUrl);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    // A single slash is no path of its own.
    if !matches!(path, "" | "/") {
        return Err(UrlError::Path);
    }
    let (host, port) = split_authority(authority, port)?;
    Ok((scheme, UpstreamPlace::Tcp { host, port }))
}

/// `unix:/path`, and `unix:///path` as some have it.
fn split_socket(path: &str) -> Result<(Scheme, UpstreamPlace), UrlError> {
    // What the system takes, with the zero at its end.
    const MOST: usize = 107;
    let path = match path.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        _ => path,
    };
    let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains('\0');
    match is_path && (2..=MOST).contains(&path.len()) {
        true => Ok((Scheme::Http, UpstreamPlace::Unix(path.into()))),
        false => Err(UrlError::Socket),
    }
}

fn split_authority(authority: &str, default: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UrlError::Unknown)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| UrlError::Unknown)?;
            (host, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || !host.bytes().all(legal) {
                return Err(UrlError::Unknown);
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(UrlError::Unknown),
        Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(UrlError::Unknown);
        }
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Port)?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<(Scheme, &str, u16), UrlError>) {
        let expected = expected.map(|(scheme, host, port)| {
            let host = host.to_owned();
            (scheme, UpstreamPlace::Tcp { host, port })
        });
        assert_eq!(split_url(url), expected, "{url}");
    }

    #[test]
    fn a_url_names_host_and_port() {
        use Scheme::*;
        check("http://127.0.0.1:8080", Ok((Http, "127.0.0.1", 8080)));
        check("http://127.0.0.1:8080/", Ok((Http, "127.0.0.1", 8080)));
        check("http://backend", Ok((Http, "backend", 80)));
        check("http://my_app.local:1", Ok((Http, "my_app.local", 1)));
        check("http://[::1]:81", Ok((Http, "::1", 81)));
        check("http://[fe80::1]", Ok((Http, "fe80::1", 80)));
        check("https://backend", Ok((Https, "backend", 443)));
        check("https://[::1]:81/", Ok((Https, "::1", 81)));
        check("h2c://backend", Ok((H2c, "backend", 80)));
        check("h2c://127.0.0.1:50051", Ok((H2c, "127.0.0.1", 50051)));
    }

    #[test]
    fn a_url_names_a_socket_by_its_whole_path() {
        for (url, path) in [
            ("unix:/run/app.sock", "/run/app.sock"),
            ("unix:///run/app.sock", "/run/app.sock"),
        ] {
            let place = UpstreamPlace::Unix(path.into());
            assert_eq!(split_url(url), Ok((Scheme::Http, place)));
        }
        let long = format!("unix:/{}", "a".repeat(107));
        for bad in [
            "unix:",
            "unix:/",
            "unix:app.sock",
            "unix://host/a",
            "unix:////a",
            &long,
        ] {
            check(bad, Err(UrlError::Socket));
        }
    }

    #[test]
    fn what_a_backend_would_not_get_is_refused() {
        use UrlError::*;
        check("http://a/app", Err(Path));
        check("https://a?x", Err(Path));
        check("http://a#x", Err(Path));
        check("http://me:secret@a", Err(UserInfo));
        check("https://me:secret@a", Err(UserInfo));
        check("http://a:0", Err(Port));
        check("http://unix:/run/app.sock", Err(SocketInUrl));
        check("https://unix:/run/app.sock", Err(SocketInUrl));
        check("http://a:65536", Err(Port));
        check("http://a:", Err(Port));
        for unknown in [
            "",
            "a",
            "127.0.0.1:8080",
            "http://",
            "http://:80",
            "http://a b",
            "http://a:x",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://[::1]x",
            "http://ä",
            "ftp://a",
            "HTTP://a",
            "https:/a",
            "h2c:a",
            "http://a:+80",
        ] {
            check(unknown, Err(Unknown));
        }
    }

    #[test]
    fn what_was_meant_is_said_where_it_is_clear() {
        for (url, meant) in [
            ("localhost:8080", Some("http://localhost:8080")),
            ("/run/app.sock", Some("unix:/run/app.sock")),
            ("HTTP://a", Some("http://a")),
            (
                "grpc://h:50051",
                Some("h2c://h:50051 (or https:// with version: \"2\")"),
            ),
            (
                "h2://h:5",
                Some("h2c://h:5 (or https:// with version: \"2\")"),
            ),
            ("grpcs://h:5", Some("https://h:5 with version: \"2\"")),
            ("tcp://h:1", Some("http://h:1")),
            ("ftp://h", None),
            ("http://a b", None),
            ("", None),
        ] {
            assert_eq!(what_was_meant(url).as_deref(), meant, "{url}");
        }
        assert_eq!(split_path("http://a:1/app/"), Some(("http://a:1", "/app")));
        assert_eq!(split_path("http://a/app?x"), None);
        assert_eq!(split_path("http://a?x/y"), None);
    }
}
