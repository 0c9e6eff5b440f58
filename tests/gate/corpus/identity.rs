//! Claims of who is asking. That none of them arrives is checked by `headers`; here, that they change
//! neither the decision nor the framing.

use super::{Case, GET, POST, case, get, post};

pub fn cases() -> Vec<Case> {
    let admin = |lines: &str| format!("GET /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    vec![
        case("a claim on a public route", "oauth2-proxy CVE-2025-64484", get("X_Forwarded_User: root\r\n")).granted(GET),
case("a claim by the name that CGI has for it", "Caddy CVE-2026-52845", get("Remote_User: root\r\nREMOTE_USER: root\r\n")).granted(GET),
        case("a claim in another case", "Traefik CVE-2026-33433", get("x-fORWARDED-uSER: root\r\n")).granted(GET),
        case("a claim with a dot", "Traefik CVE-2026-39858", get("X.Forwarded.User: root\r\n")).granted(GET),
        case("a claim in the trailers", "RFC 9110 6.5.1", post("Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-User\r\n", "2\r\nok\r\n0\r\nX-Forwarded-User: root\r\n\r\n")).granted_with(POST, b"ok"),
        case("a claim opens no route", "Caddy CVE-2026-30851", admin("X-Forwarded-User: ada\r\nRemote-User: ada\r\n")).refused(401),
        case("another URI opens no route", "oauth2-proxy CVE-2026-40575", admin("X-Forwarded-Uri: /public/\r\nX-Original-URL: /public/\r\nX-Rewrite-URL: /public/\r\n")).refused(401),
        case("another prefix opens no route", "Traefik GHSA-6384-m2mw-rf54", admin("X-Forwarded-Prefix: /public\r\n")).refused(401),
        case("a health check opens no route", "oauth2-proxy GHSA-5hvv-m4w4-gf6v", admin("User-Agent: GoogleHC/1.0\r\n")).refused(401),
        case("a certificate in a field opens no route", "RFC 9440 4", admin("Client-Cert: :AAAA:\r\nssl-client-verify: SUCCESS\r\nX-SSL-Client-Verify: 0\r\n")).refused(401),
        case("an address opens no route", "ASVS 15.3.4", admin("X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n")).refused(401),
        case("a session that is none", "RFC 6265 5.4", admin("Cookie: __Host-portcullis=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n")).refused(401),
        case("two sessions", "RFC 6265 5.4", admin("Cookie: __Host-portcullis=a; __Host-portcullis=b\r\n")).refused(401),
        case("a session with an empty name", "RFC 6265bis 5.7", admin("Cookie: =__Host-portcullis=a\r\n")).refused(401),
        case("a session in quotes", "RFC 6265 4.1.1", admin("Cookie: a=\"; __Host-portcullis=x; b=\"\r\n")).refused(401),
        case("a password where none is taken is the backend's", "RFC 9110 11.6.2", get("Authorization: Basic cm9vdDpyb290\r\n")).granted(GET),
        case("a proxy for programs", "CVE-2016-5385", get("Proxy: http://attacker/\r\n")).granted(GET),
    ]
}
