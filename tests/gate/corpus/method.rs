//! Methods (RFC 9110 section 9).

use super::{Case, GET, case, line};

pub fn cases() -> Vec<Case> {
    let of = |method: &str| format!("{method} /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    vec![
        case("what a resource can do is asked of it", "RFC 9110 9.3.7", "OPTIONS /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n").granted("OPTIONS /public/@@@@"),
        case("a method that nobody has registered", "RFC 9110 9.1", of("X-CUSTOM")).granted("X-CUSTOM /public/@@@@"),
        case("WebDAV", "RFC 4918 9.1", of("PROPFIND")).granted("PROPFIND /public/@@@@"),
        case("lower case, which some backends fold", "RFC 9110 9.1", of("get")).refused(501),
        case("mixed case", "RFC 9110 9.1", of("Get")).refused(501),
        case("a method of 33 bytes", "RFC 9110 15.6.2", of(&"A".repeat(33))).refused(501),
        case("a method of 32 bytes", "RFC 9110 9.1", of(&"A".repeat(32))).granted(&format!("{} /public/@@@@", "A".repeat(32))),
        case("a method with a colon", "RFC 9110 5.6.2", of("GE:T")).refused(400),
        case("a method with a slash", "RFC 9110 5.6.2", of("GET/")).refused(400),
        case("a method with a bracket", "RFC 9110 5.6.2", of("GET(")).refused(400),
        case("a method with NUL", "RFC 9110 5.6.2", of("GET\0")).refused(400),
        case("a method outside ASCII", "RFC 9110 5.6.2", of("G\u{c9}T")).refused(400),
        case("no method", "RFC 9112 3", of("")).refused(400),
        case("CONNECT in authority form", "RFC 9110 9.3.6", "CONNECT localhost:4443 HTTP/1.1\r\nHost: localhost:4443\r\n\r\n").refused(405),
        case("CONNECT with a path", "RFC 9110 9.3.6", of("CONNECT")).refused(405),
        case("TRACE", "RFC 9110 9.3.8; OWASP cross-site tracing", of("TRACE")).refused(405),
        case("a method override is not passed on", "OWASP; method override fields", "GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: DELETE\r\n\r\n").granted(GET),
        case("asterisk form is for OPTIONS only", "RFC 9112 3.2.4", line("GET * HTTP/1.1")).refused(400),
        case("asterisk form is of no route", "RFC 9112 3.2.4", line("OPTIONS * HTTP/1.1")).refused(400),
    ]
}
