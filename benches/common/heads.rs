//! Heads as they come from clients and backends.

use std::fmt::Write as _;

/// A page that a browser asks for: 12 fields, with the session cookie and one of the backend's.
pub(crate) const BROWSER: &str = "GET /app/index.html?tab=2 HTTP/1.1\r\n\
    Host: plant-3.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://plant-3.example/app/\r\n\
    Connection: keep-alive\r\n\
    Cookie: theme=dark; __Host-portcullis=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=0, i\r\n\
    \r\n";

/// What a backend says to that.
pub(crate) const ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Date: Sun, 22 Nov 2026 03:20:32 GMT\r\n\
    Server: device/2.1\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 5120\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: private, max-age=60\r\n\
    ETag: \"5120-63a1f0c2\"\r\n\
    Last-Modified: Sat, 21 Nov 2026 17:00:00 GMT\r\n\
    Vary: Accept-Encoding\r\n\
    Set-Cookie: theme=dark; Path=/; SameSite=Lax\r\n\
    \r\n";

/// Names that a client may not send to a backend, and one way to write each.
const HOSTILE: [&str; 12] = [
    "X-Forwarded-User",
    "x_forwarded_groups",
    "X-FORWARDED_EMAIL",
    "X.Forwarded.For",
    "x-forwarded-anything-that-is-longer-than-any-reserved-name",
    "Forwarded",
    "Remote_User",
    "X-Auth-Request-Email",
    "X-Real-IP",
    "SSL_Client_Verify",
    "Proxy",
    "X-Original-URL",
];

/// A request of 60 fields, 59 of which pretend to be somebody.
pub(crate) fn hostile() -> String {
    let mut head = "GET /app/index.html HTTP/1.1\r\nHost: plant-3.example\r\n".to_owned();
    for name in HOSTILE.iter().cycle().take(59) {
        write!(head, "{name}: root\r\n").unwrap();
    }
    head + "\r\n"
}
